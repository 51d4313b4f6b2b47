"""Medians of an image in rectangular bins."""

from __future__ import annotations

import numpy as np
from numba import njit


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
    total = 0
    for j in range(len(edges_y) - 1):
        for i in range(len(edges_x) - 1):
            size = (edges_y[j + 1] - edges_y[j]) * (edges_x[i + 1] - edges_x[i])
            usable = np.empty(size, np.float32)
            n = 0
            for y in range(edges_y[j], edges_y[j + 1]):
                for x in range(edges_x[i], edges_x[i + 1]):
                    if mask[y, x] & ignored == 0 and np.isfinite(values[y, x]):
                        usable[n] = values[y, x]
                        n += 1
            out[j, i] = np.median(usable[:n]) if n else np.nan
            total += n
    return total
