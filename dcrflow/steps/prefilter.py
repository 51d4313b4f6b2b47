"""From merged pixels to what the warp evaluates: B-spline coefficients, missing pixels filled and marked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import NEW_MEMORY, Workspace
from dcrflow.geometry.box import Box
from dcrflow.kernels.convolve_lines import convolve_along, convolve_down
from dcrflow.kernels.fill import fill_missing, mark_near_missing
from dcrflow.kernels.interpolation import filter_radius
from dcrflow.kernels.spline import coefficient_filter
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.tiles import TilePart
from dcrflow.steps.strips import STRIP_ROWS

FILL_REACH = 24  # missing pixels at most this far from the data are filled before the coefficient filter runs
LEAK = 3  # pixels from a missing one within which the values filled in matter: no data there
TRACE = 10  # pixels from a missing one within which they matter by more than 1e-4: INTRP there

Bool = NDArray[np.bool_]


def prefilter(
    plan: TemplatePlan,
    part: TilePart,
    image: NDArray[np.float64],
    finite: Bool | None,
    mask: NDArray[np.int32],
    workspace: Workspace,
) -> NDArray[np.float32]:
    """Coefficients of a merged tract where the warp of a tile looks.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the degrees that are undone, and the margins.
    part : TilePart
        What is wanted.
    image : ndarray of float64, shape of ``part.region`` grown by ``plan.margins.merge``
        Merged; changed where not finite.
    finite : ndarray of bool, same shape, or None
        Where the image is finite; everywhere if None.
    mask : ndarray of int32, same shape
        NO_DATA and INTRP are ORed into it around missing pixels.
    workspace : Workspace
        Lends the result.

    Returns
    -------
    ndarray of float32
        Shape of the image; anything where the warp does not look.
    """
    margins = plan.margins
    radius, region, box = filter_radius(margins.merged_degrees), part.region, part.region.grown(margins.merge)
    taller = Box(region.x0, region.y0 - radius, region.width, region.height + 2 * radius)
    along_x, along_y = (
        [strip.moved(-box.x0, -box.y0) for strip in part.footprint.strips(around, STRIP_ROWS, margin)]
        for around, margin in ((taller, margins.warp + radius), (region, margins.warp))
    )
    half_width = plan.interpolation.half_width
    return spline_coefficients(
        plan, image, finite, half_width, mask, margins.merged_degrees, (along_x, along_y), workspace
    )


def spline_coefficients(
    plan: TemplatePlan,
    image: NDArray[np.float64],
    finite: Bool | None,
    half_width: int,
    mask: NDArray[np.int32],
    degrees: tuple[int, ...],
    wanted: tuple[Sequence[Box], Sequence[Box]] | None = None,
    workspace: Workspace = NEW_MEMORY,
) -> NDArray[np.float32]:
    """Filter an image to B-spline coefficients; missing pixels are filled first.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the mask planes.
    image : ndarray of float64, shape (y, x)
        With a margin of ``filter_radius(degrees)``; changed where not finite.
    finite : ndarray of bool, shape (y, x), or None
        Where the image has data; everywhere if None.
    half_width : int
        How many pixels from its centre the kernel looks at that will evaluate the coefficients.
    mask : ndarray of int32, shape (y, x)
        Where the values filled in matter, NO_DATA and INTRP are ORed into it.
    degrees : tuple of int
        Of the B-splines to undo.
    wanted : tuple of two sequences of Box, optional
        Strips of the image that must be filtered along x, and of the coefficients that must be made, both in pixels of
        the image; all if not given.
    workspace : Workspace, optional
        Lends the result.

    Returns
    -------
    ndarray of float32
        Shape of the image; anything in its margin and where not wanted, but for a warp without weights: zero.
    """
    radius, (height, width) = filter_radius(degrees), image.shape
    fill_and_mark(plan, image, finite, half_width, mask)
    rows = workspace.array("prefilter: filtered along x", image.shape, np.float64)
    out = workspace.array("prefilter: coefficients", image.shape, np.float32)
    if plan.interpolation.weight is None:
        out.fill(0)  # such a warp looks at all of it
    inner = Box(radius, radius, width - 2 * radius, height - 2 * radius)
    along_x, along_y = wanted or ([Box(radius, 0, inner.width, height)], [inner])
    filter_strips(image, degrees, along_x, along_y, rows, out)
    return out


def fill_and_mark(
    plan: TemplatePlan, image: NDArray[np.float64], finite: Bool | None, half_width: int, mask: NDArray[np.int32]
) -> None:
    """Fill the missing pixels of an image, and mark where the values filled in matter; see `spline_coefficients`."""
    if finite is not None and not finite.all():
        fill_missing(image, finite.view(np.uint8), FILL_REACH)
        for reach, plane in ((LEAK, NO_DATA), (TRACE, "INTRP")):
            mark_near_missing(finite.view(np.uint8), half_width + reach, 1 << plan.planes[plane], mask)


def filter_strips(
    image: NDArray[np.float64],
    degrees: tuple[int, ...],
    along_x: Sequence[Box],
    along_y: Sequence[Box],
    rows: NDArray[np.float64],
    out: NDArray[np.float32],
) -> None:
    """Filter strips of an image, first along x into `rows`, then along y into `out`; see `spline_coefficients`."""
    taps, whole = coefficient_filter(degrees), Box(0, 0, image.shape[1], image.shape[0])
    radius = len(taps) // 2
    for strip in along_x:
        convolve_along(image, taps, strip.y0, strip.x0 + radius, rows[strip.slices(whole)])
    for strip in along_y:
        convolve_down(rows, taps, strip.y0 + radius, strip.x0, out[strip.slices(whole)])
