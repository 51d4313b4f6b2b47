"""DCR-matching of many pieces of a patch in one call: each is convolved and merged while it is in the cache."""

from __future__ import annotations

import numpy as np
from numba import njit

from dcrflow.kernels.convolve import convolve_sum, or_footprint
from dcrflow.kernels.merge import is_positive, merge_into


@njit(cache=True, nogil=True, error_model="numpy")
def match_pieces(  # type: ignore[no-untyped-def]
    image, variance, mask, planes, pieces, kernel_of, taps, taps_at, shape, low, noise, noise_at, noise_shape,
    noise_low, light, equal, first, down, right, to_image, to_variance, to_mask, to_weight,
):  # fmt: skip
    """Convolve the subfilters of a patch with their kernels, add them and merge them, piece by piece.

    A piece with a variance that is not finite and positive within reach of its kernel is left out.

    Parameters
    ----------
    image : ndarray of float32, shape (num_subfilters, height, width)
        The patch's subfilters.
    variance, mask : ndarray of float32 and int32, shape (num_subfilters or 1, height, width)
        Of the same pixels.
    planes : int32
        The mask planes that matter.
    pieces : ndarray of int64, shape (num_pieces, 4)
        First row and column in the patch's arrays, height and width of each.
    kernel_of : ndarray of int64, shape (num_pieces,)
        Which of the kernels each piece takes.
    taps, noise : ndarray of float32, shape (any,)
        Taps of all kernels, of image and variance, one kernel after the other; as `convolve_sum` has them.
    taps_at, noise_at : ndarray of int64, shape (num_kernels + 1,)
        Where each begins, and one past the last.
    shape, noise_shape : ndarray of int64, shape (num_kernels, 2)
        Taps along y and x.
    low, noise_low : ndarray of int64, shape (num_kernels, 2, num_subfilters or 1)
        Offset of the first tap along y and x.
    light : ndarray of int64, shape (num_kernels, 4, num_subfilters or 1)
        As `or_footprint` takes it: lowest and highest displacement along y, then along x.
    equal : bool
        Whether all contributors weigh the same.
    first : bool
        Whether this patch is the first for all of its pieces: the merged arrays are cleared there.
    down, right : int
        What to add to a row and a column of the patch's arrays to have those of the merged ones.
    to_image, to_variance, to_mask, to_weight : ndarray
        As `merge_into` takes them; updated.

    Returns
    -------
    ndarray of bool, shape (num_pieces,)
        Which pieces were left out.
    """
    left = np.zeros(len(pieces), np.bool_)
    largest = 0
    for p in range(len(pieces)):
        largest = max(largest, pieces[p, 2] * pieces[p, 3])
    images, variances, masks = np.empty(largest), np.empty(largest, np.float32), np.empty(largest, np.int32)
    for p in range(len(pieces)):
        y0, x0, height, width = pieces[p, 0], pieces[p, 1], pieces[p, 2], pieces[p, 3]
        c, area = kernel_of[p], height * width
        if first:  # cleared here, where it stays in the cache until it is merged into
            here, there = slice(y0 + down, y0 + down + height), slice(x0 + right, x0 + right + width)
            to_image[here, there], to_mask[here, there], to_weight[here, there] = np.nan, 0, 0
        of_image = taps[taps_at[c] : taps_at[c + 1]].reshape((len(image), shape[c, 0], shape[c, 1]))
        of_variance = noise[noise_at[c] : noise_at[c + 1]].reshape(
            (noise_low.shape[2], noise_shape[c, 0], noise_shape[c, 1])
        )
        y_low, x_low = noise_low[c, 0], noise_low[c, 1]
        first_y, first_x = y0 - y_low.max() - noise_shape[c, 0] + 1, x0 - x_low.max() - noise_shape[c, 1] + 1
        if not is_positive(variance, first_y, y0 - y_low.min() + height, first_x, x0 - x_low.min() + width):
            left[p] = True
            continue
        found = images[:area].reshape((height, width))
        spread, bits = variances[:area].reshape((height, width)), masks[:area].reshape((height, width))
        convolve_sum(image, of_image, low[c, 0], low[c, 1], y0, x0, found)
        convolve_sum(variance, of_variance, y_low, x_low, y0, x0, spread)
        or_footprint(mask, planes, light[c, 0], light[c, 1], light[c, 2], light[c, 3], y0, x0, bits)
        merge_into(found, spread, bits, equal, y0 + down, x0 + right, to_image, to_variance, to_mask, to_weight)
    return left
