"""The template's PSF: against LSST's kernels, against simulated stars, and what is asked of `psf_at`."""

from collections import Counter
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from dask.utils import key_split
from numpy.testing import assert_allclose, assert_array_equal
from scenes import IMAGE, TRACT, coadds, tan, visit
from shapes import hsm

import dcrflow
from dcrflow.base.attributes import objects
from dcrflow.demo.parity import golden_cases, golden_coadds
from dcrflow.geometry.box import Box
from dcrflow.kernels.nodes import node_weights, spread
from dcrflow.model.config import TemplateConfig
from dcrflow.planning.psf import plan_psf
from dcrflow.planning.template import plan_template
from dcrflow.simulate.scene import star_field
from dcrflow.steps import warp_psf
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds
from dcrflow.stores.templates.store import TemplateStore


def gaussian(xx: float, yy: float, xy: float = 0.0, size: int = 31) -> np.ndarray:
    """A Gaussian kernel of given second moments, pixels^2."""
    y, x = np.mgrid[:size, :size] - size // 2
    inverse = np.linalg.inv([[xx, xy], [xy, yy]])
    kernel = np.exp(-0.5 * (inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y))
    return kernel / kernel.sum()


def moments(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centroid (x, y) from the middle and second moments (xx, yy, xy)."""
    y, x = np.mgrid[: kernel.shape[0], : kernel.shape[1]] - np.array(kernel.shape)[:, None, None] // 2
    centre = np.array([(kernel * x).sum(), (kernel * y).sum()]) / kernel.sum()
    x, y = x - centre[0], y - centre[1]
    return centre, np.array([(kernel * x * x).sum(), (kernel * y * y).sum(), (kernel * x * y).sum()]) / kernel.sum()


def with_psf(*kernels: np.ndarray, skip: tuple[int, ...] = (), **changes: object) -> DcrCoadds:
    """Coadds whose patches have these kernels in turn."""

    def change(tract: int, patch: int, arrays: dict[str, np.ndarray]) -> None:
        if patch not in skip:
            arrays["psf"] = kernels[patch % len(kernels)][None].astype(np.float32)

    return open_coadds(coadds(IMAGE, change=change, **changes))


@pytest.mark.parametrize("name", ["golden", "golden_here"])
def test_kernels_of_the_lsst_pipeline(request: pytest.FixtureRequest, name: str) -> None:
    """To 1e-3 of the peak is asked; 2e-5 is what LSST's rounding of coordinates leaves."""
    directory = request.getfixturevalue(name)
    store, compared = golden_coadds(directory), 0
    for case in golden_cases(directory, store):
        there = case.plan.visit
        expected = np.load(directory / f"expected_{there.visit}_{there.detector}.npz")
        x, y, *corner = expected["psf_positions"].T
        plan = plan_psf(store, case.plan, (x, y))
        assert plan is not None
        assert_array_equal(plan.x, x)
        for i, kernel in enumerate(warp_psf(store, case.plan, plan)):
            theirs = expected[f"k{i}"]
            assert kernel.shape == theirs.shape == tuple(1 - 2 * corner[0][[i, i]].astype(int))
            assert np.abs(kernel - theirs).max() < 3e-5 * theirs.max()
            compared += 1
    assert compared >= 4


@pytest.mark.parametrize(
    "changes",
    [{}, {"flipped": True, "sip": 1.0, "tract_rotation": 70.0}, {"pixel": True, "rotation": 0.0}],
    ids=["rotated", "flipped-SIP", "pixels"],
)
def test_stars_of_the_template_have_its_psf(changes: dict[str, object]) -> None:
    """Second moments agree to 1 %, with the star's own DCR; without it they do not. So do the places.

    The DCR is that of the detector's middle: with 3 px of distortion on 500 px the moments agree to 1.2 %.
    """
    field = star_field(zenith_angle=60, stars_per_side=4, fwhm=0.6, **changes)
    template = dcrflow.build_template(field.coadds, field.visit).compute()
    without = []
    for i, (x, y) in enumerate(zip(*field.star_pixels, strict=True)):
        corner = round(x) - 40, round(y) - 40
        stamp = template.image.sel(x=slice(corner[0], corner[0] + 80), y=slice(corner[1], corner[1] + 80)).values
        *star, star_x, star_y = hsm(stamp, x - corner[0], y - corner[1])
        fluxes = field.band.photons(str(field.stars.spectrum[i])).sum(axis=1)
        psf = template.dcrflow.psf_at(x, y, spectrum=fluxes)
        middle = psf.sizes["psf_x"] // 2
        *found, psf_x, psf_y = hsm(psf.values, middle, middle)
        width = (star[0] + star[1]) / 2
        assert np.abs(np.array(found) - star).max() < 0.01 * width
        assert psf_x - middle == pytest.approx(star_x + corner[0] - x, abs=0.01)
        assert psf_y - middle == pytest.approx(star_y + corner[1] - y, abs=0.01)
        plain = hsm(template.dcrflow.psf_at(x, y).values, middle, middle)[:3]
        without.append(np.abs(plain - star).max() / width)
    assert max(without) > 0.03


def test_the_affine_map_turns_and_stretches() -> None:
    store = with_psf(gaussian(9.0, 4.0))
    turned = visit(tan(100, 90, 90.0), Box(0, 0, 200, 180))  # its x is the tract's -y
    template = dcrflow.build_template(store, turned)
    assert_allclose(template.psf.sum(("psf_y", "psf_x")), 1.0, rtol=1e-6)
    for kernel in template.psf.values:
        centre, (xx, yy, xy) = moments(kernel.astype(float))
        assert (xx, yy) == pytest.approx((4.0, 9.0), rel=2e-3)
        assert (xy, *centre) == pytest.approx((0, 0, 0), abs=2e-3)


@pytest.mark.parametrize("warp", ["spline5", "lanczos3"])
def test_patches_are_averaged_where_they_overlap(warp: str) -> None:
    store = with_psf(gaussian(4.0, 4.0), gaussian(6.0, 6.0))
    here = visit(TRACT.wcs, Box(200, 50, 200, 40))
    plan = plan_template(store, here, TemplateConfig(warp=warp))
    nodes = plan_psf(store, plan, (np.array([210.0, 300.0, 390.0]), np.array([70.0, 70.0, 70.0])))
    assert nodes is not None
    left, both, right = warp_psf(store, plan, nodes)
    assert_allclose(both, (left + right) / 2, atol=1e-7)
    assert_allclose(left, gaussian(4.0, 4.0), atol=1e-6)


def test_lazy_and_apart_from_the_pixels() -> None:
    store = with_psf(gaussian(4.0, 4.0))
    lazy = dcrflow.build_template(store, visit())
    assert lazy.psf.dims == ("psf_node", "psf_y", "psf_x")
    assert lazy.psf.dtype == np.float32
    assert set(lazy.psf.coords) == {"psf_node_x", "psf_node_y", "psf_node_patch"}
    (optimised,) = dask.optimize(lazy.psf.data)
    assert Counter(key_split(key) for key in dict(optimised.dask)) == {"warp_psf": 1}
    assert not any(key_split(key) == "warp_psf" for key in lazy.image.data.dask)
    assert_array_equal(lazy.isel(x=slice(0, 10)).psf, lazy.psf)


def test_kept_in_the_store(tmp_path: Path) -> None:
    lazy = dcrflow.build_template(with_psf(gaussian(4.0, 4.0), gaussian(9.0, 3.0, 1.0)), visit())
    dcrflow.write_template(lazy, tmp_path / "t.zarr")
    kept = dcrflow.TemplateStore.open(tmp_path / "t.zarr").read(12, 3)
    raw = xr.open_zarr(tmp_path / "t.zarr", group="12/3", consolidated=False)
    made = lazy.compute()
    for found in (kept, raw):
        xr.testing.assert_identical(found.psf.compute(), made.psf)
        xr.testing.assert_identical(found.dcrflow.psf_at(33.0, 44.0, "flat"), made.dcrflow.psf_at(33.0, 44.0, "flat"))


def test_coadds_without_psf() -> None:
    template = dcrflow.build_template(coadds(IMAGE), visit())
    assert set(template.variables) == {"image", "variance", "mask", "x", "y"}
    with pytest.raises(dcrflow.NoPsfError, match="visit 12 detector 3 has no PSF"):
        template.dcrflow.psf_at(10, 10)


def test_patches_without_psf_leave_gaps() -> None:
    """Patches 1 and 3 have none: nodes are where 0 and 2 are, and the PSF beyond is theirs."""
    template = dcrflow.build_template(
        with_psf(gaussian(4.0, 4.0), skip=(1, 3)), visit(TRACT.wcs, Box(200, 200, 200, 200))
    )
    assert [p["patch"] for p in objects(template.attrs)["psf_patches"]] == [0, 2]
    assert_allclose(template.dcrflow.psf_at(390, 300), gaussian(4.0, 4.0), atol=1e-6)


def test_a_sliver_of_coverage_has_a_node() -> None:
    """The tract's corner reaches 30 px onto a detector turned by 45 degrees, between the nodes of the grid."""
    here = visit(tan(125.0, -394.0, 45.0), Box(0, 0, 250, 250))
    template = dcrflow.build_template(with_psf(gaussian(4.0, 4.0)), here)
    assert len(objects(template.attrs)["psf_patches"]) == 1
    x, y = TRACT.wcs.sky_to_pixel(*here.wcs.pixel_to_sky(*(template[f"psf_node_{a}"].values for a in "xy")))
    assert ((x >= -30) & (x < 630) & (y >= -30) & (y < 630)).all()


def test_bad_kernels_are_passed_over() -> None:
    bad = np.full((31, 31), np.nan)
    template = dcrflow.build_template(with_psf(gaussian(4.0, 4.0), bad), visit(TRACT.wcs, Box(200, 100, 200, 100)))
    of_bad = template.psf_node_patch.values == 1
    assert_array_equal(np.isnan(template.psf.values).any(axis=(1, 2)), of_bad)
    assert_allclose(template.dcrflow.psf_at(390, 150), gaussian(4.0, 4.0), atol=1e-6)
    hopeless = dcrflow.build_template(with_psf(bad), visit())
    with pytest.raises(dcrflow.NoPsfError, match="not finite anywhere"):
        hopeless.dcrflow.psf_at(10, 10)


def test_psf_at_the_middle_of_the_data() -> None:
    kernel = gaussian(4.0, 4.0)
    half = dcrflow.build_template(with_psf(kernel), visit(TRACT.wcs, Box(500, 200, 200, 100)), border=0)
    rows, columns = np.nonzero((half.mask.values >> 8 & 1) == 0)
    assert columns.max() < 100
    assert half.dcrflow.middle == pytest.approx((500 + columns.mean(), 200 + rows.mean()), abs=1e-9)
    assert float(half.dcrflow.psf_at().x) == half.dcrflow.middle[0]
    assert_allclose(half.dcrflow.psf_at(y=210), kernel, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-21.0, 5.0), r"\(-21, 5\) is not on the template of visit 12 detector 3: x from -20 to 219"),
        ((5.0, 5.0, "solar"), "'solar' is unknown"),
        ((5.0, 5.0, [1.0, 2.0]), r"shape \(2,\); expected 'flat', 3 subfilter fluxes"),
        ((5.0, 5.0, [0.0, 0.0, 0.0]), "no light in the band"),
        ((5.0, 5.0, [1.0, np.nan, 0.0]), "not finite"),
    ],
)
def test_what_psf_at_refuses(arguments: tuple[object, ...], message: str) -> None:
    template = dcrflow.build_template(with_psf(gaussian(4.0, 4.0)), visit())
    with pytest.raises(ValueError, match=message):
        template.dcrflow.psf_at(*arguments)


