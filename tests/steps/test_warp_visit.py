"""Warping of visits to a patch's frame, against profiles known in closed form and the noise that is put in."""

import numpy as np
import pytest

from dcrflow.base.errors import VisitImageError
from dcrflow.base.masks import TEMPLATE_PLANES
from dcrflow.geometry.box import Box
from dcrflow.geometry.layout import PatchLayout
from dcrflow.geometry.mapping import PixelMap
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.model.pixels import Pixels
from dcrflow.model.visit_image import VisitImage, VisitPsf, moffat_psf, width_of
from dcrflow.steps.warp_visit import footprint, noise_model, warp_visit

DETECTOR = Box(0, 0, 260, 240)
FRAME = Box(1000, 2000, 150, 140)
FWHM, BETA, SIGMA = 4.5, 3.0, 3.0
STARS = [(120.3, 118.7, 5e4), (92.9, 140.2, 1e4), (150.6, 95.1, 2e4)]  # x, y, flux on the detector


def wcs(scale: float, rotation: float, at: tuple[float, float]) -> SkyWcs:
    return PatchLayout(scale, rotation=rotation).wcs((53.0, -28.0), at)


def moffat(x, y, stars, fwhm=FWHM):
    """Sampled Moffats of some stars at pixel positions, nJy an area of 1."""
    squared = (fwhm / 2) ** 2 / (2 ** (1 / BETA) - 1)
    return sum(
        f * (BETA - 1) / (np.pi * squared) * (1 + ((x - sx) ** 2 + (y - sy) ** 2) / squared) ** -BETA
        for sx, sy, f in stars
    )


def visit_image(rng=None, mask=None) -> VisitImage:
    y, x = np.mgrid[: DETECTOR.height, : DETECTOR.width].astype(float)
    image = moffat(x, y, STARS)
    if rng is not None:
        image = image + SIGMA * rng.standard_normal(image.shape)
    variance = np.full(image.shape, SIGMA**2)
    mask = np.zeros(image.shape, np.int32) if mask is None else mask
    psf = VisitPsf(moffat_psf(FWHM, BETA, 61)[None], np.array([130.0]), np.array([120.0]))
    return VisitImage(Pixels(DETECTOR, image.astype("f4"), variance.astype("f4"), mask), psf, "")


def maps(scale: float = 0.2, rotation: float = 37.0) -> PixelMap:
    return PixelMap.measured(wcs(scale, 0.0, (1075.0, 2070.0)), wcs(0.2, rotation, (130.0, 120.0)), FRAME)


def centres():
    return np.array([1040.0, 1110.0]), np.array([2040.0, 2100.0])


@pytest.mark.parametrize("scale", [0.2, 0.23])
def test_stars_are_where_and_what_they_are(scale: float) -> None:
    pixel_map = maps(scale)
    done = warp_visit(visit_image(), DETECTOR, pixel_map, centres())
    y, x = np.mgrid[: FRAME.height, : FRAME.width].astype(float)
    u, v = pixel_map.target.sky_to_pixel(*pixel_map.source.pixel_to_sky(x + FRAME.x0, y + FRAME.y0))
    area = (scale / 0.2) ** 2
    expected = area * moffat(u, v, STARS)
    assert done.valid.all()
    assert np.max(np.abs(done.image - expected)) < 1e-3 * expected.max()
    assert done.sigma == pytest.approx(SIGMA * scale / 0.2, rel=1e-3)


def test_the_psf_is_that_of_the_warped_stars() -> None:
    done = warp_visit(visit_image(), DETECTOR, maps(0.23), centres())
    assert done.psf.shape == (1, 55, 55)
    kernel = done.psf[0].astype(float)
    assert kernel.sum() == pytest.approx(moffat_psf(FWHM, BETA, 61).sum(), abs=1e-6)
    assert width_of(kernel) == pytest.approx(FWHM * 0.2 / 0.23, rel=2e-3)
    expected = moffat_psf(FWHM * 0.2 / 0.23, BETA, 55)
    assert np.max(np.abs(kernel - expected)) < 2e-3 * expected.max()


def test_noise_is_that_of_white_noise_at_low_frequencies() -> None:
    rng = np.random.default_rng(3)
    sums = []
    for _ in range(12):
        noise = VisitImage(
            Pixels(DETECTOR, (SIGMA * rng.standard_normal(DETECTOR.shape)).astype("f4"),
                   np.full(DETECTOR.shape, SIGMA**2, "f4"), np.zeros(DETECTOR.shape, np.int32)),
            visit_image().psf, "",
        )  # fmt: skip
        done = warp_visit(noise, DETECTOR, maps(0.23), centres())
        blocks = done.image[:136, :144].reshape(17, 8, 18, 8).sum(axis=(1, 3))
        sums.append(blocks)
    assert np.std(sums) == pytest.approx(8 * done.sigma, rel=0.06)


