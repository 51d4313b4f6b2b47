"""All steps but the writing for a tile or any region, here and now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dcrflow.geometry.box import Box
from dcrflow.geometry.footprint import Footprint
from dcrflow.geometry.skymap import Patch
from dcrflow.pixels import PatchPixels, Pixels
from dcrflow.plan import TemplatePlan, Tile
from dcrflow.scratch import kept_scratch
from dcrflow.steps.load import load_patch
from dcrflow.steps.mosaic import mosaic_tracts
from dcrflow.steps.shift import shift_subfilters
from dcrflow.steps.warp import warp_tract
from dcrflow.stores.source import CoaddSource

_AT_ONCE = 4  # patches read at the same time


def make_tile(coadds: CoaddSource, plan: TemplatePlan, box: Box) -> Pixels:
    """Run all steps for one tile.

    Parameters
    ----------
    coadds : CoaddSource
        The subfilter coadds.
    plan : TemplatePlan
        The orders.
    box : Box
        The tile, absolute detector pixels, within ``plan.bbox``.

    Returns
    -------
    Pixels
        Of the tile.
    """
    warped = []
    for part in plan.tile(box).parts:
        patches = [load_patch(coadds, plan, patch, region, [part.footprint]) for patch, region in part.reads]
        warped.append(warp_tract(plan, part.tract, shift_subfilters(plan, part, patches), box))
    return mosaic_tracts(plan, box, warped)


def make_region(coadds: CoaddSource, plan: TemplatePlan, box: Box) -> Pixels:
    """Run all steps for a region, tile by tile, but read each patch once: what tiles share is not read again.

    Parameters and result as `make_tile`.
    """
    tiles = [plan.tile(tile_box) for tile_box in box.tiles(plan.config.tile)]
    last = {patch: number for number, tile in enumerate(tiles) for part in tile.parts for patch, _ in part.reads}
    loaded: dict[Patch, PatchPixels] = {}
    image, variance = np.empty(box.shape, np.float32), np.empty(box.shape, np.float32)
    mask = np.empty(box.shape, np.int32)
    spent: dict[tuple[str, str, Box], float] = {}
    with kept_scratch():
        for number, tile in enumerate(tiles):
            wanted = {patch for part in tile.parts for patch, _ in part.reads} - set(loaded)
            loaded |= load_patches(coadds, plan, tiles, wanted)
            made, where = _make(plan, tile, loaded), tile.box.slices(box)
            spent |= made.spent
            image[where], variance[where], mask[where] = made.image, made.variance, made.mask
            for patch in [patch for patch in loaded if last[patch] == number]:  # no later tile wants it
                del loaded[patch]
    return Pixels(box, image, variance, mask, spent)


def _make(plan: TemplatePlan, tile: Tile, loaded: Mapping[Patch, PatchPixels]) -> Pixels:
    warped = []
    for part in tile.parts:
        patches = [loaded[patch] for patch, _ in part.reads]
        if plan.patch_degrees:  # filters all that it is given
            patches = [pixels.part(region) for pixels, (_, region) in zip(patches, part.reads, strict=True)]
        warped.append(warp_tract(plan, part.tract, shift_subfilters(plan, part, patches), tile.box))
    return mosaic_tracts(plan, tile.box, warped)


def load_patches(
    coadds: CoaddSource, plan: TemplatePlan, tiles: Sequence[Tile], wanted: Collection[Patch] | None = None
) -> dict[Patch, PatchPixels]:
    """What all the tiles need of each patch, or of those that are wanted."""
    regions: dict[Patch, Box] = {}
    footprints: dict[Patch, list[Footprint]] = {}
    for part in (part for tile in tiles for part in tile.parts):
        for patch, region in part.reads:
            if wanted is not None and patch not in wanted:
                continue
            regions[patch] = regions.get(patch, region).union(region)
            footprints.setdefault(patch, []).append(part.footprint)
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # where the coadds are far away, their requests are in flight together
        each = pool.map(lambda patch: load_patch(coadds, plan, patch, regions[patch], footprints[patch]), regions)
        return dict(zip(regions, each, strict=True))
