"""Medians of an image in rectangular bins.

Most numbers of a bin are not near the median of the bin above it, which is a good guess: those below it are counted,
and those near it kept. Where the middle number is not among these, all numbers of the bin are taken.

Those kept are counted in buckets between the smallest and the largest. The middle number falls into one of them, whose
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
    columns, widest = len(edges_x) - 1, _widest(edges_x)
    keys, near = np.empty((columns, _widest(edges_y) * widest + 1), np.uint32), np.empty(widest, np.uint32)
    number, below, kept = np.empty(columns, np.int64), np.empty(columns, np.int64), np.empty(columns, np.int64)
    low, high = np.zeros(columns, np.uint32), np.full(columns, _ALL - np.uint32(1))  # between which they are kept
    reach = np.full(columns, np.uint32(1 << 20))  # from the median of the bin above to either
    counts = np.empty(_BUCKETS, np.int32)
    total = 0
    for j in range(len(edges_y) - 1):
        number[:] = below[:] = kept[:] = 0
        for y in range(edges_y[j], edges_y[j + 1]):  # along whole rows, as memory is read fastest
            for i in range(columns):
                row, flags = bits[y, edges_x[i] : edges_x[i + 1]], mask[y, edges_x[i] : edges_x[i + 1]]
                least, span = low[i], np.uint32(high[i] - low[i])
                usable, lower = np.uint32(0), np.uint32(0)
                for x in range(len(row)):
                    key, good = _key(row[x]), ((flags[x] & ignored) == 0) & ((row[x] & _EXPONENT) != _EXPONENT)
                    usable += np.uint32(good)
                    lower += np.uint32(good & (key < least))
                    near[x] = np.uint32(key - least) if good else _ALL
                number[i] += usable
                below[i] += lower
                of_bin, n = keys[i], kept[i]
                for x in range(len(row)):
                    of_bin[n] = near[x] + least
                    n += near[x] <= span
                kept[i] = n
        for i in range(columns):
            total += number[i]
            if number[i] == 0:
                out[j, i] = np.nan
                continue
            even, rank = number[i] % 2 == 0, (number[i] - 1) // 2
            if below[i] <= rank and rank + even < below[i] + kept[i]:
                out[j, i] = _median(keys[i, : kept[i]], rank - below[i], even, counts)
                if 8 * kept[i] > number[i]:
                    reach[i] = max(reach[i] >> np.uint32(1), np.uint32(4))
            else:
                rows, of_bin = slice(edges_y[j], edges_y[j + 1]), slice(edges_x[i], edges_x[i + 1])
                n = _gather(bits[rows, of_bin], mask[rows, of_bin], ignored, keys[i])
                out[j, i] = _median(keys[i, :n], rank, even, counts)
                reach[i] = min(reach[i] << np.uint32(3), np.uint32(1 << 24))
            middle = _key(np.array([out[j, i]], np.float32).view(np.uint32)[0])
            low[i] = middle - min(middle, reach[i])
            high[i] = middle + min(_ALL - np.uint32(1) - middle, reach[i])
    return total


@njit(cache=True, nogil=True)
def _gather(rows, flags, ignored, keys):  # type: ignore[no-untyped-def]
    """Fill in the keys of a bin's usable pixels; returns how many there are."""
    n = 0
    for y in range(rows.shape[0]):
        for x in range(rows.shape[1]):
            keys[n] = _key(rows[y, x])
            n += ((flags[y, x] & ignored) == 0) & ((rows[y, x] & _EXPONENT) != _EXPONENT)
    return n


@njit(cache=True, nogil=True)
def _key(bits):  # type: ignore[no-untyped-def]
    """The bits of a number as an integer: of several, in the same order."""
    return np.uint32(bits ^ (_ALL if bits & _SIGN else _SIGN))


@njit(cache=True, nogil=True)
def _widest(edges):  # type: ignore[no-untyped-def]
    """Size of the largest bin along an axis; to compile numpy's own functions takes some seconds."""
    widest = 0
    for n in range(len(edges) - 1):
        widest = max(widest, edges[n + 1] - edges[n])
    return widest


@njit(cache=True, nogil=True)
def _median(keys, rank, even, counts):  # type: ignore[no-untyped-def]
    """The number of a rank that some keys stand for, or, if `even`, the mean of it and the next.

    Changes the keys, and `counts`, which is work space.
    """
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
