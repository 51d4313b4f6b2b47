"""Convolution of a stack of images with small kernels, summed over the stack in one pass."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath={"contract", "nsz"})
def convolve_sum(stack, kernels, y_low, x_low, y0, x0, out):  # type: ignore[no-untyped-def]
    """Sum over k of kernels[k] convolved with stack[k], on one block.

    A NaN in the stack spoils the pixels whose kernel reaches it and no others.

    Parameters
    ----------
    stack : ndarray of float32, shape (n, height, width)
        The images.
    kernels : ndarray of float32 or float64, shape (m, ky, kx), m = n, or 1 for the same kernel for all
        The taps; sums are accumulated in their dtype.
    y_low, x_low : ndarray of int64, shape (m,)
        Offset of the first tap of each kernel.
    y0, x0 : int
        Pixel of the stack that output pixel (0, 0) lies on. For each tap, y0 - y_low - j and x0 - x_low - i must lie in
        the stack for the whole block.
    out : ndarray, shape (block_height, block_width), of the kernels' dtype
        Filled.
    """
    n = stack.shape[0]
    m, ky, kx = kernels.shape
    height, width = out.shape
    zero = kernels[0, 0, 0] * 0
    for y in range(height):
        row = out[y]
        for x in range(width):
            row[x] = zero
        for k in range(n):
            which = k if m > 1 else 0
            for j in range(ky):
                source = stack[k, y0 + y - y_low[which] - j]
                taps = kernels[which, j]
                s = x0 - x_low[which]
                i = 0
                while i + 4 <= kx:  # four taps a sweep: a quarter of the loads and stores of the row
                    t0, t1, t2, t3 = taps[i], taps[i + 1], taps[i + 2], taps[i + 3]
                    r0, r1 = source[s - i : s - i + width], source[s - i - 1 : s - i - 1 + width]
                    r2, r3 = source[s - i - 2 : s - i - 2 + width], source[s - i - 3 : s - i - 3 + width]
                    for x in range(width):
                        row[x] += t0 * r0[x] + t1 * r1[x] + t2 * r2[x] + t3 * r3[x]
                    i += 4
                while i < kx:
                    t0 = taps[i]
                    r0 = source[s - i : s - i + width]
                    for x in range(width):
                        row[x] += t0 * r0[x]
                    i += 1


@njit(cache=True, nogil=True)
def or_footprint(stack, low_y, high_y, low_x, high_x, y0, x0, out):  # type: ignore[no-untyped-def]
    """OR of masks over the boxes that their light may have come from.

    Parameters
    ----------
    stack : ndarray of int32, shape (n, height, width)
        The masks.
    low_y, high_y, low_x, high_x : ndarray of int64, shape (n,)
        Range of displacements, inclusive, pixels: mask pixel q marks q + low to q + high.
    y0, x0 : int
        Pixel of the stack that output pixel (0, 0) lies on; displaced pixels outside the stack are passed over.
    out : ndarray of int32, shape (block_height, block_width)
        ORed into.
    """
    n, h, w = stack.shape
    height, width = out.shape
    row = np.empty(width, np.int32)
    for k in range(n):
        for sy in range(max(0, y0 - high_y[k]), min(h, y0 + height - low_y[k])):
            some = 0
            for x in range(max(0, x0 - high_x[k]), min(w, x0 + width - low_x[k])):
                some |= stack[k, sy, x]
            if some == 0:
                continue
            row[:] = 0
            for d in range(low_x[k], high_x[k] + 1):
                first = max(0, d - x0)
                last = min(width, w + d - x0)
                for x in range(first, last):
                    row[x] |= stack[k, sy, x0 + x - d]
            for d in range(low_y[k], high_y[k] + 1):
                y = sy + d - y0
                if 0 <= y < height:
                    for x in range(width):
                        out[y, x] |= row[x]