def test_what_is_spoilt_is_given_up_and_no_more() -> None:
    mask = np.zeros(DETECTOR.shape, np.int32)
    rng = np.random.default_rng(5)
    mask[tuple(rng.integers(0, n, 400) for n in DETECTOR.shape)] |= 1 << TEMPLATE_PLANES["BAD"]
    mask[117:120, 119:122] |= 1 << TEMPLATE_PLANES["SAT"]  # the brightest star's core
    spoilt = visit_image(np.random.default_rng(1), mask)
    bad = mask != 0
    spoilt.pixels.image[bad] = 1e6
    clean = warp_visit(visit_image(np.random.default_rng(1)), DETECTOR, maps(), centres())
    done = warp_visit(spoilt, DETECTOR, maps(), centres())
    error = np.abs(done.image - clean.image)[done.valid]
    assert np.sqrt(np.mean(error**2)) < 0.15 * SIGMA
    assert error.max() < 3 * SIGMA
    share = np.mean(~done.valid)
    assert 0.02 < share < 0.08  # some ten pixels a bad one, not 169


@pytest.mark.parametrize("value", [1e9, -1e30, 3e38])
def test_a_pixel_that_no_sky_has_is_as_one_without_data(value: float) -> None:
    rng = np.random.default_rng
    huge, missing = visit_image(rng(1)), visit_image(rng(1))
    huge.pixels.image[100, 90], missing.pixels.image[100, 90] = value, np.nan
    found, expected = (warp_visit(image, DETECTOR, maps(), centres()) for image in (huge, missing))
    assert 0 < np.count_nonzero(~expected.valid) < 200
    np.testing.assert_array_equal(found.valid, expected.valid)
    np.testing.assert_array_equal(found.image, expected.image)
    assert (found.sigma, found.gain) == (expected.sigma, expected.gain)


def test_edges_of_the_sensor_are_marked_and_beyond_them_nothing_is_valid() -> None:
    shifted = PixelMap.measured(wcs(0.2, 0.0, (1000.0, 2000.0)), wcs(0.2, 0.0, (200.0, 60.0)), FRAME)
    box = footprint(shifted, DETECTOR)
    assert DETECTOR.contains(box)
    assert box.x1 == DETECTOR.x1
    image = visit_image()
    part = VisitImage(image.pixels.part(box), image.psf, "")
    done = warp_visit(part, DETECTOR, shifted, centres())
    columns = done.valid.all(axis=0)
    assert columns[:55].all()
    assert not done.valid[:, 60:].any()
    assert not done.edges[:, :50].any()
    assert done.edges[:, 54:59].all()


def test_photons_a_nanojansky() -> None:
    image = visit_image()
    light = np.maximum(image.pixels.image, 0)
    image.pixels.variance[:] = SIGMA**2 + 0.7 * light
    known, values = np.zeros(DETECTOR.shape, bool), np.zeros(DETECTOR.shape, np.float32)
    sky, gain = noise_model(image, known, values)
    assert known.all()
    np.testing.assert_array_equal(values, image.pixels.image)
    assert sky == pytest.approx(SIGMA**2, rel=0.05)
    assert gain == pytest.approx(0.7, rel=0.05)
    image.pixels.mask.ravel()[50:] = 1 << TEMPLATE_PLANES["BAD"]
    with pytest.raises(VisitImageError, match="only 50 pixels"):
        noise_model(image, known, values)


def test_holes_are_mended_alike_however_many_rows_are_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros(DETECTOR.shape, np.int32)
    rng = np.random.default_rng(6)
    mask[tuple(rng.integers(0, n, 400) for n in DETECTOR.shape)] |= 1 << TEMPLATE_PLANES["BAD"]
    mask[60:140, 100:170] |= 1 << TEMPLATE_PLANES["SAT"]
    image = visit_image(rng, mask)
    done = []
    for rows in (1000, 40, 7):
        monkeypatch.setattr("dcrflow.steps.warp_visit._ROWS", rows)
        done.append(warp_visit(image, DETECTOR, maps(), centres()))
    for other in done[1:]:
        np.testing.assert_array_equal(other.image, done[0].image)
        np.testing.assert_array_equal(other.valid, done[0].valid)
