"""Missing pixels: filled smoothly, since filters need values there, and marked where the fill has an effect."""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit

_MISSING, _QUEUED, _BEYOND = -1, -2, -3  # a pixel without data, one of the next ring, none at all


@njit(cache=True, nogil=True)
def fill_missing(image, known, reach):  # type: ignore[no-untyped-def]
    """Continue an image smoothly into its missing pixels.

    Ring by ring from the edge of the data, a pixel becomes the mean of its (up to eight) neighbours of earlier rings;
    a missing pixel farther than `reach` rings from the data becomes zero.

    Parameters
    ----------
    image : ndarray of float, shape (height, width)
        Changed where not known.
    known : ndarray of uint8, shape (height, width)
        Not zero where the image has data.
    reach : int
        Rings to fill.

    Returns
    -------
    int
        Number of pixels without data.
    """
    height, width = image.shape
    missing_in, missing = np.empty(height, np.int64), 0  # by row: in many an image hardly any row misses a pixel
    for y in range(height):
        row, number = known[y], 0
        for x in range(width):
            number += row[x] == 0
        missing_in[y] = number
        missing += number
    if missing == 0:
        return 0
    ring = np.zeros((height + 2, width + 2), np.int16)  # with a rim, so that every pixel has eight neighbours
    ring[0], ring[-1], ring[:, 0], ring[:, -1] = _BEYOND, _BEYOND, _BEYOND, _BEYOND
    current = np.empty((missing + 1, 2), np.int32)
    following = np.empty((missing + 1, 2), np.int32)
    count = 0
    for y in range(height):
        row, before = known[y], count
        for x in range(width if missing_in[y] else 0):  # without branches
            following[count, 0], following[count, 1] = y, x
            count += row[x] == 0
        for i in range(before, count):
            image[y, following[i, 1]] = 0
            ring[y + 1, following[i, 1] + 1] = _MISSING
    count = 0
    for i in range(missing):
        y, x = following[i, 0], following[i, 1]
        current[count, 0], current[count, 1] = y, x
        count += _touches(ring[y : y + 3, x : x + 3])
    for number in range(1, reach + 1):
        for i in range(count):
            y, x = current[i, 0], current[i, 1]
            total = 0.0
            neighbours = 0
            for j in range(3):
                for k in range(3):
                    if 0 <= ring[y + j, x + k] < number:
                        total += image[y + j - 1, x + k - 1]
                        neighbours += 1
            image[y, x] = total / neighbours
            ring[y + 1, x + 1] = number
        new = 0
        for i in range(count):
            y, x = current[i, 0], current[i, 1]
            for j in range(3):
                for k in range(3):
                    if ring[y + j, x + k] == _MISSING:
                        ring[y + j, x + k] = _QUEUED
                        following[new, 0], following[new, 1] = y + j - 1, x + k - 1
                        new += 1
        current, following = following, current
        count = new
        if count == 0:
            break
    return missing


@njit(cache=True, nogil=True)
def _touches(around):  # type: ignore[no-untyped-def]
    """Whether any of the pixels around one has data."""
    found = False
    for j in range(3):
        for k in range(3):
            found |= around[j, k] == 0
    return found


@njit(cache=True, nogil=True)
def mark_near_missing(known, radius, bit, mask):  # type: ignore[no-untyped-def]
    """Set a mask bit on every pixel within `radius` pixels (a square) of one without data.

    Parameters
    ----------
    known : ndarray of uint8, shape (height, width)
        Zero where there are no data.
    radius : int
        Pixels.
    bit : int
        Value of the mask plane, ORed in.
    mask : ndarray of int32, shape (height, width)
        Changed.
    """
    height, width = known.shape
    flag, depth = np.int32(bit), 2 * radius + 1
    missing = np.zeros(width + 2 * radius, np.bool_)  # of a row, with a margin
    near = np.zeros((depth, width), np.bool_)  # of the last rows: a missing pixel of the same row is near
    some = np.zeros(depth, np.bool_)  # in which of them
    marked = np.empty(width, np.bool_)
    for entering in range(height + radius):
        kept, number = entering % depth, 0
        if entering < height:
            for x in range(width):
                missing[radius + x] = known[entering, x] == 0
                number += known[entering, x] == 0
        some[kept] = number > 0
        if number:
            near[kept] = False
            for d in range(depth):
                for x in range(width):
                    near[kept, x] |= missing[x + d]
        y = entering - radius  # all rows near it have entered
        if y < 0 or not some.any():
            continue
        marked[:] = False
        for j in range(depth):
            if some[j]:
                for x in range(width):
                    marked[x] |= near[j, x]
        for x in range(width):
            mask[y, x] |= flag if marked[x] else 0
