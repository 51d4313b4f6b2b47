"""shift_subfilters: DCR-match the patches of a tract, add their subfilters, merge them, make spline coefficients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import scratch
from dcrflow.geometry.box import Box
from dcrflow.kernels.convolve import convolve_sum, or_footprint
from dcrflow.kernels.fill import mark_near_holes
from dcrflow.kernels.match import match_pieces
from dcrflow.kernels.merge import is_positive, is_whole, merge_into, settle
from dcrflow.kernels.support import FIR_RADIUS, SUPPORT, TAPS
from dcrflow.model.pixels import PatchPixels, Pixels
from dcrflow.planning.template import FILL_MARGIN, TemplatePlan, TilePart, TractPlan
from dcrflow.steps.cells import CellKernels, cells_of, kernels_of, tabulated
from dcrflow.steps.coefficients import spline_coefficients
from dcrflow.steps.lsst_compat import add_shifted
from dcrflow.steps.timing import timed

_ROWS = 64  # of a strip: what is made of a region follows the turned tile, strip by strip
_WHOLE = 1e-5  # share of the squared kernel's sum that may fall on pixels without variance unnoticed

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


class Matched(NamedTuple):
    """A DCR-matched region: float64 image, float32 variance, int32 mask; NaN where there are no data."""

    box: Box
    image: Float
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]


@timed
def shift_subfilters(plan: TemplatePlan, part: TilePart, patches: Iterable[PatchPixels]) -> Pixels:
    """Spread each subfilter's light by its DCR, add the subfilters, merge the patches of one tract.

    Parameters
    ----------
    plan : TemplatePlan
        The orders.
    part : TilePart
        Which tract, and which region of it.
    patches : iterable of PatchPixels
        What was read, in the order of ``part.reads``.

    Returns
    -------
    Pixels
        On ``part.region`` and ``plan.merge_margin`` around it; good where the warp of the tile looks, anything outside.
        For a spline warp the image holds B-spline coefficients, otherwise pixels. It is finite; the mask has NO_DATA
        where a kernel must not go, and INTRP around such places.
    """
    tract = plan.tracts[part.tract]
    box = part.region.grown(plan.merge_margin)
    merged = _Merged(plan, box, strips_of(plan, part))
    for pixels in patches:
        merged.add_patch(tract, pixels)
    mask = merged.mask
    footprint = SUPPORT[plan.config.warp] // 2 - 1
    known, weighed = merged.settle() or (None, None)
    if plan.config.warp not in TAPS or not plan.merged_degrees:
        merged.clear_outside()
    if plan.lsst_edges:  # LSST's warp goes over pixels that weigh nothing, as zeros, but not beyond the patches
        if weighed is not None:
            mask[~weighed] |= 1 << plan.planes[NO_DATA]
            merged.image[~weighed] = 0.0
        weighed = np.zeros(box.shape, np.bool_)
        for _, region in part.reads:
            weighed[region.intersection(box).slices(box)] = True
    if weighed is not None:
        mark_near_holes(weighed.view(np.uint8), footprint, 1 << plan.planes[NO_DATA], mask)
    if plan.merged_degrees:
        radius = FIR_RADIUS[plan.merged_degrees]
        wanted = (
            part.footprint.strips(_taller(part.region, radius), _ROWS, plan.warp_margin + radius),
            part.footprint.strips(part.region, _ROWS, plan.warp_margin),
        )
        along_x, along_y = ([s.moved(-box.x0, -box.y0) for s in strips] for strips in wanted)
        image = spline_coefficients(plan, merged.image, known, footprint, mask, plan.merged_degrees, (along_x, along_y))
    else:
        image = scratch("coefficients", box.shape, np.float32)
        image[...] = merged.image
        np.nan_to_num(image, copy=False, posinf=0.0, neginf=0.0)
    return Pixels(box, image, merged.variance, mask)


def strips_of(plan: TemplatePlan, part: TilePart) -> list[Box]:
    """What is made of a tile's part of a tract, before the coefficient filter: strips that follow the turned tile."""
    box = part.region.grown(plan.merge_margin)
    return part.footprint.strips(box, _ROWS, plan.warp_margin + plan.merge_margin)


def read_by(plan: TemplatePlan, part: TilePart, box: Box) -> list[Box]:
    """Which pixels of a box of a patch `shift_subfilters` looks at for a part; the boxes overlap."""
    if plan.patch_degrees:
        return [box]
    reach = plan.tracts[part.tract].reach
    wanted = (reach.source(strip).intersection(box) for strip in strips_of(plan, part))
    return [strip for strip in wanted if not strip.is_empty]


