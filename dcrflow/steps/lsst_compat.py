"""Patches matched one by one, the way LSST's pipeline does it, to compare numbers with.

The order of steps is LSST's: every patch is matched, filtered to pixels and only then merged; what lies near missing
pixels, and near a patch's edge, is left out. (All other configurations merge first and filter once.)

With ``rotation="boresight"`` the edges are LSST's too:

* Each subfilter of the whole patch is spline-filtered (cubic, mirrored at the patch's edges) and shifted twice. What a
  shift would take from beyond the patch is zero. So the outermost pixels of a patch lack part of their light, and still
  count in the merge: no other method does that.
* A merged tract ends at `merged_box`. Beyond it there are no pixels, and a kernel that leaves it gives none. Inside it,
  pixels without data (of a missing patch, or without weight) are zeros of variance zero. The warp goes over them.
* A warped pixel has NO_DATA if one of the four pixels around it is without data. It still has weight as long as its
  kernel reaches a pixel that has some. So it sets NO_DATA in the template, even where another tract has data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import NEW_MEMORY, Workspace
from dcrflow.geometry.box import Box
from dcrflow.geometry.mapping import map_pixels
from dcrflow.kernels.arrays import MaskedImage
from dcrflow.kernels.convolve import convolve_sum
from dcrflow.kernels.fill import mark_near_missing
from dcrflow.kernels.interpolation import filter_radius
from dcrflow.kernels.spline import dcr_taps
from dcrflow.model.pixels import PatchPixels, Pixels
from dcrflow.planning.margins import FILL_MARGIN
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.tiles import TilePart, TractPlan
from dcrflow.planning.zenith import vectors_on
from dcrflow.steps.cells import boxes_of, cells_of
from dcrflow.steps.match import match_cells
from dcrflow.steps.merge import Matched, MergedTract
from dcrflow.steps.prefilter import spline_coefficients

Float = NDArray[np.float64]

_MERGED_MARGIN = 5  # tract pixels that LSST adds to the box around the template's corners


def shift_as_lsst(plan: TemplatePlan, part: TilePart, patches: Iterable[PatchPixels], workspace: Workspace) -> Pixels:
    """What `steps.shift` makes of the patches of a tract, in LSST's order; pixels, for a warp that wants them.

    Parameters and result as `dcrflow.steps.shift.shift_subfilters`.
    """
    no_data = 1 << plan.planes[NO_DATA]
    merged = MergedTract.of(plan, part, workspace)
    for pixels in patches:
        matched = match_patch(plan, plan.tracts[part.tract], pixels, merged.box, workspace)
        if matched is not None:
            merged.add(matched)
    _, weighed = merged.valid_masks() or (None, None)
    merged.clear_outside()
    image, variance, mask, _ = merged.mean
    if weighed is not None:
        if plan.margins.lsst_edges:
            mask[~weighed] |= no_data
            image[~weighed] = 0.0
        else:
            mark_near_missing(weighed.view(np.uint8), plan.interpolation.half_width, no_data, mask)
    out = workspace.array("lsst: pixels", merged.box.shape, np.float32)
    out[...] = image
    np.nan_to_num(out, copy=False, posinf=0.0, neginf=0.0)
    if not plan.margins.lsst_edges:
        return Pixels(merged.box, out, variance, mask)
    box = merged_box(plan, part.tract).intersection(merged.box)
    within = box.slices(merged.box)
    return Pixels(box, out[within], variance[within], mask[within])


def merged_box(plan: TemplatePlan, tract: int) -> Box:
    """The pixels of a tract that LSST merges.

    They are those within the box around all patches that are also in the box around the template's four corners, grown
    by 5 pixels. (Between its corners a distorted template may reach out of that box.)

    Parameters
    ----------
    plan : TemplatePlan
        How the template is made.
    tract : int
        Index into ``plan.tracts``.

    Returns
    -------
    Box
        Tract pixels.
    """
    planned = plan.tracts[tract]
    corners = plan.bbox.outline(per_side=1)
    seen = Box.around(*map_pixels(planned.pixel_map.source, planned.pixel_map.target, *corners)).grown(_MERGED_MARGIN)
    return reduce(Box.union, (patch.bbox for patch in planned.patches)).intersection(seen)


def drop_no_data(plan: TemplatePlan, template: Pixels) -> None:
    """Give the pixels of a finished tile that have NO_DATA the fill value. (LSST leaves numbers in some of them.)"""
    without = template.mask & (1 << plan.planes[NO_DATA]) != 0
    template.image[without] = template.variance[without] = plan.config.fill


def match_patch(
    plan: TemplatePlan, tract: TractPlan, pixels: PatchPixels, box: Box, workspace: Workspace = NEW_MEMORY
) -> Matched | None:
    """DCR-match one patch on the part of `box` that it has data for.

    Parameters
    ----------
    plan : TemplatePlan
        How the template is made.
    tract : TractPlan
        The patch's tract.
    pixels : PatchPixels
        The patch, or the part of it that reaches `box`.
    box : Box
        Tract pixels.
    workspace : Workspace, optional
        Lends work space; the result is not of it.

    Returns
    -------
    Matched or None
        The matched coadd, without the surroundings of missing pixels and, unless ``plan.margins.lsst_edges``, without
        the surroundings of the patch's edge. None if the patch has nothing there.
    """
    degrees = plan.margins.patch_degrees
    radius = filter_radius(degrees)
    if plan.margins.lsst_edges:
        out = pixels.box.intersection(box)
    else:
        out = tract.reach.reached(pixels.box).intersection(box.grown(radius + FILL_MARGIN))
    inner = out.intersection(box)
    if inner.is_empty:
        return None
    image = np.empty(out.shape)
    variance = np.empty(out.shape, np.float32)
    mask = np.empty(out.shape, np.int32)
    for piece in match_cells(plan, tract, pixels, boxes_of(cells_of([out])[0]), workspace):
        where = piece.box.slices(out)
        image[where], variance[where], mask[where] = piece.pixels
    if plan.margins.lsst_edges:
        return Matched(out, MaskedImage(add_shifted(plan, tract, pixels, out, workspace), variance, mask))
    padded = np.pad(image, radius, constant_values=np.nan)  # beyond the patch's edge there is nothing
    finite = np.isfinite(padded)
    marks = np.zeros(padded.shape, np.int32)
    inside = np.s_[radius:-radius, radius:-radius]
    coefficients = spline_coefficients(plan, padded, finite, 0, marks, degrees, workspace=workspace)
    matched = coefficients[inside].astype(np.float64)
    matched[marks[inside] != 0] = np.nan
    within, whole = inner.slices(out), np.ascontiguousarray
    return Matched(inner, MaskedImage(whole(matched[within]), whole(variance[within]), whole(mask[within])))


def add_shifted(
    plan: TemplatePlan, tract: TractPlan, pixels: PatchPixels, box: Box, workspace: Workspace = NEW_MEMORY
) -> Float:
    """Shift the subfilters of a patch and add them.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the shifts; by the boresight convention they are the same everywhere.
    tract : TractPlan
        The patch's tract.
    pixels : PatchPixels
        The patch, or the part of it that reaches `box`.
    box : Box
        What is wanted, within the pixels read.
    workspace : Workspace, optional
        Lends work space; the result is not of it.

    Returns
    -------
    ndarray of float64, shape (y, x) of `box`
        NaN near missing pixels of the coadd.
    """
    patch = next(p.bbox for p in tract.patches if p.bbox.contains(pixels.box))
    tan, y_arcsec, x_arcsec = vectors_on(plan, tract.tract, np.zeros(1), np.zeros(1))
    distance = plan.model.displacement(tan)[0]
    shifts = np.column_stack([distance * y_arcsec, distance * x_arcsec])
    margin = plan.model.degree + 1 + math.ceil(np.abs(shifts).max())
    out = np.zeros(box.shape)
    for image, weights in zip(pixels.image, plan.model.weights.T, strict=True):
        spline = _mirrored_coefficients(plan, image, margin, workspace)
        for shift, weight in zip(shifts[weights != 0], weights[weights != 0], strict=True):
            _add_node(spline, plan.model.degree, shift, weight, pixels.box.grown(margin), patch, box, out)
    return out


def _mirrored_coefficients(plan: TemplatePlan, image: NDArray[np.float32], margin: int, workspace: Workspace) -> Float:
    """Coefficients of an image continued by its mirror image, NaN near missing pixels; shape grown by `margin`."""
    degrees = (plan.model.degree,)
    radius = filter_radius(degrees)
    padded = np.pad(image.astype(np.float64), radius + margin, mode="reflect")
    inside = np.s_[radius:-radius, radius:-radius]
    marks = np.zeros(padded.shape, np.int32)
    coefficients = spline_coefficients(plan, padded, np.isfinite(padded), 0, marks, degrees, workspace=workspace)
    found = coefficients[inside].astype(np.float64)
    found[marks[inside] != 0] = np.nan
    return found


def _add_node(
    spline: Float, degree: int, shift: Float, weight: float, covered: Box, patch: Box, box: Box, out: Float
) -> None:
    """Add one shifted image; `covered` are the pixels of the coefficients, `box` those of `out`."""
    dy, dx = shift
    lit = Box.from_bounds(
        math.ceil(patch.x0 + dx), math.ceil(patch.y0 + dy),
        math.floor(patch.x1 - 1 + dx) + 1, math.floor(patch.y1 - 1 + dy) + 1,
    ).intersection(box)  # fmt: skip
    if lit.is_empty:
        return
    low_y, low_x = (math.floor(d) - degree // 2 for d in shift)
    taps = np.zeros((1, degree + 1, degree + 1))
    dcr_taps(degree, shift[:1], shift[1:], np.array([weight]), low_y, low_x, taps[0])
    part = np.empty(lit.shape)
    convolve_sum(
        spline[None], taps, np.array([low_y]), np.array([low_x]), lit.y0 - covered.y0, lit.x0 - covered.x0, part
    )
    out[lit.slices(box)] += part
