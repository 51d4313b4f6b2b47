"""Resampling to other pixels: image, variance and mask in one pass.

Each interpolation kernel is a table of weights over the fraction of a pixel, linear between 4096 steps (error below
1e-7 of the weight), so that one loop serves splines, Lanczos kernels and bilinear interpolation alike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dcrflow.kernels.footprint import SPLINE_DEGREE, TAPS
from dcrflow.kernels.spline import bspline

Float = NDArray[np.float64]

_STEPS = 4096


@lru_cache(maxsize=16)
def weight_table(kernel: str) -> Float:
    """Weights of a kernel's taps by fraction of a pixel.

    Parameters
    ----------
    kernel : str
        One of `TAPS`.

    Returns
    -------
    ndarray of float64, shape (4097, taps)
        Row f holds the weights at fraction f / 4096 of pixels floor(x) - taps / 2 + 1 and following; its sum is 1.
    """
    taps = TAPS[kernel]
    fraction = np.linspace(0.0, 1.0, _STEPS + 1)
    distance = fraction[:, None] + taps // 2 - 1 - np.arange(taps)
    if kernel in SPLINE_DEGREE:
        degree = SPLINE_DEGREE[kernel]
        weights: Float = np.vectorize(lambda d: bspline(degree, d), otypes=[np.float64])(distance)
    elif kernel == "bilinear":
        weights = 1 - np.abs(distance)
    else:  # Lanczos, normalised so that a constant stays one
        weights = np.sinc(distance) * np.sinc(distance / (taps // 2))
    weights /= weights.sum(axis=1, keepdims=True)
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=16)
def variance_table(kernel: str) -> Float:
    """Squared weights for the variance, as `weight_table`; splines take Lanczos-3's, whose noise they nearly share."""
    squared: Float = weight_table("lanczos3" if kernel in SPLINE_DEGREE else kernel) ** 2
    squared.setflags(write=False)
    return squared


@lru_cache(maxsize=16)
def warp_kernel(taps: int, variance_taps: int) -> Callable[..., Any]:
    """Compile `warp` for a number of taps an axis of the image's and of the variance's kernel.

    The compiled function is called as ``warp(image, variance, mask, grid_y, grid_x, step, y0, x0, table,
    squared, no_data, out_image, out_variance, out_mask)``:

    image : ndarray of float32, shape (h, w)
        Pixels, or spline coefficients; finite.
    variance, mask : ndarray of float32 and int32, shape (h, w)
        Of the same pixels.
    grid_y, grid_x : ndarray of float64, shape (ny, nx)
        Input pixel coordinates (relative to the input arrays' first pixel) of every `step`-th output pixel.
    step : int
        Output pixels between nodes.
    y0, x0 : int
        Output pixel (0, 0), counted from the grid's first node.
    table, squared : ndarray of float64, shape (4097, taps) and (4097, variance_taps)
        From `weight_table` and `variance_table`.
    no_data : int
        Value of the NO_DATA mask plane. An output pixel is without data where a pixel of its bilinear footprint has
        this bit, or where its kernel leaves the input.
    out_image, out_variance, out_mask : ndarray of float32, float32, int32, shape (height, width)
        Filled; image and variance scaled by the relative area of the pixels, and its square. The mask is the OR over
        the bilinear footprint.
    """
    half, variance_half = taps // 2 - 1, variance_taps // 2 - 1
    margin = max(half, variance_half)

    @njit(cache=True, nogil=True, fastmath={"contract", "nsz"})
    def warp(  # type: ignore[no-untyped-def]
        image, variance, mask, grid_y, grid_x, step, y0, x0, table, squared, no_data, out_image, out_variance, out_mask
    ):
        h, w = image.shape
        height, width = out_image.shape
        wx, wy = np.empty(taps), np.empty(taps)
        sx, sy = np.empty(variance_taps), np.empty(variance_taps)
        nan = np.float32(np.nan)
        for y in range(height):
            gy = (y0 + y) // step
            ty = (y0 + y - gy * step) / step
            x = 0
            while x < width:
                gx = (x0 + x) // step
                stop = min(width, (gx + 1) * step - x0)
                top_x, top_y = grid_x[gy, gx], grid_y[gy, gx]
                left_x, left_y = grid_x[gy + 1, gx] - top_x, grid_y[gy + 1, gx] - top_y
                right_x = grid_x[gy + 1, gx + 1] - grid_x[gy, gx + 1]
                right_y = grid_y[gy + 1, gx + 1] - grid_y[gy, gx + 1]
                first_x, first_y = top_x + ty * left_x, top_y + ty * left_y
                along_x = (grid_x[gy, gx + 1] + ty * right_x - first_x) / step
                along_y = (grid_y[gy, gx + 1] + ty * right_y - first_y) / step
                for xx in range(x, stop):
                    n = x0 + xx - gx * step
                    u, v = first_x + along_x * n, first_y + along_y * n
                    out_image[y, xx] = nan
                    out_variance[y, xx] = nan
                    if not (margin <= u < w - margin - 1 and margin <= v < h - margin - 1):
                        out_mask[y, xx] = no_data
                        continue
                    iu, iv = int(u), int(v)
                    bits = mask[iv, iu] | mask[iv, iu + 1] | mask[iv + 1, iu] | mask[iv + 1, iu + 1]
                    out_mask[y, xx] = bits
                    if bits & no_data:
                        continue
                    fu, fv = (u - iu) * 4096, (v - iv) * 4096
                    ju, jv = int(fu), int(fv)
                    fu, fv = fu - ju, fv - jv
                    for k in range(taps):
                        wx[k] = table[ju, k] + fu * (table[ju + 1, k] - table[ju, k])
                        wy[k] = table[jv, k] + fv * (table[jv + 1, k] - table[jv, k])
                    total = 0.0
                    for j in range(taps):
                        partial = 0.0
                        for i in range(taps):
                            partial += wx[i] * image[iv - half + j, iu - half + i]
                        total += wy[j] * partial
                    for k in range(variance_taps):
                        sx[k] = squared[ju, k] + fu * (squared[ju + 1, k] - squared[ju, k])
                        sy[k] = squared[jv, k] + fv * (squared[jv + 1, k] - squared[jv, k])
                    spread = 0.0
                    for j in range(variance_taps):
                        partial = 0.0
                        for i in range(variance_taps):
                            partial += sx[i] * variance[iv - variance_half + j, iu - variance_half + i]
                        spread += sy[j] * partial
                    tx = n / step
                    down_x = (left_x + (right_x - left_x) * tx) / step
                    down_y = (left_y + (right_y - left_y) * tx) / step
                    area = abs(along_x * down_y - along_y * down_x)
                    out_image[y, xx] = area * total
                    out_variance[y, xx] = area * area * spread
                x = stop

    compiled: Callable[..., Any] = warp
    return compiled
