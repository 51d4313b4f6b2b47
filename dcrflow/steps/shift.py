"""shift_subfilters: match the patches of a tract to the observation's DCR, merge them, filter for the warp."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import NEW_MEMORY, Workspace
from dcrflow.kernels.fill import mark_near_missing
from dcrflow.model.pixels import PatchPixels, Pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.tiles import TilePart
from dcrflow.steps.lsst_compat import shift_as_lsst
from dcrflow.steps.match import match_and_merge
from dcrflow.steps.merge import MergedTract
from dcrflow.steps.prefilter import prefilter
from dcrflow.steps.results import Recorder, StepResult


def shift_subfilters(
    plan: TemplatePlan,
    part: TilePart,
    patches: Iterable[StepResult[PatchPixels]],
    workspace: Workspace = NEW_MEMORY,
) -> StepResult[Pixels]:
    """Spread each subfilter's light by its DCR, add the subfilters, merge the patches of one tract.

    Parameters
    ----------
    plan : TemplatePlan
        How the template is made.
    part : TilePart
        Which tract, and which region of it.
    patches : iterable of StepResult of PatchPixels
        What `load_patch` read, in the order of ``part.reads``.
    workspace : Workspace, optional
        Lends the arrays of the result.

    Returns
    -------
    StepResult of Pixels
        On ``part.region`` and ``plan.margins.merge`` around it; good where the warp of the tile looks, anything
        elsewhere. For a spline warp the image holds B-spline coefficients, otherwise pixels. It is finite (elsewhere,
        too, unless the workspace lends arrays with anything in them); the mask has NO_DATA where a kernel must not go,
        and INTRP around such places.
    """
    recorder = Recorder("shift_subfilters", tract=part.tract)
    shift = shift_as_lsst if plan.margins.as_lsst else _shift
    return recorder.result(shift(plan, part, map(recorder.include, patches), workspace))


def _shift(plan: TemplatePlan, part: TilePart, patches: Iterable[PatchPixels], workspace: Workspace) -> Pixels:
    merged = MergedTract.of(plan, part, workspace)
    for pixels in patches:
        match_and_merge(plan, plan.tracts[part.tract], [pixels], merged, workspace)
    finite, weighed = merged.valid_masks() or (None, None)
    if plan.interpolation.weight is None:
        merged.clear_outside()  # such a warp looks at all of the region
    image, variance, mask, _ = merged.mean
    if weighed is not None:
        no_data = 1 << plan.planes[NO_DATA]
        mark_near_missing(weighed.view(np.uint8), plan.interpolation.half_width, no_data, mask)
    return Pixels(merged.box, prefilter(plan, part, image, finite, mask, workspace), variance, mask)
