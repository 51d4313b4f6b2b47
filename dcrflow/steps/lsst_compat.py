"""A patch's subfilters shifted and added the way LSST's pipeline does it, edges included: to compare numbers with.

Each subfilter of the whole patch is spline-filtered (cubic, mirrored at the patch's edges) and shifted twice; what a
shift would take from beyond the patch is zero. So the outermost pixels of a patch lack part of their light, and still
count in the merge: no other method does that.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.kernels.convolve import convolve_sum
from dcrflow.kernels.spline import dcr_taps
from dcrflow.kernels.support import FIR_RADIUS
from dcrflow.model.pixels import PatchPixels
from dcrflow.planning.template import TemplatePlan, TractPlan, vectors_on
from dcrflow.steps.coefficients import spline_coefficients

Float = NDArray[np.float64]


def add_shifted(plan: TemplatePlan, tract: TractPlan, pixels: PatchPixels, box: Box) -> Float:
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

    Returns
    -------
    ndarray of float64, shape (y, x) of `box`
        NaN where a hole of the coadd spoils it.
    """
    patch = next(p.bbox for p in tract.patches if p.bbox.contains(pixels.box))
    tan, y_arcsec, x_arcsec = vectors_on(plan, tract.tract, np.zeros(1), np.zeros(1))
    distance = plan.model.displacement(tan)[0]
    shifts = np.column_stack([distance * y_arcsec, distance * x_arcsec])
    margin = plan.model.degree + 1 + math.ceil(np.abs(shifts).max())
    out = np.zeros(box.shape)
    for image, weights in zip(pixels.image, plan.model.weights.T, strict=True):
        spline = _mirrored_coefficients(plan, image, margin)
        for shift, weight in zip(shifts[weights != 0], weights[weights != 0], strict=True):
            _add_node(spline, plan.model.degree, shift, weight, pixels.box.grown(margin), patch, box, out)
    return out


def _mirrored_coefficients(plan: TemplatePlan, image: NDArray[np.float32], margin: int) -> Float:
    """Coefficients of an image continued by its mirror image, NaN where a hole spoils them; shape grown by `margin`."""
    degrees = (plan.model.degree,)
    radius = FIR_RADIUS[degrees]
    padded, inside = (
        np.pad(image.astype(np.float64), radius + margin, mode="reflect"),
        np.s_[radius:-radius, radius:-radius],
    )
    spoilt = np.zeros(padded.shape, np.int32)
    found = spline_coefficients(plan, padded, np.isfinite(padded), 0, spoilt, degrees)[inside].astype(np.float64)
    found[spoilt[inside] != 0] = np.nan
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
