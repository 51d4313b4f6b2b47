"""A detector-visit: one detector's image in one visit, the unit of work."""

from __future__ import annotations

from dataclasses import dataclass

from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.physics.observation import Observation


@dataclass(frozen=True)
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

    @property
    def label(self) -> str:
        """The data ID in words, for messages."""
        return f"visit {self.visit} detector {self.detector}"

    @property
    def group(self) -> str:
        """The template store's group, ``<visit>/<detector>``."""
        return f"{self.visit}/{self.detector}"
