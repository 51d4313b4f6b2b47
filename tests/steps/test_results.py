"""What a template says of how long its steps took."""

from dask.sizeof import sizeof
from scenes import IMAGE, TRACT, coadds, tan, visit

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.planning.template import plan_template
from dcrflow.steps import load_patches, make_region, make_tile
from dcrflow.steps.results import timing_summary
from dcrflow.stores.coadds.store import open_coadds


def test_every_tract_counts() -> None:
    """Two tracts on a tile are two warps of it, and both are in the sum."""
    other = Tract(8, tan(300.0, 300.0, 0.0), TRACT.bbox, TRACT.patch_inner, TRACT.patch_border, TRACT.num_patches)
    source = open_coadds(coadds(IMAGE, tracts=(TRACT, other)))
    plan = plan_template(source, visit(tan(100.0, 90.0, 25.0), Box(0, 0, 200, 180)))
    make_tile(source, plan, plan.bbox)  # compiles
    for make in (make_tile, make_region):
        made = make(source, plan, plan.bbox)
        warps = [key for key in made.timing if key.step == "warp_tract"]
        assert sorted(key.tract for key in warps) == [0, 1]
        took = timing_summary([made])
        assert took["steps"].keys() == {"load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts"}
        assert abs(took["steps"]["warp_tract"] - sum(made.timing[key] for key in warps)) < 1e-3
        assert took["patches"].keys() == {f"{t}/{p}" for t in (7, 8) for p in range(4)}


def test_dask_knows_how_large_results_are() -> None:
    """A scheduler that takes pixels for a few bytes moves them between workers rather than wait for one."""
    source = open_coadds(coadds(IMAGE))
    plan = plan_template(source, visit(tan(100.0, 90.0, 25.0), Box(0, 0, 200, 180)))
    made = make_tile(source, plan, plan.bbox)
    assert 12 * plan.bbox.area <= sizeof(made) < 12 * plan.bbox.area + 10_000
    loaded = load_patches(source, plan, plan.tile(plan.bbox).parts)
    read = sum(result.pixels.box.area for results in loaded for result in results)
    assert 4 * 5 * read <= sizeof(loaded) < 4 * 5 * read + 100_000
