"""B-splines: basis functions, DCR taps, and the filter that turns pixels into spline coefficients.

The coefficient filter is applied as a symmetric FIR filter, not as the usual recursion. Its impulse response falls
below 1e-7 within 24 pixels, so the FIR filter is as exact. It needs no boundary condition, its result depends on a
pixel's neighbourhood alone (so not on the tile), and it vectorises.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.interpolation import bspline, filter_radius

Float = NDArray[np.float64]

_bspline = njit(cache=True, nogil=True)(bspline)


@lru_cache(maxsize=16)
def coefficient_filter(degrees: tuple[int, ...]) -> Float:
    """The symmetric FIR filter from samples to B-spline coefficients, for several degrees in a row.

    The inverse of the sampled basis functions (Unser 1999, IEEE Signal Processing Magazine 16(6), 22), computed by
    Fourier transform on a long grid, cut at `filter_radius` and scaled to pass a constant unchanged.

    Parameters
    ----------
    degrees : tuple of int
        Sorted; 3 or 5 each. ``(5, 5)`` undoes two quintic bases at once.

    Returns
    -------
    ndarray of float64, shape (2 * radius + 1,)
        The taps.
    """
    size = 1024
    response = np.ones(size)
    for degree in degrees:
        samples = np.zeros(size)
        half = (degree - 1) // 2
        for i in range(-half, half + 1):
            samples[i] = _bspline(degree, float(i))
        response /= np.fft.fft(samples).real
    right = np.fft.ifft(response).real[: filter_radius(degrees) + 1]
    taps: Float = np.concatenate([right[:0:-1], right])
    taps /= taps.sum()
    taps.setflags(write=False)
    return taps


@njit(cache=True, nogil=True)
def dcr_taps(degree, dy, dx, weights, y_low, x_low, taps):  # type: ignore[no-untyped-def]
    """Kernel of one subfilter: sum over nodes of weight times the B-spline basis at the node's displacement.

    Parameters
    ----------
    degree : int
        3 or 5.
    dy, dx : ndarray of float64, shape (num_nodes,)
        Displacements, pixels.
    weights : ndarray of float64, shape (num_nodes,)
        Of the nodes.
    y_low, x_low : int
        Offset of the first tap.
    taps : ndarray of float64, shape (ky, kx)
        Filled: ``taps[j, i]`` is the weight with which the pixel at (y - y_low - j, x - x_low - i) enters pixel (y, x).
    """
    ky, kx = taps.shape
    taps[:] = 0.0
    row = np.empty(kx)
    for node in range(len(dy)):
        w = weights[node]
        if w == 0.0:
            continue
        for i in range(kx):
            row[i] = w * _bspline(degree, x_low + i - dx[node])
        for j in range(ky):
            b = _bspline(degree, y_low + j - dy[node])
            if b != 0.0:
                for i in range(kx):
                    taps[j, i] += b * row[i]


@njit(cache=True, nogil=True)
def dcr_taps_of_cells(degree, dy, dx, weights, low, taps):  # type: ignore[no-untyped-def]
    """`dcr_taps` of all subfilters in several cells.

    Parameters
    ----------
    degree : int
        3 or 5.
    dy, dx : ndarray of float64, shape (num_cells, num_nodes)
        Displacements, pixels.
    weights : ndarray of float64, shape (num_nodes, num_subfilters)
        Of the nodes.
    low : ndarray of int64, shape (2, num_cells, num_subfilters)
        Offsets of the first taps along y and x.
    taps : ndarray of float64, shape (num_cells, num_subfilters, ky, kx)
        Filled.
    """
    for c in range(len(taps)):
        for k in range(taps.shape[1]):
            dcr_taps(degree, dy[c], dx[c], weights[:, k], low[0, c, k], low[1, c, k], taps[c, k])
