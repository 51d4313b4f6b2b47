"""Pairs of pixels of visits that are near to each other: a symmetric matrix, and its product with a vector.

Pixels are sorted by row and then by column, so those near a pixel in one row are a *run* of neighbours in this order.
Runs are multiplied eight elements at a time; the elements are filled up with zeros.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.vectors import numbers_at, spread

LANES = 8  #: elements at a time; vectors that are multiplied have as many elements more than there are pixels
_VECTOR = ir.VectorType(ir.FloatType(), LANES)


@intrinsic
def _both_ways(typing, value, at, vector, out, j, mine, total):  # type: ignore[no-untyped-def]
    """Eight elements: add value times `vector` from j on to `total`, and value times `mine` to `out` from j on."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        at, j = (context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (1, 4))
        zero, contract = ir.Constant(ir.IntType(64), 0), ("contract",)
        places = [
            numbers_at(context, builder, signature.args[n], arguments[n], index, LANES)
            for n, index in ((0, at), (2, j), (3, j), (6, zero))
        ]
        value, other, old, sums = (builder.load(place, align=4) for place in places)
        column = builder.fmul(value, spread(builder, _VECTOR, arguments[5]), flags=contract)
        builder.store(builder.fadd(old, column, flags=contract), places[2], align=4)
        row = builder.fmul(value, other, flags=contract)
        builder.store(builder.fadd(sums, row, flags=contract), places[3], align=4)
        return context.get_dummy_value()

    return types.void(value, at, vector, out, j, mine, total), generate


@njit(cache=True, nogil=True)
def row_starts(y):  # type: ignore[no-untyped-def]
    """The index of the first of some sorted pixels in each row from 0 on, and their number at the end."""
    starts = np.zeros(y[-1] + 2 if len(y) else 1, np.int64)
    for i in range(len(y)):
        starts[y[i] + 1] += 1
    for row in range(len(starts) - 1):
        starts[row + 1] += starts[row]
    return starts


@njit(cache=True, nogil=True, error_model="numpy")
def find_runs(y, x, reach, most, of, start, number):  # type: ignore[no-untyped-def]
    """The runs of pixels that are at most `reach` pixels from a pixel along each axis, and not before it.

    Parameters
    ----------
    y, x : ndarray of int32, shape (n,)
        Pixels, sorted by y and then by x.
    reach : int
        Pixels.
    most : int
        Counting stops when there are more pairs.
    of : ndarray of int64, shape (n + 1,)
        Overwritten: index of each pixel's first run, and the number of runs. The first one of a pixel begins with it.
    start, number : ndarray of int32, shape (n (reach + 1),), or (most,) if that is less
        Overwritten: index of each run's first pixel, and how many there are in the run.

    Returns
    -------
    int
        Number of pairs; all is only found if it is not above `most`.
    """
    starts, runs, pairs = row_starts(y), 0, 0
    rows = len(starts) - 1
    low, high = np.empty(reach + 1, np.int64), np.empty(reach + 1, np.int64)  # in each row; they only grow along a row
    for row in range(rows):
        below = min(reach, rows - 1 - row)
        low[: below + 1] = starts[row : row + below + 1]
        high[: below + 1] = low[: below + 1]
        for i in range(starts[row], starts[row + 1]):
            of[i] = runs
            for dy in range(below + 1):
                a, b, end = i if dy == 0 else low[dy], high[dy], starts[row + dy + 1]
                while a < end and x[a] < x[i] - reach:
                    a += 1
                while b < end and x[b] <= x[i] + reach:
                    b += 1
                low[dy], high[dy] = a, b
                if b > a:
                    pairs += b - a
                    if pairs > most:
                        return pairs
                    start[runs], number[runs] = a, b - a
                    runs += 1
    of[len(y)] = runs
    return pairs


@njit(cache=True, nogil=True, error_model="numpy")
def pair_values(y, x, who, response, of, start, number, value):  # type: ignore[no-untyped-def]
    """The response of one visit's pixel to another's, for the pairs of all runs.

    Parameters
    ----------
    y, x, who : ndarray of int32, shape (n,)
        Pixels, sorted by y and then by x, and the number of their visit.
    response : ndarray of float32, shape (num_visits (num_visits + 1) / 2, 2 reach + 1, 2 reach + 1)
        [v (v + 1) / 2 + u, dy, dx]: of visit v at a pixel (dy - reach, dx - reach) from that of visit u <= v.
    of, start, number
        From `find_runs`.
    value : ndarray of float32
        Overwritten: run by run, each filled up to a multiple of `LANES` with zeros.
    """
    size, visits = response.shape[1], int(np.max(who)) + 1 if len(who) else 0
    area, flat = size * size, response.reshape(-1)
    base, sign = np.empty((visits, visits), np.int32), np.empty((visits, visits), np.int32)
    for one in range(visits):
        for other in range(visits):
            high, low = max(one, other), min(one, other)
            base[one, other] = (high * (high + 1) // 2 + low) * area + area // 2
            sign[one, other] = 1 if other >= one else -1
    at = np.uint64(0)
    for i in range(len(y)):
        u = np.uint64(who[i])
        for run in range(of[i], of[i + 1]):
            j, count = np.uint64(start[run]), np.uint64(number[run])  # without a sign, which numba would test
            from_here = np.int32((y[j] - y[i]) * size) - x[i]
            for k in range(count):
                v = np.uint64(who[j + k])
                value[at + k] = flat[np.uint64(base[u, v] + sign[u, v] * (from_here + x[j + k]))]
            at += count
            while at % np.uint64(LANES) != 0:
                value[at] = 0
                at += np.uint64(1)


@njit(cache=True, nogil=True, fastmath=True)
def multiply_pairs(of, start, number, value, vector, out):  # type: ignore[no-untyped-def]
    """The symmetric matrix whose upper triangle `pair_values` gives, times a vector.

    Parameters
    ----------
    of, start, number, value
        From `find_runs` and `pair_values`.
    vector : ndarray of float32, shape (n + LANES,)
        The vector; finite beyond element n, too.
    out : ndarray of float32, shape (n + LANES,)
        Overwritten; zero beyond element n.
    """
    out[:] = 0
    total, at = np.empty(LANES, np.float32), np.uint64(0)
    for i in range(len(of) - 1):
        mine, diagonal = vector[i], value[at]
        total[:] = 0
        for run in range(of[i], of[i + 1]):
            j, end = np.uint64(start[run]), np.uint64(start[run] + number[run])
            while j < end:
                _both_ways(value, at, vector, out, j, mine, total)  # type: ignore[call-arg]
                at += np.uint64(LANES)
                j += np.uint64(LANES)
        # the diagonal, which is the first pair, was added twice
        out[i] += total.sum() - diagonal * mine
