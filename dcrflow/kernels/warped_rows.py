"""Rows of the output of a warp: source coordinates are linear along a row within a cell of the grid."""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit


@njit(cache=True, nogil=True, error_model="numpy")
def along_row(grid, y, gx):  # type: ignore[no-untyped-def]
    """Source coordinates and relative area of the pixels of row `y` that are in column `gx` of a grid's cells.

    Of pixel n of the cell they are ``first_x + along_x * n``, ``first_y + along_y * n`` and ``area + more_area * n``.

    Parameters
    ----------
    grid : CoordinateGrid
        Source coordinates of the output pixels.
    y, gx : int
        Row, counted from the grid's first node, and column of the cell.

    Returns
    -------
    tuple of float
        first_x, along_x, first_y, along_y, area, more_area. The area may be negative, where the map mirrors.
    """
    nodes_y, nodes_x, step = grid.y, grid.x, grid.step
    share = 1.0 / step
    gy = y // step
    ty = (y - gy * step) * share
    top_x, top_y = nodes_x[gy, gx], nodes_y[gy, gx]
    left_x, left_y = nodes_x[gy + 1, gx] - top_x, nodes_y[gy + 1, gx] - top_y
    right_x = nodes_x[gy + 1, gx + 1] - nodes_x[gy, gx + 1]
    right_y = nodes_y[gy + 1, gx + 1] - nodes_y[gy, gx + 1]
    first_x, first_y = top_x + ty * left_x, top_y + ty * left_y
    along_x = (nodes_x[gy, gx + 1] + ty * right_x - first_x) * share
    along_y = (nodes_y[gy, gx + 1] + ty * right_y - first_y) * share
    area = (along_x * left_y - along_y * left_x) * share  # linear along the row
    more_area = (along_x * (right_y - left_y) - along_y * (right_x - left_x)) * share * share
    return first_x, along_x, first_y, along_y, area, more_area


@njit(cache=True, nogil=True, error_model="numpy")
def _first_from(first, along, start, number, bound):  # type: ignore[no-untyped-def]
    """How many of the numbers ``first + along * n``, n from `start` on, come before those above or below `bound`.

    Of rising numbers, how many are below it; of falling ones, how many are not.
    """
    below, end = 0, number
    while below < end:
        middle = (below + end) // 2
        if (first + along * (start + middle) < bound) == (along >= 0):
            below = middle + 1
        else:
            end = middle
    return below


@njit(cache=True, nogil=True, error_model="numpy")
def between(first, along, start, number, low, high):  # type: ignore[no-untyped-def]
    """Which of the numbers ``first + along * n`` are from `low` on and below `high`: the first, and one past the last.

    n goes from `start` on; the numbers rise or fall along it. None of them if they are not finite.
    """
    one, last = first + along * start, first + along * (start + number - 1)
    if low <= one < high and low <= last < high:
        return 0, number
    if not (np.isfinite(one) and np.isfinite(last) and max(one, last) >= low and min(one, last) < high):
        return 0, 0
    if along >= 0:
        return _first_from(first, along, start, number, low), _first_from(first, along, start, number, high)
    return _first_from(first, along, start, number, high), _first_from(first, along, start, number, low)


@njit(cache=True, nogil=True, error_model="numpy")
def is_outside(grid, gy, gx, low, high):  # type: ignore[no-untyped-def]
    """Whether all pixels of a cell of a grid are clearly outside the source's rows from `low` on and below `high`.

    A cell whose coordinates are not finite is not.
    """
    nodes = grid.y
    a, b, c, d = nodes[gy, gx], nodes[gy, gx + 1], nodes[gy + 1, gx], nodes[gy + 1, gx + 1]
    if not np.isfinite(a + b + c + d):
        return False
    return max(max(a, b), max(c, d)) < low - 1 or min(min(a, b), min(c, d)) > high + 1
