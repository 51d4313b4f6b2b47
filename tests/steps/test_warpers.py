"""Warpers beyond the fused kernels, through the same interface; and what every warper does to stars and noise."""

import numpy as np
import pytest
from astropy.wcs import WCS
from numpy.testing import assert_allclose, assert_array_equal
from reproject import reproject_adaptive, reproject_exact
from scenes import IMAGE, TRACT, coadds, tan, visit
from shapes import hsm

from dcrflow.demo.warpers import WARPERS, measure, unrefracted, warped
from dcrflow.geometry.box import Box
from dcrflow.kernels.interpolation import INTERPOLATIONS
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import Pixels
from dcrflow.planning.psf import plan_psf
from dcrflow.planning.template import plan_template
from dcrflow.simulate.scene import StarField, star_field
from dcrflow.steps import assemble, make_tile, warp_psf
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds

UNFUSED = [w for w in WARPERS if INTERPOLATIONS[w].weight is None]
NO_DATA = 1 << 8


@pytest.fixture(scope="module")
def store() -> DcrCoadds:
    return open_coadds(coadds(IMAGE))


@pytest.fixture(scope="module")
def field() -> StarField:
    return unrefracted(star_field(stars_per_side=4, size=400))


def made(store: DcrCoadds, there: object, warp: str, **settings: object) -> Pixels:
    plan = plan_template(store, there, TemplateConfig.make({"warp": warp, "border": 0} | settings))
    return make_tile(store, plan, plan.bbox).pixels


def test_reproject_interp_is_bilinear(store: DcrCoadds) -> None:
    ours, theirs = (made(store, visit(), w) for w in ("bilinear", "reproject-interp"))
    assert_allclose(theirs.image, ours.image, atol=2e-6 * ours.image.max())
    assert_allclose(theirs.variance, ours.variance, rtol=1e-4)
    assert np.mean(theirs.mask != ours.mask) < 1e-4


