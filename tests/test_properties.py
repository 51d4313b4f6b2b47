"""What holds for every scene: found by Hypothesis, not by us."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from reproject import reproject_interp
from scenes import IMAGE, TRACT, coadds, tan, visit
from scipy import ndimage

import dcrflow
from dcrflow.base.errors import NoOverlapError
from dcrflow.base.masks import NO_DATA, STANDARD_PLANES
from dcrflow.geometry.box import Box
from dcrflow.kernels.arrays import CoordinateGrid, MaskedImage
from dcrflow.kernels.interpolation import INTERPOLATIONS
from dcrflow.kernels.warp import warp_kernel, weight_table
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import Pixels
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.steps import make_tile
from dcrflow.stores.coadds.store import open_coadds

SMALL = Box(-3, 5, 70, 60)
BAD = [np.nan, np.inf, -np.inf, 0.0, -1.0]


@dataclass(frozen=True)
class Spoilt:
    """A rectangle of tract pixels in which one of a patch's arrays has a bad value."""

    patch: int
    name: str
    box: Box
    value: float


@dataclass(frozen=True)
class Scene:
    """An observation, a detector, bad pixels, missing patches and a configuration."""

    where: dcrflow.DetectorVisit
    spoilt: tuple[Spoilt, ...]
    skip: tuple[tuple[int, int], ...]
    settings: dict[str, Any]

    def store(self, factor: float = 1.0) -> object:
        def change(tract: int, patch: int, arrays: dict[str, np.ndarray]) -> None:
            bbox = TRACT.patch(patch).bbox
            for s in self.spoilt:
                if s.patch == patch:
                    arrays[s.name][..., *s.box.intersection(bbox).slices(bbox)] = s.value

        return coadds(IMAGE * np.float32(factor), skip=self.skip, change=change)

    def template(self, factor: float = 1.0) -> tuple[TemplatePlan, Pixels] | None:
        opened = open_coadds(self.store(factor))
        try:
            plan = plan_template(opened, self.where, TemplateConfig.make(self.settings))
        except NoOverlapError:
            return None
        return plan, make_tile(opened, plan, plan.bbox).pixels


def angles() -> st.SearchStrategy[float]:
    return st.floats(-180, 180, allow_nan=False)


@st.composite
def spoilt(draw: st.DrawFn) -> Spoilt:
    # around the middle, where all patches overlap and the detectors are
    box = Box(
        draw(st.integers(200, 400)), draw(st.integers(200, 400)), draw(st.integers(1, 40)), draw(st.integers(1, 40))
    )
    name = draw(st.sampled_from(["image", "variance"]))
    value = draw(st.sampled_from(BAD[:3] if name == "image" else BAD))
    return Spoilt(draw(st.integers(0, 3)), name, box, value)


@st.composite
def scenes(draw: st.DrawFn, clean: bool = False) -> Scene:
    place = draw(st.floats(180, 420)), draw(st.floats(180, 420))
    ra, dec = (float(v) for v in TRACT.wcs.pixel_to_sky(*place))
    wcs = tan(SMALL.x0 + 35, SMALL.y0 + 30, draw(angles()), draw(st.sampled_from([-1.0, 1.0])), ra, dec)
    where = visit(wcs, SMALL, draw(st.floats(20, 90)), draw(angles()))
    skip = draw(st.sets(st.integers(0, 3), max_size=3))
    config = {
        "dcr": draw(st.sampled_from(["spectral", "split", "midpoint"])),
        "warp": draw(st.sampled_from(["spline5", "spline3", "lanczos3", "lanczos5", "bilinear"])),
        "combine": draw(st.sampled_from(["variance", "mean"])),
        "rotation": draw(st.sampled_from(["local", "boresight"])),
        "border": draw(st.integers(0, 20)),
    }
    bad = () if clean else tuple(draw(st.lists(spoilt(), max_size=4)))
    return Scene(where, bad, tuple((TRACT.tract, p) for p in sorted(skip)), config)


def no_data(plan: TemplatePlan, made: Pixels) -> np.ndarray:
    return (made.mask >> plan.planes[NO_DATA]) & 1 == 1


@settings(max_examples=60)
@given(scenes())
def test_finite_or_no_data_never_neither(scene: Scene) -> None:
    found = scene.template()
    if found is None:
        return
    gone = no_data(*found)
    made = found[1]
    assert np.all(np.isfinite(made.image[~gone]))
    assert np.all(made.variance[~gone] >= 0)
    assert np.all(np.isfinite(made.variance[~gone]))
    assert np.all(np.isnan(made.image[gone]))
    assert np.all(np.isnan(made.variance[gone]))


@settings(max_examples=30)
@given(scenes(), st.sampled_from([0.5, 2.0, 1024.0]))
def test_linear_in_the_flux(scene: Scene, factor: float) -> None:
    """To the bit for powers of two, bad pixels and all."""
    once, more = scene.template(), scene.template(factor)
    if once is None or more is None:
        assert once is more
        return
    np.testing.assert_array_equal(more[1].image, once[1].image * np.float32(factor))
    np.testing.assert_array_equal(more[1].mask, once[1].mask)
    np.testing.assert_array_equal(more[1].variance, once[1].variance)


