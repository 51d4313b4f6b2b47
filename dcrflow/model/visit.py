"""A detector-visit: one detector's image in one visit, the unit of work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Outline, sketched
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.physics.observation import Observation
from dcrflow.view.cards import card

_BITS = 20  # bits of a cell's coordinate on the Z-order curve; a cell is 0.2 arcmin wide


@dataclass(frozen=True, repr=False)
class DetectorVisit:
    """One detector's image in one visit: its pixels' place on the sky, and the observation.

    Parameters
    ----------
    instrument : str
        Name of the camera.
    visit, detector : int
        The data ID.
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


def sky_order[Row](rows: Iterable[Row]) -> list[Row]:
    """Order detector-visits so that neighbours on the sky follow each other and can share cached coadds.

    They follow a Z-order curve of the detectors' centres on the unit sphere. Rows that are not detector-visits come
    first.
    """
    visits = list(rows)
    places = np.zeros((len(visits), 3))
    for i, visit in enumerate(visits):
        if isinstance(visit, DetectorVisit):
            box = visit.bbox
            ra, dec = np.deg2rad(visit.wcs.pixel_to_sky(box.x0 + box.width / 2, box.y0 + box.height / 2))
            places[i] = np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)
        else:
            places[i] = -1.0
    cells = ((np.nan_to_num(places) + 1) / 2 * (2**_BITS - 1)).astype(np.uint64)
    order = np.zeros(len(visits), np.uint64)
    for bit in range(_BITS):
        for axis in range(3):
            order |= ((cells[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(3 * bit + axis)
    return [visits[i] for i in np.argsort(order, kind="stable")]
