"""Weighted means of overlapping pixels, taken one contributor after the other."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def merge_into(image, variance, mask, equal, to_image, to_variance, to_mask, to_weight):  # type: ignore[no-untyped-def]
    """Add one contributor to a running weighted mean.

    The weight is variance^-1/2, or 1 if `equal`. A pixel whose image is not finite, or whose variance is not finite
    and positive, weighs nothing and leaves its mask behind; where nothing has weight a finite image value is kept, with
    weight 0, for the sake of filters that need its neighbours. The variance is averaged with the same weights:
    overlapping coadds share their photons, so nothing is gained by adding them up. A pixel with one contributor keeps
    its value to the last bit.

    Parameters
    ----------
    image : ndarray of float, shape (height, width)
        Contributor.
    variance : ndarray of float32, shape (height, width)
        Contributor.
    mask : ndarray of int32, shape (height, width)
        Contributor.
    equal : bool
        Whether all contributors weigh the same.
    to_image, to_variance, to_mask, to_weight : ndarray, shape (height, width)
        The running means, the ORed masks, and the sum of the weights; updated. Start with NaN, NaN, 0 and 0.
    """
    height, width = image.shape
    for y in range(height):
        for x in range(width):
            v = variance[y, x]
            value = image[y, x]
            if not np.isfinite(value):
                continue
            total = to_weight[y, x]
            if not (np.isfinite(v) and v > 0):
                if np.isnan(to_image[y, x]):
                    to_image[y, x] = value
                continue
            weight = 1.0 if equal else 1.0 / np.sqrt(np.float64(v))
            if total == 0.0:
                to_image[y, x] = value
                to_variance[y, x] = v
                to_mask[y, x] |= mask[y, x]
            else:
                share = weight / (total + weight)
                to_image[y, x] += (value - to_image[y, x]) * share
                to_variance[y, x] += (v - to_variance[y, x]) * share
                to_mask[y, x] |= mask[y, x]
            to_weight[y, x] = total + weight


@njit(cache=True, nogil=True)
def settle(image, variance, weight, known, weighed):  # type: ignore[no-untyped-def]
    """Tell where a merged image has data.

    Parameters
    ----------
    image, variance, weight : ndarray, shape (height, width)
        From `merge_into`; the variance becomes zero where nothing has weight.
    known, weighed : ndarray of bool, shape (height, width)
        Filled: where the image is finite, and where something has weight.
    """
    height, width = image.shape
    for y in range(height):
        for x in range(width):
            known[y, x] = np.isfinite(image[y, x])
            some = weight[y, x] > 0
            weighed[y, x] = some
            if not some:
                variance[y, x] = 0
