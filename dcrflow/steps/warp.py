"""warp_tract: from a tract's pixels to a detector's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import UNSET_MEMORY, Workspace
from dcrflow.geometry.box import Box
from dcrflow.kernels.arrays import CoordinateGrid, MaskedImage
from dcrflow.kernels.warp import warp_kernel
from dcrflow.model.pixels import Band, BandedPixels, Pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps.noise import table_of
from dcrflow.steps.resample import resample
from dcrflow.steps.results import Recorder, StepResult

TILE = 512  # pixels; side of what is warped at a time from bands, at most: so little lies on few bands


def warp_tract(
    plan: TemplatePlan,
    tract: int,
    shifted: StepResult[Pixels | BandedPixels],
    box: Box,
    workspace: Workspace = UNSET_MEMORY,
) -> StepResult[Pixels]:
    """Resample one tract's matched pixels to a tile of the detector; flux is conserved.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the interpolation and the coordinates.
    tract : int
        Index into ``plan.tracts``.
    shifted : StepResult of Pixels or BandedPixels
        What `shift_subfilters` or `shift_bands` made, on the region that the tile needs.
    box : Box
        The tile, absolute detector pixels.
    workspace : Workspace, optional
        Lends the arrays of the result; each tract has its own.

    Returns
    -------
    StepResult of Pixels
        Of the tile; NaN and NO_DATA where the tract has no data. (With ``plan.margins.lsst_edges`` there are numbers
        too where the kernel reaches some data: see `dcrflow.steps.lsst_compat`.)
    """
    recorder = Recorder("warp_tract", tract=tract)
    pixels = recorder.include(shifted)
    if plan.interpolation.weight is None and isinstance(pixels, Pixels):
        return recorder.result(resample(plan, tract, pixels, box, 1 << plan.planes[NO_DATA]))
    image, variance = (workspace.array(f"warp: {n} {tract}", box.shape, np.float32) for n in ("image", "variance"))
    mask = workspace.array(f"warp: mask {tract}", box.shape, np.int32)
    made = Pixels(box, image, variance, mask)
    if isinstance(pixels, Pixels):
        _warp(plan, tract, [Band(pixels, -np.inf, np.inf)], box, made)
        return recorder.result(made)
    parts = list(box.tiles(TILE))
    for part, on_tract in zip(parts, plan.parts_of(tract, parts), strict=True):
        _warp(plan, tract, pixels.bands if on_tract is None else pixels.under(on_tract.region), part, made)
    return recorder.result(made)


def warp_bands(
    plan: TemplatePlan, tract: int, bands: Sequence[Band], box: Box, into: Pixels
) -> tuple[StepResult[Pixels], bool]:
    """`warp_tract` from the bands of a tract under a tile, which need not be put together.

    Parameters
    ----------
    plan, tract, box
        As of `warp_tract`; not for an interpolation without weights.
    bands : sequence of Band
        All that the tile lies on.
    into : Pixels
        Of a region in which the tile lies; its part is filled.

    Returns
    -------
    warped : StepResult of Pixels
        Of the tile; its arrays are views of those given.
    whole : bool
        Whether all of its pixels have weight: the image finite, the variance finite and positive.
    """
    recorder = Recorder("warp_tract", tract=tract)
    whole = _warp(plan, tract, bands, box, into)
    return recorder.result(into.part(box)), whole


def _warp(plan: TemplatePlan, tract: int, bands: Sequence[Band], box: Box, into: Pixels) -> bool:
    pixel_map, no_data = plan.tracts[tract].pixel_map, 1 << plan.planes[NO_DATA]
    y, x, y0, x0 = pixel_map.nodes(box)
    grid, table = CoordinateGrid(y, x, pixel_map.step, y0, x0), table_of(plan, tract)
    left_out = 0 if plan.margins.lsst_edges else no_data
    there = (box.y0 - into.box.y0, box.x0 - into.box.x0, *box.shape)
    out = MaskedImage(into.image, into.variance, into.mask)
    without_weight = 0
    for band in bands:
        pixels = band.pixels
        without_weight += warp_kernel(plan.interpolation)(
            MaskedImage(pixels.image, pixels.variance, pixels.mask), pixels.box.y0, pixels.box.x0, grid, table,
            left_out, out, (*there, float(band.first), float(band.end)),
        )  # fmt: skip
    if plan.margins.lsst_edges:
        made = into.part(box)
        made.mask[np.isnan(made.image)] = no_data
    return without_weight == 0
