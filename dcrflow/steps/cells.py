"""DCR kernels by cell: the zenith's distance and direction vary over a tract, so each cell has its own kernels.

The cells are squares of `DCR_CELL` pixels on a grid fixed to the tract's pixel (0, 0). All of a cell has the DCR of
its centre, which is right to 0.001 pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.kernels.arrays import CellTable, LightRange, TapTable
from dcrflow.kernels.spline import coefficient_filter, dcr_taps_of_cells
from dcrflow.physics.dcr import DcrModel
from dcrflow.planning.template import DCR_CELL, TemplatePlan
from dcrflow.planning.tiles import TractPlan
from dcrflow.planning.zenith import vectors_on

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Place = tuple[int, int]  # of a cell: its number along x and y

_NONE = np.empty(0, np.int64)

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


def cells_of(boxes: Sequence[Box]) -> tuple[Int, Int]:
    """The parts of boxes that lie in different DCR cells.

    Parameters
    ----------
    boxes : sequence of Box
        Tract pixels; none of them empty.

    Returns
    -------
    cells : ndarray of int64, shape (n, 4)
        x0, y0, x1, y1 of each part, box by box and row by row.
    box_of : ndarray of int64, shape (n,)
        Which of the boxes it is of.
    """
    bounds = np.array([(b.x0, b.y0, b.x1, b.y1) for b in boxes], np.int64).reshape(-1, 4)
    first = bounds[:, :2] // DCR_CELL
    columns, rows = ((bounds[:, 2:] - 1) // DCR_CELL - first + 1).T
    number = columns * rows
    box_of = np.repeat(np.arange(len(bounds)), number)
    y, x = np.divmod(np.arange(len(box_of)) - (np.cumsum(number) - number)[box_of], columns[box_of])
    corner = (first[box_of] + np.stack([x, y], axis=1)) * DCR_CELL
    within = bounds[box_of]
    low, high = np.maximum(corner, within[:, :2]), np.minimum(corner + DCR_CELL, within[:, 2:])
    return np.concatenate([low, high], axis=1), box_of


def boxes_of(cells: Int) -> list[Box]:
    """Cells of `cells_of` as boxes."""
    return [Box.from_bounds(*bounds) for bounds in cells.tolist()]


def kernels_of(
    plan: TemplatePlan, tract: TractPlan, cells: Sequence[Box], one_variance: bool, one_mask: bool
) -> list[CellKernels]:
    """The kernels of several cells of a tract. Parameters as `kernel_table`, but boxes."""
    corners = np.array([(c.x0, c.y0) for c in cells], np.int64).reshape(-1, 2)
    table = kernel_table(plan, tract, corners, one_variance, one_mask)
    return [
        CellKernels(*_kernel(table.image, c), *_kernel(table.variance, c), LightRange(*table.light[c]))
        for c in table.kernel_of.tolist()
    ]


def kernel_table(plan: TemplatePlan, tract: TractPlan, cells: Int, one_variance: bool, one_mask: bool) -> CellTable:
    """The kernels of several cells of a tract, as the compiled `match_pieces` takes them.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the DCR model, the observation and the convention.
    tract : TractPlan
        Which tract.
    cells : ndarray of int64, shape (n, 2 or more)
        x0, y0 of parts of cells, as `cells_of` makes them.
    one_variance, one_mask : bool
        Whether one variance, one mask holds for all subfilters.

    Returns
    -------
    CellTable
        With a kernel for each of the parts, and other kernels.
    """

    def make(places: Sequence[Place]) -> tuple[Int, CellTable]:
        x, y = np.array(places, np.float64).T * DCR_CELL + (DCR_CELL - 1) / 2
        tan, dy, dx = vectors_on(plan, tract.tract, x, y)
        distance = plan.model.displacement(tan)
        return _kernels(
            plan.model, distance * dy[:, None], distance * dx[:, None], one_variance, one_mask, plan.margins.lsst_edges
        )

    x, y = (cells[:, :2] // DCR_CELL).T.tolist()
    return kernel_cache(plan.digest, tract.tract.tract, one_variance, one_mask).of(list(zip(x, y, strict=True)), make)


class KnownKernels:
    """The kernels made so far in this process for a tract of a template, by cell. Several threads may ask for them."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._known: tuple[dict[Place, int], CellTable | None] = {}, None

    def of(self, places: Sequence[Place], make: Callable[[Sequence[Place]], tuple[Int, CellTable]]) -> CellTable:
        """A table with the kernels of cells; `make` gives those not yet known in any order, and the order."""
        number, table = self._known
        if table is None or any(place not in number for place in places):
            with self._lock:
                number, table = self._known
                missing = [place for place in dict.fromkeys(places) if place not in number]
                if missing:
                    order, made = make(missing)
                    first = len(number)
                    number = number | {missing[which]: first + n for n, which in enumerate(order.tolist())}
                    table = made if table is None else _one_after_another([table, made])
                    self._known = number, table
        assert table is not None
        return table._replace(kernel_of=np.array([number[place] for place in places], np.int64))


