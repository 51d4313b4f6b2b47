"""Weighted means of overlapping pixels, one contributor after the other.

`merge_into` takes 16 pixels of a row at a time, for which it has vectors of its own. Elsewhere rows are done array by
array: LLVM vectorises such loops, but not loops over more than a few arrays, nor loops over rows whose pixels may lie
apart in memory. Hence the functions take whole arrays and offsets, not views.
"""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.row_vectors import TOGETHER, merge_pixels, some_not_positive


@njit(cache=True, nogil=True, error_model="numpy")
def merge_into(contributor, equal, y0, x0, merged, ahead=0):  # type: ignore[no-untyped-def]
    """Add one contributor to a running weighted mean.

    The weight is variance^-1/2, or 1 if `equal`. A pixel whose image is not finite, or whose variance is not finite
    and positive, has no weight, and its mask is not taken over. Where nothing has weight a finite image value is kept,
    with weight 0, because filters need the values of its neighbours. The variance is averaged with the same weights:
    overlapping coadds share their photons, so adding them up gains nothing. A pixel with one contributor keeps its
    value to the last bit.

    Parameters
    ----------
    contributor : MaskedImage
        Arrays of shape (height, width), contiguous along x as those of the mean.
    equal : bool
        Whether all contributors weigh the same.
    y0, x0 : int
        Pixel of the running mean that the contributor's first pixel lies on.
    merged : RunningMean
        At least of shape (y0 + height, x0 + width); updated. Start with NaN, any variance, 0 and 0.
    ahead : int
        Pixels of the mean that lie so far ahead in memory are asked for: those that are merged next.
    """
    height, width = contributor.image.shape
    whole = width // TOGETHER * TOGETHER
    image, variance, mask = contributor.image, contributor.variance, contributor.mask
    means, spreads, flags, weights = merged.image, merged.variance, merged.mask, merged.weight
    for y in range(height):
        row = y0 + y
        for x in range(0, whole, TOGETHER):
            merge_pixels(image, variance, mask, y, x, equal, means, spreads, flags, weights, row, x0 + x, ahead)  # type: ignore[call-arg]
        _add_to_row(
            image[y, whole:], variance[y, whole:], mask[y, whole:], equal,
            means[row, x0 + whole :], spreads[row, x0 + whole :], flags[row, x0 + whole :], weights[row, x0 + whole :],
        )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def begin_mean(contributor, equal, y0, x0, merged):  # type: ignore[no-untyped-def]
    """Begin a running weighted mean with its first contributor: `merge_into` of a cleared mean, in one pass.

    Parameters are those of `merge_into`, but image, mask and weight of `merged` need not be set before. Its variance
    stays as it is where the contributor has no weight. Returns of how many pixels that is so.
    """
    height, width = contributor.image.shape
    good = np.empty(width, np.bool_)
    without_weight = height * width
    for y in range(height):
        row, end = y0 + y, x0 + width
        values, variances, bits = contributor.image[y], contributor.variance[y], contributor.mask[y]
        means, flags = merged.image[row, x0:end], merged.mask[row, x0:end]
        _begin_row(values, variances, equal, good, merged.variance[row, x0:end], merged.weight[row, x0:end])
        for x in range(width):
            means[x] = values[x] if np.isfinite(values[x]) else np.nan
        for x in range(width):
            flags[x] = bits[x] if good[x] else 0
        for x in range(width):
            without_weight -= good[x]
    return without_weight


