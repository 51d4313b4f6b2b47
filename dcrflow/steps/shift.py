"""shift_subfilters: DCR-match the patches of a tract, add their subfilters, merge them, make spline coefficients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.kernels.convolve import convolve_sum, or_footprint
from dcrflow.kernels.fill import mark_near_holes
from dcrflow.kernels.footprint import FIR_RADIUS, TAPS
from dcrflow.kernels.merge import merge_into
from dcrflow.masks import NO_DATA
from dcrflow.pixels import PatchPixels, Pixels
from dcrflow.plan import FILL_MARGIN, TemplatePlan, TilePart, TractPlan
from dcrflow.steps.as_lsst import add_shifted
from dcrflow.steps.cells import CellKernels, cells_of, kernels_of
from dcrflow.steps.coefficients import spline_coefficients

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]


class Matched(NamedTuple):
    """A DCR-matched region: float64 image, float32 variance, int32 mask; NaN where there are no data."""

    box: Box
    image: Float
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]


def shift_subfilters(plan: TemplatePlan, part: TilePart, patches: Sequence[PatchPixels]) -> Pixels:
    """Spread each subfilter's light by its DCR, add the subfilters, merge the patches of one tract.

    Parameters
    ----------
    plan : TemplatePlan
        The orders.
    part : TilePart
        Which tract, and which region of it.
    patches : sequence of PatchPixels
        What was read, in the order of ``part.reads``.

    Returns
    -------
    Pixels
        On ``part.region``: for a spline warp the image holds B-spline coefficients, otherwise pixels. It is finite
        everywhere; the mask has NO_DATA where a kernel must not go, and INTRP around such places.
    """
    tract = plan.tracts[part.tract]
    box = part.region.grown(plan.merge_margin)
    image = np.full(box.shape, np.nan)
    variance = np.full(box.shape, np.nan, np.float32)
    mask = np.zeros(box.shape, np.int32)
    weight = np.zeros(box.shape, np.float32)
    for pixels in patches:
        matched = match_patch(plan, tract, pixels, box)
        if matched is not None:
            sy, sx = matched.box.slices(box)
            merge_into(
                matched.image, matched.variance, matched.mask, plan.config.combine == "mean",
                image[sy, sx], variance[sy, sx], mask[sy, sx], weight[sy, sx],
            )  # fmt: skip
    known, weighed = np.isfinite(image), weight > 0
    variance[~weighed] = 0.0
    footprint = TAPS[plan.config.warp] // 2 - 1
    if plan.lsst_edges:  # LSST's warp goes over pixels that weigh nothing, as zeros, but not beyond the patches
        mask[~weighed] |= 1 << plan.planes[NO_DATA]
        image[~weighed] = 0.0
        weighed = np.zeros(box.shape, np.bool_)
        for pixels in patches:
            weighed[pixels.box.intersection(box).slices(box)] = True
    if not weighed.all():
        mark_near_holes(weighed.view(np.uint8), footprint, 1 << plan.planes[NO_DATA], mask)
    if plan.merged_degrees:
        coefficients = spline_coefficients(plan, image, known, footprint, mask, plan.merged_degrees)
        inner = coefficients[part.region.slices(box.grown(-FIR_RADIUS[plan.merged_degrees]))]
    else:
        inner = np.nan_to_num(image, copy=False, posinf=0.0, neginf=0.0)[part.region.slices(box)].astype(np.float32)
    within = part.region.slices(box)
    return Pixels(
        part.region,
        np.ascontiguousarray(inner),
        np.ascontiguousarray(variance[within]),
        np.ascontiguousarray(mask[within]),
    )


def match_patch(plan: TemplatePlan, tract: TractPlan, pixels: PatchPixels, box: Box) -> Matched | None:
    """DCR-match one patch on the part of `box` that it has data for.

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
        None if the patch has nothing there. The image is still convolved with the B-spline basis of the DCR kernels:
        the filter that undoes that, once, comes after the merge. Only as LSST does it (`split` and a warp that wants
        pixels) it is the matched coadd itself; then what lies near a hole or the patch's edge is left out.
    """
    degrees = plan.patch_degrees
    radius = FIR_RADIUS[degrees]
    if plan.lsst_edges:
        out = pixels.box.intersection(box)
    else:
        out = tract.reach.reached(pixels.box).intersection(box.grown(radius + (FILL_MARGIN if degrees else 0)))
    inner = out.intersection(box)
    if inner.is_empty:
        return None
    image = np.empty(out.shape)
    variance = np.empty(out.shape, np.float32)
    mask = np.zeros(out.shape, np.int32)
    noise = _Noise(pixels.variance)
    flags = pixels.mask & ~np.int32(1 << plan.planes[NO_DATA])
    cells = cells_of(out)
    kernels = kernels_of(plan, tract, cells, len(pixels.variance) == 1, len(pixels.mask) == 1)
    for cell, kernel in zip(cells, kernels, strict=True):
        sy, sx = cell.slices(out)
        y0, x0 = cell.y0 - pixels.box.y0, cell.x0 - pixels.box.x0
        if not plan.lsst_edges:
            convolve_sum(pixels.image, kernel.taps, kernel.y_low, kernel.x_low, y0, x0, image[sy, sx])
        noise.spread(kernel, y0, x0, variance[sy, sx])
        or_footprint(flags, *kernel.light, y0, x0, mask[sy, sx])
    if plan.lsst_edges:
        return Matched(out, add_shifted(plan, tract, pixels, out), variance, mask)
    if not degrees:
        return Matched(out, image, variance, mask)
    padded = np.pad(image, radius, constant_values=np.nan)  # beyond the patch's edge there is nothing
    known = np.isfinite(padded)
    marks = np.zeros(padded.shape, np.int32)
    matched = spline_coefficients(plan, padded, known, 0, marks, degrees).astype(np.float64)
    matched[marks[radius:-radius, radius:-radius] != 0] = np.nan
    within = inner.slices(out)
    return Matched(inner, matched[within], variance[within], mask[within])


class _Noise:
    """The variance of a patch, ready to be spread by the squared kernels.

    A variance that is not finite and positive weighs nothing: the pixel itself gets NaN, its neighbours the mean of the
    others.
    """

    def __init__(self, variance: NDArray[np.float32]) -> None:
        with np.errstate(invalid="ignore"):
            good = np.isfinite(variance) & (variance > 0)
        self._bad: Bool | None = None
        self._stack = variance
        if not good.all():
            self._bad = ~good.all(axis=0)
            self._stack = np.where(good, variance, np.float32(0))
            self._good = good.astype(np.float32)

    def spread(self, kernel: CellKernels, y0: int, x0: int, out: NDArray[np.float32]) -> None:
        where = kernel.variance_y_low, kernel.variance_x_low, y0, x0
        convolve_sum(self._stack, kernel.variance_taps, *where, out)
        if self._bad is not None:
            bad = self._bad[y0 : y0 + out.shape[0], x0 : x0 + out.shape[1]]
            covered = np.empty_like(out)
            convolve_sum(self._good, kernel.variance_taps, *where, covered)
            total = kernel.variance_taps.sum() * (len(self._stack) if len(kernel.variance_taps) == 1 else 1)
            with np.errstate(invalid="ignore", divide="ignore"):
                out *= total / covered
            out[bad] = np.nan
