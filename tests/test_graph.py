"""Templates as lazy datasets: exactness, laziness, bad pixels, and what is read."""

import json
import re
from collections import Counter
from itertools import combinations

import dask
import numpy as np
import pytest
import xarray as xr
import zarr
from dask.utils import key_split
from scenes import IMAGE, TRACT, coadds, tan, visit
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.base.attributes import objects
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.graph import TemplateArray, TemplateGraph, write_task
from dcrflow.model.config import TemplateConfig
from dcrflow.planning.template import plan_template
from dcrflow.steps import assemble, make_region, make_tile
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds
from dcrflow.stores.templates.store import TemplateStore

NO_DATA = 1 << 8


@pytest.fixture(scope="module")
def store() -> DcrCoadds:
    return open_coadds(coadds(IMAGE))


def eager(store: DcrCoadds, where: dcrflow.DetectorVisit, **settings: object) -> xr.Dataset:
    plan = plan_template(store, where, TemplateConfig.make(settings))
    return assemble(plan, [make_tile(store, plan, box) for box in plan.bbox.tiles(plan.config.tile)])


def same(a: xr.Dataset, b: xr.Dataset) -> None:
    for name in ("image", "variance", "mask"):
        np.testing.assert_array_equal(a[name].values, b[name].values)


@pytest.mark.parametrize("warp", ["spline5", "spline3", "lanczos3", "lanczos4", "lanczos5", "bilinear"])
@pytest.mark.parametrize("dcr", ["spectral", "midpoint", "split"])
def test_identity(store: DcrCoadds, warp: str, dcr: str) -> None:
    """At the zenith, on the tract's own pixels, the template is the coadd."""
    here = visit(TRACT.wcs, Box(150, 180, 250, 200), altitude=90.0)
    made = eager(store, here, warp=warp, dcr=dcr, rotation="boresight")
    expected = IMAGE.sum(axis=0, dtype=float)[160:400, 130:420]
    expected = IMAGE.sum(axis=0, dtype=float)[160 : 160 + 240, 130 : 130 + 290]
    assert np.abs(made.image.values - expected).max() <= 1e-6 * expected.max()
    np.testing.assert_allclose(made.variance, 12.0, rtol=1e-5)
    assert not made.mask.values.any()


@pytest.mark.parametrize("warp", ["spline5", "spline3", "lanczos3", "lanczos5", "bilinear"])
@pytest.mark.parametrize("dcr", ["spectral", "split"])
def test_constant_stays_constant(warp: str, dcr: str) -> None:
    flat = open_coadds(coadds(np.full((3, 600, 600), 7.0, np.float32)))
    made = eager(flat, visit(altitude=30.0), warp=warp, dcr=dcr)
    np.testing.assert_allclose(made.image, 21.0, rtol=1e-5)


def test_lazy_is_eager_to_the_bit(store: DcrCoadds) -> None:
    for tile in (1024, 100):
        lazy = dcrflow.build_template(store, visit(), tile=tile)
        assert all(isinstance(lazy[n].data, TemplateArray) for n in ("image", "variance", "mask"))
        same(lazy.compute(scheduler="threads"), eager(store, visit(), tile=tile))


@pytest.mark.parametrize("settings", [{}, {"dcr": "split", "warp": "lanczos3"}])
def test_a_detector_in_one_task_is_the_same(store: DcrCoadds, settings: dict[str, object]) -> None:
    lazy = dcrflow.build_template(store, visit(), tile=100, granularity="detector", **settings)
    assert lazy.image.data.npartitions == 1
    tiles = eager(store, visit(), tile=100, **settings)
    same(lazy.compute(), tiles)
    part = {"x": slice(20, 90), "y": slice(-5, 60)}
    same(lazy.sel(part).compute(), tiles.sel(part))


def test_a_detector_in_one_task_reads_each_pixel_once() -> None:
    counting = CountingCoadds(coadds(IMAGE))
    plan = plan_template(counting, visit(), TemplateConfig(tile=100, granularity="detector"))
    graph = TemplateGraph(counting, plan).written(TemplateStore.create_or_open(MemoryStore()))
    assert [key_split(key) for key in dict(graph.dask)] == ["make_template"]
    make_region(counting, plan, plan.bbox)
    each_patch_and_pixel_once(counting.reads)


