"""The coadds of a region, read by rows of chunks: each pixel once, and kept while it is still needed.

One row of a patch's chunks is read at a time, or a few rows of low chunks, as far as the tiles or bands need it. So
memory holds only the rows under what is being made, however many patches there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import reduce
from typing import Self

from dcrflow.base.workspace import Workspace
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch
from dcrflow.model.pixels import PatchPixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.tiles import Tile, TilePart
from dcrflow.steps.load import READS_AT_ONCE, load_patch
from dcrflow.steps.results import StepResult, combined
from dcrflow.steps.strips import boxes_read
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.zarr.arrays import chunk_rows

_MIN_HEIGHT = 256  # rows of pixels that are read at a time, at least

ChunkRow = tuple[Patch, int]

#: The chunk rows of a patch, from top to bottom.
RowsOfPatch = list[StepResult[PatchPixels]]

#: The pixels that a tile or a band needs: strips of each patch, tract pixels.
Need = Sequence[tuple[Patch, Sequence[Box]]]


def needs_of_tile(plan: TemplatePlan, tile: Tile) -> Need:
    """The pixels that a tile needs."""
    return [(p, plan.strips_to_read(p, region, part.footprint)) for part in tile.parts for p, region in part.reads]


class ChunkRowReader:
    """Reads what tiles or bands need of the coadds, in the order given; use it in a ``with`` statement.

    Parameters
    ----------
    coadds : CoaddSource
        The subfilter coadds.
    plan : TemplatePlan
        How the template is made.
    needs : sequence of Need
        Of each tile or band, in the order in which they are made.
    """

    def __init__(self, coadds: CoaddSource, plan: TemplatePlan, needs: Sequence[Need]) -> None:
        self._coadds, self._plan = coadds, plan
        self._boxes: dict[ChunkRow, Box] = {}
        self._needs = [self._rows_of(need) for need in needs]
        self._last_need = {row: number for number, rows in enumerate(self._needs) for row in rows}
        self._reading: dict[ChunkRow, Future[StepResult[PatchPixels]]] = {}
        self._pool = ThreadPoolExecutor(READS_AT_ONCE) if coadds.concurrent_reads else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _rows_of(self, need: Need) -> list[ChunkRow]:
        """The chunk rows that a need lies on; their boxes grow to hold what it needs of them."""
        found = []
        for patch, strips in need:
            if not strips:
                continue
            height, width = self._coadds.info(patch.tract, patch.patch, self._plan.band).chunks[-2:]
            for row, whole in chunk_rows(strips, (-(-_MIN_HEIGHT // height) * height, width), patch.bbox).items():
                box = reduce(Box.union, (strip.intersection(whole) for strip in strips if strip.overlaps(whole)))
                self._boxes[patch, row] = self._boxes.get((patch, row), box).union(box)
                found.append((patch, row))
        return found

    def load(self, number: int, until: int) -> None:
        """Wait for the rows of need `number`, and drop those that neither it nor a later one needs.

        Also starts reading for the needs after it, up to but not including `until`. A source that only one thread may
        read from is read at once.
        """
        for row in [row for row in self._reading if self._last_need[row] < number]:
            del self._reading[row]
        for rows in self._needs[number:until]:
            for row in rows:
                if row not in self._reading:
                    self._reading[row] = self._begin(row)
        for row in self._needs[number]:
            self._reading[row].result()

    def _begin(self, row: ChunkRow) -> Future[StepResult[PatchPixels]]:
        """Start to read a chunk row."""
        wanted = self._coadds, self._plan, row[0], self._boxes[row]
        if self._pool is not None:
            return self._pool.submit(load_patch, *wanted)
        read: Future[StepResult[PatchPixels]] = Future()
        read.set_result(load_patch(*wanted))
        return read

    def rows(self, number: int, patch: Patch) -> RowsOfPatch:
        """The chunk rows of a patch under need `number`, from top to bottom; `load` comes first."""
        rows = sorted(row for row in self._needs[number] if row[0] == patch)
        return [self._reading[row].result() for row in rows]

    def patches(self, number: int, part: TilePart, workspace: Workspace) -> Iterator[StepResult[PatchPixels]]:
        """For `shift_subfilters`: the patches under a part of tile `number`, which is loaded.

        Each is lent by the workspace and good until the next; it holds data where `boxes_read` says, and anything
        elsewhere.
        """
        for patch, region in part.reads:
            wanted = boxes_read(self._plan, part, region)
            loaded = self.rows(number, patch)
            if loaded and wanted:
                yield StepResult(
                    stacked(region, [result.pixels for result in loaded], wanted, workspace), *combined(loaded)
                )


def stacked(
    box: Box, rows: Sequence[PatchPixels], wanted: Sequence[Box], workspace: Workspace, name: str = "all"
) -> PatchPixels:
    """The wanted parts of a box from chunk rows on top of each other: zero where none has them, anything elsewhere.

    Good until the next of its name.
    """
    y0, y1 = min(part.y0 for part in wanted), max(part.y1 for part in wanted)
    empty: list[Box] = []
    filled: list[tuple[PatchPixels, Box]] = []
    for row in sorted(rows, key=lambda pixels: pixels.box.y0):
        within = Box.from_bounds(box.x0, max(y0, row.box.y0), box.x1, min(y1, row.box.y1))
        here = [part for part in wanted if part.overlaps(within)]
        if not here:
            continue
        x0, x1 = min(part.x0 for part in here), max(part.x1 for part in here)
        common = Box.from_bounds(max(x0, row.box.x0), within.y0, min(x1, row.box.x1), within.y1)
        empty.append(Box.from_bounds(box.x0, y0, box.x1, within.y0))
        empty.append(Box.from_bounds(x0, within.y0, min(x1, common.x0), within.y1))
        empty.append(Box.from_bounds(max(x0, common.x1), within.y0, x1, within.y1))
        filled.append((row, common))
        y0 = within.y1
    empty.append(Box.from_bounds(box.x0, y0, box.x1, y1))
    found = {}
    for which in ("image", "variance", "mask"):
        first = getattr(rows[0], which)
        out = found[which] = workspace.array(f"chunk rows: {name} {which}", (len(first), *box.shape), first.dtype)
        for part in empty:
            out[(..., *part.slices(box))] = 0
        for row, part in filled:
            out[(..., *part.slices(box))] = getattr(row, which)[(..., *part.slices(row.box))]
    return PatchPixels(box, found["image"], found["variance"], found["mask"])
