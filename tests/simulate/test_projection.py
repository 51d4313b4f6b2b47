"""World coordinates of simulated tracts and detectors."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from dcrflow.geometry import sphere
from dcrflow.geometry.box import Box
from dcrflow.simulate.projection import (
    detector_wcs,
    from_tangent_plane,
    local_matrix,
    pixel_matrix,
    tan_wcs,
    tangent_plane,
)


@pytest.mark.parametrize("dec", [-84.0, -28.0, 0.0, 61.0])
def test_tangent_plane_is_astropys_and_back(dec: float) -> None:
    east, north = np.array([0.0, 3000.0, -5000.0, 0.01]), np.array([0.0, -200.0, 4000.0, 0.02])
    ra, found = from_tangent_plane(359.99, dec, east, north)
    back = tangent_plane(359.99, dec, ra, found)
    np.testing.assert_allclose(back, (east, north), atol=1e-7)
    centre = SkyCoord(359.99 * u.deg, dec * u.deg)
    points = SkyCoord(ra * u.deg, found * u.deg)
    distance = np.arctan(np.hypot(east, north) / 206264.806247) * 206264.806247
    np.testing.assert_allclose(centre.separation(points).arcsec, distance, atol=1e-6)


@pytest.mark.parametrize("rotation", [0.0, 35.0, 200.0])
@pytest.mark.parametrize("flipped", [False, True])
def test_y_axis_points_along_the_rotation(rotation: float, flipped: bool) -> None:
    wcs = tan_wcs(50.0, -30.0, 100.0, 200.0, pixel_matrix(0.2, rotation, flipped))
    ra, dec = wcs.pixel_to_sky([100.0, 100.0, 110.0], [200.0, 210.0, 200.0])
    up, right = sphere.bearing(ra[0], dec[0], ra[1:], dec[1:])
    assert (up - rotation + 180) % 360 - 180 == pytest.approx(0, abs=1e-4)
    expected = rotation + (90 if flipped else -90)  # east is left of north on the sky
    assert (right - expected + 180) % 360 - 180 == pytest.approx(0, abs=1e-4)


def test_local_matrix_at_the_tangent_point_is_the_wcs_own() -> None:
    matrix = pixel_matrix(0.2, 40.0)
    wcs = tan_wcs(50.0, -30.0, 100.0, 200.0, matrix, sip=1.0, sip_radius=500)
    np.testing.assert_allclose(local_matrix(wcs, np.array([100.0]), np.array([200.0]))[0], matrix, atol=1e-7)


@pytest.mark.parametrize("flipped", [False, True])
def test_detector_follows_the_focal_plane(flipped: bool) -> None:
    box = Box(10, 20, 400, 300)
    place = (20000.0, -15000.0)
    camera = tan_wcs(53.0, -28.0, 0.0, 0.0, pixel_matrix(0.2, 70.0))
    wcs = detector_wcs((53.0, -28.0), box, place, pixel_scale=0.2, rotation=70.0, flipped=flipped)
    dx, dy = np.array([0.0, 50.0, -60.0]), np.array([0.0, -40.0, 90.0])
    ra, dec = wcs.pixel_to_sky(box.x0 + 199.5 + dx, box.y0 + 149.5 + dy)
    sign = -1 if flipped else 1
    x, y = camera.sky_to_pixel(ra, dec)
    np.testing.assert_allclose((x - place[0], y - place[1]), (sign * dx, dy), atol=0.01)


def test_sip_displaces_by_about_its_strength_and_inverts() -> None:
    box = Box(0, 0, 1000, 1000)
    plain, bent = (detector_wcs((53.0, -28.0), box, (0, 0), pixel_scale=0.2, rotation=10, sip=s) for s in (0.0, 2.0))
    x, y = box.outline(10)
    px, py = plain.sky_to_pixel(*bent.pixel_to_sky(x, y))
    moved = np.hypot(px - x, py - y)
    assert 0.3 < moved.max() < 6
    np.testing.assert_allclose(bent.sky_to_pixel(*bent.pixel_to_sky(x, y)), (x, y), atol=1e-5)
