"""The variance that is written, and the noise's correlation: against the noise of many pixels."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dcrflow.demo.variance import with_ramps, written_over_measured
from dcrflow.demo.warpers import WARPERS, with_noise
from dcrflow.geometry.box import Box
from dcrflow.kernels.noise import autocorrelation
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import Pixels
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.simulate.scene import StarField, star_field
from dcrflow.steps import make_tile
from dcrflow.steps.resample import correlation_of
from dcrflow.stores.coadds.store import open_coadds

QUICK = ["spline5", "lanczos3", "bilinear"]
DCR = ["spectral", "split", "midpoint"]


@pytest.fixture(scope="module", params=[0.0, 45.0, 60.0], ids=lambda z: f"z={z:g}")
def noisy(request: pytest.FixtureRequest) -> StarField:
    """White noise on a tract, seen by a detector that is turned by 40 degrees."""
    return with_noise(star_field(zenith_angle=request.param, stars_per_side=1, size=400), seed=1)


def made(field: StarField, **settings: object) -> tuple[TemplatePlan, Pixels]:
    plan = plan_template(open_coadds(field.coadds), field.visit, TemplateConfig.make(settings))
    return plan, make_tile(open_coadds(field.coadds), plan, field.visit.bbox).pixels


@pytest.mark.parametrize("dcr", DCR)
@pytest.mark.parametrize("warp", QUICK)
def test_written_variance_is_that_of_the_noise(noisy: StarField, warp: str, dcr: str) -> None:
    """To 2 %: 160,000 pixels of correlated noise are good to 0.5 %."""
    assert written_over_measured([noisy], warp=warp, dcr=dcr) == pytest.approx(1, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("dcr", DCR)
@pytest.mark.parametrize("warp", [w for w in WARPERS if w not in QUICK])
def test_written_variance_of_the_other_warpers(noisy: StarField, warp: str, dcr: str) -> None:
    assert written_over_measured([noisy], warp=warp, dcr=dcr) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("fraction", [(0.0, 0.0), (0.5, 0.5), (0.25, 0.5), (0.0, 0.3)])
@pytest.mark.parametrize("warp", ["spline5", "lanczos3"])
@pytest.mark.parametrize("angle", [0.0, 45.0])
def test_off_the_grid(fraction: tuple[float, float], warp: str, angle: float) -> None:
    """All pixels at one fraction of the tract's, along and across the DCR, where the variance depends on it most."""
    field = star_field(zenith_angle=angle, stars_per_side=1, size=400, parallactic_angle=70.0)
    header = field.tract.wcs.header.copy()
    box = field.tract.bbox
    header["CRPIX1"] += fraction[0] - (box.x0 + box.width // 2 - 200)
    header["CRPIX2"] += fraction[1] - (box.y0 + box.height // 2 - 200)
    wcs = type(field.tract.wcs).from_header(header)
    there = replace(field, visit=replace(field.visit, wcs=wcs, bbox=Box(0, 0, 400, 400)))
    _, found = made(with_noise(there, seed=2), warp=warp)
    image, variance = found.image[20:-20, 20:-20].astype(float), found.variance[20:-20, 20:-20].astype(float)
    assert variance.mean() == pytest.approx(np.mean(image**2), rel=0.02)


@pytest.mark.parametrize("dcr", ["spectral", "midpoint"])
def test_where_the_variance_changes(dcr: str) -> None:
    """To 5 % where it changes by a factor of four over 10 pixels: the mean of the ratio, on slopes both ways."""
    field = star_field(zenith_angle=45.0, stars_per_side=1, size=500)
    assert written_over_measured([with_ramps(field, seed) for seed in range(3)], dcr=dcr) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("warp", ["spline5", "bilinear", "reproject-adaptive"])
def test_correlation_of_the_noise(noisy: StarField, warp: str) -> None:
    plan, found = made(noisy, warp=warp)
    expected, image = correlation_of(plan), found.image.astype(float)
    assert expected.shape == (7, 7)
    assert_allclose(expected, expected[::-1, ::-1], atol=1e-12)
    assert expected[3, 3] == 1
    for dy, dx in ((0, 1), (1, 0), (1, 1), (2, -1), (3, 3), (0, 3)):
        far = image[max(0, dy) :, max(0, dx) : image.shape[1] + min(0, dx)]
        near = image[: image.shape[0] - dy, max(0, -dx) : image.shape[1] - max(0, dx)]
        assert expected[3 + dy, 3 + dx] == pytest.approx(np.mean(far * near) / np.mean(image**2), abs=0.01)


def test_autocorrelation_of_no_filter() -> None:
    """A B-spline's samples and the filter that undoes them leave a pixel alone."""
    taps = np.zeros((2, 5, 5))
    taps[:] = np.outer(*[[1 / 120, 26 / 120, 66 / 120, 26 / 120, 1 / 120]] * 2)
    expected = np.zeros((9, 9))
    expected[4, 4] = 2.0
    assert_allclose(autocorrelation(taps, (5,), 4), expected, atol=1e-10)
