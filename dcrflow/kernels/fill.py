"""Missing pixels: filled smoothly, since filters need values there, and marked where the fill has an effect."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dcrflow.compat.numba_cache import njit

_MISSING, _QUEUED, _BEYOND = 255, 254, 253  # a pixel without data, one of the next ring, none at all
_MOST = 252  # rings
_ONE, _TWO = np.uint64(1), np.uint64(2)
_TOGETHER = 8  # pixels that are looked at together, since nearly all are known
_EACH, _HIGHEST = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)  # bits of each of eight bytes


@intrinsic
def _eight_bytes(typing, row, first):  # type: ignore[no-untyped-def]
    """Eight bytes of a row, from `first` on, as one integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        at = context.cast(builder, arguments[1], signature.args[1], types.intp)
        word = ir.IntType(64)
        return builder.load(builder.bitcast(builder.gep(array.data, [at]), word.as_pointer()), align=1)

    return types.uint64(row, first), generate


@njit(cache=True, nogil=True)
def missing_of_row(known, out):  # type: ignore[no-untyped-def]
    """Write the indices of the pixels of a row that are not known, in order; returns their number.

    Parameters
    ----------
    known : ndarray of uint8 or bool, shape (width,)
        0 where there are no data; contiguous.
    out : ndarray of int, shape (width,)
        Overwritten; those beyond the number that is returned have no meaning.
    """
    width, count = len(known), 0
    whole = width // _TOGETHER * _TOGETHER
    for first in range(0, whole, _TOGETHER):
        eight = _eight_bytes(known, first)  # type: ignore[call-arg, var-annotated]
        if ((eight - _EACH) & ~eight & _HIGHEST) == 0:  # no byte is 0
            continue
        for x in range(first, first + _TOGETHER):  # without branches
            out[count] = x
            count += known[x] == 0
    for x in range(whole, width):
        out[count] = x
        count += known[x] == 0
    return count


@njit(cache=True, nogil=True)
def fill_missing(image, known, reach):  # type: ignore[no-untyped-def]
    """Continue an image smoothly into its missing pixels.

    Ring by ring from the edge of the data, a pixel becomes the mean of its (up to eight) neighbours of earlier rings;
    a missing pixel farther than `reach` rings (252 at most) from the data becomes zero.

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
    holes = np.empty(width, np.int32)
    for y in range(height):
        missing_in[y] = missing_of_row(known[y], holes)
        missing += missing_in[y]
    if missing == 0:
        return 0
    ring = np.zeros((height + 2, width + 2), np.uint8)  # with a rim, so that every pixel has eight neighbours
    ring[0], ring[-1], ring[:, 0], ring[:, -1] = _BEYOND, _BEYOND, _BEYOND, _BEYOND
    current = np.empty((missing + 1, 2), np.int32)
    following = np.empty((missing + 1, 2), np.int32)
    count = 0
    for y in range(height):
        if missing_in[y] == 0:
            continue
        for x in holes[: missing_of_row(known[y], holes)]:
            following[count, 0], following[count, 1] = y, x
            image[y, x] = 0
            ring[y + 1, x + 1] = _MISSING
            count += 1
    count = 0
    for i in range(missing):
        top, left = np.uint64(following[i, 0]), np.uint64(following[i, 1])  # without a sign, which numba would test
        current[count, 0], current[count, 1] = following[i, 0], following[i, 1]
        touches = (ring[top + _ONE, left] == 0) | (ring[top + _ONE, left + _TWO] == 0)
        for k in range(3):  # not by views of the rows, which would be counted as references
            touches |= (ring[top, left + np.uint64(k)] == 0) | (ring[top + _TWO, left + np.uint64(k)] == 0)
        if touches:
            ring[top + _ONE, left + _ONE] = _QUEUED
            count += 1
    for number in range(1, min(reach, _MOST) + 1):
        new = 0
        for i in range(count):
            top, left = np.uint64(current[i, 0]), np.uint64(current[i, 1])
            total = 0.0
            neighbours = 0
            for j in range(3):
                for k in range(3):
                    y_around, x_around = top + np.uint64(j), left + np.uint64(k)
                    state = ring[y_around, x_around]
                    if state < number:
                        total += image[y_around - _ONE, x_around - _ONE]
                        neighbours += 1
                    elif state == _MISSING:
                        ring[y_around, x_around] = _QUEUED
                        following[new, 0], following[new, 1] = current[i, 0] + j - 1, current[i, 1] + k - 1
                        new += 1
            image[top, left] = total / neighbours
            ring[top + _ONE, left + _ONE] = number
        current, following = following, current
        count = new
        if count == 0:
            break
    return missing


@njit(cache=True, nogil=True)
def continue_beyond(image, y0, y1, x0, x1):  # type: ignore[no-untyped-def]
    """Continue the part [y0:y1, x0:x1] of an image to all of it: what `fill_missing` does around a whole rectangle.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
        Changed outside the part, which is not empty.
    y0, y1, x0, x1 : int
        The part.
    """
    height, width = image.shape
    while y0 > 0 or y1 < height or x0 > 0 or x1 < width:
        top, bottom, left, right = y0 - 1, y1, x0 - 1, x1  # rows and columns of the next ring, where there is room
        for y, inner in ((top, y0), (bottom, y1 - 1)):
            if 0 <= y < height:
                _ring_pixels(image[inner, x0:x1], image[y, x0:x1])
        for x, inner in ((left, x0), (right, x1 - 1)):
            if 0 <= x < width:
                _ring_pixels(image[y0:y1, inner], image[y0:y1, x])
                for y, corner in ((top, y0), (bottom, y1 - 1)):
                    if 0 <= y < height:
                        image[y, x] = image[corner, inner]
        y0, y1, x0, x1 = max(top, 0), min(bottom + 1, height), max(left, 0), min(right + 1, width)


@njit(cache=True, nogil=True)
def _ring_pixels(inner, out):  # type: ignore[no-untyped-def]
    """A side of a ring: means of the two or three pixels beside each."""
    last = len(inner) - 1
    for i in range(1, last):
        out[i] = (inner[i - 1] + inner[i] + inner[i + 1]) / np.float32(3)
    out[0], out[last] = (inner[0] + inner[min(1, last)]) / 2, (inner[last] + inner[max(0, last - 1)]) / 2


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