@njit(cache=True, nogil=True, error_model="numpy")
def _begin_row(values, variances, equal, good, spreads, weights):  # type: ignore[no-untyped-def]
    """Variance and weight of a row of which no pixel has a contributor yet; fills `good`: which pixels have weight."""
    width = len(values)
    for x in range(width):
        good[x] = np.isfinite(values[x]) & (variances[x] > 0) & (variances[x] < np.inf)
    for x in range(width):
        spreads[x] = variances[x] if good[x] else spreads[x]
    if equal:
        for x in range(width):
            weights[x] = good[x]
    else:
        for x in range(width):
            weights[x] = np.float32(1) / np.sqrt(variances[x]) if good[x] else np.float32(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_to_row(values, variances, bits, equal, means, spreads, flags, weights):  # type: ignore[no-untyped-def]
    """Add one contributor to a row of which some pixels have others."""
    for x in range(len(values)):
        v, value, total = variances[x], values[x], weights[x]
        if not np.isfinite(value):
            continue
        if not (np.isfinite(v) and v > 0):
            if np.isnan(means[x]):
                means[x] = value
            continue
        weight = np.float32(1) if equal else np.float32(1) / np.sqrt(v)
        if total == 0:
            means[x], spreads[x] = value, v
        else:
            share = np.float64(weight) / (np.float64(total) + weight)
            means[x] += (value - means[x]) * share
            spreads[x] += (v - spreads[x]) * share
        flags[x] |= bits[x]
        weights[x] = total + weight


@njit(cache=True, nogil=True, error_model="numpy")
def mean_of_two(first, second, equal, fill, no_data, y0, x0, out):  # type: ignore[no-untyped-def]
    """Weighted mean of two contributors of the same pixels, in one pass: `begin_mean` of one, `merge_into` of another.

    Parameters
    ----------
    first, second : MaskedImage
        Arrays of shape (height, width), none of them one of `out`.
    equal : bool
        Whether both weigh the same.
    fill : float32
        Image and variance of a pixel that has no weight.
    no_data : int32
        What is set in the mask of such a pixel, beside the planes that the contributors have there.
    y0, x0 : int
        Pixel of `out` that the contributors' first pixel lies on.
    out : MaskedImage
        Image of float32, at least of shape (y0 + height, x0 + width); filled there.
    """
    height, width = first.image.shape
    weights, others = np.empty(width, np.float32), np.empty(width, np.float32)
    shares = np.empty(width)
    for y in range(height):
        row, end = y0 + y, x0 + width
        _weigh(first.image[y], first.variance[y], equal, weights)
        _weigh(second.image[y], second.variance[y], equal, others)
        for x in range(width):
            shares[x] = np.float64(others[x]) / (np.float64(weights[x]) + others[x])
        _mean_of_rows(first.image[y], second.image[y], weights, others, shares, fill, out.image[row, x0:end])
        _mean_of_rows(first.variance[y], second.variance[y], weights, others, shares, fill, out.variance[row, x0:end])
        one, other, flags = first.mask[y], second.mask[y], out.mask[row, x0:end]
        for x in range(width):
            none = (weights[x] == 0) & (others[x] == 0)
            bits = (one[x] if (weights[x] > 0) | none else 0) | (other[x] if (others[x] > 0) | none else 0)
            flags[x] = bits | (no_data if none else 0)


@njit(cache=True, nogil=True, error_model="numpy")
def _weigh(values, variances, equal, weights):  # type: ignore[no-untyped-def]
    """Fill the weights of a row of a contributor, 0 for pixels without."""
    for x in range(len(weights)):
        good = np.isfinite(values[x]) & (variances[x] > 0) & (variances[x] < np.inf)
        weight = np.float32(1) if equal else np.float32(1) / np.sqrt(variances[x])
        weights[x] = weight if good else np.float32(0)


@njit(cache=True, nogil=True, error_model="numpy")
def _mean_of_rows(one, other, weights, others, shares, fill, out):  # type: ignore[no-untyped-def]
    """Fill a row: the mean of two rows that count so much."""
    for x in range(len(out)):
        mean = np.float32(one[x] + (other[x] - one[x]) * shares[x])
        alone = one[x] if weights[x] > 0 else fill
        out[x] = (mean if weights[x] > 0 else other[x]) if others[x] > 0 else alone


@njit(cache=True, nogil=True)
def is_positive(stack, y0, y1, x0, x1):  # type: ignore[no-untyped-def]
    """Whether all images of a stack are finite and above zero in rows y0 to y1 and columns x0 to x1."""
    for k in range(len(stack)):
        for y in range(y0, y1):
            if x1 - x0 >= TOGETHER:
                if some_not_positive(stack[k], y, x0, x1 - x0):  # type: ignore[call-arg]
                    return False
                continue
            for x in range(x0, x1):
                if not (stack[k, y, x] > 0 and stack[k, y, x] < np.inf):
                    return False
    return True


@njit(cache=True, nogil=True)
def is_whole(image, weight, y0, y1, x0, x1):  # type: ignore[no-untyped-def]
    """Whether part of a merged image, rows y0 to y1 and columns x0 to x1, is finite and has weight everywhere."""
    for y in range(y0, y1):
        values, weights = image[y, x0:x1], weight[y, x0:x1]
        missing = 0
        for x in range(x1 - x0):
            missing += (weights[x] == 0) | ~np.isfinite(values[x])
        if missing:
            return False
    return True


@njit(cache=True, nogil=True)
def is_usable(image, variance):  # type: ignore[no-untyped-def]
    """Whether all pixels of a contributor have weight: the image finite, the variance finite and positive."""
    for y in range(len(image)):
        values, variances = image[y], variance[y]
        bad = 0
        for x in range(len(values)):
            bad += ~(np.isfinite(values[x]) & (variances[x] > 0) & (variances[x] < np.inf))
        if bad:
            return False
    return True


@njit(cache=True, nogil=True)
def valid_masks(merged, y0, y1, x0, x1, finite, weighed):  # type: ignore[no-untyped-def]
    """Say where a running mean has data; its variance becomes zero where nothing has weight.

    Parameters
    ----------
    merged : RunningMean
        From `merge_into`; its variance is changed.
    y0, y1, x0, x1 : int
        The rows and columns to look at.
    finite, weighed : ndarray of bool, shape (height, width)
        Filled there: where the image is finite, and where something has weight.
    """
    for y in range(y0, y1):
        is_finite, has_weight = finite[y, x0:x1], weighed[y, x0:x1]
        values, spreads, weights = merged.image[y, x0:x1], merged.variance[y, x0:x1], merged.weight[y, x0:x1]
        for x in range(x1 - x0):
            is_finite[x] = np.isfinite(values[x])
        for x in range(x1 - x0):
            has_weight[x] = weights[x] > 0
        for x in range(x1 - x0):
            spreads[x] = spreads[x] if weights[x] > 0 else np.float32(0)
