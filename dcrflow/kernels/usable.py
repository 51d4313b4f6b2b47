"""Which pixels of a visit's image can be used, and how far the error of a filled pixel is felt."""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.fill import missing_of_row

_TOGETHER = 32  # pixels that are looked at together, since few are bright
_WINDOW = 2  # pixels to each side; range of values from which the error of a filled pixel is estimated


@njit(cache=True, nogil=True)
def usable_pixels(image, variance, mask, bad, known, values):  # type: ignore[no-untyped-def]
    """Find the pixels that measure the sky, and copy their values.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (height, width)
        A visit's pixels.
    mask : ndarray of int32, shape (height, width)
        Its mask.
    bad : int
        Bits of the mask planes that make a pixel unusable.
    known : ndarray of bool, shape (height, width)
        Overwritten: True where the pixel is finite, its variance positive, and none of the bits is set.
    values : ndarray of float32, shape (height, width)
        Overwritten: the image, 0 where it is not known.
    """
    height, width = image.shape
    for y in range(height):
        for x in range(width):  # without branches, so that it is vectorised
            value = image[y, x]
            good = ((mask[y, x] & bad) == 0) & (abs(value) < np.inf) & (variance[y, x] > 0)
            known[y, x] = good
            values[y, x] = value if good else np.float32(0)


@njit(cache=True, nogil=True)
def mark_felt(values, known, noise, responses, most, bit, mask):  # type: ignore[no-untyped-def]
    """Set a mask bit on every pixel that feels the error of a filled pixel too much.

    The error of a filled pixel is estimated as the range of the known values near it beyond that of the noise, plus the
    noise.

    Parameters
    ----------
    values : ndarray of float32, shape (height, width)
        An image, before its unknown pixels are filled.
    known : ndarray of bool, shape (height, width)
        Pixels that have data.
    noise : float
        Standard deviation of the sky.
    responses : ndarray of float64
        Response r to an error farther away than r pixels, for r = 0, 1, ...
    most : float
        What may be left of an error, in units of the noise.
    bit : int
        Bit to set in the mask.
    mask : ndarray of int32, shape (height, width)
        Changed: the unknown pixels themselves are marked, too.
    """
    height, width = known.shape
    furthest = len(responses) - 1
    holes = np.empty(width, np.int32)
    for y in range(height):
        for x in holes[: missing_of_row(known[y], holes)]:
            low, high = np.float32(np.inf), np.float32(-np.inf)
            left, number = np.uint64(max(0, x - _WINDOW)), min(width, x + _WINDOW + 1) - max(0, x - _WINDOW)
            for yy in range(max(0, y - _WINDOW), min(height, y + _WINDOW + 1)):
                row, has = values[np.uint64(yy)], known[np.uint64(yy)]
                for k in range(number):
                    at = left + np.uint64(k)
                    low, high = min(low, row[at] if has[at] else low), max(high, row[at] if has[at] else high)
            error = max(high - low - 5 * noise, 0.0) + noise if high >= low else 0.0
            reach = 0
            while reach < furthest and error * responses[reach] >= most * noise:
                reach += 1
            left, number = np.uint64(max(0, x - reach)), min(width, x + reach + 1) - max(0, x - reach)
            for yy in range(max(0, y - reach), min(height, y + reach + 1)):
                row_mask = mask[np.uint64(yy)]
                for k in range(number):
                    row_mask[left + np.uint64(k)] |= bit


@njit(cache=True, nogil=True, error_model="numpy")
def photon_sums(values, variance, known, least, most, sky):  # type: ignore[no-untyped-def]
    """Sums from which the variance for each nJy of light is fitted.

    Parameters
    ----------
    values, variance : ndarray of float32, shape (height, width)
        A visit's pixels.
    known : ndarray of bool, shape (height, width)
        Those that measure the sky.
    least, most : float
        Light between which a pixel counts.
    sky : float
        Variance of the sky.

    Returns
    -------
    (int, float, float)
        Number of the pixels that count, and their sums of (variance - sky) * light and of light squared.
    """
    height, width = values.shape
    low, high, number, product, square = np.float32(least), np.float32(most), 0, 0.0, 0.0
    for y in range(height):
        row = values[y]
        for first in range(0, width, _TOGETHER):
            end, bright = min(first + _TOGETHER, width), 0
            if end - first == _TOGETHER:
                for i in range(_TOGETHER):
                    bright += row[first + i] > low
                if bright == 0:
                    continue
            for x in range(first, end):
                if (row[x] > low) & (row[x] < high) & known[y, x]:
                    light = np.float64(row[x])
                    number += 1
                    product += (variance[y, x] - sky) * light
                    square += light * light
    return number, product, square
