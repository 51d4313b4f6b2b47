"""Round pixels below their noise, so that they compress.

A pixel of float32 carries 24 bits, of which the noise leaves a handful that mean anything; the rest are random and do
not compress. Images are rounded to multiples of a power-of-two step that is a small share of the noise, which adds
step^2 / 12 to the variance (Widrow & Kollar 2008, Quantization Noise, eq. 1.14): for 16 steps a sigma 0.03 % at most.
Variances keep 8 bits behind the leading one. The type stays float32, so readers need no change.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dcrflow.compat.numba_cache import njit

#: Side of the blocks in which one step is used, pixels.
BLOCK = 32

#: Bits of a variance's mantissa that are kept behind the leading one: values change by 2^-9 of themselves at most.
VARIANCE_BITS = 8

_DROPPED = 23 - VARIANCE_BITS
_HALF, _KEEP = np.uint32((1 << (_DROPPED - 1)) - 1), np.uint32(0xFFFFFFFF << _DROPPED & 0xFFFFFFFF)

# In float32, numbers around 1.5 * 2^23 are one apart: adding and taking it away rounds to whole numbers, ties to even.
_TO_WHOLE, _LARGEST = np.float32(12582912.0), np.float32(4194304.0)
_NONE = np.uint32(0x7F7FFFFF)
_INFINITE = np.uint32(0x7F800000)


@njit(cache=True, nogil=True, error_model="numpy")
def round_image(image, variance, precision, steps):  # type: ignore[no-untyped-def]
    """Round an image in place to multiples of a power of two, block by block.

    The step of a block is the largest power of two with at least `precision` steps a sigma, sigma^2 being the smallest
    usable variance in the block: where a source adds to the variance, the step is that of the sky beside it. What is
    not finite stays as it is, and so do values above 2^22 steps, of which at most one bit is below the step.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
        nJy; changed.
    variance : ndarray of float32, shape (height, width)
        nJy^2, of the same pixels; one that is not finite and positive is not usable.
    precision : float
        Steps a sigma, at least.
    steps : ndarray of float32, shape (ceil(height / BLOCK), ceil(width / BLOCK))
        Filled with the step of each block, nJy; 0 where no variance is usable and nothing was rounded.
    """
    height, width = image.shape
    bits, found = variance.view(np.uint32), np.empty(1, np.uint32)
    for j in range(steps.shape[0]):
        y0, y1 = j * BLOCK, min(height, (j + 1) * BLOCK)
        for i in range(steps.shape[1]):
            x0, x1 = i * BLOCK, min(width, (i + 1) * BLOCK)
            least = _NONE  # among bits - 1: those of positive finite numbers come first, in the order of the numbers
            for y in range(y0, y1):
                row = bits[y, x0:x1]
                for x in range(len(row)):
                    least = min(least, row[x] - np.uint32(1))
            steps[j, i] = 0
            if least == _NONE:
                continue
            found[0] = least + np.uint32(1)
            smallest = found.view(np.float32)[0]
            exponent = math.floor(math.log2(math.sqrt(np.float64(smallest)) / precision))
            if exponent < -126:  # the step would not be a normal number
                continue
            step = np.float32(2.0**exponent)
            inverse = np.float32(1.0) / step
            if not inverse < np.float32(np.inf):
                continue
            steps[j, i] = step
            for y in range(y0, y1):
                row = image[y, x0:x1]
                for x in range(len(row)):
                    scaled = row[x] * inverse
                    whole = ((scaled + _TO_WHOLE) - _TO_WHOLE) * step
                    row[x] = whole if abs(scaled) < _LARGEST else row[x]


@njit(cache=True, nogil=True)
def round_variance(variance):  # type: ignore[no-untyped-def]
    """Round a variance in place to `VARIANCE_BITS` bits behind the leading one, ties to even.

    Parameters
    ----------
    variance : ndarray of float32, one-dimensional
        nJy^2; changed. What is not finite stays as it is, and so does what would become infinite.
    """
    bits = variance.view(np.uint32)
    for k in range(len(bits)):
        value = bits[k]
        if value & _INFINITE != _INFINITE:
            rounded = (value + _HALF + ((value >> np.uint32(_DROPPED)) & np.uint32(1))) & _KEEP
            if rounded & _INFINITE != _INFINITE:
                bits[k] = rounded


def round_pixels(
    image: NDArray[np.float32], variance: NDArray[np.float32], precision: float
) -> tuple[float, float] | None:
    """Round an image and its variance in place, see `round_image` and `round_variance`.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (height, width), C-contiguous
        nJy and nJy^2; changed.
    precision : float
        Steps a sigma, at least; positive.

    Returns
    -------
    (float, float) or None
        The smallest and the largest step, nJy; None if nothing was rounded.
    """
    steps = np.zeros((-(-image.shape[0] // BLOCK), -(-image.shape[1] // BLOCK)), np.float32)
    round_image(image, variance, np.float64(precision), steps)
    round_variance(variance.reshape(-1))
    used = steps[steps > 0]
    return (float(used.min()), float(used.max())) if used.size else None
