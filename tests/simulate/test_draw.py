"""Drawing: flux, places, and where refraction puts the light."""

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from dcrflow.geometry import sphere
from dcrflow.geometry.box import Box
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.observation import Observation
from dcrflow.physics.refraction import Weather, dcr_terms, polynomial
from dcrflow.simulate.air import traced_dcr
from dcrflow.simulate.draw import Psf, displacements, draw_coadd, draw_psf, draw_science
from dcrflow.simulate.projection import detector_wcs, local_matrix, pixel_matrix, tan_wcs
from dcrflow.simulate.sky import Catalogue
from dcrflow.simulate.spectra import lsst_band

pytest.importorskip("galsim")

Float = NDArray[np.float64]
FINE = Psf(pixel=False, radius=16.0, precision=1e-6)


def make_visit(
    z: float = 45.0, parallactic: float = 25.0, rotation: float = 130.0, flipped: bool = False, sip: float = 0.0
) -> DetectorVisit:
    box = Box(5, 7, 201, 201)
    observation = Observation(
        53.0, -28.0, 90.0 - z, parallactic, Weather(10.0, 73892.0, 20.0), -30.244639, 2663.0, rotation
    )
    wcs = detector_wcs((53.0, -28.0), box, (2e4, 1e4), pixel_scale=0.2, rotation=rotation, flipped=flipped, sip=sip)
    return DetectorVisit("SimCam", 1, 0, "g", box, wcs, observation)


def star(visit: DetectorVisit, spectrum: str, x: float = 105.3, y: float = 107.8) -> Catalogue:
    return Catalogue.of_stars(*(np.atleast_1d(v) for v in visit.wcs.pixel_to_sky(x, y)), 1000.0, [spectrum])


def centroid(image: Float, box: Box) -> Float:
    y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1]
    weight = image * (np.hypot(x - 105, y - 107) < 75)
    return np.array([np.sum(weight * x), np.sum(weight * y)]) / np.sum(weight)


@pytest.mark.parametrize("pixel", [False, True])
def test_a_star_has_its_flux_and_its_place(pixel: bool) -> None:
    visit, psf = make_visit(), Psf(pixel=pixel, radius=16.0)
    image = draw_science(star(visit, "blackbody:6000"), visit, lsst_band("g"), psf, dcr=False)
    outside = (1 + (16.0 / (0.75 / 2 / math.sqrt(2 ** (1 / 3) - 1))) ** 2) ** -2
    assert image.sum() == pytest.approx(1000.0, rel=2 * outside + 1e-5)
    np.testing.assert_allclose(centroid(image, visit.bbox), (105.3, 107.8), atol=2e-3)


def test_subfilters_share_the_flux_by_the_spectrum() -> None:
    wcs, band = tan_wcs(53.0, -28.0, 100.0, 100.0, pixel_matrix(0.2)), lsst_band("g", 3)
    box = Box(0, 0, 201, 201)
    sources = Catalogue.of_stars([53.0], [-28.0], 1000.0, ["CWW_E_ext"])
    image = draw_coadd(sources, wcs, box, band, Psf(radius=16.0))
    shares = band.photons("CWW_E_ext").sum(axis=1)
    np.testing.assert_allclose(image.sum(axis=(1, 2)), 1000 * shares, rtol=1e-4)
    np.testing.assert_allclose(image[0] / shares[0], image[2] / shares[2], atol=1e-9)


def test_parts_of_a_region_are_parts_of_its_image() -> None:
    visit, band = make_visit(sip=1.0), lsst_band("g")
    sources = star(visit, "vega") + star(visit, "blackbody:3000", 3.0, 60.0)
    part = Box(80, 100, 60, 50)
    whole = draw_science(sources, visit, band, Psf())
    # with SIP the sky is mapped to pixels by iteration, to 1e-7 px
    drawn = draw_science(sources, visit, band, Psf(), box=part)
    np.testing.assert_allclose(drawn, whole[part.slices(visit.bbox)], rtol=0, atol=1e-7 * whole.max())


