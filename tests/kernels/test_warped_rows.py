"""Rows of the output of a warp: which cells of the grid are passed over."""

import numpy as np
import pytest

from dcrflow.kernels.arrays import CoordinateGrid
from dcrflow.kernels.warped_rows import along_row, is_outside


@pytest.mark.parametrize("angle", [0.0, 25.0, 160.0])
def test_a_cell_passed_over_has_no_pixel_between_the_rows(angle: float) -> None:
    step, low, high = 8, 20.0, 33.0
    y, x = np.mgrid[:9, :9] * float(step)
    turn = np.deg2rad(angle)
    rng = np.random.default_rng(4)
    grid_y = np.cos(turn) * y + np.sin(turn) * x + rng.uniform(-1, 1, y.shape)
    grid = CoordinateGrid(grid_y, x, step, 0, 0)
    passed_over = 0
    for row in range(8 * step):
        for gx in range(8):
            _, _, first, along, _, _ = along_row(grid, row, gx)
            places = first + along * np.arange(step)
            if is_outside(grid, row // step, gx, low, high):
                passed_over += 1
                assert not np.any((places >= low) & (places < high))
            assert not is_outside(grid, row // step, gx, -np.inf, np.inf)
    assert passed_over > 100


def test_a_cell_without_coordinates_is_not_passed_over() -> None:
    y = np.full((2, 2), 99.0)
    assert is_outside(CoordinateGrid(y, y, 8, 0, 0), 0, 0, 0.0, 9.0)
    for bad in (np.nan, np.inf):
        y[1, 0] = bad
        assert not is_outside(CoordinateGrid(y, y, 8, 0, 0), 0, 0, 0.0, 9.0)
