"""warp_tract: from a tract's pixels to a detector's."""

from __future__ import annotations

import numpy as np

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import NEW_MEMORY, Workspace
from dcrflow.geometry.box import Box
from dcrflow.kernels.arrays import CoordinateGrid, MaskedImage
from dcrflow.kernels.warp import warp_kernel
from dcrflow.model.pixels import Pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps.noise import table_of
from dcrflow.steps.resample import resample
from dcrflow.steps.results import Recorder, StepResult


def warp_tract(
    plan: TemplatePlan, tract: int, shifted: StepResult[Pixels], box: Box, workspace: Workspace = NEW_MEMORY
) -> StepResult[Pixels]:
    """Resample one tract's matched pixels to a tile of the detector; flux is conserved.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the interpolation and the coordinates.
    tract : int
        Index into ``plan.tracts``.
    shifted : StepResult of Pixels
        What `shift_subfilters` made, on the region that the tile needs.
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
    pixels, pixel_map = recorder.include(shifted), plan.tracts[tract].pixel_map
    no_data = 1 << plan.planes[NO_DATA]
    if plan.interpolation.weight is None:
        return recorder.result(resample(plan, tract, pixels, box, no_data))
    image, variance = (workspace.array(f"warp: {n} {tract}", box.shape, np.float32) for n in ("image", "variance"))
    mask = workspace.array(f"warp: mask {tract}", box.shape, np.int32)
    y, x, y0, x0 = pixel_map.nodes(box)
    left_out = 0 if plan.margins.lsst_edges else no_data
    warp_kernel(plan.interpolation)(
        MaskedImage(pixels.image, pixels.variance, pixels.mask), pixels.box.y0, pixels.box.x0,
        CoordinateGrid(y, x, pixel_map.step, y0, x0), table_of(plan, tract), left_out,
        MaskedImage(image, variance, mask),
    )  # fmt: skip
    if plan.margins.lsst_edges:
        mask[np.isnan(image)] = no_data
    return recorder.result(Pixels(box, image, variance, mask))
