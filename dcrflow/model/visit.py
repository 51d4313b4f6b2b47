"""A detector-visit: one detector's image in one visit, the unit of work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import brief
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Outline, sketched
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.physics.observation import Observation
from dcrflow.view.cards import card

_BITS = 20  # bits of a cell's coordinate on the Z-order curve; a cell is 0.2 arcmin wide
_LARGEST_ID = (1 << 63) - 1  # largest integer in a table


def check_id(name: str, value: int) -> None:
    """Make sure that a visit or detector can be in tables, journals and the names of templates.

    Raises
    ------
    ValueError
        If it is negative, or has more than 63 bits.
    """
    if not 0 <= value <= _LARGEST_ID:
        raise ValueError(f"{name} is {brief(value)}, expected an ID of 0 to {_LARGEST_ID}")


@dataclass(frozen=True, repr=False)
class DetectorVisit:
    """One detector's image in one visit: its pixels' place on the sky, and the observation.

    Parameters
    ----------
    instrument : str
        Name of the camera.
    visit, detector : int
        The data ID, from 0 to 2^63 - 1.
    band : str
        Band of the visit, as the coadds name it.
    bbox : Box
        The detector's pixels, absolute detector pixel indices, without border.
    wcs : SkyWcs
        Of the detector, in absolute detector pixels.
    observation : Observation
        Pointing, zenith and weather.
    physical_filter : str
        The filter's own name; may be empty.
    mjd : float, optional
        TAI, mid-exposure.
    image : str
        Path or URL of its pixels; may be empty. Coadds from visits need it, templates do not.
    psf_fwhm : float, optional
        Arcsec, of its PSF, for an image that brings none.
    zero_point : float, optional
        AB magnitude of one unit of its pixels, for an image that does not say.

    Examples
    --------
    >>> import dcrflow
    >>> header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 53.0, "CRVAL2": -28.0, "CRPIX1": 100.0,
    ...           "CRPIX2": 90.0, "CDELT1": -5.6e-5, "CDELT2": 5.6e-5}
    >>> observation = dcrflow.Observation(
    ...     ra=53.0, dec=-28.0, altitude=45.0, parallactic_angle=30.0, weather=dcrflow.Weather.standard(2663.0),
    ...     latitude=-30.2, height=2663.0)
    >>> box, wcs = dcrflow.Box(0, 0, 200, 180), dcrflow.SkyWcs.from_header(header)
    >>> visit = dcrflow.DetectorVisit("MyCam", 12, 3, "g", box, wcs, observation)
    >>> visit.label
    'visit 12 detector 3'
    """

    instrument: str
    visit: int
    detector: int
    band: str
    bbox: Box
    wcs: SkyWcs
    observation: Observation
    physical_filter: str = ""
    mjd: float | None = None
    image: str = ""
    psf_fwhm: float | None = None
    zero_point: float | None = None

    def __post_init__(self) -> None:
        for name in ("visit", "detector"):  # JSON refuses integers of numpy
            object.__setattr__(self, name, index(getattr(self, name)))
            check_id(name, getattr(self, name))

    @property
    def label(self) -> str:
        """The data ID as text, for messages."""
        return f"visit {self.visit} detector {self.detector}"

    def __repr__(self) -> str:
        rows = self._rows()
        return (
            f"<DetectorVisit {self.instrument} {self.label}, band {self.band}: {rows['pixels']} at {rows['middle']}, "
            f"{rows['zenith angle']} from the zenith>"
        )

    def _repr_html_(self) -> str:
        shapes = [sketched("detector", self.wcs, self.bbox, self.label)]
        return card(f"{self.instrument} {self.label}, band {self.band}", self._rows(), shapes)

    def _rows(self) -> dict[str, str]:
        ra, dec = Outline.of(self.wcs, self.bbox, 1).centre
        seen, air = self.observation, self.observation.weather
        assumed = f" ({', '.join(air.assumed)} assumed)" if air.assumed else ""
        return {
            "pixels": f"{self.bbox.width} x {self.bbox.height} px",
            "middle": f"RA {ra:.4f}, Dec {dec:.4f} deg",
            "zenith angle": f"{90 - seen.altitude:.1f} deg",
            "parallactic angle": f"{seen.parallactic_angle:.1f} deg",
            "weather": f"{air.temperature:.1f} C, {air.pressure / 100:.1f} hPa, {air.humidity:.0f} %{assumed}",
            "physical filter": self.physical_filter,
            "mid-exposure": f"MJD {self.mjd:.5f} TAI" if self.mjd is not None else "",
        }

    @property
    def group(self) -> str:
        """The template store's group, ``<visit>/<detector>``."""
        return f"{self.visit}/{self.detector}"


def sky_order[Row](rows: Iterable[Row]) -> Sequence[Row]:
    """Order detector-visits so that neighbours on the sky follow each other and can share cached coadds.

    Rows that are not detector-visits come first. A long table (`dcrflow.stores.visits.long_table`) is ordered by its
    columns.
    """
    if isinstance(rows, HasSkyOrder):
        ordered: Sequence[Row] = rows.in_sky_order()
        return ordered
    visits = list(rows)
    ra, dec = np.full(len(visits), np.nan), np.full(len(visits), np.nan)
    for i, visit in enumerate(visits):
        if isinstance(visit, DetectorVisit):
            box = visit.bbox
            ra[i], dec[i] = visit.wcs.pixel_to_sky(box.x0 + box.width / 2, box.y0 + box.height / 2)
    first = np.array([not isinstance(visit, DetectorVisit) for visit in visits], np.bool_)
    order = curve_order(ra, dec)
    return [visits[i] for i in (*order[first[order]], *order[~first[order]])]


@runtime_checkable
class HasSkyOrder(Protocol):
    """Rows that can order themselves."""

    def in_sky_order(self) -> Any:
        """The rows in an order in which neighbours on the sky follow each other."""


def curve_order(ra: NDArray[np.float64], dec: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices that put positions (degrees) along a Z-order curve on the unit sphere; what is not finite comes first."""
    lon, lat = np.deg2rad(ra), np.deg2rad(dec)
    places = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    cells = ((np.nan_to_num(places, nan=-1.0) + 1) / 2 * (2**_BITS - 1)).astype(np.uint64)
    order = np.zeros(cells.shape[1], np.uint64)
    for bit in range(_BITS):
        for axis in range(3):
            order |= ((cells[axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return np.argsort(order, kind="stable")
