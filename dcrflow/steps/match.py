"""DCR-matching: the subfilters of a patch spread by their DCR and added, cell by cell, as the observation sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import Workspace
from dcrflow.geometry.box import Box
from dcrflow.kernels.arrays import CellTable, MaskedImage
from dcrflow.kernels.convolve import convolve_sum, or_shifted
from dcrflow.kernels.match import match_pieces
from dcrflow.kernels.merge import is_positive
from dcrflow.model.pixels import PatchPixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.tiles import TractPlan
from dcrflow.steps.cells import CellKernels, boxes_of, cells_of, kernel_table, kernels_of
from dcrflow.steps.merge import Matched, MergedTract

Int = NDArray[np.int64]

_UNNOTICED = 1e-5  # share of the squared kernel's sum that may fall on pixels without variance and change nothing


def match_and_merge(
    plan: TemplatePlan, tract: TractPlan, pixels: Sequence[PatchPixels], merged: MergedTract, workspace: Workspace
) -> None:
    """DCR-match a patch where its light reaches what is wanted of the tract, and merge it.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the DCR, the mask planes and the weights.
    tract : TractPlan
        The patch's tract.
    pixels : sequence of PatchPixels
        The patch, or the part of it that is needed, in one or several parts. What the light from within a part alone
        reaches must not overlap between parts.
    merged : MergedTract
        Updated.
    workspace : Workspace
        Lends work space.
    """
    parts = merged.begin([tract.reach.reached(part.box) for part in pixels])
    if not parts:
        return
    pieces, box_of = cells_of([part.box for part in parts])
    area_of, begins = np.array([part.area for part in parts])[box_of], np.array([part.begins for part in parts])[box_of]
    table = kernel_table(plan, tract, pieces, len(pixels[0].variance) == 1, len(pixels[0].mask) == 1)
    for number, part in enumerate(pixels):
        here = slice(*np.searchsorted(area_of, [number, number + 1]).tolist())
        if here.start < here.stop:
            kernels = table._replace(kernel_of=table.kernel_of[here])
            _match_and_merge(plan, tract, part, pieces[here], kernels, begins[here], merged, workspace)


def _match_and_merge(
    plan: TemplatePlan, tract: TractPlan, pixels: PatchPixels, pieces: Int, kernels: CellTable,
    begins: NDArray[np.bool_], merged: MergedTract, workspace: Workspace,
) -> None:  # fmt: skip
    """Pieces of a part of a patch, x0, y0, x1, y1 of each."""
    y0, x0 = pixels.box.y0, pixels.box.x0
    left, low, right, high = pieces.T
    skipped, whole = match_pieces(
        MaskedImage(pixels.image, pixels.variance, pixels.mask), _moving_planes(plan),
        np.stack([low - y0, left - x0, high - low, right - left], axis=1), kernels,
        merged.equal, begins, y0 - merged.box.y0, x0 - merged.box.x0, merged.mean,
    )  # fmt: skip
    merged.is_whole &= whole
    if skipped.any():
        for matched in match_cells(plan, tract, pixels, boxes_of(pieces[skipped]), workspace):
            merged.merge(matched)


def match_cells(
    plan: TemplatePlan, tract: TractPlan, pixels: PatchPixels, pieces: Sequence[Box], workspace: Workspace
) -> Iterator[Matched]:
    """DCR-match pieces of a patch, each within one DCR cell, whatever their variance is.

    Each is lent by the workspace and good until the next.
    """
    kernels = kernels_of(plan, tract, pieces, len(pixels.variance) == 1, len(pixels.mask) == 1)
    planes = _moving_planes(plan)
    for piece, kernel in zip(pieces, kernels, strict=True):
        y0, x0 = piece.y0 - pixels.box.y0, piece.x0 - pixels.box.x0
        image = workspace.array("match: image", piece.shape, np.float64)
        variance = workspace.array("match: variance", piece.shape, np.float32)
        mask = workspace.array("match: mask", piece.shape, np.int32)
        convolve_sum(pixels.image, kernel.taps, kernel.y_low, kernel.x_low, y0, x0, image)
        or_shifted(pixels.mask, planes, kernel.light, y0, x0, mask)
        _spread_variance(pixels.variance, kernel, y0, x0, variance)
        yield Matched(piece, MaskedImage(image, variance, mask))


def _moving_planes(plan: TemplatePlan) -> np.int32:
    """The mask planes that move with the light: all but NO_DATA."""
    return ~np.int32(1 << plan.planes[NO_DATA])


def _spread_variance(
    stack: NDArray[np.float32], kernel: CellKernels, y0: int, x0: int, out: NDArray[np.float32]
) -> None:
    """The variance of a piece: that of the patch, convolved with the squared kernels.

    A variance that is not finite and positive weighs nothing: the pixel itself gets NaN, its neighbours the mean of the
    others.
    """
    taps, y_low, x_low = kernel.variance_taps, kernel.variance_y_low, kernel.variance_x_low
    height, width = out.shape
    y_first, x_first = y0 - int(y_low.max()) - taps.shape[1] + 1, x0 - int(x_low.max()) - taps.shape[2] + 1
    y_end, x_end = y0 - int(y_low.min()) + height, x0 - int(x_low.min()) + width
    if is_positive(stack, y_first, y_end, x_first, x_end):
        convolve_sum(stack, taps, y_low, x_low, y0, x0, out)
        return
    window = stack[:, y_first:y_end, x_first:x_end]
    good = (window > 0) & (window < np.inf)
    y0, x0 = y0 - y_first, x0 - x_first
    convolve_sum(np.where(good, window, np.float32(0)), taps, y_low, x_low, y0, x0, out)
    covered = np.empty_like(out)
    convolve_sum(good.astype(np.float32), taps, y_low, x_low, y0, x0, covered)
    total = taps.sum() * (len(stack) if len(taps) == 1 else 1)
    short = (covered > 0) & (covered < total * (1 - _UNNOTICED))
    with np.errstate(over="ignore"):  # infinite where next to nothing is covered: such a pixel has no weight
        out[short] *= total / covered[short]
    out[~good.all(axis=0)[y0 : y0 + height, x0 : x0 + width]] = np.nan
