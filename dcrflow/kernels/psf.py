"""A PSF kernel on other pixels: resampled by an affine map about its centre."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import spline_filter

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.interpolation import INTERPOLATIONS, Interpolation

Float = NDArray[np.float64]

_STEPS = 2048  # fractions of a pixel in a table of weights
_BEYOND = 12  # pixels around a kernel within which its spline coefficients fall below 1e-5


def warp_psf_kernel(
    kernel: Float, position: tuple[float, float], matrix: Float, size: int, interpolation: Interpolation
) -> Float:
    """The PSF of a star, resampled by an affine map about it.

    What an interpolation of pixels does to a star depends on the star's place between the pixels (Lanczos-3: up to
    0.6 % of the peak). So the PSF is first drawn at that place, with Lanczos-5 as in LSST's pipeline. A spline does the
    same at every place.

    Parameters
    ----------
    kernel : ndarray of float64, shape (height, width)
        Odd shape, centred on a pixel; zero outside.
    position : (float, float)
        Pixel coordinates (x, y) of the star.
    matrix : ndarray of float64, shape (2, 2)
        Jacobian d(x, y) of the kernel's pixels by d(x, y) of the new ones.
    size : int
        Side of the result, odd.
    interpolation : Interpolation
        One that has weights.

    Returns
    -------
    ndarray of float64, shape (size, size)
        Sums to 1.
    """
    out = np.zeros((size, size))
    x = y = 0.0
    if interpolation.degree is not None:
        kernel = spline_filter(np.pad(kernel, _BEYOND), interpolation.degree, mode="mirror")
    else:
        x, y = (p - round(p) for p in position)
        kernel = _moved(kernel, x, y)
    padded = np.pad(kernel, interpolation.support)
    _evaluate(padded, x, y, np.asarray(matrix, np.float64), _tap_weights(interpolation), out)
    return out / out.sum()


def _moved(kernel: Float, x: float, y: float) -> Float:
    """A kernel moved by up to half a pixel; a pixel larger on each side."""
    out = np.zeros((kernel.shape[0] + 2, kernel.shape[1] + 2))
    lanczos5 = INTERPOLATIONS["lanczos5"]
    _evaluate(np.pad(kernel, lanczos5.support), -x, -y, np.eye(2), _tap_weights(lanczos5), out)
    return out


@lru_cache(maxsize=16)
def _tap_weights(interpolation: Interpolation) -> Float:
    """Weights of an interpolation's taps by fraction of a pixel.

    Parameters
    ----------
    interpolation : Interpolation
        One that has weights.

    Returns
    -------
    ndarray of float64, shape (2049, taps)
        Row f holds the weights at fraction f / 2048 of pixels floor(x) - taps / 2 + 1 and following; its sum is 1.
    """
    weights = interpolation.weights(np.linspace(0.0, 1.0, _STEPS + 1))
    weights.setflags(write=False)
    return weights


@njit(cache=True, nogil=True)
def _evaluate(image, offset_x, offset_y, matrix, table, out):  # type: ignore[no-untyped-def]
    """Evaluate `image`, at an offset from its centre, at the mapped offsets of `out` from its own; zero outside."""
    height, width = image.shape
    taps = table.shape[1]
    half_width = taps // 2 - 1
    steps = table.shape[0] - 1
    middle_x, middle_y = out.shape[1] // 2, out.shape[0] // 2
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            dx, dy = i - middle_x, j - middle_y
            u = width // 2 + offset_x + matrix[0, 0] * dx + matrix[0, 1] * dy
            v = height // 2 + offset_y + matrix[1, 0] * dx + matrix[1, 1] * dy
            if not (half_width <= u < width - half_width - 1 and half_width <= v < height - half_width - 1):
                continue
            iu, iv = int(u), int(v)
            fu, fv = (u - iu) * steps, (v - iv) * steps
            ju, jv = int(fu), int(fv)
            fu, fv = fu - ju, fv - jv
            total = 0.0
            for n in range(taps):
                wy = table[jv, n] + fv * (table[jv + 1, n] - table[jv, n])
                for m in range(taps):
                    wx = table[ju, m] + fu * (table[ju + 1, m] - table[ju, m])
                    total += wy * wx * image[iv - half_width + n, iu - half_width + m]
            out[j, i] = total
