"""A detector made band by band: the same as tile by tile, each pixel of a tract matched once."""

from itertools import combinations

import numpy as np
import pytest
from scenes import IMAGE, TRACT, coadds, tan, visit

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import Pixels
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.steps import make_region, make_tile, tract_bands
from dcrflow.steps.cells import kernels_of
from dcrflow.steps.match import match_and_merge
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds

OTHER = Tract(8, tan(250.0, 260.0, 3.0, ra=53.004), Box(0, 0, 600, 600), (300, 300), 30, (2, 2))


@pytest.fixture(scope="module")
def source() -> DcrCoadds:
    """Two tracts with holes near the edges of bands, patches and chunks, and without one patch."""
    image, variance = IMAGE.copy(), np.full(IMAGE.shape[1:], 4.0, np.float32)
    image[:, 250:262, 280:291] = np.nan
    image[1, 380:383, 200:204] = np.nan
    variance[340, 250:260] = np.nan
    variance[286:290, 330] = 0
    return open_coadds(coadds(image, variance, tracts=(TRACT, OTHER), skip=((8, 3),)))


def plan_of(source: DcrCoadds, x: float, rotation: float, **settings: object) -> TemplatePlan:
    where = visit(tan(x, 100.0, rotation), Box(0, 0, 200, 300), altitude=35.0)
    return plan_template(source, where, TemplateConfig.make({"tile": 128} | settings))


@pytest.mark.parametrize("warp", ["spline5", "lanczos3"])
@pytest.mark.parametrize(("x", "rotation"), [(110.0, 25.0), (100.0, -70.0), (-190.0, 12.0), (90.0, 180.0), (90.0, 0.0)])
def test_as_tile_by_tile(source: DcrCoadds, x: float, rotation: float, warp: str) -> None:
    """But for what is beside missing pixels: values filled in far from all data depend on what is made together."""
    plan = plan_of(source, x, rotation, warp=warp)
    made = make_region(source, plan, plan.bbox).pixels
    tiles = Pixels.joined(plan.bbox, [make_tile(source, plan, b).pixels for b in plan.bbox.tiles(plan.config.tile)])
    np.testing.assert_array_equal(made.mask, tiles.mask)
    np.testing.assert_array_equal(made.variance, tiles.variance)
    np.testing.assert_allclose(made.image, tiles.image, rtol=1e-6, atol=1e-7 * np.nanmax(np.abs(tiles.image)))


@pytest.mark.parametrize("rotation", [0.0, 25.0, -70.0])
def test_each_pixel_is_matched_once(source: DcrCoadds, rotation: float, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: dict[tuple[int, Box], tuple[Box, ...]] = {}

    def noted(plan, tract, pixels, merged, workspace):  # type: ignore[no-untyped-def]
        wanted[tract.tract.tract, merged.box] = merged.strips
        match_and_merge(plan, tract, pixels, merged, workspace)

    monkeypatch.setattr(tract_bands, "match_and_merge", noted)
    plan = plan_of(source, 110.0, rotation)
    make_region(source, plan, plan.bbox)
    every = [(tract, strip) for (tract, _), strips in wanted.items() for strip in strips]
    assert {tract for tract, _ in every} == {7, 8}
    assert not any(t == u and a.overlaps(b) for (t, a), (u, b) in combinations(every, 2))


@pytest.mark.parametrize("parallactic_angle", [33.0, 123.0, 213.0, 303.0])
@pytest.mark.parametrize("dcr", ["split", "spectral"])
def test_no_kernel_looks_beyond_the_reach(source: DcrCoadds, dcr: str, parallactic_angle: float) -> None:
    """Low above the horizon the subfilters' kernels differ in size; pixels out of reach are not read."""
    where = visit(tan(90.0, 100.0), Box(0, 0, 200, 300), altitude=8.0, parallactic_angle=parallactic_angle)
    plan = plan_template(source, where, TemplateConfig.make({"dcr": dcr}))
    for tract in plan.tracts:
        (kernel,) = kernels_of(plan, tract, [Box(320, 320, 1, 1)], True, True)
        for taps, y_low, x_low in (
            (kernel.taps, kernel.y_low, kernel.x_low),
            (kernel.variance_taps, kernel.variance_y_low, kernel.variance_x_low),
        ):
            assert y_low.min() >= tract.reach.y_low
            assert x_low.min() >= tract.reach.x_low
            assert y_low.max() + taps.shape[1] - 1 <= tract.reach.y_high
            assert x_low.max() + taps.shape[2] - 1 <= tract.reach.x_high
