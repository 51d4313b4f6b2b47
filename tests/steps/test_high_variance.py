"""HIGH_VARIANCE: LSST's to the pixel, the same however it is computed, and set where there is something to set."""

from collections import Counter
from pathlib import Path

import dask
import numpy as np
import pytest
from dask.utils import key_split
from numpy.testing import assert_allclose, assert_array_equal
from scenes import IMAGE, TRACT, coadds, visit

import dcrflow
from dcrflow.base.masks import HIGH_VARIANCE, NO_DATA, TEMPLATE_PLANES, merged_planes
from dcrflow.demo.parity import golden_cases, golden_coadds
from dcrflow.geometry.box import Box
from dcrflow.kernels.binned import binned_median
from dcrflow.planning.template import plan_template
from dcrflow.steps import assemble, flag_high_variance, make_tile, map_variance
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds

HERE = visit(TRACT.wcs, Box(150, 150, 300, 280), altitude=80.0)
BLOCK = np.s_[180:340, 180:320]  # of the tract: ten times the variance


def has(mask: object, plane: str) -> np.ndarray:
    return np.asarray(mask) >> TEMPLATE_PLANES[plane] & 1 == 1


@pytest.fixture(scope="module")
def noisy() -> DcrCoadds:
    """A block of high variance, which a detected source must not hide."""
    variance = 4.0 + np.mgrid[:600, :600][1].astype(np.float32) / 200
    variance[BLOCK] *= 10
    return open_coadds(coadds(IMAGE, variance=variance))


def test_lsst_to_the_pixel(golden_here: Path) -> None:
    """Flagged by LSST: 27 % of the template. The median of its variance lies where that rises to the block."""
    store = golden_coadds(golden_here)
    (case,) = golden_cases(golden_here, store)
    expected = case.expected.mask >> case.expected.planes[HIGH_VARIANCE] & 1 == 1
    assert expected.mean() == pytest.approx(0.273, abs=1e-3)
    made = assemble(case.plan, [make_tile(store, case.plan, case.plan.bbox)])
    assert np.mean(has(made.mask, HIGH_VARIANCE) != expected) < 1e-4


def test_the_block_is_flagged(noisy: DcrCoadds) -> None:
    """Its outline to two thirds of a bin: a median is right to half a bin, a line between medians crosses 4 early."""
    mask = dcrflow.build_template(noisy, HERE).mask.compute()
    flagged = mask.copy(data=has(mask, HIGH_VARIANCE))
    rows, columns = flagged.y[flagged.any("x")], flagged.x[flagged.any("y")]
    assert_allclose([rows[0], rows[-1], columns[0], columns[-1]], [180, 339, 180, 319], atol=21)
    assert flagged.sel(y=slice(220, 300), x=slice(220, 280)).all()


@pytest.mark.parametrize("tile", [64, 97, 150])
def test_independent_of_the_tile(noisy: DcrCoadds, tile: int) -> None:
    whole, tiled = (dcrflow.build_template(noisy, HERE, tile=t) for t in (1024, tile))
    assert_array_equal(tiled.mask.compute(), whole.mask.compute())


def test_a_slice_of_the_mask_is_that_of_the_whole(noisy: DcrCoadds) -> None:
    lazy = dcrflow.build_template(noisy, HERE, tile=128)
    whole, part = lazy.mask.compute(), {"x": slice(170, 262), "y": slice(250, 360)}
    assert has(whole.sel(part), HIGH_VARIANCE).mean() == pytest.approx(0.7, abs=0.2)
    assert_array_equal(lazy.mask.sel(part).compute(), whole.sel(part))


def test_written_and_lazy_alike(noisy: DcrCoadds, tmp_path: Path) -> None:
    lazy = dcrflow.build_template(noisy, HERE, tile=128)
    dcrflow.write_template(lazy, tmp_path / "lazy.zarr")
    plan = plan_template(noisy, HERE)
    store = dcrflow.TemplateStore.create_or_open(tmp_path / "written.zarr")
    dcrflow.graph.write_task(noisy, plan, store).compute()
    kept = [dcrflow.TemplateStore.open(tmp_path / f"{n}.zarr").read(12, 3).mask for n in ("lazy", "written")]
    assert has(kept[0], HIGH_VARIANCE).any()
    assert_array_equal(*kept)


def test_only_the_mask_asks_for_it(noisy: DcrCoadds) -> None:
    lazy = dcrflow.build_template(noisy, HERE, tile=128)
    for name, number in (("image", 0), ("variance", 0), ("mask", 1)):
        (optimised,) = dask.optimize(lazy[name][:10, :10].data)
        assert Counter(key_split(key) for key in dict(optimised.dask))["map_variance"] == number
    without = dcrflow.build_template(noisy, HERE, tile=128, high_variance_threshold=None).mask[:10, :10].data
    assert Counter(key_split(key) for key in without.dask)["mosaic_tracts"] == 1


def test_a_threshold_that_nothing_exceeds(noisy: DcrCoadds) -> None:
    for threshold in (None, 50.0):
        mask = dcrflow.build_template(noisy, HERE, high_variance_threshold=threshold).mask
        assert not has(mask, HIGH_VARIANCE).any()


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
def test_too_few_usable_pixels(fraction: float) -> None:
    """Sources on 70 % of the detector: with half of the pixels asked for nothing is flagged."""
    mask, variance = np.zeros((600, 600), np.int32), np.full((600, 600), 4.0, np.float32)
    mask[:, 240:] = 1 << TEMPLATE_PLANES["DETECTED"]
    variance[BLOCK] *= 10
    store = open_coadds(coadds(IMAGE, variance=variance, mask=mask))
    made = dcrflow.build_template(store, HERE, high_variance_min_fraction=fraction).mask.compute()
    assert has(made, "DETECTED").mean() == pytest.approx(0.68, abs=0.02)
    assert has(made, HIGH_VARIANCE).any() == (fraction < 0.5)


