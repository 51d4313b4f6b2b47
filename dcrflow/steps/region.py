"""All steps but the writing for a tile or any region, here and now."""

from __future__ import annotations

import numpy as np

from dcrflow.base.workspace import Workspace
from dcrflow.geometry.box import Box
from dcrflow.model.pixels import Pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps.chunk_rows import ChunkRowReader
from dcrflow.steps.load import load_patch
from dcrflow.steps.mosaic import mosaic_tracts
from dcrflow.steps.results import StepResult, TimingKey
from dcrflow.steps.shift import shift_subfilters
from dcrflow.steps.warp import warp_tract
from dcrflow.stores.coadds.source import CoaddSource


def make_tile(coadds: CoaddSource, plan: TemplatePlan, box: Box) -> StepResult[Pixels]:
    """Run all steps for one tile.

    Parameters
    ----------
    coadds : CoaddSource
        The subfilter coadds.
    plan : TemplatePlan
        How the template is made.
    box : Box
        The tile, absolute detector pixels, within ``plan.bbox``.

    Returns
    -------
    StepResult of Pixels
        Of the tile.
    """
    warped = []
    for part in plan.tile(box).parts:
        patches = [load_patch(coadds, plan, patch, region, [part.footprint]) for patch, region in part.reads]
        warped.append(warp_tract(plan, part.tract, shift_subfilters(plan, part, patches), box))
    return mosaic_tracts(plan, box, warped)


def make_region(coadds: CoaddSource, plan: TemplatePlan, box: Box) -> StepResult[Pixels]:
    """Run all steps for a region, tile by tile, but read each pixel once: what tiles share is not read again.

    Parameters and result as `make_tile`.
    """
    tiles = [plan.tile(tile_box) for tile_box in box.tiles(plan.config.tile)]
    image, variance = np.empty(box.shape, np.float32), np.empty(box.shape, np.float32)
    mask = np.empty(box.shape, np.int32)
    timing: dict[TimingKey, float] = {}
    damage: frozenset[str] = frozenset()
    workspace = Workspace()
    with ChunkRowReader(coadds, plan, tiles) as reader:
        for number, tile in enumerate(tiles):
            reader.load(number)
            warped = []
            for part in tile.parts:
                shifted = shift_subfilters(plan, part, reader.patches(part, workspace), workspace)
                warped.append(warp_tract(plan, part.tract, shifted, tile.box, workspace))
            made, where = mosaic_tracts(plan, tile.box, warped, workspace), tile.box.slices(box)
            timing |= made.timing
            damage |= made.damage
            image[where], variance[where], mask[where] = made.pixels.image, made.pixels.variance, made.pixels.mask
    return StepResult(Pixels(box, image, variance, mask), timing, damage)
