"""Loops over single pixels of visits on a cell: what they show of a sky, the adjoint of this, and which are neighbours.

A place is the index of a pixel in the flattened image of a cell, int32. A visit's response is that of its pixel 0 to
the sky around it, shape (num_terms, 2 reach + 1, 2 reach + 1): response[j, y, x] belongs to the sky at (y - reach,
x - reach). The sky is continued periodically, as Fourier transforms do, by `pad` pixels on each side.
"""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def see_pixels(sky, response, places, side, out):  # type: ignore[no-untyped-def]
    """What a visit shows at some places: the sky times its response.

    Parameters
    ----------
    sky : ndarray of float32, shape (num_terms, side + 2 pad, side + 2 pad)
        Padded; pad is at least the response's reach.
    response : ndarray of float32
        Of the visit.
    places : ndarray of int32, shape (n,)
        Pixels.
    side : int
        Of the cell.
    out : ndarray of float32, shape (n,)
        Overwritten.
    """
    num, size, _ = response.shape
    margin = (sky.shape[1] - side) // 2 - size // 2
    for n in range(len(places)):
        y0, x0 = places[n] // side + margin, places[n] % side + margin
        total = np.float32(0)
        for j in range(num):
            for y in range(size):
                line, row = sky[j, y0 + y, x0 : x0 + size], response[j, y]
                part = np.float32(0)
                for x in range(size):
                    part += line[x] * row[x]
                total += part
        out[n] = total


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def spread_pixels(values, response, places, side, out):  # type: ignore[no-untyped-def]
    """Add the adjoint of `see_pixels` to `out`, which has the shape of the padded sky."""
    num, size, _ = response.shape
    margin = (out.shape[1] - side) // 2 - size // 2
    for n in range(len(places)):
        y0, x0, v = places[n] // side + margin, places[n] % side + margin, values[n]
        for j in range(num):
            for y in range(size):
                line, row = out[j, y0 + y, x0 : x0 + size], response[j, y]
                for x in range(size):
                    line[x] += v * row[x]


@njit(cache=True, nogil=True)
def pad_periodically(images, pad, out):  # type: ignore[no-untyped-def]
    """Continue square images of shape (n, side, side) by `pad` pixels on each side, to `out`."""
    num, side, _ = images.shape
    for j in range(num):
        for y in range(side + 2 * pad):
            line, to = images[j, (y - pad) % side], out[j, y]
            to[:pad] = line[side - pad :]
            to[pad : side + pad] = line
            to[side + pad :] = line[:pad]


@njit(cache=True, nogil=True)
def fold(padded, pad, out):  # type: ignore[no-untyped-def]
    """The adjoint of `pad_periodically`: add what lies in the padding to the pixels that it stands for."""
    num, side, _ = out.shape
    out[:] = 0
    for j in range(num):
        for y in range(side + 2 * pad):
            line, to = padded[j, y], out[j, (y - pad) % side]
            to += line[pad : side + pad]
            to[side - pad :] += line[:pad]
            to[:pad] += line[side + pad :]


@njit(cache=True, nogil=True)
def row_starts(y):  # type: ignore[no-untyped-def]
    """The index of the first of some sorted pixels in each row from 0 on, and their number at the end."""
    starts = np.zeros(y[-1] + 2 if len(y) else 1, np.int64)
    for i in range(len(y)):
        starts[y[i] + 1] += 1
    for row in range(len(starts) - 1):
        starts[row + 1] += starts[row]
    return starts


@njit(cache=True, nogil=True)
def count_neighbours(y, x, reach, most, first):  # type: ignore[no-untyped-def]
    """Number of pairs of pixels that are at most `reach` pixels apart along each axis.

    Parameters
    ----------
    y, x : ndarray of int32, shape (n,)
        Pixels, sorted by y and then by x.
    reach : int
        Pixels.
    most : int
        Counting stops when there are more.
    first : ndarray of int64, shape (n + 1,)
        Overwritten: number of pairs (i, j) with i <= j of all i before. Only as far as it was counted.
    """
    starts, total = row_starts(y), 0
    rows = len(starts) - 1
    first[:] = 0
    for row in range(rows):
        for below in range(row, min(row + reach + 1, rows)):
            low = high = starts[below]  # which both only grow along a row
            end = starts[below + 1]
            for i in range(starts[row], starts[row + 1]):
                if below == row:
                    low = i
                while low < end and x[low] < x[i] - reach:
                    low += 1
                while high < end and x[high] <= x[i] + reach:
                    high += 1
                first[i + 1] += high - low
                total += high - low
        if total > most:
            return total
    for i in range(len(y)):
        first[i + 1] += first[i]
    return total


@njit(cache=True, nogil=True)
def pair_values(y, x, who, response, first, other, value):  # type: ignore[no-untyped-def]
    """The pairs that `count_neighbours` counts, and the response of one visit's pixel to another's.

    Parameters
    ----------
    y, x, who : ndarray of int32, shape (n,)
        Pixels, sorted by y and then by x, and the number of their visit.
    response : ndarray of float32, shape (num_visits (num_visits + 1) / 2, 2 reach + 1, 2 reach + 1)
        [v (v + 1) / 2 + u, dy, dx]: of visit v at a pixel (dy - reach, dx - reach) from that of visit u <= v.
    first : ndarray of int64, shape (n + 1,)
        From `count_neighbours`.
    other : ndarray of int32
        Overwritten: j of each pair.
    value : ndarray of float32
        Overwritten: the response.
    """
    size = response.shape[1]
    reach, area, flat = size // 2, size * size, response.reshape(-1)
    starts = row_starts(y)
    rows = len(starts) - 1
    begin = np.empty(reach + 1, np.int64)
    for row in range(rows):
        last = min(row + reach, rows - 1)
        for below in range(row, last + 1):
            begin[below - row] = starts[below]
        for i in range(starts[row], starts[row + 1]):
            at, u = first[i], who[i]
            for below in range(row, last + 1):
                dy, end = below - row, starts[below + 1]
                low = i if dy == 0 else begin[dy]
                while low < end and x[low] < x[i] - reach:
                    low += 1
                begin[dy] = low
                for j in range(low, end):
                    dx, v = x[j] - x[i], who[j]
                    if dx > reach:
                        break
                    other[at] = j
                    if v >= u:
                        value[at] = flat[(v * (v + 1) // 2 + u) * area + (reach + dy) * size + reach + dx]
                    else:
                        value[at] = flat[(u * (u + 1) // 2 + v) * area + (reach - dy) * size + reach - dx]
                    at += 1


@njit(cache=True, nogil=True, fastmath=True)
def multiply_pairs(first, other, value, vector, out):  # type: ignore[no-untyped-def]
    """The symmetric matrix whose upper triangle `pair_values` gives, times a vector, to `out`."""
    out[:] = 0
    for i in range(len(vector)):
        total, mine = np.float32(0), vector[i]
        begin, end = first[i], first[i + 1]
        for k in range(begin, end):
            j, v = other[k], value[k]
            total += v * vector[j]
            out[j] += v * mine
        # the diagonal, which is the first pair, was added twice
        out[i] += total - value[begin] * mine


@njit(cache=True, nogil=True)
def crop_round(images, reach, out):  # type: ignore[no-untyped-def]
    """Pixels at most `reach` from pixel 0 of periodic square images, to shape (n, 2 reach + 1, 2 reach + 1)."""
    num, side, _ = images.shape
    for n in range(num):
        for y in range(2 * reach + 1):
            line, to = images[n, (y - reach) % side], out[n, y]
            to[:reach] = line[side - reach :]
            to[reach:] = line[: reach + 1]
