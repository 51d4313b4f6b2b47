"""DCR kernels by cell: the zenith's distance and direction vary over a tract, so each cell has its own kernels.

The cells are squares of `DCR_CELL` pixels on a grid fixed to the tract's pixel (0, 0). All of a cell has the DCR of
its centre, which is right to 0.001 pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.kernels.arrays import CellTable, LightRange, TapTable
from dcrflow.kernels.spline import coefficient_filter, dcr_taps
from dcrflow.physics.dcr import DcrModel
from dcrflow.planning.template import DCR_CELL, TemplatePlan
from dcrflow.planning.tiles import TractPlan
from dcrflow.planning.zenith import vectors_on

Float = NDArray[np.float64]
Int = NDArray[np.int64]

MIN_FLUX_SHARE = 0.02  # nodes with a smaller share of a subfilter's flux do not move its mask
MASK_TOLERANCE = 0.05  # a displacement by this part of a pixel does not move a mask to the next pixel
VARIANCE_MARGIN = 1  # pixels by which the variance's kernel exceeds the image's: beyond them is 1e-3 of the variance


@dataclass(frozen=True)
class CellKernels:
    """Kernels of one cell, for `convolve_sum` and `or_shifted`.

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
    light : LightRange
        Whole pixels that the light moves by, and with it the mask; one range holds for all if the mask is shared.
    """

    taps: NDArray[np.float32]
    y_low: Int
    x_low: Int
    variance_taps: NDArray[np.float32]
    variance_y_low: Int
    variance_x_low: Int
    light: LightRange


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
    known = kernel_cache(plan.digest, tract.tract.tract, one_variance, one_mask)
    missing = [place for place in dict.fromkeys(places) if place not in known]
    if missing:
        x, y = np.array(missing, np.float64).T * DCR_CELL + (DCR_CELL - 1) / 2
        tan, dy, dx = vectors_on(plan, tract.tract, x, y)
        distance = plan.model.displacement(tan)
        made = _kernels(
            plan.model, distance * dy[:, None], distance * dx[:, None], one_variance, one_mask, plan.margins.lsst_edges
        )
        known.update(zip(missing, made, strict=True))
    return [known[place] for place in places]


def taps_at(plan: TemplatePlan, tract: TractPlan, x: float, y: float) -> tuple[Float, Int, Int]:
    """Taps of the subfilters' kernels at a place of a tract (x, y), and the offsets along y and x of the first of each.

    The taps have the shape (num_subfilters, ky, kx).
    """
    tan, dy, dx = vectors_on(plan, tract.tract, np.array([x]), np.array([y]))
    distance = plan.model.displacement(tan)
    (found,) = _taps(plan.model, distance * dy[:, None], distance * dx[:, None])
    return found


def tabulated(kernels: Sequence[CellKernels]) -> CellTable:
    """Kernels as the compiled `match_pieces` takes them: each different one once."""
    different = list({id(k): k for k in kernels}.values())
    number = {id(kernel): n for n, kernel in enumerate(different)}
    return CellTable(
        np.array([number[id(k)] for k in kernels]),
        _tap_table([(k.taps, k.y_low, k.x_low) for k in different]),
        _tap_table([(k.variance_taps, k.variance_y_low, k.variance_x_low) for k in different]),
        np.array([k.light for k in different]),
    )


def _tap_table(kernels: Sequence[tuple[NDArray[np.float32], Int, Int]]) -> TapTable:
    """Kernels, each with the offsets of its first tap along y and x, one after the other."""
    return TapTable(
        np.concatenate([taps.ravel() for taps, _, _ in kernels]),
        np.cumsum([0, *(taps.size for taps, _, _ in kernels)]),
        np.array([taps.shape[1:] for taps, _, _ in kernels]),
        np.array([(y_low, x_low) for _, y_low, x_low in kernels]),
    )


@lru_cache(maxsize=8)
def kernel_cache(plan: str, tract: int, one_variance: bool, one_mask: bool) -> dict[tuple[int, int], CellKernels]:
    """The kernels made so far in this process, by cell: tiles and patches of a template share most of them."""
    return {}


def _kernels(
    model: DcrModel, dy: Float, dx: Float, one_variance: bool, one_mask: bool, as_lsst: bool
) -> Iterator[CellKernels]:
    """The kernels of cells, from the displacements of the model's nodes in each: shape (num_cells, num_nodes)."""
    number, zero = model.num_subfilters, np.zeros(1, np.int64)
    lit = np.abs(model.weights) > MIN_FLUX_SHARE
    light = [*_light_range(dy, lit, one_mask), *_light_range(dx, lit, one_mask)]
    for i, (taps, y_low, x_low) in enumerate(_taps(model, dy, dx)):
        first = y_low, x_low
        if as_lsst:  # LSST adds the subfilters' variances and leaves masks where they are
            share = np.full((1, 1, 1), number if one_variance else 1, np.float32)
            yield CellKernels(
                taps.astype(np.float32), *first, share, zero, zero, LightRange(*[np.zeros(number, np.int64)] * 4)
            )
            continue
        noise, noise_y, noise_x = _squared(taps, model.degree), *first
        if one_variance:
            noise, noise_y, noise_x = together(noise, *first)
        here = LightRange(light[0][i], light[1][i], light[2][i], light[3][i])
        single, noise_y, noise_x = noise.astype(np.float32), noise_y - VARIANCE_MARGIN, noise_x - VARIANCE_MARGIN
        yield CellKernels(taps.astype(np.float32), *first, single, noise_y, noise_x, here)