@pytest.mark.parametrize("dcr", ["spectral", "split", "midpoint"])
def test_spectra(dcr: str) -> None:
    """Blue light goes to the zenith: here +y, as much as the first subfilter's shift; flat is flat however given."""
    store = with_psf(gaussian(4.0, 4.0))
    here = visit(TRACT.wcs, Box(200, 200, 200, 180), altitude=35.0, parallactic_angle=0.0)
    template = dcrflow.build_template(store, here, dcr=dcr)
    shift = objects(template.attrs)["dcr"]["shift"]
    for k, fluxes in enumerate(np.eye(3)):
        centre, _ = moments(template.dcrflow.psf_at(300, 290, fluxes).values)
        assert centre == pytest.approx((shift[k][1], shift[k][0]), abs=5e-3)
    assert shift[0][0] > 1 > -0.5 > shift[2][0]
    flat = template.dcrflow.psf_at(300, 290, "flat")
    assert_allclose(template.dcrflow.psf_at(300, 290, ([300.0, 700.0], [5.0, 5.0])), flat, atol=1e-12)
    assert_allclose(template.dcrflow.psf_at(300, 290, [1.0, 1.0, 1.0]), flat, atol=2e-5)  # a top-hat in thirds
    assert moments(flat.values)[1][1] > moments(template.dcrflow.psf_at(300, 290).values)[1][1] + 0.3


