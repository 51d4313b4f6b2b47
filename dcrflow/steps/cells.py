"""DCR kernels by cell: the zenith's distance and direction vary over a tract, so each of its cells has its own kernels.

The cells are squares of `DCR_CELL` pixels on a grid fixed to the tract's pixel (0, 0). Inside one the DCR is that of
its centre, which is good to 0.001 pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.kernels.spline import coefficient_filter, dcr_taps
from dcrflow.physics.dcr import DcrModel
from dcrflow.plan import DCR_CELL, TemplatePlan, TractPlan, vectors_on

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_LIGHT = 0.02  # nodes with less of a subfilter's flux than this do not carry its mask along
_NOTHING = 0.05  # pixels of displacement that do not carry a mask to the next pixel
_EXTRA = 1  # pixels by which the variance's kernel exceeds the image's: what is beyond has 1e-3 of the variance


@dataclass(frozen=True)
class CellKernels:
    """Kernels of one cell, for `convolve_sum` and `or_footprint`.

    Parameters
    ----------
    taps : ndarray of float32, shape (num_subfilters, ky, kx)
        Of the image, in the B-spline basis of the DCR model.
    y_low, x_low : ndarray of int64, shape (num_subfilters,)
        Offset of the first tap.
    variance_taps : ndarray of float32, shape (m, vy, vx)
        Of the variance; m = 1 if one variance holds for all subfilters, num_subfilters otherwise.
    variance_y_low, variance_x_low : ndarray of int64, shape (m,)
        Offset of the first of those.
    light : tuple of 4 ndarray of int64, shape (num_subfilters or 1,)
        Lowest and highest displacement of the light along y, then along x: what a mask must cover.
    """

    taps: NDArray[np.float32]
    y_low: Int
    x_low: Int
    variance_taps: NDArray[np.float32]
    variance_y_low: Int
    variance_x_low: Int
    light: tuple[Int, Int, Int, Int]


def cells_of(box: Box) -> list[Box]:
    """The parts of a box that lie in different DCR cells."""
    return [
        Box(x * DCR_CELL, y * DCR_CELL, DCR_CELL, DCR_CELL).intersection(box)
        for y in range(box.y0 // DCR_CELL, (box.y1 - 1) // DCR_CELL + 1)
        for x in range(box.x0 // DCR_CELL, (box.x1 - 1) // DCR_CELL + 1)
    ]


def kernels_of(
    plan: TemplatePlan, tract: TractPlan, cells: Sequence[Box], one_variance: bool, one_mask: bool
) -> list[CellKernels]:
    """The kernels of several cells of a tract.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the DCR model, the observation and the convention.
    tract : TractPlan
        Which tract.
    cells : sequence of Box
        Each within one cell, as `cells_of` makes them.
    one_variance, one_mask : bool
        Whether one variance, one mask holds for all subfilters.
    """
    places = [(c.x0 // DCR_CELL, c.y0 // DCR_CELL) for c in cells]
    once = list(dict.fromkeys(places))
    x, y = np.array(once, np.float64).reshape(-1, 2).T * DCR_CELL + (DCR_CELL - 1) / 2
    tan, dy, dx = vectors_on(plan, tract.tract, x, y)
    distance = plan.model.displacement(tan)
    lsst = plan.config.dcr == "split"
    found = {
        place: _kernels(plan.model, distance[i] * dy[i], distance[i] * dx[i], one_variance, one_mask, lsst)
        for i, place in enumerate(once)
    }
    return [found[place] for place in places]


def _kernels(model: DcrModel, dy: Float, dx: Float, one_variance: bool, one_mask: bool, lsst: bool) -> CellKernels:
    half = (model.degree + 1) // 2
    number = model.num_subfilters
    used = model.weights != 0
    y_low, y_high = _tap_range(dy, used, half)
    x_low, x_high = _tap_range(dx, used, half)
    taps = np.zeros((number, int(np.max(y_high - y_low)) + 1, int(np.max(x_high - x_low)) + 1))
    for k in range(number):
        dcr_taps(model.degree, dy, dx, model.weights[:, k], y_low[k], x_low[k], taps[k])
    zero = np.zeros(1, np.int64)
    if lsst:  # LSST adds the subfilters' variances and leaves masks where they are
        share = np.full((1, 1, 1), number if one_variance else 1, np.float32)
        return CellKernels(taps.astype(np.float32), y_low, x_low, share, zero, zero, (np.zeros(number, np.int64),) * 4)
    noise = _squared(taps, model.degree)
    if one_variance:
        noise_y, noise_x = y_low.min(keepdims=True), x_low.min(keepdims=True)
        together = np.zeros((1, noise.shape[1] + np.ptp(y_low), noise.shape[2] + np.ptp(x_low)))
        for k in range(number):
            sy, sx = y_low[k] - noise_y[0], x_low[k] - noise_x[0]
            together[0, sy : sy + noise.shape[1], sx : sx + noise.shape[2]] += noise[k]
        noise = together
    else:
        noise_y, noise_x = y_low, x_low
    lit = np.abs(model.weights) > _LIGHT
    low_y, high_y = _light_range(dy, lit)
    low_x, high_x = _light_range(dx, lit)
    light = (low_y, high_y, low_x, high_x)
    if one_mask:
        light = (
            low_y.min(keepdims=True),
            high_y.max(keepdims=True),
            low_x.min(keepdims=True),
            high_x.max(keepdims=True),
        )
    return CellKernels(
        taps.astype(np.float32), y_low, x_low, noise.astype(np.float32), noise_y - _EXTRA, noise_x - _EXTRA, light
    )


def _tap_range(d: Float, used: NDArray[np.bool_], half: int) -> tuple[Int, Int]:
    """First and last tap with |tap - d| < half for the nodes that each subfilter uses."""
    low = [math.floor(d[u].min() - half) + 1 for u in used.T]
    high = [math.ceil(d[u].max() + half) - 1 for u in used.T]
    return np.array(low), np.array(high)


def _light_range(d: Float, lit: NDArray[np.bool_]) -> tuple[Int, Int]:
    return (
        np.array([math.floor(d[u].min() + _NOTHING) for u in lit.T]),
        np.array([math.ceil(d[u].max() - _NOTHING) for u in lit.T]),
    )


def _squared(taps: Float, degree: int) -> Float:
    """Squares of the kernels in pixels, cut `_EXTRA` pixels beyond the taps and scaled to keep their sum.

    The taps are coefficients; the coefficient filter along both axes makes them the kernel that multiplies pixels.
    """
    taps_1d = coefficient_filter((degree,))
    radius = len(taps_1d) // 2

    def toeplitz(n: int) -> Float:
        distance = np.abs(np.arange(n + 2 * radius)[:, None] - radius - np.arange(n))
        return np.where(distance <= radius, taps_1d[radius + np.minimum(distance, radius)], 0.0)

    full = (toeplitz(taps.shape[1]) @ taps @ toeplitz(taps.shape[2]).T) ** 2
    cut = full[:, radius - _EXTRA : -radius + _EXTRA, radius - _EXTRA : -radius + _EXTRA]
    kept: Float = cut * (full.sum(axis=(1, 2)) / cut.sum(axis=(1, 2)))[:, None, None]
    return kept
