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
from dcrflow.steps.cells import boxes_of, cells_of, kernel_cache, kernels_of
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


def test_cells_are_the_parts_of_boxes() -> None:
    boxes = [Box(-300, 200, 600, 100), Box(256, 0, 256, 256), Box(100, 100, 1, 3)]
    cells, box_of = cells_of(boxes)
    for number, box in enumerate(boxes):
        parts = boxes_of(cells[box_of == number])
        assert sum(part.area for part in parts) == box.area
        assert not any(one.overlaps(other) for one, other in combinations(parts, 2))
        for part in parts:
            assert box.contains(part)
            assert (part.x0 // 256, part.y0 // 256) == ((part.x1 - 1) // 256, (part.y1 - 1) // 256)
    assert [np.sum(box_of == number) for number in range(3)] == [8, 1, 1]


@pytest.mark.parametrize("dcr", ["split", "spectral"])
@pytest.mark.parametrize("alone", [True, False])
def test_kernels_do_not_depend_on_what_is_made_with_them(source: DcrCoadds, dcr: str, alone: bool) -> None:
    """Low above the horizon, where kernels of neighbouring cells differ in size; each place twice."""
    where = visit(tan(90.0, 100.0), Box(0, 0, 200, 300), altitude=8.0)
    plan = plan_template(source, where, TemplateConfig.make({"dcr": dcr}))
    tract = plan.tracts[0]
    boxes = [Box(x, y, 1, 1) for x in range(-9000, 9000, 1500) for y in (0, 300)] * 2
    kernel_cache.cache_clear()
    together = kernels_of(plan, tract, boxes, alone, alone)
    assert len({kernel.taps.shape for kernel in together}) > 1
    kernel_cache.cache_clear()
    for box, expected in zip(boxes[::-1], together[::-1], strict=True):
        (kernel,) = kernels_of(plan, tract, [box], alone, alone)
        for name in ("taps", "y_low", "x_low", "variance_taps", "variance_y_low", "variance_x_low", "light"):
            np.testing.assert_array_equal(getattr(kernel, name), getattr(expected, name))


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
