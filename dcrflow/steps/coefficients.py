"""Spline coefficients of an image with holes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import scratch
from dcrflow.geometry.box import Box
from dcrflow.kernels.convolve import convolve
from dcrflow.kernels.fill import fill_holes, mark_near_holes
from dcrflow.kernels.spline import coefficient_filter
from dcrflow.kernels.support import FIR_RADIUS
from dcrflow.planning.template import TemplatePlan

FILL_REACH = 24  # pixels that a hole is filled inwards before the coefficient filter runs over it
LEAK = 3  # pixels from a hole within which what it was filled with still counts: no data there
TRACE = 10  # pixels from a hole within which it is above 1e-4 of what it was filled with: INTRP there


def spline_coefficients(
    plan: TemplatePlan,
    image: NDArray[np.float64],
    known: NDArray[np.bool_] | None,
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
    known : ndarray of bool, shape (y, x), or None
        Where the image has data; everywhere if None.
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
        Shape of the image; anything in its margin and where not wanted. It is `scratch`.
    """
    radius, (height, width) = FIR_RADIUS[degrees], image.shape
    if known is not None and not known.all():
        fill_holes(image, known.view(np.uint8), FILL_REACH)
        for reach, plane in ((LEAK, NO_DATA), (TRACE, "INTRP")):
            mark_near_holes(known.view(np.uint8), footprint + reach, 1 << plan.planes[plane], mask)
    taps = coefficient_filter(degrees)
    rows, out = scratch("rows", image.shape, np.float64), scratch("coefficients", image.shape, np.float32)
    whole, inner = Box(0, 0, width, height), Box(radius, radius, width - 2 * radius, height - 2 * radius)
    along_x, along_y = wanted or ([Box(radius, 0, inner.width, height)], [inner])
    for strip in along_x:
        convolve(image, taps[None], strip.y0, strip.x0 + radius, rows[strip.slices(whole)])
    for strip in along_y:
        convolve(rows, taps[:, None], strip.y0 + radius, strip.x0, out[strip.slices(whole)])
    return out