@settings(max_examples=30)
@given(scenes(clean=True), st.integers(0, 3))
def test_adding_a_patch_never_removes_coverage(scene: Scene, patch: int) -> None:
    without = tuple(sorted({*scene.skip, (TRACT.tract, patch)}))
    with_it = tuple(s for s in without if s[1] != patch)
    if len(without) == 4:
        return  # the store would be empty
    less, more = (Scene(scene.where, (), skip, scene.settings).template() for skip in (without, with_it))
    if less is None:
        return
    assert more is not None
    assert not np.any(no_data(*more) & ~no_data(*less))


@settings(max_examples=30)
@given(scenes(clean=True))
def test_planned_patches_are_those_that_astropy_finds(scene: Scene) -> None:
    """By brute force: every pixel of the template, border included, through astropy's own WCS objects."""
    opened = open_coadds(coadds(IMAGE))
    plan = plan_template(opened, scene.where, TemplateConfig.make(scene.settings))
    box = plan.bbox
    y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1]
    sky: SkyCoord = WCS(scene.where.wcs.header).pixel_to_world(x - 0.0, y - 0.0)
    px, py = WCS(TRACT.wcs.header).world_to_pixel(sky)
    planned = {p.patch for p in plan.patches}
    for patch in TRACT.patches:
        b = patch.bbox
        inside = (px >= b.x0 - 0.5) & (px < b.x1 - 0.5) & (py >= b.y0 - 0.5) & (py < b.y1 - 0.5)
        if inside.any():
            assert patch.patch in planned
        near = (px >= b.x0 - 1.5) & (px < b.x1 + 0.5) & (py >= b.y0 - 1.5) & (py < b.y1 + 0.5)
        if not near.any():
            assert patch.patch not in planned


@st.composite
def affine(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """(y, x) of the input = matrix @ (y, x) of the output + offset, near the middle of 120 x 120 pixels."""
    angle, scale = np.deg2rad(draw(angles())), draw(st.floats(0.7, 1.3))
    shear, flip = draw(st.floats(-0.2, 0.2)), draw(st.sampled_from([-1.0, 1.0]))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = scale * turn @ np.array([[1.0, shear], [0.0, flip]])
    middle = np.array([draw(st.floats(58, 62)), draw(st.floats(58, 62))])
    return matrix, middle - matrix @ [19.5, 24.5]


def warped(kernel: str, image: np.ndarray, matrix: np.ndarray, offset: np.ndarray) -> np.ndarray:
    shape, step = (40, 50), 8
    y, x = np.meshgrid(np.arange(0, 57, step), np.arange(0, 65, step), indexing="ij")
    nodes = np.einsum("ij,jyx->iyx", matrix, np.stack([y, x])) + offset[:, None, None]
    out = MaskedImage(*(np.empty(shape, dtype) for dtype in (np.float32, np.float32, np.int32)))
    flat, mask = np.ones_like(image), np.zeros(image.shape, np.int32)
    bit = 1 << STANDARD_PLANES[NO_DATA]
    interpolation, source = INTERPOLATIONS[kernel], MaskedImage(image, flat, mask)
    grid = CoordinateGrid(nodes[0], nodes[1], step, 0, 0)
    warp_kernel(interpolation)(source, 0, 0, grid, weight_table(interpolation), bit, out)
    return out.image


SKY = np.random.default_rng(3).normal(size=(120, 120)).astype(np.float32)


@settings(max_examples=40)
@given(affine(), st.sampled_from([3, 5]))
def test_spline_warp_is_scipys(transform: tuple[np.ndarray, np.ndarray], degree: int) -> None:
    """Any affine map of noise: scipy.ndimage's spline of the same order, times the area of a pixel."""
    matrix, offset = transform
    coefficients = ndimage.spline_filter(SKY.astype(float), order=degree, mode="mirror").astype(np.float32)
    made = warped(f"spline{degree}", coefficients, matrix, offset)
    truth = ndimage.affine_transform(SKY.astype(float), matrix, offset, (40, 50), order=degree, mode="mirror")
    good = np.isfinite(made)
    assert good.mean() > 0.9
    np.testing.assert_allclose(made[good], (truth * abs(np.linalg.det(matrix)))[good], atol=2e-5)


@settings(max_examples=30)
@given(affine())
def test_bilinear_warp_is_reprojects(transform: tuple[np.ndarray, np.ndarray]) -> None:
    """The same by way of reproject, with the map expressed as two tangent-plane WCS."""
    matrix, offset = transform
    source, target = WCS(naxis=2), WCS(naxis=2)
    cd = np.diag([0.2, 0.2]) / 3600
    for wcs, own, pixel in ((source, cd, offset[::-1]), (target, cd @ matrix[::-1, ::-1], np.zeros(2))):
        wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.cunit = ["RA---TAN", "DEC--TAN"], [53.0, -28.0], [u.deg, u.deg]
        wcs.wcs.crpix, wcs.wcs.cd = pixel + 1.0, own
    truth, _ = reproject_interp((SKY.astype(float), source), target, shape_out=(40, 50), order="bilinear")
    made = warped("bilinear", SKY, matrix, offset)
    good = np.isfinite(made) & np.isfinite(truth)
    assert good.mean() > 0.9
    np.testing.assert_allclose(made[good], (truth * abs(np.linalg.det(matrix)))[good], atol=1e-4)