def each_patch_and_pixel_once(reads: list[tuple[int, Box]]) -> None:
    assert {patch for patch, _ in reads} == {0, 1, 2, 3}
    assert not any(
        patch == other and box.overlaps(another) for (patch, box), (other, another) in combinations(reads, 2)
    )


@pytest.mark.parametrize("warp", ["spline5", "lanczos3"])
@pytest.mark.parametrize("tile", [64, 97, 128])
def test_pixels_do_not_depend_on_the_tile(store: DcrCoadds, warp: str, tile: int) -> None:
    whole, tiled = (eager(store, visit(altitude=30.0), warp=warp, tile=t) for t in (1024, tile))
    assert np.abs(whole.image.values - tiled.image.values).max() <= 1e-6 * np.nanmax(whole.image)
    same(whole, tiled)  # which it does to the bit, here


def test_a_slice_is_that_part_of_the_whole(store: DcrCoadds) -> None:
    lazy = dcrflow.build_template(store, visit())
    whole = lazy.compute()
    for part in ({"x": slice(20, 90), "y": slice(-5, 60)}, {"x": slice(100, None)}, {"y": slice(-20, -20)}):
        same(lazy.sel(part).compute(), whole.sel(part))
    assert float(lazy.image.sel(x=33, y=44)) == float(whole.image.sel(x=33, y=44))
    same(lazy.isel(x=slice(None, None, 7)).compute(), whole.isel(x=slice(None, None, 7)))
    assert lazy.image[10:10].compute().shape == (0, whole.sizes["x"])


def test_arithmetic_beside_the_arrays(store: DcrCoadds) -> None:
    """A dataset may mix the template's arrays with dask arrays made from them."""
    lazy = dcrflow.build_template(store, visit())
    lazy["double"] = 2 * lazy.image
    made = lazy.compute()
    np.testing.assert_array_equal(made.double, 2 * made.image)


def test_dims_and_attributes(store: DcrCoadds) -> None:
    here = visit(box=Box(100, -7, 200, 180))
    made = dcrflow.build_template(store, here, border=13)
    assert made.image.dims == ("y", "x")
    assert (made.image.dtype, made.variance.dtype, made.mask.dtype) == (np.float32, np.float32, np.int32)
    assert (int(made.x[0]), int(made.y[0]), made.sizes["x"], made.sizes["y"]) == (87, -20, 226, 206)
    assert made.x.dtype == np.int64
    attributes = made.attrs | {name: json.loads(made.attrs[name]) for name in ("patches", "dcr")}
    assert attributes["patches"] == [[7, 0], [7, 1], [7, 2], [7, 3]]
    assert attributes["bbox"] == [100, -7, 200, 180]
    assert (attributes["visit"], attributes["detector"], attributes["band"]) == (12, 3, "g")
    assert attributes["dcr"]["method"] == "spectral"
    assert attributes["dcr"]["zenith_angle"] == pytest.approx(45.0, abs=0.02)
    assert len(attributes["dcr"]["shift"]) == 3
    assert "status" not in attributes
    assert made.mask.attrs["flag_meanings"].split()[8] == "NO_DATA"