def _taller(box: Box, margin: int) -> Box:
    return Box(box.x0, box.y0 - margin, box.width, box.height + 2 * margin)


class _Merged:
    """The running mean of the patches of a tract on the strips that are wanted; anything outside them."""

    def __init__(self, plan: TemplatePlan, box: Box, strips: Sequence[Box]) -> None:
        self.plan, self.box, self.strips = plan, box, strips
        self.equal = plan.config.combine == "mean"
        self.image = scratch("merged image", box.shape, np.float64)
        self.variance = scratch("merged variance", box.shape, np.float32)
        self.mask = scratch("merged mask", box.shape, np.int32)
        self.weight = scratch("merged weight", box.shape, np.float32)
        self.begun = False

    def _begin(self) -> None:
        """Nothing is there yet."""
        if not self.begun:
            for where in (strip.slices(self.box) for strip in self.strips):
                self.image[where] = np.nan
                self.mask[where] = self.weight[where] = 0
        self.begun = True

    def add_patch(self, tract: TractPlan, pixels: PatchPixels) -> None:
        """DCR-match a patch where it reaches the strips, and merge it."""
        if self.plan.patch_degrees:
            whole = match_patch(self.plan, tract, pixels, self.box)
            if whole is not None:
                self._add(whole)
            return
        reached = tract.reach.reached(pixels.box)
        within = [strip.intersection(reached) for strip in self.strips]
        pieces = [cell for strip in within if not strip.is_empty for cell in cells_of(strip)]
        if not pieces:
            return
        first = not self.begun and within == list(self.strips)  # and has something everywhere: no need to begin
        self.begun |= first
        self._begin()
        kernels = kernels_of(self.plan, tract, pieces, len(pixels.variance) == 1, len(pixels.mask) == 1)
        y0, x0 = pixels.box.y0, pixels.box.x0
        left = match_pieces(  # type: ignore[call-arg]
            pixels.image, pixels.variance, pixels.mask, _planes(self.plan),
            np.array([(p.y0 - y0, p.x0 - x0, p.height, p.width) for p in pieces]), *tabulated(kernels),
            self.equal, first, y0 - self.box.y0, x0 - self.box.x0, self.image, self.variance, self.mask, self.weight,
        )  # fmt: skip
        for matched in _pieces(self.plan, tract, pixels, [pieces[i] for i in np.flatnonzero(left)]):
            self._add(matched)

    def _add(self, matched: Matched) -> None:
        self._begin()
        y0, x0 = matched.box.y0 - self.box.y0, matched.box.x0 - self.box.x0
        merge_into(
            matched.image, matched.variance, matched.mask, self.equal, y0, x0,
            self.image, self.variance, self.mask, self.weight,
        )  # fmt: skip

    def settle(self) -> tuple[Bool, Bool] | None:
        """Where the image is known, and where something has weight: None if everywhere.

        If not everywhere, all arrays become zero outside the strips, and the variance where nothing has weight.
        """
        self._begin()
        within = self._within()
        if all(is_whole(self.image, self.weight, at.y0, at.y1, at.x0, at.x1) for at in within):
            return None
        known, weighed = (scratch(name, self.box.shape, np.bool_) for name in ("known", "weighed"))
        known.fill(True)
        weighed.fill(True)
        self.clear_outside()
        for at in within:
            settle(self.image, self.variance, self.weight, at.y0, at.y1, at.x0, at.x1, known, weighed)
        return known, weighed

    def clear_outside(self) -> None:
        """Make all arrays zero outside the strips."""
        for array in (self.image, self.variance, self.mask):
            done = 0
            for at in self._within():
                array[done : at.y0] = 0
                array[at.y0 : at.y1, : at.x0] = array[at.y0 : at.y1, at.x1 :] = 0
                done = at.y1
            array[done:] = 0

    def _within(self) -> list[Box]:
        return [strip.moved(-self.box.x0, -self.box.y0) for strip in self.strips]


def _planes(plan: TemplatePlan) -> np.int32:
    """The mask planes that light takes along: all but NO_DATA."""
    return ~np.int32(1 << plan.planes[NO_DATA])