def _taps(model: DcrModel, dy: Float, dx: Float) -> Iterator[tuple[Float, Int, Int]]:
    """By cell: taps of the subfilters' kernels, and the offsets along y and x of the first tap of each."""
    number, half = model.num_subfilters, (model.degree + 1) // 2
    (y_least, y_most), (x_least, x_most) = (_extremes(d, model.weights != 0) for d in (dy, dx))
    y_low, x_low = (_whole(np.floor(least - half) + 1) for least in (y_least, x_least))
    y_last, x_last = (_whole(np.ceil(most + half) - 1) for most in (y_most, x_most))
    y_more, x_more = (np.max(last - low, axis=1) for low, last in ((y_low, y_last), (x_low, x_last)))
    # All subfilters' taps are of one shape: the zeros of a narrower one must not lie beyond the others, out of reach.
    y_low = np.minimum(y_low, (np.max(y_last, axis=1) - y_more)[:, None])
    x_low = np.minimum(x_low, (np.max(x_last, axis=1) - x_more)[:, None])
    for i in range(len(dy)):
        taps = np.empty((number, int(y_more[i]) + 1, int(x_more[i]) + 1))
        for k in range(number):
            dcr_taps(model.degree, dy[i], dx[i], model.weights[:, k], y_low[i, k], x_low[i, k], taps[k])
        yield taps, y_low[i], x_low[i]


def _extremes(d: Float, chosen: NDArray[np.bool_]) -> tuple[Float, Float]:
    """Least and largest of the chosen nodes' displacements, by cell and subfilter."""
    least, most = (np.stack([f(d[:, c], axis=1) for c in chosen.T], axis=1) for f in (np.min, np.max))
    return least, most


def _light_range(d: Float, lit: NDArray[np.bool_], together: bool) -> tuple[Int, Int]:
    """Range of pixels that light moves by, by cell and subfilter, or of all subfilters together."""
    least, most = _extremes(d, lit)
    if together:
        least, most = least.min(axis=1, keepdims=True), most.max(axis=1, keepdims=True)
    return _whole(np.floor(least + MASK_TOLERANCE)), _whole(np.ceil(most - MASK_TOLERANCE))


def _whole(values: Float) -> Int:
    return values.astype(np.int64)


def together(kernels: Float, y_low: Int, x_low: Int) -> tuple[Float, Int, Int]:
    """The sum of kernels that begin at different offsets, and where it begins."""
    total = np.zeros((1, kernels.shape[1] + np.ptp(y_low), kernels.shape[2] + np.ptp(x_low)))
    for kernel, sy, sx in zip(kernels, y_low - y_low.min(), x_low - x_low.min(), strict=True):
        total[0, sy : sy + kernel.shape[0], sx : sx + kernel.shape[1]] += kernel
    return total, y_low.min(keepdims=True), x_low.min(keepdims=True)


def _squared(taps: Float, degree: int) -> Float:
    """Squares of the kernels in pixels, cut `VARIANCE_MARGIN` pixels beyond the taps and scaled to keep their sum.

    The taps are coefficients; the coefficient filter along both axes makes them the kernel that multiplies pixels.
    """
    full = (_pixels(degree, taps.shape[1]) @ taps @ _pixels(degree, taps.shape[2]).T) ** 2
    outside = (full.shape[1] - taps.shape[1]) // 2 - VARIANCE_MARGIN
    cut = full[:, outside:-outside, outside:-outside]
    kept: Float = cut * (full.sum(axis=(1, 2)) / cut.sum(axis=(1, 2)))[:, None, None]
    return kept


@lru_cache(maxsize=64)
def _pixels(degree: int, number: int) -> Float:
    """The matrix that applies the coefficient filter to a number of taps."""
    taps = coefficient_filter((degree,))
    radius = len(taps) // 2
    distance = np.abs(np.arange(number + 2 * radius)[:, None] - radius - np.arange(number))
    return np.where(distance <= radius, taps[radius + np.minimum(distance, radius)], 0.0)