@pytest.mark.parametrize(
    ("warp", "reference"), [("reproject-exact", reproject_exact), ("reproject-adaptive", reproject_adaptive)]
)
def test_as_reproject_does_by_itself(store: DcrCoadds, warp: str, reference: object) -> None:
    """With astropy's own WCS of both headers, on the tract without DCR; times the pixel's area, here 0.81."""
    wcs = tan(50.0, 45.0, 25.0)
    cards = dict(wcs.header) | {k: 0.9 * wcs.header[k] for k in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")}
    there = visit(type(wcs).from_header(cards), Box(0, 0, 100, 90), altitude=90.0)
    found = made(store, there, warp, rotation="boresight", dcr="midpoint")
    expected = reference(
        (IMAGE.sum(axis=0, dtype=float), WCS(TRACT.wcs.header)),
        WCS(there.wcs.header),
        (90, 100),
        return_footprint=False,
    )
    assert_allclose(found.image, 0.81 * expected, atol=2e-6 * expected.max(), rtol=1e-6)


@pytest.mark.parametrize("warp", UNFUSED)
def test_constant_and_variance_of_noise(warp: str) -> None:
    """A constant stays one, and white noise comes out with the variance that is written."""
    flat = made(open_coadds(coadds(np.full((3, 600, 600), 7.0, np.float32))), visit(), warp)
    assert_allclose(flat.image, 21.0, rtol=1e-5)
    noise = np.random.default_rng(1).normal(0, 2.0, (3, 600, 600)).astype(np.float32)
    found = made(open_coadds(coadds(noise)), visit(altitude=90.0), warp, rotation="boresight", dcr="midpoint")
    assert found.image.var() == pytest.approx(float(found.variance.mean()), rel=0.04)
    assert not flat.mask.any()


def test_nearest_is_the_pixel() -> None:
    """Image, variance and mask of one pixel: every value is one of the tract's, and the mask goes with it."""
    image = np.arange(360_000, dtype=np.float32).reshape(600, 600)
    mask = (np.random.default_rng(4).integers(0, 2, image.shape) * 2).astype(np.int32)
    here = visit(altitude=90.0)
    store = open_coadds(coadds(image[None], image + 1, mask))
    found = made(store, here, "nearest", rotation="boresight", dcr="midpoint", num_subfilters=1)
    y, x = np.mgrid[:180, :200].astype(float)
    u, v = (np.floor(c + 0.5).astype(int) for c in TRACT.wcs.sky_to_pixel(*here.wcs.pixel_to_sky(x, y)))
    agree = np.abs(found.image - image[v, u]) < 0.5
    assert agree.mean() > 0.999  # coordinates are interpolated, to 2e-4 px
    assert_array_equal(found.mask[agree], mask[v, u][agree])
    assert_allclose(found.variance[agree], (image + 1)[v, u][agree], rtol=1e-3)


@pytest.mark.parametrize("warp", UNFUSED)
def test_holes_and_edges(warp: str) -> None:
    """A bad pixel spoils its neighbourhood alone, and a pixel is finite or NO_DATA, never neither."""

    def change(tract: int, patch: int, arrays: dict[str, np.ndarray]) -> None:
        box = TRACT.patch(patch).bbox
        if box.contains(Box(540, 350, 1, 1)):
            arrays["image"][1, 350 - box.y0, 540 - box.x0] = np.nan

    there = visit(tan(-140.0, 40.0, 0.0), Box(0, 0, 200, 180), altitude=60.0)  # reaches over the tract's right edge
    found = made(open_coadds(coadds(IMAGE, change=change)), there, warp)
    gone = found.mask & NO_DATA != 0
    assert 0.1 < gone.mean() < 0.4
    for values in (found.image, found.variance):
        assert_array_equal(np.isfinite(values), ~gone)
    y, x = np.nonzero(gone)
    hole = np.hypot(y - 90, x - 100) < 30
    assert 0 < hole.sum() < 600  # 13 px around it at most
    assert (x[~hole] > 130).all()


@pytest.mark.parametrize("warp", UNFUSED)
def test_independent_of_the_tile(store: DcrCoadds, warp: str) -> None:
    plans = [plan_template(store, visit(), TemplateConfig(warp=warp, border=5, tile=t)) for t in (1024, 97)]
    whole, tiled = (assemble(p, [make_tile(store, p, box) for box in p.bbox.tiles(p.config.tile)]) for p in plans)
    assert_allclose(tiled.image, whole.image, atol=1e-6 * float(whole.image.max()))
    assert_allclose(tiled.variance, whole.variance, rtol=1e-6)
    assert_array_equal(tiled.mask, whole.mask)


#: What is allowed: flux, centroid (px), lowest and highest change of width, residual of the peak, noise, variance.
LIMITS = {
    "spline5": (1e-5, 1e-4, -1e-3, 1e-3, 0.004, 0.92, 0.07),
    "spline3": (1e-4, 1e-3, -2e-3, 2e-3, 0.011, 0.88, 0.05),
    "lanczos3": (1e-4, 1e-3, -4e-3, 0.0, 0.009, 0.90, 0.03),
    "lanczos4": (1e-4, 1e-3, 0.0, 3e-3, 0.008, 0.92, 0.03),
    "lanczos5": (1e-4, 1e-3, -2e-3, 0.0, 0.004, 0.94, 0.03),
    "bilinear": (1e-3, 0.01, 0.03, 0.04, 0.12, 0.67, 0.03),
    "nearest": (0.02, 0.1, 0.0, 0.03, 0.3, 1.00, 0.03),
    "reproject-interp": (1e-3, 0.01, 0.03, 0.04, 0.12, 0.67, 0.03),
    "reproject-adaptive": (5e-4, 2e-3, 0.07, 0.10, 0.19, 0.44, 0.03),
    "reproject-exact": (1e-4, 2e-3, 0.03, 0.045, 0.13, 0.67, 0.03),
}


@pytest.mark.parametrize("warp", WARPERS)
def test_stars_and_noise(field: StarField, warp: str) -> None:
    """The README's table."""
    found = measure(field, warp)
    flux, centroid, narrower, wider, residual, noise, variance = LIMITS[warp]
    assert found.flux < flux
    assert found.centroid < centroid
    assert narrower < found.width < wider
    assert found.residual < residual
    assert found.noise == pytest.approx(noise, abs=0.02)
    assert found.variance == pytest.approx(1.0, abs=variance)


@pytest.mark.parametrize("warp", [w for w in WARPERS if w != "nearest"])
def test_the_psf_widens_as_stars_do(field: StarField, warp: str) -> None:
    image, (x, y) = warped(field, warp).image, field.star_pixels
    store = open_coadds(field.coadds)
    plan = plan_template(store, field.visit, TemplateConfig(warp=warp))
    nodes = plan_psf(store, plan, (x, y))
    assert nodes is not None
    kernels, box, changes = warp_psf(store, plan, nodes), field.visit.bbox, []
    for kernel, star_x, star_y in zip(kernels, x, y, strict=True):
        column, row = round(star_x) - box.x0, round(star_y) - box.y0
        star = hsm(image[row - 30 : row + 31, column - 30 : column + 31], 30, 30)[:2]
        changes.append(hsm(kernel, kernel.shape[0] // 2, kernel.shape[0] // 2)[:2] / star - 1)
    within = 0.01 if warp not in UNFUSED else 0.02  # those take the star to be in the middle of a pixel
    assert np.abs(np.mean(changes, axis=0)).max() < within
