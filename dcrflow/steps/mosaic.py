"""mosaic_tracts: one tile of the template from what each tract has of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import UNSET_MEMORY, Workspace
from dcrflow.geometry.box import Box
from dcrflow.kernels.arrays import MaskedImage, RunningMean
from dcrflow.kernels.merge import begin_mean, is_usable, mean_of_two, merge_into
from dcrflow.model.pixels import Pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps.lsst_compat import drop_no_data
from dcrflow.steps.results import Recorder, StepResult


def mosaic_tracts(
    plan: TemplatePlan,
    box: Box,
    warped: Sequence[StepResult[Pixels]],
    workspace: Workspace = UNSET_MEMORY,
    whole: bool | None = None,
    into: Pixels | None = None,
) -> StepResult[Pixels]:
    """Average the tracts where they overlap.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the weights, the mask planes and the fill value.
    box : Box
        The tile, absolute detector pixels.
    warped : sequence of StepResult of Pixels
        What `warp_tract` made of each tract, all of the tile; may be empty.
    workspace : Workspace, optional
        Lends the arrays of the result.
    whole : bool, optional
        Whether a single tract's pixels all have weight, if that is known.
    into : Pixels, optional
        Of a region in which the tile lies: the mean of two tracts is made in its arrays, and the result are views.

    Returns
    -------
    StepResult of Pixels
        Of the tile; where no tract has data, the fill value in image and variance, and in the mask NO_DATA and the
        planes of the tracts' pixels there. Where a single tract has data everywhere, its own arrays.
    """
    recorder = Recorder("mosaic_tracts")
    tracts = [recorder.include(result) for result in warped]
    if len(tracts) == 1 and whole is None:
        whole = is_usable(tracts[0].image, tracts[0].variance)
    if len(tracts) == 2:
        template = _mean_of_two(plan, box, tracts, workspace, into)
    else:
        template = tracts[0] if len(tracts) == 1 and whole else _averaged(plan, box, tracts, workspace)
    if plan.margins.lsst_edges:
        drop_no_data(plan, template)
    return recorder.result(template)


def _mean_of_two(
    plan: TemplatePlan, box: Box, tracts: Sequence[Pixels], workspace: Workspace, into: Pixels | None
) -> Pixels:
    if into is None:
        image, variance = (workspace.array(f"mosaic: {n}", box.shape, np.float32) for n in ("image", "variance"))
        into = Pixels(box, image, variance, workspace.array("mosaic: mask", box.shape, np.int32))
    first, second = (MaskedImage(pixels.image, pixels.variance, pixels.mask) for pixels in tracts)
    mean_of_two(
        first, second, plan.config.combine == "mean", np.float32(plan.config.fill),
        np.int32(1 << plan.planes[NO_DATA]), box.y0 - into.box.y0, box.x0 - into.box.x0,
        MaskedImage(into.image, into.variance, into.mask),
    )  # fmt: skip
    return into.part(box)


def _averaged(plan: TemplatePlan, box: Box, tracts: Sequence[Pixels], workspace: Workspace) -> Pixels:
    image, variance, weight = (
        workspace.array(f"mosaic: {n}", box.shape, np.float32) for n in ("image", "variance", "weight")
    )
    mask = workspace.array("mosaic: mask", box.shape, np.int32)
    variance.fill(np.nan)
    if not tracts:
        for array, start in ((image, np.nan), (mask, 0), (weight, 0)):
            array.fill(start)
    equal = plan.config.combine == "mean"
    merged = RunningMean(image, variance, mask, weight)
    for number, pixels in enumerate(tracts):
        merge = merge_into if number else begin_mean
        merge(MaskedImage(pixels.image, pixels.variance, pixels.mask), equal, 0, 0, merged)
    empty = weight == 0
    if empty.any():
        image[empty] = plan.config.fill
        variance[empty] = plan.config.fill
        mask[empty] = 1 << plan.planes[NO_DATA]
        for pixels in tracts:
            mask[empty] |= pixels.mask[empty]
    return Pixels(box, image, variance, mask)
