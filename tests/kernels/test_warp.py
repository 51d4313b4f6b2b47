"""Resampling by affine maps, against scipy."""

import numpy as np
import pytest
from scipy import ndimage

from dcrflow.kernels.arrays import CoordinateGrid, MaskedImage
from dcrflow.kernels.interpolation import INTERPOLATIONS
from dcrflow.kernels.warp import reach, warp_kernel, weight_table

FUSED = [name for name, i in INTERPOLATIONS.items() if i.weight is not None]


def run(name, image, variance, mask, matrix, offset, shape, step=16):
    height, width = shape
    y, x = np.arange(0, height + step, step), np.arange(0, width + step, step)
    gy, gx = np.meshgrid(y, x, indexing="ij")
    grid_y = matrix[0][0] * gy + matrix[0][1] * gx + offset[0]
    grid_x = matrix[1][0] * gy + matrix[1][1] * gx + offset[1]
    out = MaskedImage(*(np.empty(shape, dtype) for dtype in (np.float32, np.float32, np.int32)))
    grid, interpolation = CoordinateGrid(grid_y, grid_x, step, 0, 0), INTERPOLATIONS[name]
    source = MaskedImage(image, variance, mask)
    warp_kernel(interpolation)(source, 0, 0, grid, weight_table(interpolation), 256, out)
    return out


@pytest.mark.parametrize(("kernel", "order"), [("spline3", 3), ("spline5", 5), ("bilinear", 1)])
def test_against_scipy(kernel: str, order: int) -> None:
    rng = np.random.default_rng(5)
    image = ndimage.gaussian_filter(rng.normal(size=(90, 100)), 1.5)
    coefficients = (ndimage.spline_filter(image, order) if order > 1 else image).astype(np.float32)
    angle = np.deg2rad(20)
    matrix, offset = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]], (20.3, 35.7)
    ones = np.ones(image.shape, np.float32)
    found, _, mask = run(kernel, coefficients, ones, np.zeros(image.shape, np.int32), matrix, offset, (40, 45))
    y, x = np.mgrid[:40, :45]
    where = (matrix[0][0] * y + matrix[0][1] * x + offset[0], matrix[1][0] * y + matrix[1][1] * x + offset[1])
    expected = ndimage.map_coordinates(coefficients.astype(float), where, order=order, prefilter=False)
    np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(image).max())
    assert not mask.any()


@pytest.mark.parametrize("kernel", FUSED)
def test_constant_variance_and_area(kernel: str) -> None:
    """A constant stays one (times the pixel area); white noise comes out with the sum of the squared weights."""
    shape = (60, 60)
    image, variance = np.full(shape, 5.0, np.float32), np.full(shape, 2.0, np.float32)
    matrix, offset = [[1.1, 0.0], [0.0, 0.9]], (8.0, 8.0)
    found, noise, _ = run(kernel, image, variance, np.zeros(shape, np.int32), matrix, offset, (30, 30))
    np.testing.assert_allclose(found, 5 * 0.99, rtol=1e-6)
    assert np.all((noise > 0) & (noise <= 2 * 0.99**2 * 1.001))
    assert noise[0, 0] == pytest.approx(2 * 0.99**2, rel=1e-5)  # on a pixel centre nothing is averaged


@pytest.mark.parametrize("kernel", FUSED)
def test_where_the_kernel_leaves_the_data(kernel: str) -> None:
    shape = (30, 30)
    ones = np.ones(shape, np.float32)
    image, variance, mask = run(kernel, ones, ones, np.zeros(shape, np.int32), [[1, 0], [0, 1]], (-5.5, -5.5), (45, 45))
    inside = np.isfinite(image)
    np.testing.assert_array_equal(inside, np.isfinite(variance))
    np.testing.assert_array_equal(mask, np.where(inside, 0, 256))
    half = max(INTERPOLATIONS[kernel].support, 6 if kernel.startswith("spline") else 0) // 2
    expected = np.zeros_like(inside)
    expected[5 + half : 36 - half, 5 + half : 36 - half] = True
    np.testing.assert_array_equal(inside, expected)


def test_mask_is_ored_over_the_four_pixels_around_a_place() -> None:
    shape = (30, 30)
    mask = np.zeros(shape, np.int32)
    mask[15, 15], mask[10, 12] = 2, 256
    ones = np.ones(shape, np.float32)
    image, _, found = run("lanczos3", ones, ones, mask, [[1, 0], [0, 1]], (5.5, 5.5), (19, 19))
    assert np.argwhere(found == 2).tolist() == [[9, 9], [9, 10], [10, 9], [10, 10]]
    assert np.argwhere(found == 256).tolist() == [[4, 6], [4, 7], [5, 6], [5, 7]]
    assert np.isnan(image[found == 256]).all()


@pytest.mark.parametrize("kernel", ["spline5", "spline3", "bilinear"])
@pytest.mark.parametrize("angle", [0.0, 0.4, -1.3, 3.0])
def test_bands_of_a_source_fill_part_of_an_image(kernel: str, angle: float) -> None:
    """The same as all at once, to the last bit: each pixel from one band, the others and what is around untouched."""
    rng, shape, step, cut = np.random.default_rng(8), (90, 100), 16, 41
    source = MaskedImage(
        *(rng.normal(size=shape).astype(np.float32) for _ in range(2)),
        rng.choice([0, 0, 0, 0, 0, 4, 256], size=shape).astype(np.int32),
    )
    y, x = np.meshgrid(np.arange(0, 81, step), np.arange(0, 97, step), indexing="ij")
    cos, sin = np.cos(angle), np.sin(angle)
    grid = CoordinateGrid(cos * (y - 35) + sin * (x - 40) + 45.2, cos * (x - 40) - sin * (y - 35) + 50.6, step, 0, 0)
    interpolation = INTERPOLATIONS[kernel]
    warp, table, looks_at = warp_kernel(interpolation), weight_table(interpolation), reach(interpolation)
    out = MaskedImage(*(np.empty((70, 80), dtype) for dtype in (np.float32, np.float32, np.int32)))
    without = warp(source, 0, 0, grid, table, 256, out)
    assert without == np.sum(~(np.isfinite(out.image) & (out.variance > 0) & (out.variance < np.inf)))
    larger = MaskedImage(*(np.full((80, 100), 7, dtype) for dtype in (np.float32, np.float32, np.int32)))
    border, top = float(cut - looks_at - 1), cut - 2 * looks_at - 1
    upper, lower = (MaskedImage(*(np.ascontiguousarray(a[s]) for a in source)) for s in (np.s_[:cut], np.s_[top:]))
    found = warp(upper, 0, 0, grid, table, 256, larger, (3, 5, 70, 80, -np.inf, border))
    found += warp(lower, top, 0, grid, table, 256, larger, (3, 5, 70, 80, border, np.inf))
    assert found == without
    for whole, part in zip(out, larger, strict=True):
        np.testing.assert_array_equal(part[3:73, 5:85], whole)
        part[3:73, 5:85] = 7
        assert np.all(part == 7)
