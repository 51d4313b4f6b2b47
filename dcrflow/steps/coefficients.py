"""Spline coefficients of an image with holes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.kernels.convolve import convolve
from dcrflow.kernels.fill import fill_holes, mark_near_holes
from dcrflow.kernels.footprint import FIR_RADIUS
from dcrflow.kernels.spline import coefficient_filter
from dcrflow.masks import NO_DATA
from dcrflow.plan import TemplatePlan
from dcrflow.scratch import scratch

FILL_REACH = 24  # pixels that a hole is filled inwards before the coefficient filter runs over it
LEAK = 3  # pixels from a hole within which what it was filled with still counts: no data there
TRACE = 10  # pixels from a hole within which it is above 1e-4 of what it was filled with: INTRP there


def spline_coefficients(
    plan: TemplatePlan,
    image: NDArray[np.float64],
    known: NDArray[np.bool_],
    footprint: int,
    mask: NDArray[np.int32],
    degrees: tuple[int, ...],
    wanted: tuple[Sequence[Box], Sequence[Box]] | None = None,
) -> NDArray[np.float32]:
    """Filter an image to B-spline coefficients, its holes filled first.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the mask planes.
    image : ndarray of float64, shape (y, x)
        With a margin of ``FIR_RADIUS[degrees]``; changed where not known.
    known : ndarray of bool, shape (y, x)
        Where the image has data.
    footprint : int
        How far from its centre the kernel that will evaluate the coefficients reaches, pixels.
    mask : ndarray of int32, shape (y, x)
        Where what was filled in matters, NO_DATA and INTRP are ORed into it.
    degrees : tuple of int
        Of the B-splines to undo.
    wanted : tuple of two sequences of Box, optional
        Strips of the image that must be filtered along x, and of the coefficients that must be made, both in pixels of
        the image; all if not given.

    Returns
    -------
    ndarray of float32
        Of the image without its margin; zero where not wanted. It is `scratch`.
    """
    radius = FIR_RADIUS[degrees]
    height, width = image.shape[0] - 2 * radius, image.shape[1] - 2 * radius
    if not known.all():
        fill_holes(image, known.view(np.uint8), FILL_REACH)
        for reach, plane in ((LEAK, NO_DATA), (TRACE, "INTRP")):
            mark_near_holes(known.view(np.uint8), footprint + reach, 1 << plan.planes[plane], mask)
    taps = coefficient_filter(degrees)
    rows = scratch("rows", (image.shape[0], width), np.float64)
    out = scratch("coefficients", (height, width), np.float32)
    out.fill(0)
    of_rows, of_out = Box(radius, 0, width, image.shape[0]), Box(radius, radius, width, height)
    along_x, along_y = wanted or ([of_rows], [of_out])
    for strip in along_x:
        convolve(image, taps[None], strip.y0, strip.x0 + radius, rows[strip.slices(of_rows)])
    for strip in along_y:
        convolve(rows, taps[:, None], strip.y0 + radius, strip.x0 - radius, out[strip.slices(of_out)])
    return out