def test_step_names_survive_optimisation(store: DcrCoadds) -> None:
    """What the dashboard shows is the part of the key before the first hyphen."""
    lazy = dcrflow.build_template(store, visit(), tile=128)
    (optimised,) = dask.optimize(lazy.image.data)
    names = Counter(key_split(key) for key in dict(optimised.dask))
    assert set(names) == {"load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "image"}
    assert names["mosaic_tracts"] == 4


def test_same_inputs_same_keys(store: DcrCoadds) -> None:
    first, second = (dcrflow.build_template(store, visit()) for _ in range(2))
    assert set(first.image.data.dask) == set(second.image.data.dask)
    other = dcrflow.build_template(store, visit(altitude=44.0))
    assert not set(first.image.data.dask) & set(other.image.data.dask)


def test_variables_share_their_steps(store: DcrCoadds) -> None:
    lazy = dcrflow.build_template(store, visit())
    steps = {k for k in lazy.image.data.dask if not isinstance(k, tuple)}
    more = {k for k in lazy.mask.data.dask if not isinstance(k, tuple)} - steps
    assert [key_split(k) for k in more] == ["map_variance"]
    assert steps <= set(lazy.mask.data.dask)


class CountingCoadds(DcrCoadds):
    """Remembers what was read."""

    def __init__(self, store: object) -> None:
        super().__init__(store)
        self.reads: list[tuple[int, Box]] = []

    def read_strips(self, tract, patch, band, box, strips, planes):  # type: ignore[no-untyped-def]
        self.reads.append((patch, box))
        return super().read_strips(tract, patch, band, box, strips, planes)


def test_planning_reads_no_pixels() -> None:
    counting = CountingCoadds(coadds(IMAGE))
    lazy = dcrflow.build_template(counting, visit())
    assert counting.reads == []
    lazy.image.sel(x=slice(0, 30), y=slice(0, 30)).compute(scheduler="sync")
    assert counting.reads


def test_nothing_is_read_twice_or_in_vain() -> None:
    counting = CountingCoadds(coadds(IMAGE))
    dcrflow.build_template(counting, visit()).compute(scheduler="sync")
    each_patch_and_pixel_once(counting.reads)
    counting.reads.clear()
    here = dcrflow.build_template(counting, visit(tan(80, 80, 0.0)))  # lies on patches 2 and 3 and a little on 0, 1
    here.image.isel(x=slice(0, 40), y=slice(100, 140)).compute(scheduler="sync")
    area = sum(box.area for _, box in counting.reads)
    assert area <= 3 * (40 + 2 * 52) ** 2  # the slice, and the reach of kernels and filters


class CountingStore(MemoryStore):
    """Remembers the keys that are read, in it and in its read-only views."""

    keys: list[str] = []  # noqa: RUF012  # shared on purpose

    async def get(self, key, prototype, byte_range=None):  # type: ignore[no-untyped-def]
        self.keys.append(key)
        return await super().get(key, prototype, byte_range)

    def get_sync(self, key, *, prototype=None, byte_range=None):  # type: ignore[no-untyped-def]
        self.keys.append(key)
        return super().get_sync(key, prototype=prototype, byte_range=byte_range)


def test_a_slice_loads_the_chunks_under_it_alone() -> None:
    """Chunks of 32 px that plain zarr wrote; a slice of 40 x 30 px in the middle of a detector of 180 x 200."""
    size = 32
    counting, written = CountingStore(), zarr.open_group(coadds(IMAGE), mode="r")
    root = zarr.create_group(counting, attributes=written.attrs.asdict())
    for tract, patches in written.groups():
        root.create_group(tract, attributes=patches.attrs.asdict())
        for patch, bands in patches.groups():
            band = bands["g"]
            group = root.create_group(f"{tract}/{patch}/g", attributes=band.attrs.asdict())
            for name, array in band.arrays():
                big = name in ("image", "variance", "mask")
                group.create_array(
                    name, data=array[...], chunks=((1,) * (array.ndim - 2) + (size, size)) if big else array.shape,
                    attributes=array.attrs.asdict(), dimension_names=array.metadata.dimension_names,
                )  # fmt: skip
    here = visit(TRACT.wcs, Box(200, 210, 200, 180), altitude=60.0)
    lazy = dcrflow.build_template(counting, here)
    counting.keys.clear()
    lazy.image.sel(x=slice(240, 279), y=slice(250, 279)).compute()
    chunks = [re.match(r"7/(\d)/g/image/c/\d/(\d+)/(\d+)$", k) for k in counting.keys]
    read = [tuple(map(int, m.groups())) for m in chunks if m]
    assert len(read) == 3 * len(set(read)), "a chunk was read more than once"
    margin = 56  # the reach of DCR kernels, coefficient filter, hole filling and warp together
    for patch, y, x in set(read):
        box = TRACT.patch(patch).bbox
        chunk = Box(box.x0 + x * size, box.y0 + y * size, size, size)
        assert chunk.overlaps(Box(240, 250, 40, 30).grown(margin))
    counting.keys.clear()
    lazy.image.compute()
    assert len(read) < 0.5 * sum("/image/c/" in k for k in counting.keys)


def test_two_tracts_are_averaged() -> None:
    """Overlapping tracts with the same sky give what one gives, and cover more."""
    second = Tract(8, tan(300, 500), Box(0, 0, 600, 600), (300, 300), 30, (2, 2))
    flat = np.full((3, 600, 600), 5.0, np.float32)
    here = visit(box=Box(0, 0, 200, 500))
    one, two = (eager(open_coadds(coadds(flat, tracts=t)), here) for t in ((TRACT,), (TRACT, second)))
    there_with_one, there_with_two = ((t.mask.values & NO_DATA) == 0 for t in (one, two))
    np.testing.assert_allclose(two.image.values[there_with_two], 15.0, rtol=1e-5)
    assert there_with_two.sum() > there_with_one.sum()
    assert np.all(there_with_two[there_with_one])
    assert [7, 0] in objects(two.attrs)["patches"]
    assert [8, 2] in objects(two.attrs)["patches"]


def test_a_bad_pixel_spoils_its_neighbourhood_alone(store: DcrCoadds) -> None:
    def change(tract: int, patch: int, arrays: dict[str, np.ndarray]) -> None:
        box = TRACT.patch(patch).bbox
        if box.contains(Box(340, 350, 1, 1)):
            arrays["image"][1, 350 - box.y0, 340 - box.x0] = np.nan

    here = visit(TRACT.wcs, Box(250, 250, 200, 200), altitude=60.0)
    clean, spoiled = eager(store, here), eager(open_coadds(coadds(IMAGE, change=change)), here)
    gone = (spoiled.mask.values & NO_DATA) != 0
    y, x = np.nonzero(gone)
    assert gone.any()
    assert np.hypot(y + 230 - 350, x + 230 - 340).max() < 20
    np.testing.assert_array_equal(gone, np.isnan(spoiled.image.values))
    difference = np.abs(spoiled.image.values - clean.image.values)
    flagged = spoiled.mask.values != 0
    assert np.nanmax(difference[~flagged]) <= 1e-4 * np.nanmax(clean.image)
    far = np.hypot(*np.mgrid[230 - 350 : 470 - 350, 230 - 340 : 470 - 340]) > 60
    np.testing.assert_array_equal(spoiled.image.values[far], clean.image.values[far])


@pytest.mark.parametrize("value", [0.0, -3.0, np.nan, np.inf])
def test_a_bad_variance_weighs_nothing(store: DcrCoadds, value: float) -> None:
    """Where one patch's variance is bad its neighbour serves; where no patch's is good there is a small hole."""

    def change(tract: int, patch: int, arrays: dict[str, np.ndarray]) -> None:
        box = TRACT.patch(patch).bbox
        if patch == 0:
            arrays["variance"][295 - box.y0, 290 - box.x0] = value  # also on patches 1, 2 and 3
        if box.contains(Box(200, 350, 1, 1)):
            arrays["variance"][350 - box.y0, 200 - box.x0] = value  # on patch 2 alone

    here = visit(TRACT.wcs, Box(150, 250, 200, 200), altitude=60.0)
    clean, spoiled = eager(store, here), eager(open_coadds(coadds(IMAGE, change=change)), here)
    y, x = np.nonzero(spoiled.mask.values & NO_DATA)
    assert len(y)
    assert np.abs(y + 230 - 350).max() <= 6
    assert np.abs(x + 130 - 200).max() <= 6
    good = spoiled.mask.values == 0
    np.testing.assert_array_equal(spoiled.image.values[good], clean.image.values[good])
    assert np.all(spoiled.variance.values[good] > 0)


def test_masks_follow_the_light() -> None:
    """A saturated pixel flags where its light goes at this observation: along the zenith direction, no farther."""
    mask = np.zeros((600, 600), np.int32)
    mask[300, 300] = 2
    here = visit(TRACT.wcs, Box(250, 250, 100, 100), altitude=30.0, parallactic_angle=0.0)
    made = eager(open_coadds(coadds(IMAGE, mask=mask)), here)
    y, x = np.nonzero(made.mask.values)
    assert np.all(made.mask.values[y, x] == 2)
    assert set(x + 230) <= {299, 300, 301}
    assert 2 <= (y + 230 - 300).max() <= 6
    assert -6 <= (y + 230 - 300).min() <= -1


def test_variance_of_noise() -> None:
    """White noise through either stage comes out with the variance that is written down.

    Through both, neighbouring pixels are correlated when the warp averages them, and the written variance, which cannot
    know of that, is 15 % too small here.
    """
    rng = np.random.default_rng(1)
    noisy = open_coadds(coadds(rng.normal(0, 2.0, (3, 600, 600)).astype(np.float32)))
    on_tract = visit(TRACT.wcs, Box(200, 200, 200, 180), altitude=35.0)
    turned = visit(altitude=35.0)
    for here, changes, within in (
        (on_tract, {"dcr": "spectral"}, 0.03),
        (on_tract, {"dcr": "midpoint"}, 0.03),
        (visit(altitude=90.0), {"rotation": "boresight", "warp": "lanczos3"}, 0.03),
        (visit(altitude=90.0), {"rotation": "boresight"}, 0.07),  # the spline takes Lanczos-3's variance
        (turned, {}, 0.2),
    ):
        made = eager(noisy, here, **changes)
        assert made.image.values.var() == pytest.approx(float(made.variance.mean()), rel=within)


def test_linearity_in_the_flux(store: DcrCoadds) -> None:
    double = eager(open_coadds(coadds(2 * IMAGE)), visit())
    np.testing.assert_array_equal(double.image.values, 2 * eager(store, visit()).image.values)


def test_adding_a_patch_never_removes_coverage() -> None:
    three, four = (eager(open_coadds(coadds(IMAGE, skip=s)), visit()) for s in (((7, 3),), ()))
    gone_with_three, gone_with_four = ((t.mask.values & NO_DATA) != 0 for t in (three, four))
    assert gone_with_three.sum() > gone_with_four.sum() == 0
    assert not np.any(gone_with_four & ~gone_with_three)


def test_partly_covered(store: DcrCoadds) -> None:
    here = visit(tan(190, 90, 0.0), altitude=60.0)  # hangs over the tract's edge? no: in its middle, a border apart
    at_edge = visit(tan(100.0, 90.0, 10.0, ra=53.0 + 300 * 0.2 / 3600 / np.cos(np.deg2rad(28))), altitude=60.0)
    for fill in (np.nan, 0.0):
        made = eager(store, at_edge, fill=fill)
        gone = (made.mask.values & NO_DATA) != 0
        assert 0.3 < gone.mean() < 0.7
        np.testing.assert_array_equal(made.image.values[gone], fill)
        np.testing.assert_array_equal(made.variance.values[gone], fill)
        assert np.isfinite(made.image.values[~gone]).all()
        assert (made.variance.values[~gone] > 0).all()
    assert not (eager(store, here).mask.values & NO_DATA).any()


def test_combine_mean_weighs_alike() -> None:
    def change(tract: int, patch: int, arrays: dict[str, np.ndarray]) -> None:
        arrays["image"][:] = patch
        arrays["variance"][:] = 1.0 + 15.0 * (patch % 2)

    here = visit(TRACT.wcs, Box(280, 100, 40, 60), altitude=90.0)
    store = open_coadds(coadds(IMAGE, change=change))
    weighted, alike = (
        eager(store, here, combine=c, rotation="boresight", warp="bilinear", dcr="midpoint", border=0)
        for c in ("variance", "mean")
    )
    middle = 20  # column 300: patches 0 and 1 overlap there
    np.testing.assert_allclose(alike.image[:, middle], 3 * 0.5, rtol=1e-5)
    np.testing.assert_allclose(weighted.image[:, middle], 3 * (0 * 4 + 1 * 1) / 5, rtol=1e-5)
    np.testing.assert_allclose(weighted.variance[:, middle], 3 * (1 * 4 + 16 * 1) / 5, rtol=1e-5)


def test_four_tiles_are_read_and_shifted_together(store: DcrCoadds) -> None:
    """By one task, so that a scheduler cannot have a tile's tracts and patches read by several workers."""
    graph = TemplateGraph(store, plan_template(store, visit(), TemplateConfig(tile=80)))
    layers, rows = graph.steps(graph.plan.bbox)
    columns = len(rows[0])
    assert (len(rows), columns) == (3, 3)
    assert len(layers["load_patch"]) == 4
    assert sum(map(len, layers.values())) == graph.plan.num_tasks
    loads: dict[tuple[int, int], set[str]] = {}
    for number, tile in enumerate(graph.plan.tiles):
        row, column = divmod(number, columns)
        warps = layers["mosaic_tracts"][rows[row][column]].dependencies
        shifts = {k for warp in warps for k in layers["warp_tract"][warp].dependencies}
        assert len(shifts) == len(warps) == len(tile.parts)
        (load,) = {k for shift in shifts for k in layers["shift_subfilters"][shift].dependencies}
        loads.setdefault((row // 2, column // 2), set()).add(load)
    assert [len(each) for each in loads.values()] == [1, 1, 1, 1]


def test_a_written_template_has_one_plan(store: DcrCoadds, tmp_path) -> None:
    """A scheduler has tasks run where what they take is: all that read do not depend on anything else."""
    plan = plan_template(store, visit(), TemplateConfig(tile=80))
    out = TemplateStore.create_or_open(tmp_path / "t.zarr")
    task = write_task(store, plan, out)
    tasks = {key: one for key, one in dict(task.dask).items() if key_split(key) != "warp_psf"}
    (key,) = (key for key in tasks if key_split(key) == "plan")
    assert not tasks[key].dependencies
    loads = [key for key in tasks if key_split(key) == "load_patch"]
    assert len(loads) == 4
    assert len({key[0] for key in loads}) == 1, "one group of a template's own"
    assert all(tasks[load].dependencies == {key} for load in loads)
    assert not set(tasks) & set(dict(TemplateGraph(store, plan).array("image", plan.bbox).dask))
    assert task.compute(scheduler="threads").status == "complete"
    found = xr.open_zarr(tmp_path / "t.zarr", group="12/3", consolidated=False)
    np.testing.assert_array_equal(found.mask, dcrflow.build_template(store, visit(), tile=80).mask)


def test_tiles_of_other_warps_are_made_one_by_one(store: DcrCoadds) -> None:
    """Steps that look at all of a tile's surroundings would make other pixels of a group."""
    for settings in ({"dcr": "split", "warp": "lanczos3"}, {"warp": "nearest"}):
        graph = TemplateGraph(store, plan_template(store, visit(), TemplateConfig.make({"tile": 100} | settings)))
        layers, _ = graph.steps(graph.plan.bbox)
        assert len(layers["load_patch"]) == len(layers["mosaic_tracts"]) == len(graph.plan.tiles) > 1
        assert sum(map(len, layers.values())) == graph.plan.num_tasks


def test_graph_is_small(store: DcrCoadds) -> None:
    graph = TemplateGraph(store, plan_template(store, visit()))
    layers, rows = graph.steps(graph.plan.bbox)
    assert sum(map(len, layers.values())) == graph.plan.num_tasks == 4
    assert len(rows) == 1


def test_write_template(store: DcrCoadds, tmp_path) -> None:
    lazy = dcrflow.build_template(store, visit(), precision=None)
    record = dcrflow.write_template(lazy, tmp_path / "t.zarr")
    assert record.status == "complete"
    assert record.coverage == 1.0
    found = xr.open_zarr(tmp_path / "t.zarr", group="12/3", consolidated=False)
    same(found, lazy.compute())
    assert found.attrs["status"] == "complete"
    with pytest.raises(ValueError, match="part of the template of visit 12 detector 3"):
        dcrflow.write_template(lazy.isel(x=slice(0, 50)), tmp_path / "t.zarr")
