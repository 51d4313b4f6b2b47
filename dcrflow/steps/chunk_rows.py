"""The coadds of a region, read slab by slab: each pixel once, and kept while a tile still needs it.

A slab is one row of a patch's chunks, or a few low ones, as wide as all tiles together need it. What is in memory at a
time is what a row of tiles lies on, however many patches there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

from dcrflow.base.workspace import scratch
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch
from dcrflow.model.pixels import PatchPixels, Spent
from dcrflow.planning.template import TemplatePlan, Tile, TilePart
from dcrflow.steps.load import load_patch
from dcrflow.steps.shift import read_by
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.zarr.arrays import chunk_rows

_AT_ONCE = 6  # slabs read at the same time: where the coadds are far away, their requests are in flight together
_ROWS = 256  # of a slab, at least

Slab = tuple[Patch, int]


class Slabs:
    """What tiles need of the coadds; use it in a ``with`` statement, tile by tile in the order given.

    Parameters
    ----------
    coadds : CoaddSource
        The subfilter coadds.
    plan : TemplatePlan
        The orders.
    tiles : sequence of Tile
        All of them, row by row.
    """

    def __init__(self, coadds: CoaddSource, plan: TemplatePlan, tiles: Sequence[Tile]) -> None:
        self._coadds, self._plan, self._tiles = coadds, plan, tiles
        self._boxes: dict[Slab, Box] = {}
        self._needs = [self._lies_on(tile) for tile in tiles]
        self._last = {slab: number for number, slabs in enumerate(self._needs) for slab in slabs}
        self._read: dict[Slab, Future[PatchPixels]] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _lies_on(self, tile: Tile) -> set[Slab]:
        """The slabs that a tile lies on, made wide enough for it."""
        found = set()
        for part in tile.parts:
            for patch, region in part.reads:
                height, width = self._coadds.info(patch.tract, patch.patch, self._plan.band).chunks[-2:]
                strips = self._plan.strips_to_read(patch, region, part.footprint)
                for row, box in chunk_rows(strips, (-(-_ROWS // height) * height, width), patch.bbox).items():
                    self._boxes[patch, row] = self._boxes.get((patch, row), box).union(box).intersection(patch.bbox)
                    found.add((patch, row))
        return found

    def load(self, number: int) -> tuple[Spent, frozenset[str]]:
        """Have what tile `number` lies on, and forget what it and those after it do not.

        Returns how long reading took, and what could not be read.
        """
        for slab in [slab for slab in self._read if self._last[slab] < number]:
            del self._read[slab]
        for tile, slabs in zip(self._tiles[number:], self._needs[number:], strict=True):
            if tile.box.y0 != self._tiles[number].box.y0:
                break
            for slab in slabs - set(self._read):
                self._read[slab] = self._pool.submit(load_patch, self._coadds, self._plan, slab[0], self._boxes[slab])
        spent: dict[tuple[str, str, int, Box], float] = {}
        loaded = [self._read[slab].result() for slab in self._needs[number]]
        for pixels in loaded:
            spent |= pixels.spent
        return spent, frozenset().union(*(pixels.damage for pixels in loaded))

    def patches(self, part: TilePart) -> Iterator[PatchPixels]:
        """For `shift_subfilters`, what a part of the loaded tile lies on; each is `scratch`, good until the next."""
        for patch, region in part.reads:
            slabs = [s for s, box in self._boxes.items() if s[0] == patch and s in self._read and box.overlaps(region)]
            wanted = read_by(self._plan, part, region)
            if slabs and wanted:
                yield _put_together(region, [self._read[slab].result() for slab in slabs], wanted)


def _put_together(box: Box, slabs: Sequence[PatchPixels], wanted: Sequence[Box]) -> PatchPixels:
    """The wanted parts of a box from slabs on top of each other: zero where none has them, anything elsewhere."""
    done, top = min(part.y0 for part in wanted), max(part.y1 for part in wanted)
    empty: list[Box] = []
    filled: list[tuple[PatchPixels, Box]] = []
    for slab in sorted(slabs, key=lambda s: s.box.y0):
        rows = Box.from_bounds(box.x0, max(done, slab.box.y0), box.x1, min(top, slab.box.y1))
        here = [part for part in wanted if part.overlaps(rows)]
        if not here:
            continue
        x0, x1 = min(part.x0 for part in here), max(part.x1 for part in here)
        common = Box.from_bounds(max(x0, slab.box.x0), rows.y0, min(x1, slab.box.x1), rows.y1)
        empty.append(Box.from_bounds(box.x0, done, box.x1, rows.y0))
        empty.append(Box.from_bounds(x0, rows.y0, min(x1, common.x0), rows.y1))
        empty.append(Box.from_bounds(max(x0, common.x1), rows.y0, x1, rows.y1))
        filled.append((slab, common))
        done = rows.y1
    empty.append(Box.from_bounds(box.x0, done, box.x1, top))
    found = {}
    for name in ("image", "variance", "mask"):
        first = getattr(slabs[0], name)
        out = found[name] = scratch(f"{name} of a patch", (len(first), *box.shape), first.dtype)
        for part in empty:
            out[(..., *part.slices(box))] = 0
        for slab, part in filled:
            out[(..., *part.slices(box))] = getattr(slab, name)[(..., *part.slices(slab.box))]
    return PatchPixels(box, found["image"], found["variance"], found["mask"])
