"""mosaic_tracts: one tile of the template from what each tract has of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import scratch
from dcrflow.geometry.box import Box
from dcrflow.kernels.merge import is_usable, merge_into
from dcrflow.model.pixels import Pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps.timing import timed


@timed
def mosaic_tracts(plan: TemplatePlan, box: Box, warped: Sequence[Pixels]) -> Pixels:
    """Average the tracts where they overlap.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the weights, the mask planes and the fill value.
    box : Box
        The tile, absolute detector pixels.
    warped : sequence of Pixels
        What `warp_tract` made of each tract, all of the tile; may be empty.

    Returns
    -------
    Pixels
        Of the tile; where no tract has data, the fill value in image and variance, and in the mask NO_DATA beside what
        flagged the pixels that it would have been made from.
    """
    if len(warped) == 1 and is_usable(warped[0].image, warped[0].variance):
        return Pixels(box, warped[0].image, warped[0].variance, warped[0].mask)
    image, variance, weight = (scratch(f"mosaic {n}", box.shape, np.float32) for n in ("image", "variance", "weight"))
    mask = scratch("mosaic mask", box.shape, np.int32)
    for array, start in ((image, np.nan), (variance, np.nan), (mask, 0), (weight, 0)):
        array.fill(start)
    equal = plan.config.combine == "mean"
    for pixels in warped:
        merge_into(pixels.image, pixels.variance, pixels.mask, equal, 0, 0, image, variance, mask, weight)
    empty = weight == 0
    if empty.any():
        image[empty] = plan.config.fill
        variance[empty] = plan.config.fill
        mask[empty] = 1 << plan.planes[NO_DATA]
        for pixels in warped:
            mask[empty] |= pixels.mask[empty]
    return Pixels(box, image, variance, mask)