@pytest.mark.parametrize("z", [0.0, 30.0, 60.0])
def test_displacement_is_that_of_traced_rays(z: float) -> None:
    visit, band = make_visit(z), lsst_band("g")
    ra, dec = (float(v) for v in visit.wcs.pixel_to_sky(100.0, 100.0))
    seen = visit.observation
    shift, direction = displacements(ra, dec, seen, band)
    zenith_angle = float(seen.zenith_angle(ra, dec))  # astropy's spherical trigonometry
    assert direction == pytest.approx(float(seen.zenith_direction(ra, dec) + 180) % 360 - 180, abs=1e-6)
    place = zenith_angle, seen.weather, seen.latitude, seen.height
    expected = traced_dcr(band.wavelength, band.effective_wavelength, *place).reshape(shift.shape)
    np.testing.assert_allclose(shift, expected, atol=1e-9)
    assert np.all(np.diff(shift.ravel()) < 0)  # the bluer, the nearer the zenith


def test_traced_rays_and_the_formula_agree() -> None:
    visit, band = make_visit(50.0), lsst_band("g")
    seen = visit.observation
    ra, dec = (float(v) for v in visit.wcs.pixel_to_sky(100.0, 100.0))
    shift, _ = displacements(ra, dec, seen, band)
    terms = dcr_terms(band.wavelength.ravel(), band.effective_wavelength, seen.weather, seen.latitude)
    formula = polynomial(terms, np.tan(np.deg2rad(seen.zenith_angle(ra, dec))))
    np.testing.assert_allclose(shift.ravel(), formula, atol=4e-5)


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize(("parallactic", "rotation"), [(25.0, 130.0), (-100.0, 0.0), (170.0, 300.0)])
def test_blue_light_moves_towards_the_zenith(parallactic: float, rotation: float, flipped: bool) -> None:
    visit, band = make_visit(55.0, parallactic, rotation, flipped), lsst_band("g")
    places = {}
    for spectrum in ("blackbody:15000", "blackbody:3000"):
        source = star(visit, spectrum)
        places[spectrum] = centroid(draw_science(source, visit, band, FINE), visit.bbox)
        shift, _ = displacements(float(source.ra[0]), float(source.dec[0]), visit.observation, band)
        places[spectrum + " mean"] = np.array([np.sum(shift * band.photons(spectrum))])
    blue, red = places["blackbody:15000"], places["blackbody:3000"]
    ra, dec = visit.wcs.pixel_to_sky(*np.stack([blue, red]).T)
    assert sphere.separation(ra[0], dec[0], *visit.observation.zenith) < sphere.separation(
        ra[1], dec[1], *visit.observation.zenith
    )
    towards = float(visit.observation.zenith_direction(ra[1], dec[1]))
    found = float(sphere.bearing(ra[1], dec[1], ra[0], dec[0]))
    assert (found - towards + 180) % 360 - 180 == pytest.approx(0, abs=0.2)
    moved = float(sphere.separation(ra[0], dec[0], ra[1], dec[1])) * 3600
    expected = float(places["blackbody:15000 mean"][0] - places["blackbody:3000 mean"][0])
    assert expected > 0.05
    assert moved == pytest.approx(expected, rel=2e-3)