def test_node_weights() -> None:
    x, y = (g.ravel().astype(float) for g in np.meshgrid([0, 10, 30], [0, 5]))
    assert_allclose(node_weights(4.0, 1.0, x, y), np.outer([0.8, 0.2], [0.6, 0.4, 0.0]).ravel(), atol=1e-15)
    assert_array_equal(node_weights(99.0, -7.0, x, y), [0, 0, 1, 0, 0, 0])
    assert_array_equal(node_weights(10.0, 5.0, x, y), [0, 0, 0, 0, 1, 0])
    gap = np.arange(6) != 1
    assert_allclose(node_weights(4.0, 1.0, x[gap], y[gap])[[0, 2, 3]] * 0.68, [0.48, 0.12, 0.08], atol=1e-15)
    scattered = np.array([0.0, 3.0, 8.0]), np.array([1.0, 9.0, 4.0])
    assert_array_equal(node_weights(7.0, 3.0, *scattered), [0, 0, 1])
    assert_array_equal(node_weights(7.0, 3.0, np.array([2.0]), np.array([2.0])), [1])


def test_spread() -> None:
    kernel = gaussian(4.0, 4.0)
    moved = spread(kernel, np.array([0.3, -1.2]), np.array([0.0, 2.0]), np.array([0.25, 0.75]))
    assert moved.sum() == pytest.approx(1.0, abs=1e-6)
    assert moments(moved)[0] == pytest.approx((1.5, -0.825), abs=1e-4)


