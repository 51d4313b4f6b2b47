"""DCR-matching of many pieces of a patch in one call: each is convolved and merged while it is in the cache.

Each row of a piece is on another page of memory, where the processor fetches nothing ahead by itself. So while a piece
is made, the pixels of the next one are asked for.
"""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.arrays import LightRange, MaskedImage
from dcrflow.kernels.convolve import convolve_sum, or_shifted
from dcrflow.kernels.merge import begin_mean, is_positive, merge_into


@njit(cache=True, nogil=True, error_model="numpy")
def match_pieces(patch, planes, pieces, kernels, equal, begins, y_offset, x_offset, merged):  # type: ignore[no-untyped-def]
    """Convolve the subfilters of a patch with their kernels, add them and merge them, piece by piece.

    A piece with a variance that is not finite and positive within reach of its kernel is left out.

    Parameters
    ----------
    patch : MaskedImage
        The patch's subfilters, image of float32, arrays of three axes.
    planes : int32
        The mask planes that matter.
    pieces : ndarray of int64, shape (num_pieces, 4)
        First row and column in the patch's arrays, height and width of each.
    kernels : CellTable
        The kernels of the pieces.
    equal : bool
        Whether all contributors weigh the same.
    begins : ndarray of bool, shape (num_pieces,)
        On which pieces the running mean begins: what is there is anything, and no contributor.
    y_offset, x_offset : int
        What to add to a row and a column of the patch's arrays to have those of the running mean.
    merged : RunningMean
        Updated.

    Returns
    -------
    skipped : ndarray of bool, shape (num_pieces,)
        Which pieces were left out.
    whole : bool
        Whether all pixels have weight of those pieces on which the mean begins.
    """
    whole = True
    skipped = np.zeros(len(pieces), np.bool_)
    largest = 0
    for p in range(len(pieces)):
        largest = max(largest, pieces[p, 2] * pieces[p, 3])
    images, variances, masks = np.empty(largest), np.empty(largest, np.float32), np.empty(largest, np.int32)
    for p in range(len(pieces)):
        y0, x0, height, width = pieces[p, 0], pieces[p, 1], pieces[p, 2], pieces[p, 3]
        c, area = kernels.kernel_of[p], height * width
        table = kernels.variance
        y_low, x_low = table.low[c, 0], table.low[c, 1]
        first_y, first_x = y0 - y_low.max() - table.shape[c, 0] + 1, x0 - x_low.max() - table.shape[c, 1] + 1
        if not is_positive(patch.variance, first_y, y0 - y_low.min() + height, first_x, x0 - x_low.min() + width):
            skipped[p] = True
            if begins[p]:
                whole = False
                rows = slice(y0 + y_offset, y0 + y_offset + height)
                columns = slice(x0 + x_offset, x0 + x_offset + width)
                merged.image[rows, columns], merged.mask[rows, columns], merged.weight[rows, columns] = np.nan, 0, 0
            continue
        image, variance = images[:area].reshape((height, width)), variances[:area].reshape((height, width))
        mask = masks[:area].reshape((height, width))
        following = pieces[min(p + 1, len(pieces) - 1)]
        down, along = following[0] - y0, following[1] - x0  # rows and columns to the next piece
        ahead = down * (patch.variance.strides[1] // 4) + along
        convolve_sum(patch.variance, _taps(table, c), y_low, x_low, y0, x0, variance, ahead)
        table = kernels.image
        ahead = down * (patch.image.strides[1] // 4) + along
        convolve_sum(patch.image, _taps(table, c), table.low[c, 0], table.low[c, 1], y0, x0, image, ahead)
        light = LightRange(kernels.light[c, 0], kernels.light[c, 1], kernels.light[c, 2], kernels.light[c, 3])
        ahead = down * (patch.mask.strides[1] // 4) + along
        or_shifted(patch.mask, planes, light, y0, x0, mask, ahead)
        made = MaskedImage(image, variance, mask)
        if begins[p]:
            whole &= begin_mean(made, equal, y0 + y_offset, x0 + x_offset, merged) == 0
        else:
            ahead = down * (merged.mask.strides[0] // 4) + along
            merge_into(made, equal, y0 + y_offset, x0 + x_offset, merged, ahead)
    return skipped, whole


@njit(cache=True, nogil=True)
def _taps(table, c):  # type: ignore[no-untyped-def]
    """The taps of one kernel of a `TapTable`, shape (m, ky, kx); a view."""
    taps = table.taps[table.start[c] : table.start[c + 1]]
    return taps.reshape((table.low.shape[2], table.shape[c, 0], table.shape[c, 1]))