def test_sources_are_passed_over() -> None:
    """Their variance is high because they are bright; a detected block is not flagged."""
    mask, variance = np.zeros((600, 600), np.int32), np.full((600, 600), 4.0, np.float32)
    variance[BLOCK] *= 10
    mask[170:350, 170:330] = 1 << TEMPLATE_PLANES["DETECTED"]
    made = dcrflow.build_template(open_coadds(coadds(IMAGE, variance=variance, mask=mask)), HERE).mask
    assert not has(made, HIGH_VARIANCE).any()


def test_no_flag_without_data() -> None:
    """Next to the tract's edge the map goes on; the flag does not. Nothing usable at all is no error."""
    variance = np.full((600, 600), 4.0, np.float32)
    variance[:, 540:] *= 10
    made = dcrflow.build_template(coadds(IMAGE, variance=variance), visit(TRACT.wcs, Box(350, 200, 300, 200))).mask
    made = made.compute()
    assert has(made, HIGH_VARIANCE).any()
    assert has(made, NO_DATA).any()
    assert not (has(made, HIGH_VARIANCE) & has(made, NO_DATA)).any()
    nothing = coadds(np.full_like(IMAGE, np.nan))
    assert has(dcrflow.build_template(nothing, HERE, high_variance_min_fraction=0.0).mask, NO_DATA).all()


@pytest.mark.parametrize("shape", [(1, 1), (5, 200), (33, 64), (200, 90)])
def test_any_shape(noisy: DcrCoadds, shape: tuple[int, int]) -> None:
    there = visit(TRACT.wcs, Box(170, 250, shape[1], shape[0]), altitude=80.0)
    plan = plan_template(noisy, there, dcrflow.TemplateConfig(border=0))
    tile = make_tile(noisy, plan, plan.bbox)
    smooth = map_variance(plan, [tile])
    assert smooth is not None
    assert smooth.at(np.arange(250, 250 + shape[0]), np.arange(170, 170 + shape[1])).shape == shape
    assert flag_high_variance(plan, tile, smooth).shape == shape


def test_binned_median() -> None:
    rng = np.random.default_rng(3)
    values, mask = rng.normal(size=(7, 9)).astype(np.float32), rng.integers(0, 4, (7, 9)).astype(np.int32)
    values[0, 0], mask[3:, 4:] = np.nan, 2
    edges_y, edges_x, out = np.array([0, 3, 7]), np.array([0, 4, 9]), np.empty((2, 2))
    usable = (mask & 2 == 0) & np.isfinite(values)
    assert binned_median(values, mask, 2, edges_y, edges_x, out) == usable.sum()
    assert out[0, 1] == np.median(values[:3, 4:][usable[:3, 4:]].astype(np.float64))
    assert out[0, 0] == np.median(values[:3, :4][usable[:3, :4]].astype(np.float64))
    assert np.isnan(out[1, 1])


def test_planes_of_a_template() -> None:
    made = dcrflow.build_template(coadds(IMAGE), HERE)
    assert dict(zip(made.mask.flag_meanings.split(), made.mask.flag_masks, strict=True)) == {
        name: 1 << bit for name, bit in TEMPLATE_PLANES.items()
    }
    planes = merged_planes([{"NO_DATA": 3, "TRAIL": 9, "CLIPPED": 12}])
    assert (planes["NO_DATA"], planes["TRAIL"], planes["CLIPPED"]) == (8, 9, 12)
    assert len(set(planes.values())) == len(planes) == len(TEMPLATE_PLANES) + 1
    with pytest.raises(ValueError, match="planes do not fit the 32 bits"):
        merged_planes([{f"P{i}": i for i in range(30)}])


@pytest.mark.parametrize("kind", ["smooth", "few values", "jumps", "signs", "next to nothing usable"])
def test_medians_wherever_they_are(kind: str) -> None:
    """Of bins that follow on the ones above, and of bins that do not."""
    rng = np.random.default_rng(2)
    values = (4 + 0.1 * rng.random((260, 90)) + np.arange(260)[:, None] / 1000).astype(np.float32)
    mask = (rng.random(values.shape) < 0.2).astype(np.int32)
    if kind == "few values":
        values = np.round(2 * rng.normal(size=values.shape)).astype(np.float32)
    elif kind == "jumps":
        values *= (10.0 ** (np.arange(260) // 37 % 5 * 9 - 20))[:, None].astype(np.float32)
    elif kind == "signs":
        values *= np.where(np.arange(260) // 20 % 2, 1, -1)[:, None].astype(np.float32)
    elif kind == "next to nothing usable":
        values[rng.random(values.shape) < 0.998] = np.nan
        values[50:53] = np.inf
    edges_y, edges_x = np.linspace(0, 260, 27).astype(np.int64), np.array([0, 31, 60, 90])
    out = np.empty((26, 3))
    usable = np.where(np.isfinite(values) & (mask & 1 == 0), values, np.nan).astype(np.float64)
    assert binned_median(values, mask, 1, edges_y, edges_x, out) == np.isfinite(usable).sum()
    for j, i in np.ndindex(out.shape):
        some = usable[edges_y[j] : edges_y[j + 1], edges_x[i] : edges_x[i + 1]]
        some = some[np.isfinite(some)]
        assert_array_equal(out[j, i], np.median(some) if some.size else np.nan)