@lru_cache(maxsize=8)
def kernel_cache(plan: str, tract: int, one_variance: bool, one_mask: bool) -> KnownKernels:
    """The kernels of a tract of a template: tiles and patches share most of them."""
    return KnownKernels()


def taps_at(plan: TemplatePlan, tract: TractPlan, x: float, y: float) -> tuple[Float, Int, Int]:
    """Taps of the subfilters' kernels at a place of a tract (x, y), and the offsets along y and x of the first of each.

    The taps have the shape (num_subfilters, ky, kx).
    """
    tan, dy, dx = vectors_on(plan, tract.tract, np.array([x]), np.array([y]))
    distance = plan.model.displacement(tan)
    dy, dx = distance * dy[:, None], distance * dx[:, None]
    size, low = _taps_needed(plan.model, dy, dx)
    return _taps(plan.model, dy, dx, size[0], low)[0], low[0, 0], low[1, 0]


def _kernel(table: TapTable, number: int) -> tuple[NDArray[np.float32], Int, Int]:
    """Taps of a kernel of a table, and the offsets along y and x of the first tap of each."""
    y_low, x_low = table.low[number]
    taps = table.taps[table.start[number] : table.start[number + 1]]
    return taps.reshape(len(y_low), *table.shape[number]), y_low, x_low


def _tap_table(taps: Float, y_low: Int, x_low: Int) -> TapTable:
    """Kernels of one shape, (num_cells, m, ky, kx), with the offsets of their first taps, (num_cells, m)."""
    number, _, height, width = taps.shape
    return TapTable(
        taps.astype(np.float32).ravel(),
        taps[0].size * np.arange(number + 1),
        np.full((number, 2), (height, width)),
        np.stack([y_low, x_low], axis=1),
    )


def _one_after_another(tables: Sequence[CellTable]) -> CellTable:
    """One table of the kernels of several."""
    kinds = ([getattr(table, kind) for table in tables] for kind in ("image", "variance"))
    image, variance = (
        TapTable(
            np.concatenate([t.taps for t in some]),
            np.cumsum(np.concatenate([[0], *(np.diff(t.start) for t in some)])),
            np.concatenate([t.shape for t in some]),
            np.concatenate([t.low for t in some]),
        )
        for some in kinds
    )
    return CellTable(_NONE, image, variance, np.concatenate([t.light for t in tables]))


def _kernels(
    model: DcrModel, dy: Float, dx: Float, one_variance: bool, one_mask: bool, as_lsst: bool
) -> tuple[Int, CellTable]:
    """The kernels of cells, from the displacements of the model's nodes in each: shape (num_cells, num_nodes).

    Those of one shape are made together. Returns which cell each kernel of the table is of, and the table.
    """
    number, lit = model.num_subfilters, np.abs(model.weights) > MIN_FLUX_SHARE
    light = np.stack([*_light_range(dy, lit, one_mask), *_light_range(dx, lit, one_mask)], axis=1)
    if as_lsst:  # LSST adds the subfilters' variances and leaves masks where they are
        light = np.zeros((len(dy), 4, number), np.int64)
    size, low = _taps_needed(model, dy, dx)
    apart = np.concatenate([size, *(edge - edge.min(axis=1, keepdims=True) for edge in low)], axis=1)
    alike, tables = np.unique(apart, axis=0, return_inverse=True)[1].ravel(), []
    order = np.argsort(alike, kind="stable")
    for cells in np.split(order, np.flatnonzero(np.diff(alike[order])) + 1):
        taps, (y_low, x_low) = _taps(model, dy[cells], dx[cells], size[cells[0]], low[:, cells]), low[:, cells]
        image = _tap_table(taps, y_low, x_low)
        if as_lsst:
            zero = np.zeros((len(cells), 1), np.int64)
            variance = _tap_table(np.full((len(cells), 1, 1, 1), number if one_variance else 1.0), zero, zero)
        else:
            noise = _squared(taps, model.degree)
            if one_variance:
                noise, y_low, x_low = together(noise, y_low, x_low)
            variance = _tap_table(noise, y_low - VARIANCE_MARGIN, x_low - VARIANCE_MARGIN)
        tables.append(CellTable(_NONE, image, variance, light[cells]))
    return order, _one_after_another(tables)


