"""Medians of an image in rectangular bins.

The numbers between the smallest and the largest are counted in buckets. The middle number falls into one of them, whose
numbers are counted in finer buckets, and so on until all numbers of a bucket are equal. That takes two or three passes
as a rule, without a branch for each pixel; selecting by comparison takes many times as long.
"""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit

_SIGN, _EXPONENT, _ALL = np.uint32(1 << 31), np.uint32(0xFF << 23), np.uint32(0xFFFFFFFF)
_BUCKETS = 512


@njit(cache=True, nogil=True)
def binned_median(values, mask, ignored, edges_y, edges_x, out):  # type: ignore[no-untyped-def]
    """Median of the usable pixels of each bin.

    Parameters
    ----------
    values : ndarray of float32, shape (height, width)
        A pixel that is not finite is not usable.
    mask : ndarray of int32, shape (height, width)
        Of the same pixels.
    ignored : int
        Bits of the mask that make a pixel unusable.
    edges_y, edges_x : ndarray of int64, shape (ny + 1,) and (nx + 1,)
        First row and column of each bin, and one past the last.
    out : ndarray of float64, shape (ny, nx)
        Filled; NaN for a bin without usable pixels.

    Returns
    -------
    int
        Number of usable pixels.
    """
    bits, ignored = values.view(np.uint32), np.int32(ignored)
    columns = len(edges_x) - 1
    keys = np.empty((columns, _widest(edges_y) * _widest(edges_x) + 1), np.uint32)
    number, counts = np.zeros(columns, np.int64), np.empty(_BUCKETS, np.int32)
    total = 0
    for j in range(len(edges_y) - 1):
        number[:] = 0
        for y in range(edges_y[j], edges_y[j + 1]):  # along whole rows, as memory is read fastest
            for i in range(columns):
                row, flags = bits[y, edges_x[i] : edges_x[i + 1]], mask[y, edges_x[i] : edges_x[i + 1]]
                of_bin, n = keys[i], number[i]
                for x in range(len(row)):
                    of_bin[n] = row[x] ^ (_ALL if row[x] & _SIGN else _SIGN)  # as integers, in the same order
                    n += ((flags[x] & ignored) == 0) & ((row[x] & _EXPONENT) != _EXPONENT)
                number[i] = n
        for i in range(columns):
            out[j, i] = _median(keys[i, : number[i]], counts) if number[i] else np.nan
            total += number[i]
    return total


@njit(cache=True, nogil=True)
def _widest(edges):  # type: ignore[no-untyped-def]
    """Size of the largest bin along an axis; to compile numpy's own functions takes some seconds."""
    widest = 0
    for n in range(len(edges) - 1):
        widest = max(widest, edges[n + 1] - edges[n])
    return widest


@njit(cache=True, nogil=True)
def _median(keys, counts):  # type: ignore[no-untyped-def]
    """Median of the numbers that some keys stand for; changes the keys, and `counts`, which is work space."""
    even, rank = len(keys) % 2 == 0, (len(keys) - 1) // 2
    low, high, above = _ALL, np.uint32(0), _ALL
    for k in range(len(keys)):
        low, high = min(low, keys[k]), max(high, keys[k])
    while low < high:
        shift = 0
        while (high - low) >> np.uint32(shift) >= len(counts):
            shift += 1
        counts[:] = 0
        for k in range(len(keys)):
            counts[(keys[k] - low) >> np.uint32(shift)] += 1
        bucket = 0
        while rank >= counts[bucket]:
            rank -= counts[bucket]
            bucket += 1
        low = np.uint32(low + (bucket << shift))
        high = np.uint32(min(high, low + (1 << shift) - 1))
        kept = 0
        for k in range(len(keys)):
            key = keys[k]
            above = min(above, key if key > high else _ALL)
            keys[kept] = key
            kept += (low <= key) & (key <= high)
        keys = keys[:kept]
    if even and rank + 1 == len(keys):
        return (_value(low) + _value(above)) / 2
    return _value(low)


@njit(cache=True, nogil=True)
def _value(key):  # type: ignore[no-untyped-def]
    one = np.empty(1, np.uint32)
    one[0] = key ^ (_SIGN if key & _SIGN else _ALL)
    return np.float64(one.view(np.float32)[0])
