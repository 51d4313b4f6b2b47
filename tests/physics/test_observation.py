"""Observations: the zenith from the boresight against astropy's horizontal coordinates."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time

from dcrflow.base.errors import ObservationError
from dcrflow.physics.observation import Observation, altitude_and_parallactic_angle
from dcrflow.physics.refraction import Weather

WEATHER = Weather(10.0, 74000.0, 10.0)
SITE = {"longitude": -70.749417, "latitude": -30.244639, "height": 2663.0}


def observation(**changes: float) -> Observation:
    values = {"ra": 53.0, "dec": -28.0, "altitude": 45.0, "parallactic_angle": 100.0}
    return Observation(**(values | changes), weather=WEATHER, latitude=SITE["latitude"], height=SITE["height"])


@pytest.mark.parametrize("mjd", [61010.03, 61010.2, 61010.33])
def test_zenith_of_the_field_against_astropy(mjd: float) -> None:
    """Zenith angle and direction anywhere in the field follow from the boresight's two angles."""
    altitude, parallactic = altitude_and_parallactic_angle(53.0, -28.0, mjd, **SITE)
    ours = observation(altitude=altitude, parallactic_angle=parallactic)
    place = EarthLocation.from_geodetic(SITE["longitude"] * u.deg, SITE["latitude"] * u.deg, SITE["height"] * u.m)
    frame = AltAz(obstime=Time(mjd, format="mjd", scale="tai"), location=place)
    field = SkyCoord([53.0, 54.9, 51.2, 53.0] * u.deg, [-28.0, -27.1, -29.2, -26.3] * u.deg)
    horizontal = field.transform_to(frame)
    # aberration displaces the field by up to 20 arcsec as a whole and by 0.6 arcsec within it
    np.testing.assert_allclose(ours.zenith_angle(field.ra.deg, field.dec.deg), horizontal.zen.deg, atol=3e-4)
    up = SkyCoord(az=horizontal.az, alt=horizontal.alt + 10 * u.arcsec, frame=frame).icrs
    direction = field.position_angle(up).deg
    difference = (ours.zenith_direction(field.ra.deg, field.dec.deg) - direction + 180) % 360 - 180
    assert np.max(np.abs(difference)) < 0.02


def test_lsst_parallactic_angle() -> None:
    """Figures of the LSST pipeline for a visit in December 2025, UT1 and refraction aside."""
    altitude, parallactic = altitude_and_parallactic_angle(53.3, -27.6, 61010.33, **SITE)
    assert altitude == pytest.approx(34.0224, abs=0.2)
    assert parallactic == pytest.approx(109.4177, abs=0.2)


def test_turning_the_sky_turns_the_answer() -> None:
    for angle in (0.0, 90.0, -135.0):
        ours = observation(parallactic_angle=angle)
        assert float(ours.zenith_angle(53.0, -28.0)) == pytest.approx(45.0)
        assert float(ours.zenith_direction(53.0, -28.0)) == pytest.approx(angle % 360)


@pytest.mark.parametrize("altitude", [0.0, -3.0, 90.1, np.nan, np.inf])
def test_unusable_altitude(altitude: float) -> None:
    with pytest.raises(ObservationError, match="altitude"):
        observation(altitude=altitude)


def test_at_the_zenith() -> None:
    assert altitude_and_parallactic_angle(53.0, -28.0, 61010.03, **SITE)[0] < 90
    assert float(observation(altitude=90.0).zenith_angle(53.0, -28.0)) == pytest.approx(0, abs=1e-6)
