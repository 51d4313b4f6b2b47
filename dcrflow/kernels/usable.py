"""Which pixels of a visit's image can be used, and how far the error of a filled pixel is felt."""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.fill import missing_of_row

_TOGETHER = 32  # pixels that are looked at together, since few are bright
_WINDOW = 2  # pixels to each side; range of values from which the error of a filled pixel is estimated


@njit(cache=True, nogil=True, error_model="numpy")
def usable_pixels(image, variance, mask, bad, least, most, sky, known, values):  # type: ignore[no-untyped-def]
    """Find the pixels that measure the sky, copy their values, and sum what tells the variance for each nJy of light.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (height, width)
        A visit's pixels.
    mask : ndarray of int32, shape (height, width)
        Its mask.
    bad : int
        Bits of the mask planes that make a pixel unusable.
    least : float
        Light above which a pixel counts for the sums.
    most : float
        Largest absolute value of a usable pixel: one pixel of 1e30 would spoil a whole cell.
    sky : float
        Variance of the sky.
    known : ndarray of bool, shape (height, width)
        Overwritten: True where the pixel is finite, its variance positive, and none of the bits is set.
    values : ndarray of float32, shape (height, width)
        Overwritten: the image, 0 where it is not known.

    Returns
    -------
    (int, float, float)
        Number of the pixels that count, and their sums of (variance - sky) * light and of light squared.
    """
    height, width = image.shape
    low, high, number, product, square = np.float32(least), np.float32(most), 0, 0.0, 0.0
    for y in range(height):
        for x in range(width):  # without branches, so that it is vectorised
            value = image[y, x]
            good = ((mask[y, x] & bad) == 0) & (abs(value) <= high) & (variance[y, x] > 0)
            known[y, x] = good
            values[y, x] = value if good else np.float32(0)
        row = values[y]
        for first in range(0, width, _TOGETHER):
            end, bright = min(first + _TOGETHER, width), 0
            if end - first == _TOGETHER:
                for i in range(_TOGETHER):
                    bright += row[first + i] > low
                if bright == 0:
                    continue
            for x in range(first, end):
                if row[x] > low:
                    light = np.float64(row[x])
                    number += 1
                    product += (variance[y, x] - sky) * light
                    square += light * light
    return number, product, square


@njit(cache=True, nogil=True)
def mark_felt(values, known, first_row, last_row, noise, responses, most, spoilt):  # type: ignore[no-untyped-def]
    """Mark the places between pixels that feel the error of a filled pixel too much.

    The error of a filled pixel is estimated as the range of the known values near it beyond that of the noise, plus the
    noise.

    Parameters
    ----------
    values : ndarray of float32, shape (height, width)
        An image, before its unknown pixels are filled.
    known : ndarray of bool, shape (height, width)
        Pixels that have data.
    first_row, last_row : int
        Of the filled pixels that are looked at, and one past the last.
    noise : float
        Standard deviation of the sky.
    responses : ndarray of float64
        Response r to an error farther away than r pixels, for r = 0, 1, ...
    most : float
        What may be left of an error, in units of the noise.
    spoilt : ndarray of uint8, shape (height, width)
        Set to 1 where one of the pixels (y, x) to (y + 1, x + 1) feels too much, or is unknown itself.
    """
    height, width = known.shape
    furthest = len(responses) - 1
    holes = np.empty(width, np.int32)
    lowest, highest = np.empty(width, np.float32), np.empty(width, np.float32)  # of the columns of a row's window
    for y in range(first_row, last_row):
        top, bottom = max(0, y - _WINDOW), min(height, y + _WINDOW + 1)
        seen = latest = -1  # columns up to `seen` are in `lowest` and `highest`; the last of them that has data
        for x in holes[: missing_of_row(known[y], holes)]:
            first, last = max(0, x - _WINDOW), min(width, x + _WINDOW + 1)
            for xx in range(max(first, seen + 1), last):
                column, some = np.uint64(xx), False
                low, high = np.float32(np.inf), np.float32(-np.inf)
                for yy in range(top, bottom):
                    some |= known[np.uint64(yy), column]
                if some:
                    latest = xx
                    for yy in range(top, bottom):
                        value, has = values[np.uint64(yy), column], known[np.uint64(yy), column]
                        low, high = min(low, value if has else low), max(high, value if has else high)
                lowest[column], highest[column] = low, high
            seen = last - 1
            reach = 0
            if latest >= first:  # far inside a gap there is nothing
                low, high = np.float32(np.inf), np.float32(-np.inf)
                for xx in range(first, last):
                    low, high = min(low, lowest[np.uint64(xx)]), max(high, highest[np.uint64(xx)])
                error = max(high - low - 5 * noise, 0.0) + noise
                while reach < furthest and error * responses[reach] >= most * noise:
                    reach += 1
            left = np.uint64(max(0, x - reach - 1))
            number = min(width, x + reach + 1) - max(0, x - reach - 1)
            for yy in range(max(0, y - reach - 1), min(height, y + reach + 1)):
                for k in range(number):  # not by a view of the row, which would be counted as a reference
                    spoilt[np.uint64(yy), left + np.uint64(k)] = 1
