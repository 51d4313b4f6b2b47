"""Bands and their DCR subfilters as the Rubin instruments have them, and their registration in a Butler repository."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from dcrflow.base.errors import CoaddStoreError, ConfigError, brief
from dcrflow.lsst.subfilter_coadd import SubfilterCoadd, Subfilters
from dcrflow.model.subfilter_noise import SubfilterNoise
from dcrflow.physics.bands import BANDS

# of the metadata of a coadd that dcrflow wrote
_KEY, _REFRACTION, _NOISE = "dcrflow subfilters", "dcrflow refraction", "dcrflow subfilter noise"


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


def noise_to_metadata(noise: SubfilterNoise | None) -> dict[str, str]:
    """How the subfilters' noise is correlated, as the metadata of a coadd keep it; nothing where it is not known."""
    return {} if noise is None else {_NOISE: json.dumps(noise.as_attribute())}


def noise_of_coadd(coadd: SubfilterCoadd, number: int) -> SubfilterNoise | None:
    """How the noise of a patch's subfilters is correlated; None if its coadds do not say.

    Raises
    ------
    CoaddStoreError
        If they say it in another way than dcrflow does, or for another number of subfilters.
    """
    text = coadd.metadata().get(_NOISE)
    if not isinstance(text, str):
        return None
    try:
        return SubfilterNoise.from_attribute(json.loads(text), number)
    except (ValueError, RecursionError) as error:
        raise _unreadable(coadd, _NOISE, text, error) from None


def subfilters_of_coadd(coadd: SubfilterCoadd, number: int) -> Subfilters:
    """The subfilters of a coadd, from its own metadata or from `BANDS`.

    Raises
    ------
    CoaddStoreError
        If its metadata say it in another way than dcrflow does.
    """
    text = coadd.metadata().get(_KEY)
    if not isinstance(text, str):
        return subfilters_of_band(coadd.band, number)
    try:
        found = json.loads(text)
        curve = found["transmission"]
        return Subfilters(
            tuple((float(a), float(b)) for a, b in found["edges"]),
            float(found["effective_wavelength"]),
            float(found["bandwidth"]),
            None if curve is None else (tuple(map(float, curve[0])), tuple(map(float, curve[1]))),
        )
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _unreadable(coadd, _KEY, text, f"{type(error).__name__}: {error}") from None


def _unreadable(coadd: SubfilterCoadd, key: str, text: str, why: object) -> CoaddStoreError:
    return CoaddStoreError(
        f"{coadd.label}: metadata {key!r} is {brief(text)}; {why}; put the coadds again with `dcrflow lsst put-coadds`"
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
