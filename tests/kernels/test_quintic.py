"""The warp of an image alone, against scipy's splines; what is done to unknown pixels before it."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from dcrflow.kernels.arrays import CoordinateGrid
from dcrflow.kernels.fill import continue_beyond, fill_missing
from dcrflow.kernels.quintic import REACH, warp_quintic
from dcrflow.kernels.usable import mark_felt

STEP = 32


def turned(degrees: float, shape: tuple[int, int], middle: tuple[float, float], bend: float = 0.0) -> CoordinateGrid:
    """Nodes of a map that turns about the middle of the output, and bends."""
    y, x = np.mgrid[: shape[0] // STEP + 2, : shape[1] // STEP + 2] * float(STEP)
    y, x = y - shape[0] / 2, x - shape[1] / 2
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return CoordinateGrid(middle[0] + s * x + c * y + bend * x * y, middle[1] + c * x - s * y, STEP, 0, 0)


def places(grid: CoordinateGrid, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Source coordinates of the output's pixels."""
    at = np.mgrid[: shape[0], : shape[1]] / STEP
    return tuple(map_coordinates(nodes, at, order=1) for nodes in (grid.y, grid.x))


def warped(coefficients, spoilt, grid, shape, origin=(0, 0), inner=(-999, 999, -999, 999)):
    image, valid, edges = np.empty(shape, np.float32), np.empty(shape, bool), np.empty(shape, bool)
    warp_quintic(coefficients, spoilt, *origin, grid, inner, image, valid, edges)
    return image, valid, edges


@pytest.mark.parametrize("degrees", [0.0, 37.0, 90.0, 200.0])
@pytest.mark.parametrize("shape", [(70, 300), (41, 13)])
def test_it_is_the_spline(degrees: float, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(int(degrees))
    coefficients = rng.normal(0, 1, (180, 190)).astype(np.float32)
    spoilt = (rng.random(coefficients.shape) < 0.05).astype(np.uint8)
    grid = turned(degrees, shape, (85.3 - 7, 95.8 + 4), 1e-4)
    image, valid, edges = warped(coefficients, spoilt, grid, shape, (-7, 4), (0, 150, 10, 180))
    v, u = places(grid, shape)
    y, x = np.floor(v).astype(int) + 7, np.floor(u).astype(int) - 4
    before, after = REACH
    inside = (y >= before) & (y < 180 - after) & (x >= before) & (x < 190 - after)
    assert np.count_nonzero(inside) > 0
    expected = np.zeros(shape, bool)
    expected[inside] = spoilt[y[inside], x[inside]] == 0
    np.testing.assert_array_equal(valid, expected)
    assert np.isnan(image[~valid]).all()
    by_scipy = map_coordinates(coefficients.astype(float), (v + 7, u - 4), order=5, prefilter=False)
    area = np.abs(np.gradient(v)[0] * np.gradient(u)[1] - np.gradient(v)[1] * np.gradient(u)[0])
    assert np.max(np.abs(image - area * by_scipy)[valid]) < 3e-4  # of the area, by differences
    near = (v < 0) | (v >= 149) | (u < 10) | (u >= 179)
    np.testing.assert_array_equal(edges, near & inside)


def test_a_constant_stays_what_it_is() -> None:
    shape = (64, 64)
    image, valid, _ = warped(
        np.ones((200, 200), np.float32), np.zeros((200, 200), np.uint8), turned(11.0, shape, (99.1, 98.2)), shape
    )  # fmt: skip
    assert valid.all()
    assert np.max(np.abs(image - 1)) < 1e-6


def test_an_output_far_off_the_source_has_nothing() -> None:
    shape = (20, 30)
    image, valid, edges = warped(
        np.ones((50, 50), np.float32), np.zeros((50, 50), np.uint8), turned(5.0, shape, (500.0, -300.0)), shape
    )  # fmt: skip
    assert np.isnan(image).all()
    assert not valid.any()
    assert not edges.any()


@pytest.mark.parametrize("part", [(9, 30, 12, 50), (0, 30, 12, 60), (9, 10, 20, 21), (4, 40, 0, 60)])
def test_continued_as_a_hole_around_it_is_filled(part: tuple[int, int, int, int]) -> None:
    y0, y1, x0, x1 = part
    whole = np.random.default_rng(7).normal(100, 10, (40, 60)).astype(np.float32)
    known = np.zeros(whole.shape, np.uint8)
    known[y0:y1, x0:x1] = 1
    expected = whole.copy()
    fill_missing(expected, known, 252)
    continue_beyond(whole, y0, y1, x0, x1)
    np.testing.assert_allclose(whole, expected, rtol=1e-5)


def test_places_that_feel_a_filled_pixel() -> None:
    rng = np.random.default_rng(8)
    values = rng.normal(0, 1, (40, 50)).astype(np.float32)
    known = np.ones(values.shape, bool)
    known[20, 30] = known[5, 5] = known[0, 49] = False
    values[21, 31] = 1e4
    spoilt = np.zeros(values.shape, np.uint8)
    for rows in ((0, 12), (12, 40)):
        mark_felt(values, known, *rows, 1.0, np.array([0.176, 0.071, 0.0]), 0.2, spoilt)
    expected = np.zeros_like(spoilt)
    expected[4:6, 4:6] = 1  # the four places beside the faint one
    expected[0, 48:] = 1
    expected[17:23, 27:33] = 1  # and two pixels more around the bright one
    np.testing.assert_array_equal(spoilt, expected)