@pytest.mark.parametrize("y", [100.0, 150.0])
def test_steps_at_the_borders_of_patches(y: float) -> None:
    """The PSF is the mean over the patches that contain a position, as the coadds are, to the pixel; not a slope."""
    kernels = gaussian(4.0, 4.0), gaussian(6.0, 6.0)
    store = with_psf(*kernels)
    template = dcrflow.build_template(store, visit(TRACT.wcs, Box(200, 50, 200, 150))).compute()
    assert len(objects(template.attrs)["psf_patches"]) == len(set(template.psf_node_patch.values))
    first, second = (next(p.bbox for p in store.patches(TRACT.tract, "g") if p.patch == n) for n in (0, 1))
    for x, expected in (
        (second.x0 - 1.0, kernels[0]),
        (float(second.x0), (kernels[0] + kernels[1]) / 2),
        (first.x1 - 1.0, (kernels[0] + kernels[1]) / 2),
        (float(first.x1), kernels[1]),
    ):
        assert_allclose(template.dcrflow.psf_at(x, y), expected, atol=1e-6)


@pytest.mark.parametrize("files", ["golden_here", "golden"])
def test_psf_at_of_the_lsst_pipeline(request: pytest.FixtureRequest, files: str) -> None:
    """At LSST's own positions, from the nodes that a template keeps; 2e-5 of the peak is reached."""
    directory = request.getfixturevalue(files)
    store = golden_coadds(directory)
    for case in golden_cases(directory, store):
        there = case.plan.visit
        template = dcrflow.build_template(store, there, case.plan.config)
        expected = np.load(directory / f"expected_{there.visit}_{there.detector}.npz")
        for i, (x, y, *_) in enumerate(expected["psf_positions"]):
            theirs = expected[f"k{i}"]
            found = template.dcrflow.psf_at(x, y).values
            margin = (found.shape[0] - theirs.shape[0]) // 2
            found = found[margin : found.shape[0] - margin, margin : found.shape[1] - margin]
            assert np.abs(found - theirs).max() < 1e-4 * theirs.max()


def test_psf_of_a_lanczos_template_between_its_nodes(tmp_path: Path) -> None:
    """It depends on where a place lies between the coadd's pixels; what is stored gives it everywhere."""
    store = with_psf(gaussian(2.2, 1.8, 0.3))
    here = visit()
    template = dcrflow.build_template(store, here, warp="lanczos3")
    dcrflow.write_template(template, tmp_path / "t.zarr")
    kept = TemplateStore.open(tmp_path / "t.zarr").read(12, 3)
    plan, places = plan_template(store, here, TemplateConfig(warp="lanczos3")), (np.array([77.3]), np.array([41.9]))
    nodes = plan_psf(store, plan, places)
    assert nodes is not None
    (expected,) = warp_psf(store, plan, nodes)
    for found in (template, template.compute(), kept):
        assert_allclose(found.dcrflow.psf_at(77.3, 41.9), expected, atol=2e-5 * expected.max())
    without = template.compute().drop_vars("psf_coadd")
    assert np.abs(without.dcrflow.psf_at(77.3, 41.9) - expected).max() > 1e-3 * expected.max()
    assert "psf_coadd" not in dcrflow.build_template(store, here)