def test_drawing_is_as_precise_as_it_says() -> None:
    """Against the sum of displaced Moffat profiles in real space, every wavelength by itself."""
    visit, band = make_visit(60.0, sip=1.0), lsst_band("g")
    source = star(visit, "vega")
    shift, direction = displacements(float(source.ra[0]), float(source.dec[0]), visit.observation, band)
    x, y = visit.wcs.sky_to_pixel(source.ra, source.dec)
    matrix = local_matrix(visit.wcs, x, y)[0]
    yy, xx = np.mgrid[visit.bbox.y0 : visit.bbox.y1, visit.bbox.x0 : visit.bbox.x1]
    east, north = np.einsum("ij,jyx->iyx", matrix, np.stack([xx - x[0], yy - y[0]]))
    scale = 0.75 / 2 / math.sqrt(2 ** (1 / 3) - 1)
    expected = np.zeros(visit.bbox.shape)
    for d, weight in zip(shift.ravel(), band.photons("vega").ravel(), strict=True):
        u, v = east - d * math.sin(math.radians(direction)), north - d * math.cos(math.radians(direction))
        expected += weight * (1 + (u**2 + v**2) / scale**2) ** -3
    expected *= 1000.0 * abs(np.linalg.det(matrix)) * 2 / (math.pi * scale**2)
    for psf, bound in ((FINE, 2e-6), (Psf(pixel=False, radius=16.0), 2e-5)):
        drawn = draw_science(source, visit, band, psf)
        inside = drawn != 0
        assert np.max(np.abs(drawn - expected)[inside]) < bound * expected.max()
    assert np.max(expected[~inside]) < 1e-7 * expected.max()


def test_no_refraction_at_the_zenith() -> None:
    box = Box(0, 0, 151, 151)
    observation = Observation(53.0, -28.0, 90.0, 0.0, Weather(10.0, 73892.0, 20.0), -30.2, 2663.0)
    wcs = detector_wcs((53.0, -28.0), box, (0, 0), pixel_scale=0.2, rotation=0)
    visit = DetectorVisit("SimCam", 1, 0, "g", box, wcs, observation)
    source = Catalogue.of_stars(*(np.atleast_1d(v) for v in wcs.pixel_to_sky(75.2, 75.4)), 1.0, ["blackbody:4000"])
    with_air, without = (draw_science(source, visit, lsst_band("g"), FINE, dcr=dcr) for dcr in (True, False))
    np.testing.assert_allclose(with_air, without, atol=2e-6 * without.max())


def test_galaxies_are_drawn_with_their_shape() -> None:
    wcs = tan_wcs(53.0, -28.0, 100.0, 100.0, pixel_matrix(0.2))
    box, band = Box(0, 0, 201, 201), lsst_band("g", 1)
    angle = 30.0
    fields = (np.array([v]) for v in (0.8, 0.4, angle))
    galaxy = Catalogue(np.array([53.0]), np.array([-28.0]), np.array([500.0]), np.array(["CWW_Sbc_ext"]), *fields)
    image = draw_coadd(galaxy, wcs, box, band, Psf())[0]
    assert image.sum() == pytest.approx(500, rel=1e-3)
    y, x = np.mgrid[-100:101, -100:101]
    weight = image * np.exp(-0.5 * (x**2 + y**2) / 15.0**2)
    xx, yy, xy = (np.sum(weight * m) for m in (x * x, y * y, x * y))
    # position angle from north (+y) to east (-x)
    assert math.degrees(0.5 * math.atan2(-2 * xy, yy - xx)) == pytest.approx(angle, abs=0.5)


@pytest.mark.parametrize("pixel", [False, True])
def test_psf_is_the_image_of_a_star(pixel: bool) -> None:
    wcs = tan_wcs(53.0, -28.0, 100.0, 100.0, pixel_matrix(0.2, 20.0))
    psf = draw_psf(wcs, 100.0, 100.0, Psf(pixel=pixel), 31)
    assert psf.dtype == np.float32
    assert psf.sum() == pytest.approx(1, abs=1e-6)
    assert np.unravel_index(np.argmax(psf), psf.shape) == (15, 15)
    star_image = draw_coadd(
        Catalogue.of_stars([53.0], [-28.0], 1.0, ["vega"]),
        wcs,
        Box(85, 85, 31, 31),
        lsst_band("g", 1),
        Psf(pixel=pixel),
    )[0]
    np.testing.assert_allclose(psf, star_image / star_image.sum(), atol=1e-6)


def test_refraction_weakens_to_the_red() -> None:
    visit = make_visit(45.0)
    spans = [np.ptp(displacements(53.0, -28.0, visit.observation, lsst_band(b))[0]) for b in "ugrizy"]
    assert all(bluer > redder for bluer, redder in pairwise(spans))