def _taps_needed(model: DcrModel, dy: Float, dx: Float) -> tuple[Int, Int]:
    """By cell: number of taps along y and x, shape (num_cells, 2), and the offsets of the first ones.

    The offsets have the shape (2, num_cells, num_subfilters).
    """
    half = (model.degree + 1) // 2
    (y_least, y_most), (x_least, x_most) = (_extremes(d, model.weights != 0) for d in (dy, dx))
    y_low, x_low = (_whole(np.floor(least - half) + 1) for least in (y_least, x_least))
    y_last, x_last = (_whole(np.ceil(most + half) - 1) for most in (y_most, x_most))
    y_more, x_more = (np.max(last - low, axis=1) for low, last in ((y_low, y_last), (x_low, x_last)))
    # All subfilters' taps are of one shape: the zeros of a narrower one must not lie beyond the others, out of reach.
    y_low = np.minimum(y_low, (np.max(y_last, axis=1) - y_more)[:, None])
    x_low = np.minimum(x_low, (np.max(x_last, axis=1) - x_more)[:, None])
    return np.stack([y_more, x_more], axis=1) + 1, np.stack([y_low, x_low])


def _taps(model: DcrModel, dy: Float, dx: Float, size: Int, low: Int) -> Float:
    """Taps of the subfilters' kernels in cells that need as many, shape (num_cells, num_subfilters, ky, kx)."""
    taps = np.empty((len(dy), model.num_subfilters, *size))
    dcr_taps_of_cells(model.degree, dy, dx, model.weights, low, taps)
    return taps


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
    """The sums of kernels that begin at different offsets, and where they begin.

    Kernels of shape (..., m, ky, kx), offsets of shape (..., m), the same for all but for whole pixels; m is 1 then.
    """
    first_y, first_x = y_low.min(axis=-1, keepdims=True), x_low.min(axis=-1, keepdims=True)
    down, right = (edge.reshape(-1, edge.shape[-1])[0] for edge in (y_low - first_y, x_low - first_x))
    height, width = kernels.shape[-2:]
    total = np.zeros((*kernels.shape[:-3], 1, height + down.max(), width + right.max()))
    for k, (sy, sx) in enumerate(zip(down.tolist(), right.tolist(), strict=True)):
        total[..., 0, sy : sy + height, sx : sx + width] += kernels[..., k, :, :]
    return total, first_y, first_x


def _squared(taps: Float, degree: int) -> Float:
    """Squares of kernels in pixels, cut `VARIANCE_MARGIN` pixels beyond the taps and scaled to keep their sum.

    The taps, shape (..., ky, kx), are coefficients; the coefficient filter along both axes makes them the kernel that
    multiplies pixels.
    """
    height, width = taps.shape[-2:]
    full = (_pixels(degree, height) @ taps @ _pixels(degree, width).T) ** 2
    outside = (full.shape[-2] - height) // 2 - VARIANCE_MARGIN
    cut = full[..., outside:-outside, outside:-outside]
    kept: Float = cut * (full.sum(axis=(-2, -1)) / cut.sum(axis=(-2, -1)))[..., None, None]
    return kept


@lru_cache(maxsize=64)
def _pixels(degree: int, number: int) -> Float:
    """The matrix that applies the coefficient filter to a number of taps."""
    taps = coefficient_filter((degree,))
    radius = len(taps) // 2
    distance = np.abs(np.arange(number + 2 * radius)[:, None] - radius - np.arange(number))
    return np.where(distance <= radius, taps[radius + np.minimum(distance, radius)], 0.0)
