"""All steps but the writing for a tile or any region, here and now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from dcrflow.base.workspace import Workspace
from dcrflow.geometry.box import Box
from dcrflow.geometry.mapping import map_pixels
from dcrflow.model.pixels import Band, Pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.tiles import Tile
from dcrflow.steps.chunk_rows import ChunkRowReader, needs_of_tile
from dcrflow.steps.load import load_patch
from dcrflow.steps.mosaic import mosaic_tracts
from dcrflow.steps.results import StepResult, TimingKey, combined
from dcrflow.steps.shift import shift_subfilters
from dcrflow.steps.tract_bands import TractBands
from dcrflow.steps.warp import TILE, warp_bands, warp_tract
from dcrflow.stores.coadds.source import CoaddSource

_AHEAD = 2  # bands for which reading is begun before they are made


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
    """Run all steps for a region, reading each pixel once. What tiles share is made once, too.

    Parameters and result as `make_tile`.
    """
    image, variance = np.empty(box.shape, np.float32), np.empty(box.shape, np.float32)
    into = Pixels(box, image, variance, np.empty(box.shape, np.int32))
    timing: dict[TimingKey, float] = {}
    damage: frozenset[str] = frozenset()
    for made in (_band_by_band if plan.by_bands else _tile_by_tile)(coadds, plan, into):
        timing |= made.timing
        damage |= made.damage
    return StepResult(into, timing, damage)


def _put(pixels: Pixels, into: Pixels) -> None:
    """Copy the pixels of a tile to where they belong, unless they are there already."""
    where = pixels.box.slices(into.box)
    for name in ("image", "variance", "mask"):
        values, there = getattr(pixels, name), getattr(into, name)
        if values.base is not there:
            there[where] = values


def _tile_by_tile(coadds: CoaddSource, plan: TemplatePlan, into: Pixels) -> Iterator[StepResult[Pixels]]:
    """All tiles."""
    tiles = plan.tiles_of(list(into.box.tiles(plan.config.tile)))
    workspace, columns = Workspace(), len(into.box.cuts(plan.config.tile)[1])
    with ChunkRowReader(coadds, plan, [needs_of_tile(plan, tile) for tile in tiles]) as reader:
        for number, tile in enumerate(tiles):
            reader.load(number, (number // columns + 1) * columns)
            warped = []
            for part in tile.parts:
                shifted = shift_subfilters(plan, part, reader.patches(number, part, workspace), workspace)
                warped.append(warp_tract(plan, part.tract, shifted, tile.box, workspace))
            made = mosaic_tracts(plan, tile.box, warped, workspace)
            _put(made.pixels, into)
            yield made


def _band_by_band(coadds: CoaddSource, plan: TemplatePlan, into: Pixels) -> Iterator[StepResult[Pixels]]:
    """All tiles, in the order in which bands of tracts are made that they lie on."""
    workspace, box = Workspace(), into.box
    parts = [part for part in (plan.part(index, box) for index in range(len(plan.tracts))) if part is not None]
    bands = {part.tract: TractBands(plan, part, workspace) for part in parts}
    tiles = _by_rows(plan, plan.tiles_of(list(box.tiles(min(plan.config.tile, TILE)))))
    under = [[(p.tract, n) for p in tile.parts if p.tract in bands for n in bands[p.tract].under(p)] for tile in tiles]
    last_tile = {band: number for number, on in enumerate(under) for band in on}
    order: list[tuple[int, int]] = []  # of the bands
    first = [0]  # of them that is made for each tile
    for on in under:
        for tract, number in on:
            order += [(tract, n) for n in range(sum(t == tract for t, _ in order), number + 1)]
        first.append(len(order))
    with ChunkRowReader(coadds, plan, [bands[tract].need(number) for tract, number in order]) as reader:
        for tile_number, tile in enumerate(tiles):
            before: list[StepResult[Pixels]] = []
            for number in range(first[tile_number], first[tile_number + 1]):
                reader.load(number, number + _AHEAD)
                before.append(bands[order[number][0]].make(order[number][1], partial(reader.rows, number)))
            parts_under = [p for p in tile.parts if p.tract in bands]
            made = _from_bands(plan, tile.box, [(p.tract, bands[p.tract].of(p)) for p in parts_under], into, workspace)
            timing, damage = combined([*before, made])
            yield StepResult(made.pixels, timing, damage)
            for tract, number in order[: first[tile_number + 1]]:
                if last_tile.get((tract, number), 0) <= tile_number:
                    bands[tract].drop(number)


def _from_bands(
    plan: TemplatePlan, box: Box, tracts: Sequence[tuple[int, Sequence[Band]]], into: Pixels, workspace: Workspace
) -> StepResult[Pixels]:
    """Warp and mosaic a tile from the bands of tracts under it."""
    warped, whole = [], None
    for tract, bands in tracts:
        out = into
        if len(tracts) > 1:
            image, variance = (workspace.array(f"region: {n} {tract}", box.shape, np.float32) for n in "iv")
            out = Pixels(box, image, variance, workspace.array(f"region: mask {tract}", box.shape, np.int32))
        result, whole = warp_bands(plan, tract, bands, box, out)
        if len(tracts) == 1 and not whole:
            result = replace(result, pixels=result.pixels.copy())
        warped.append(result)
    made = mosaic_tracts(plan, box, warped, workspace, whole, into)
    _put(made.pixels, into)
    return made


def _by_rows(plan: TemplatePlan, tiles: Sequence[Tile]) -> list[Tile]:
    """Tiles in the order in which they end along the rows of the first tract."""
    pixel_map = plan.tracts[0].pixel_map
    outlines = np.stack([tile.box.outline(1) for tile in tiles], axis=1)
    ends = np.max(map_pixels(pixel_map.source, pixel_map.target, *outlines)[1], axis=1)
    return [tiles[n] for n in np.argsort(ends, kind="stable").tolist()]