def _pieces(plan: TemplatePlan, tract: TractPlan, pixels: PatchPixels, pieces: Sequence[Box]) -> Iterator[Matched]:
    """Convolve the subfilters of a patch with their kernels and add them, on pieces each within one DCR cell."""
    kernels = kernels_of(plan, tract, pieces, len(pixels.variance) == 1, len(pixels.mask) == 1)
    planes = _planes(plan)
    for piece, kernel in zip(pieces, kernels, strict=True):
        y0, x0 = piece.y0 - pixels.box.y0, piece.x0 - pixels.box.x0
        image, mask = scratch("image", piece.shape, np.float64), scratch("mask", piece.shape, np.int32)
        convolve_sum(pixels.image, kernel.taps, kernel.y_low, kernel.x_low, y0, x0, image)
        or_footprint(pixels.mask, planes, *kernel.light, y0, x0, mask)
        yield Matched(piece, image, _spread(pixels.variance, kernel, y0, x0, piece.shape), mask)


def match_patch(plan: TemplatePlan, tract: TractPlan, pixels: PatchPixels, box: Box) -> Matched | None:
    """DCR-match one patch on the part of `box` that it has data for, as LSST does it, with a warp that wants pixels.

    Parameters
    ----------
    plan : TemplatePlan
        The orders.
    tract : TractPlan
        The patch's tract.
    pixels : PatchPixels
        The patch, or the part of it that reaches `box`.
    box : Box
        Tract pixels.

    Returns
    -------
    Matched or None
        The matched coadd; what lies near a hole is left out, and what lies near the patch's edge, but for
        ``plan.lsst_edges``. None if the patch has nothing there.
    """
    degrees = plan.patch_degrees
    radius = FIR_RADIUS[degrees]
    if plan.lsst_edges:
        out = pixels.box.intersection(box)
    else:
        out = tract.reach.reached(pixels.box).intersection(box.grown(radius + FILL_MARGIN))
    inner = out.intersection(box)
    if inner.is_empty:
        return None
    image = np.empty(out.shape)
    variance = np.empty(out.shape, np.float32)
    mask = np.empty(out.shape, np.int32)
    for piece in _pieces(plan, tract, pixels, cells_of(out)):
        where = piece.box.slices(out)
        image[where], variance[where], mask[where] = piece.image, piece.variance, piece.mask
    if plan.lsst_edges:
        return Matched(out, add_shifted(plan, tract, pixels, out), variance, mask)
    padded = np.pad(image, radius, constant_values=np.nan)  # beyond the patch's edge there is nothing
    known = np.isfinite(padded)
    marks = np.zeros(padded.shape, np.int32)
    inside = np.s_[radius:-radius, radius:-radius]
    matched = spline_coefficients(plan, padded, known, 0, marks, degrees)[inside].astype(np.float64)
    matched[marks[inside] != 0] = np.nan
    within = inner.slices(out)
    whole = np.ascontiguousarray
    return Matched(inner, whole(matched[within]), whole(variance[within]), whole(mask[within]))


def _spread(
    stack: NDArray[np.float32], kernel: CellKernels, y0: int, x0: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """The variance of a piece: that of the patch, convolved with the squared kernels.

    A variance that is not finite and positive weighs nothing: the pixel itself gets NaN, its neighbours the mean of the
    others.
    """
    taps, y_low, x_low = kernel.variance_taps, kernel.variance_y_low, kernel.variance_x_low
    out = scratch("variance", shape, np.float32)
    y_first, x_first = y0 - int(y_low.max()) - taps.shape[1] + 1, x0 - int(x_low.max()) - taps.shape[2] + 1
    y_end, x_end = y0 - int(y_low.min()) + shape[0], x0 - int(x_low.min()) + shape[1]
    if is_positive(stack, y_first, y_end, x_first, x_end):
        convolve_sum(stack, taps, y_low, x_low, y0, x0, out)
        return out
    window = stack[:, y_first:y_end, x_first:x_end]
    good = (window > 0) & (window < np.inf)
    y0, x0 = y0 - y_first, x0 - x_first
    convolve_sum(np.where(good, window, np.float32(0)), taps, y_low, x_low, y0, x0, out)
    covered = np.empty_like(out)
    convolve_sum(good.astype(np.float32), taps, y_low, x_low, y0, x0, covered)
    total = taps.sum() * (len(stack) if len(taps) == 1 else 1)
    short = (covered > 0) & (covered < total * (1 - _WHOLE))
    with np.errstate(over="ignore"):  # infinite where next to nothing is covered: it weighs nothing there
        out[short] *= total / covered[short]
    out[~good.all(axis=0)[y0 : y0 + shape[0], x0 : x0 + shape[1]]] = np.nan
    return out
