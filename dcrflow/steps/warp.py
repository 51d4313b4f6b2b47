"""warp_tract: from a tract's pixels to a detector's."""

from __future__ import annotations

import numpy as np

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import scratch
from dcrflow.geometry.box import Box
from dcrflow.kernels.support import TAPS
from dcrflow.kernels.warp import warp_kernel, weight_table
from dcrflow.model.pixels import Pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps.resample import resample
from dcrflow.steps.timing import timed


@timed
def warp_tract(plan: TemplatePlan, tract: int, pixels: Pixels, box: Box) -> Pixels:
    """Resample one tract's matched pixels to a tile of the detector; flux is conserved.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the kernel and the coordinates.
    tract : int
        Index into ``plan.tracts``.
    pixels : Pixels
        What `shift_subfilters` made, on the region that the tile needs.
    box : Box
        The tile, absolute detector pixels.

    Returns
    -------
    Pixels
        Of the tile; NaN and NO_DATA where the tract has no data.
    """
    kernel = plan.config.warp
    if kernel not in TAPS:
        return resample(kernel, plan.tracts[tract].pixel_map, pixels, box, 1 << plan.planes[NO_DATA])
    y, x, y0, x0 = plan.tracts[tract].pixel_map.nodes(box)
    image, variance = (scratch(f"{n} of tract {tract}", box.shape, np.float32) for n in ("image", "variance"))
    mask = scratch(f"mask of tract {tract}", box.shape, np.int32)
    warp = warp_kernel(kernel)
    warp(
        pixels.image, pixels.variance, pixels.mask, y, x, plan.tracts[tract].pixel_map.step, y0, x0,
        pixels.box.y0, pixels.box.x0, weight_table(kernel), 1 << plan.planes[NO_DATA], image, variance, mask,
    )  # fmt: skip
    return Pixels(box, image, variance, mask)
