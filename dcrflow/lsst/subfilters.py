"""Bands and their DCR subfilters as the Rubin instruments have them, and their registration in a Butler repository."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dcrflow.base.errors import ConfigError
from dcrflow.lsst.subfilter_coadd import SubfilterCoadd, Subfilters
from dcrflow.physics.bands import BANDS

_KEY, _REFRACTION = "dcrflow subfilters", "dcrflow refraction"  # of the metadata of a coadd that dcrflow wrote


def subfilters_of_band(band: str, number: int) -> Subfilters:
    """The subfilters of one of the `BANDS`: equally wide, together as wide as the band, centred on its wavelength.

    LSST divides a band like this for its DCR coadds. In g the first subfilter therefore begins 2 nm below the band.

    Raises
    ------
    ConfigError
        If the band is not one of them.
    """
    if band not in BANDS:
        raise ConfigError(
            f"unknown band {band!r}; set effectiveWavelength and bandwidth (known bands are {', '.join(BANDS)})"
        )
    effective, low, high = BANDS[band]
    return Subfilters.even(number, effective, high - low)


def subfilters_to_metadata(subfilters: Subfilters) -> dict[str, str]:
    """Subfilters in the form of a coadd's metadata."""
    return {
        _KEY: json.dumps(
            {
                "edges": subfilters.edges,
                "effective_wavelength": subfilters.effective_wavelength,
                "bandwidth": subfilters.bandwidth,
                "transmission": subfilters.transmission,
            }
        )
    }


def refraction_to_metadata(refraction: str | None) -> dict[str, str]:
    """The refraction that coadds were built with, as the metadata of a coadd keep it; nothing where it is not known."""
    return {} if refraction is None else {_REFRACTION: refraction}


def refraction_of_coadd(coadd: SubfilterCoadd) -> str | None:
    """The refraction that a coadd was built with; None if it does not say."""
    found = coadd.metadata().get(_REFRACTION)
    return found if isinstance(found, str) else None


def subfilters_of_coadd(coadd: SubfilterCoadd, number: int) -> Subfilters:
    """The subfilters of a coadd, from its own metadata or from `BANDS`."""
    text = coadd.metadata().get(_KEY)
    if not isinstance(text, str):
        return subfilters_of_band(coadd.band, number)
    found = json.loads(text)
    curve = found["transmission"]
    return Subfilters(
        tuple((float(a), float(b)) for a, b in found["edges"]),
        float(found["effective_wavelength"]),
        float(found["bandwidth"]),
        None if curve is None else (tuple(map(float, curve[0])), tuple(map(float, curve[1]))),
    )


def register_subfilters(butler: Any, number: int, bands: Iterable[str] = tuple(BANDS)) -> int:
    """Register the dimension records of subfilters 0 to `number` - 1 of some bands; existing ones are kept.

    Does what ``butler register-dcr-subfilters REPO number band`` of the LSST stack does, for several bands at once.

    Returns
    -------
    int
        Number of new records.
    """
    new = 0
    for band in bands:
        for subfilter in range(number):
            new += bool(butler.registry.syncDimensionData("subfilter", {"band": band, "id": subfilter}))
    return new
