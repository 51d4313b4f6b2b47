"""An observation: where the telescope pointed, where the zenith was, what the air was like."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from astropy import units as u
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers
from numpy.typing import ArrayLike, NDArray

from dcrflow.base.errors import ObservationError
from dcrflow.geometry import sphere
from dcrflow.physics.refraction import Weather

Float = NDArray[np.float64]

iers.conf.auto_download = False  # the bundled tables do: 0.1" of direction is nothing here, a download is
iers.conf.auto_max_age = None

_RANGES = {
    "ra": (-720, 720, "deg"), "dec": (-90, 90, "deg"), "parallactic_angle": (-720, 720, "deg"),
    "rotation_angle": (-720, 720, "deg"), "latitude": (-90, 90, "deg"), "height": (-1000, 50000, "m"),
}  # fmt: skip


@dataclass(frozen=True)
class Observation:
    """What of a visit matters to the DCR.

    Parameters
    ----------
    ra, dec : float
        Boresight, ICRS, degrees.
    altitude : float
        Of the boresight, degrees; above the horizon.
    parallactic_angle : float
        Position angle of the zenith at the boresight, degrees, north through east.
    weather : Weather
        The air at the telescope.
    latitude : float
        Of the telescope, degrees.
    height : float
        Of the telescope above sea level, metres.
    rotation_angle : float, optional
        Sky rotation of the camera, degrees; needed by the boresight convention alone.

    Raises
    ------
    ObservationError
        If the boresight is below the horizon, or a number is not finite or is none that an observation can have.
    """

    ra: float
    dec: float
    altitude: float
    parallactic_angle: float
    weather: Weather
    latitude: float
    height: float
    rotation_angle: float | None = None

    def __post_init__(self) -> None:
        for name in ("ra", "dec", "altitude", "parallactic_angle", "latitude", "height"):
            if not math.isfinite(getattr(self, name)):
                raise ObservationError(f"{name} of the observation is {getattr(self, name)}; a finite number is needed")
        if not 0 < self.altitude <= 90:
            raise ObservationError(
                f"the boresight's altitude is {self.altitude:g} deg: below the horizon or past the zenith; "
                "an observation lies within 0 and 90 deg"
            )
        for name, (low, high, unit) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ObservationError(
                    f"{name} of the observation is {value:g} {unit}; it lies within {low} and {high}"
                )

    @cached_property
    def zenith(self) -> tuple[float, float]:
        """ICRS position of the zenith, degrees: from the boresight alone, without clock or Earth orientation."""
        ra, dec = sphere.offset(self.ra, self.dec, self.parallactic_angle, 90.0 - self.altitude)
        return float(ra), float(dec)

    def zenith_angle(self, ra: ArrayLike, dec: ArrayLike) -> Float:
        """True zenith angle of sky positions (ICRS, degrees), degrees."""
        return sphere.separation(ra, dec, *self.zenith)

    def zenith_direction(self, ra: ArrayLike, dec: ArrayLike) -> Float:
        """Position angle towards the zenith at sky positions (ICRS, degrees), degrees, north through east."""
        return sphere.bearing(ra, dec, *self.zenith)


def altitude_and_parallactic_angle(
    ra: float, dec: float, mjd: float, longitude: float, latitude: float, height: float
) -> tuple[float, float]:
    """Altitude and parallactic angle of a position at a time and place, without refraction.

    Parameters
    ----------
    ra, dec : float
        ICRS, degrees.
    mjd : float
        TAI, days.
    longitude, latitude : float
        Of the telescope, degrees, east positive.
    height : float
        Metres.

    Returns
    -------
    altitude, parallactic_angle : float
        Degrees; the latter the ICRS position angle of the zenith, north through east.
    """
    place = EarthLocation.from_geodetic(longitude * u.deg, latitude * u.deg, height * u.m)
    time = Time(mjd, format="mjd", scale="tai", location=place)
    frame = AltAz(obstime=time, location=place)
    here = SkyCoord(ra * u.deg, dec * u.deg, frame="icrs")
    horizontal = here.transform_to(frame)
    above = SkyCoord(  # a point a little higher, for the direction; from the zenith itself there is none
        az=horizontal.az, alt=min(horizontal.alt + 1 * u.arcmin, 90 * u.deg), frame=frame
    ).icrs
    return float(horizontal.alt.deg), float(here.position_angle(above).wrap_at(180 * u.deg).deg)
