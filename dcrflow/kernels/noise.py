"""The noise of a template: what a chain of filters makes of independent pixels.

Every pixel of a template is a weighted sum of coadd pixels, with weights T_k(u - q) for pixel q of subfilter k and the
place u on the tract. Of pixels with independent noise of equal variance, the template's has the variance

    sum_k sum_q T_k(u - q)^2        times theirs.

T is a filter (DCR kernels and the filters to B-spline coefficients), whose autocorrelation R says all of it, followed
by an interpolation with weights w along each axis: with f the fraction of a pixel of u,

    sum_k sum_q T_k(u - q)^2 = sum_n R[n] p(f_y, n_y) p(f_x, n_x),      p(f, n) = sum_j w(f - j) w(f - j - n)

and the covariance of two output pixels whose places differ by r, averaged over the fractions f, has the integral of
w(t) w(t + r - n) in place of p.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from dcrflow.kernels.interpolation import Interpolation, bspline, filter_radius

Float = NDArray[np.float64]

_INTEGRAL = 64  # places a pixel at which products of weights are added up


class VarianceFactor(NamedTuple):
    """What a spread variance is multiplied by along either axis, by the fraction of a pixel of the place.

    Parameters
    ----------
    interpolation : Interpolation
        One that has weights.
    along_y, along_x : ndarray of float64, shape (2 support - 1,)
        Coefficients of p(f, n), lag n from 1 - support on.
    """

    interpolation: Interpolation
    along_y: Float
    along_x: Float

    def at(self, axis: int, fraction: Float) -> Float:
        """The factor along y (axis 0) or x (1) at fractions of a pixel, of any shape."""
        fraction = np.asarray(fraction, np.float64)
        found: Float = _products(self.interpolation, fraction.ravel()) @ (self.along_y, self.along_x)[axis]
        return found.reshape(fraction.shape)


def _products(interpolation: Interpolation, fraction: Float) -> Float:
    """p(f, n) of fractions, shape (n,), for all lags, shape (n, 2 support - 1)."""
    weights, support = interpolation.weights(fraction), interpolation.support
    found = np.zeros((len(fraction), 2 * support - 1))
    for lag in range(support):
        found[:, support - 1 + lag] = np.einsum("fj,fj->f", weights[:, lag:], weights[:, : support - lag])
        found[:, support - 1 - lag] = found[:, support - 1 + lag]
    return found


def autocorrelation(taps: Float, degrees: Sequence[int], lags: int) -> Float:
    """Autocorrelation of filters, summed over subfilters.

    Parameters
    ----------
    taps : ndarray of float64, shape (num_subfilters, ky, kx)
        One filter a subfilter; where each begins does not matter.
    degrees : sequence of int
        Degrees of the B-splines whose coefficient filters follow, along both axes.
    lags : int
        The largest lag.

    Returns
    -------
    ndarray of float64, shape (2 lags + 1, 2 lags + 1)
        Lag zero in the middle.
    """
    spare = 2 * lags + 2 * filter_radius(tuple(sorted(degrees)))
    shape = next_fast_len(taps.shape[1] + spare), next_fast_len(taps.shape[2] + spare, real=True)
    power = np.zeros((shape[0], shape[1] // 2 + 1))
    for one in taps:
        power += np.abs(rfft2(one, shape)) ** 2
    for degree in degrees:
        power /= (
            _response(degree, np.fft.fftfreq(shape[0]))[:, None] * _response(degree, np.fft.rfftfreq(shape[1]))
        ) ** 2
    found = irfft2(power, shape)
    index = np.arange(-lags, lags + 1)
    inner: Float = found[np.ix_(index, index)]
    return inner


def _response(degree: int, frequency: Float) -> Float:
    """Fourier transform of the sampled B-spline, cycles a pixel."""
    reach = np.arange(-(degree // 2), degree // 2 + 1)
    response: Float = np.cos(2 * np.pi * frequency[:, None] * reach) @ bspline(degree, reach.astype(np.float64))
    return response


def lags_of(interpolation: Interpolation) -> int:
    """The largest lag that `variance_factor` asks for."""
    return interpolation.support - 1


def variance_factor(correlation: Float, interpolation: Interpolation, spread: float) -> VarianceFactor:
    """Factors that make the variance of the whole chain of one that was spread by normalised weights.

    The variance by fractions (f_y, f_x) is taken for a product of a function of either, which it is without DCR and
    nearly with it: the better the more the DCR smooths.

    Parameters
    ----------
    correlation : ndarray of float64, shape (2 lags + 1, 2 lags + 1)
        `autocorrelation` of what comes before the interpolation, to `lags_of` it at least.
    interpolation : Interpolation
        One that has weights.
    spread : float
        Sum of the weights that the variance was spread by before the interpolation.
    """
    lags, reach = correlation.shape[0] // 2, lags_of(interpolation)
    inner = correlation[lags - reach : lags + reach + 1, lags - reach : lags + reach + 1] / spread
    mean = _products(interpolation, (np.arange(_INTEGRAL) + 0.5) / _INTEGRAL).mean(axis=0)
    return VarianceFactor(interpolation, inner @ mean, mean @ inner / (mean @ inner @ mean))


def noise_correlation(correlation: Float, interpolation: Interpolation, jacobian: Float, half: int = 3) -> Float:
    """Correlation of the noise of neighbouring output pixels, on average over the places between the input's.

    Parameters
    ----------
    correlation : ndarray of float64, shape (2 lags + 1, 2 lags + 1)
        `autocorrelation` of what comes before the interpolation; beyond it is taken for zero.
    interpolation : Interpolation
        One that has weights.
    jacobian : ndarray of float64, shape (2, 2)
        d(x, y) of the input's pixels by d(x, y) of the output's.
    half : int
        Pixels to each side.

    Returns
    -------
    ndarray of float64, shape (2 half + 1, 2 half + 1)
        Axes (y, x); 1 in the middle.
    """
    lags = correlation.shape[0] // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1].reshape(2, -1).astype(np.float64)
    right, up = jacobian @ np.stack([x, y])
    n = np.arange(-lags, lags + 1)
    along_y, along_x = (_overlap(interpolation, place[:, None] - n) for place in (up, right))
    found = np.einsum("py,yx,px->p", along_y, correlation, along_x).reshape(2 * half + 1, -1)
    normalised: Float = found / found[half, half]
    return normalised


def _overlap(interpolation: Interpolation, distance: Float) -> Float:
    """Integral of w(t) w(t + distance) over t."""
    support = interpolation.support
    fraction = (np.arange(_INTEGRAL) + 0.5) / _INTEGRAL
    # pixel j of row f has the weight w(f + support / 2 - 1 - j): in this order a function of the distance, ascending
    sampled = interpolation.weights(fraction)[:, ::-1].T.ravel()
    product = np.correlate(sampled, sampled, "full") / _INTEGRAL
    at = np.arange(-len(sampled) + 1, len(sampled)) / _INTEGRAL
    assert len(sampled) == support * _INTEGRAL
    values: Float = np.interp(distance, at, product, left=0.0, right=0.0)
    return values
