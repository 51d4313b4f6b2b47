"""The first filling of holes: with the mean of the visits, and what a visit differs from it near the hole."""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.vectors import fetch_ahead

_NEAR = 2  # pixels; neighbours from which a hole is filled
_WIDE = 8  # of a row of these, and of those that follow without a weight: as many as a vector holds
_SPREAD = 1.0  # pixels; sigma of their Gaussian weights
_LINE = 16  # pixels of a line of the cache


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _around(image, mean, valid, y, x, weights):  # type: ignore[no-untyped-def]
    """Weighted sums of image minus mean, and of the weights, over valid pixels from (y, x) on."""
    total, share = np.float32(0), np.float32(0)
    left = np.uint64(x)
    for i in range(_WIDE):
        k = np.uint64(i)
        for j in range(2 * _NEAR + 1):
            row, n = np.uint64(y + j), np.uint64(j)
            w = weights[n, k] if valid[row, left + k] else np.float32(0)
            total += w * (image[row, left + k] - mean[row, left + k])
            share += w
    return total, share


@njit(cache=True, nogil=True, error_model="numpy")
def fill_holes(image, holes, valid, mean, window):  # type: ignore[no-untyped-def]
    """Fill the holes of a visit's image and apply the window, in place.

    A hole is filled with the mean of the visits plus the difference between this visit and the mean at the valid pixels
    next to it, weighted by a Gaussian.

    Parameters
    ----------
    image : ndarray of float32, shape (side, side)
        Changed.
    holes : ndarray of int32
        From `holes_of`.
    valid : ndarray of bool, shape (side, side)
        False in holes.
    mean : ndarray of float32, shape (side, side)
        Weighted mean of the visits.
    window : ndarray of float32, shape (side, side)
        Weights that fall to 0 at the edges.
    """
    side = image.shape[0]
    near = np.empty((2 * _NEAR + 1, 2 * _NEAR + 1), np.float32)
    for j in range(-_NEAR, _NEAR + 1):
        for i in range(-_NEAR, _NEAR + 1):
            near[j + _NEAR, i + _NEAR] = np.exp(-0.5 * (j * j + i * i) / _SPREAD**2)
    pixels, means = image.reshape(-1), mean.reshape(-1)
    wide = np.zeros((2 * _NEAR + 1, _WIDE), np.float32)
    wide[:, : 2 * _NEAR + 1] = near
    next_hole = 0
    for row in range(side + _NEAR):
        for x in range(0, side, _LINE):  # the rows that holes need soon: no processor foresees where these are
            fetch_ahead(pixels, (row + _NEAR + 1) * side + x, 0)  # type: ignore[call-arg]
            fetch_ahead(means, (row + _NEAR + 1) * side + x, 0)
        while next_hole < len(holes) and holes[next_hole] < (row + 1) * side:
            y, x = row, holes[next_hole] - row * side
            next_hole += 1
            low_y, high_y = max(0, y - _NEAR), min(side - 1, y + _NEAR)
            low_x, high_x = max(0, x - _NEAR), min(side - 1, x + _NEAR)
            total, share = np.float32(0), np.float32(0)
            if (
                valid[low_y, x] or valid[high_y, x] or valid[y, low_x] or valid[y, high_x]
                or valid[low_y, low_x] or valid[high_y, high_x] or valid[low_y, high_x] or valid[high_y, low_x]
            ):  # fmt: skip
                if high_y - low_y == 2 * _NEAR and x >= _NEAR and low_x + _WIDE <= side:
                    total, share = _around(image, mean, valid, low_y, low_x, wide)
                else:
                    for yy in range(low_y, high_y + 1):
                        for xx in range(low_x, high_x + 1):
                            w = near[yy - y + _NEAR, xx - x + _NEAR] * np.float32(valid[yy, xx])
                            total += w * (image[yy, xx] - mean[yy, xx])
                            share += w
            image[y, x] = mean[y, x] + (total / share if share > 0 else np.float32(0))
        y = row - _NEAR  # no hole that is left needs this row
        if y >= 0:
            for x in range(side):
                image[y, x] *= window[y, x]
