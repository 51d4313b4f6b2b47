"""A tract under a whole region, shifted band by band: each of its pixels is matched, merged and filtered once.

Tiles that are turned against the tract overlap on it, and so do the margins of their filters: tile by tile, a quarter
more pixels would be matched and filtered than there are. A band is some rows of the tract, as wide as the region needs
them. What its filters need of the rows around it is kept from the band before, or made early for the one after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import Workspace
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch
from dcrflow.kernels.fill import mark_near_missing
from dcrflow.kernels.interpolation import filter_radius
from dcrflow.kernels.warp import reach
from dcrflow.model.pixels import Band, BandedPixels, PatchPixels, Pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.tiles import Reach, TilePart
from dcrflow.steps.cells import cells_of, kernel_table
from dcrflow.steps.chunk_rows import ChunkRowReader, Need, RowsOfPatch, stacked
from dcrflow.steps.match import match_and_merge
from dcrflow.steps.merge import Bool, MergedTract
from dcrflow.steps.prefilter import fill_and_mark, filter_strips
from dcrflow.steps.results import Recorder, StepResult, combined
from dcrflow.steps.strips import STRIP_ROWS
from dcrflow.stores.coadds.source import CoaddSource

_BAND = 4 * STRIP_ROWS  # rows of the tract

RowsOf = Callable[[Patch], RowsOfPatch]


@dataclass(frozen=True)
class _Made:
    """A band, and what the next one keeps of it.

    Parameters
    ----------
    box : Box
        Of the arrays: the band and a margin.
    strips : tuple of Box
        Its parts that were merged.
    merged : MergedTract
        Its pixels.
    masks : tuple of ndarray, or None
        From `MergedTract.valid_masks`.
    along_x : ndarray of float64
        Filtered along x.
    coefficients : ndarray of float32
        Filtered along both axes.
    """

    box: Box
    strips: tuple[Box, ...]
    merged: MergedTract
    masks: tuple[Bool, Bool] | None
    along_x: NDArray[np.float64]
    coefficients: NDArray[np.float32]


class TractBands:
    """The bands of one tract under a region, to be made one after the other.

    Parameters
    ----------
    plan : TemplatePlan
        How the template is made; not in LSST's order of steps.
    part : TilePart
        The tract, and what the region needs of it.
    workspace : Workspace
        Lends all arrays.
    """

    def __init__(self, plan: TemplatePlan, part: TilePart, workspace: Workspace) -> None:
        self._plan, self._part, self._space = plan, part, workspace
        self._tract, self._margins = plan.tracts[part.tract], plan.margins
        self._radius = filter_radius(plan.margins.merged_degrees)
        region, light = part.region, self._tract.reach
        cuts = range(region.y0 // _BAND * _BAND + _BAND, region.y1, _BAND)
        self._bands = [
            Box.from_bounds(region.x0, y0, region.x1, y1) for y0, y1 in pairwise([region.y0, *cuts, region.y1])
        ]
        self._data = Box(0, 0, 0, 0)  # around all pixels that any light reaches
        for _, box in part.reads:
            self._data = self._data.union(light.reached(box))
        self.number = len(self._bands)
        self._empty = [not self._data.overlaps(b.grown(plan.margins.merge)) for b in self._bands]
        self._kept: dict[int, Band] = {}
        self._looks_at = reach(plan.interpolation)  # pixels, beyond the one next to the place
        self._slots: dict[int, int] = {}
        self._last: _Made | None = None
        self._has_kernels = False
        self._strips = [self._to_merge(number) for number in range(len(self._bands))]
        every = [strip for strips in self._strips for some in strips for strip in some]
        self._columns = min((s.x0 for s in every), default=0), max((s.x1 for s in every), default=0)

    def under(self, part: TilePart) -> list[int]:
        """The numbers of the bands that a tile's part of this tract lies on."""
        y0, y1 = part.region.y0, part.region.y1
        return [number for number, band in enumerate(self._bands) if band.y0 < y1 and y0 < band.y1]

    def need(self, number: int) -> Need:
        """The pixels of patches that band `number` takes, if the one before it was made."""
        strips = [] if self._empty[number] else self._strips[number][1]
        source, found = self._tract.reach.source, []
        for patch, _ in self._part.reads:
            reached = (s.intersection(self._tract.reach.reached(patch.bbox)) for s in strips)
            wanted = [source(strip).intersection(patch.bbox) for strip in reached if not strip.is_empty]
            if wanted:
                found.append((patch, wanted))
        return found

    @property
    def needs(self) -> Need:
        """The pixels of patches that all bands take together."""
        found: dict[Patch, list[Box]] = {}
        for number in range(self.number):
            for patch, strips in self.need(number):
                found.setdefault(patch, []).extend(strips)
        return list(found.items())

    def _to_merge(self, number: int) -> tuple[list[Box], list[Box]]:
        """What must be merged for a band: what the one before it has merged already, and the rest."""
        margin, band = self._margins.merge, self._bands[number]
        box = band.grown(margin)
        new_from = box.y0 if number == 0 or self._empty[number - 1] else band.y0 + margin
        parts = Box.from_bounds(box.x0, box.y0, box.x1, new_from), Box.from_bounds(box.x0, new_from, box.x1, box.y1)
        kept, new = (self._part.footprint.strips(b, STRIP_ROWS, self._margins.warp + margin) for b in parts)
        return kept, new

    def make(self, number: int, rows_of: RowsOf) -> StepResult[Pixels]:
        """Make a band; those before it are made. `rows_of` gives what there is of a patch under `need` of the band."""
        recorder, band = Recorder("shift_subfilters", tract=self._part.tract), self._bands[number]
        if self._empty[number]:
            self._last = None
            box = Box.from_bounds(band.x0, self._first_row(number), band.x1, band.y1)
            nothing = np.zeros(box.shape, np.float32)
            gone = sum(1 << self._plan.planes[name] for name in (NO_DATA, "INTRP"))
            made = Pixels(box, nothing, nothing, np.full(box.shape, gone, np.int32))
        else:
            self._last = last = self._made(number, self._merge(number, recorder, rows_of))
            box = Box.from_bounds(last.box.x0, self._first_row(number), last.box.x1, band.y1)
            rows = box.slices(last.box)[0]  # all columns: so the arrays stay contiguous
            made = Pixels(box, last.coefficients[rows], last.merged.mean.variance[rows], last.merged.mean.mask[rows])
        first, end = (y - self._looks_at - 1 for y in (band.y0, band.y1))
        is_last = number == len(self._bands) - 1
        self._kept[number] = Band(made, first if number else -np.inf, np.inf if is_last else end)
        return recorder.result(made)

    def _first_row(self, number: int) -> int:
        """The first row that a kernel looks at whose pixel is made from a band: it may look at the band before."""
        y0 = self._bands[number].y0
        return y0 if number == 0 else y0 - 2 * self._looks_at - 1

    def drop(self, number: int) -> None:
        """No tile needs this band any more."""
        self._kept.pop(number, None)
        self._slots.pop(number, None)

    def of(self, part: TilePart) -> tuple[Band, ...]:
        """The bands under a tile's part of this tract; they are made."""
        return tuple(self._kept[number] for number in self.under(part))

    def _merge(self, number: int, recorder: Recorder, rows_of: RowsOf) -> MergedTract:
        """Merge the patches where the band before has not."""
        new, margin = self._strips[number][1], self._margins.merge
        x0, x1 = self._columns  # all bands' arrays are of one shape, so that their memory is used again
        box = Box(x0, self._bands[number].y0 - margin, x1 - x0, _BAND + 2 * margin)
        slot = min(set(range(len(self._slots) + 1)) - set(self._slots.values()))
        self._slots[number] = slot
        kept, before = [], self._last
        if before is not None:
            rows = Box(x0, box.y0, box.width, 2 * margin)
            kept = [s for s in (strip.intersection(rows) for strip in before.strips) if not s.is_empty]
        names = self._name("all"), self._name(f"slot {slot}")
        merged = MergedTract(box, new, self._plan.config.combine == "mean", self._space, kept, names)
        if before is not None:
            # Of image and filtered rows what the filters need, of variance and mask what kernels look at.
            x0, x1 = min((s.x0 for s in kept), default=x0), max((s.x1 for s in kept), default=x0)
            for first, now, then in (
                (box.y0, merged.mean.image, before.merged.mean.image),
                (box.y0, before.along_x, before.along_x),
                (self._first_row(number), merged.mean.variance, before.merged.mean.variance),
                (self._first_row(number), merged.mean.mask, before.merged.mean.mask),
            ):
                part = Box.from_bounds(x0, first, x1, rows.y1)
                now[part.slices(box)] = then[part.slices(before.box)]
        for patch, _ in self._part.reads:
            loaded = [recorder.include(row) for row in rows_of(patch)]
            if loaded:
                self._make_kernels(loaded[0])
                sources = _sources(loaded, self._tract.reach, self._space)
                match_and_merge(self._plan, self._tract, sources, merged, self._space)
        return merged

    def _make_kernels(self, pixels: PatchPixels) -> None:
        """Make the kernels of all bands in one call, which costs half of what a call for each band does."""
        if not self._has_kernels:
            strips = (strip.intersection(self._data) for _, new in self._strips for strip in new)
            cells, _ = cells_of([strip for strip in strips if not strip.is_empty])
            if len(cells):
                kernel_table(self._plan, self._tract, cells, len(pixels.variance) == 1, len(pixels.mask) == 1)
        self._has_kernels = True

    def _masks(self, merged: MergedTract) -> tuple[Bool, Bool] | None:
        """`MergedTract.valid_masks`, with what the band before had."""
        before = None if self._last is None else self._last.masks
        if self._last is None or before is None:
            return merged.valid_masks()
        number = 2 * self._margins.merge
        there = merged.box.intersection(self._last.box).slices(self._last.box)
        kept = [mask[there].copy() for mask in before]
        masks = merged.valid_masks(always=True)
        for mask, rows in zip(masks or (), kept, strict=True):
            mask[:number] = rows[:number]
        return masks

    def _made(self, number: int, merged: MergedTract) -> _Made:
        """Fill, mark and filter a band."""
        radius, band, box = self._radius, self._bands[number], merged.box
        masks = self._masks(merged)
        along_x = self._space.array(self._name("along x"), box.shape, np.float64)
        out = self._space.array(self._name(f"slot {self._slots[number]}: image"), box.shape, np.float32)
        if self._last is not None:
            before = Box.from_bounds(box.x0, self._first_row(number), box.x1, band.y0)
            out[before.slices(box)] = self._last.coefficients[before.slices(self._last.box)]
        image, _, mask, _ = merged.mean
        finite, weighed = masks or (None, None)
        half_width = self._plan.interpolation.half_width
        if weighed is not None:
            mark_near_missing(weighed.view(np.uint8), half_width, 1 << self._plan.planes[NO_DATA], mask)
        fill_and_mark(self._plan, image, finite, half_width, mask)
        strips = self._to_filter(band, band.y0 - radius if self._last is None else band.y0 + radius)
        rows, columns = ([s.moved(-box.x0, -box.y0) for s in some if not s.is_empty] for some in strips)
        filter_strips(image, self._margins.merged_degrees, rows, columns, along_x, out)
        return _Made(box, (*merged.kept, *merged.strips), merged, masks, along_x, out)

    def _to_filter(self, band: Box, new_from: int) -> tuple[list[Box], list[Box]]:
        """Strips to filter along x, from a row on, and along y; where there are no data near, none."""
        radius, data, warp = self._radius, self._data, self._margins.warp
        rows = Box.from_bounds(band.x0 - radius, new_from, band.x1 + radius, band.y1 + radius)
        strips = self._part.footprint.strips(rows, STRIP_ROWS, warp + radius)
        columns = (Box.from_bounds(s.x0 + radius, s.y0, s.x1 - radius, s.y1) for s in strips)
        taller = Box.from_bounds(data.x0, data.y0 - radius, data.x1, data.y1 + radius)
        along_y = self._part.footprint.strips(band, STRIP_ROWS, warp)
        return [s.intersection(taller) for s in columns], [s.intersection(data) for s in along_y]

    def _name(self, what: object) -> str:
        return f"bands {self._part.tract}: {what}"


def load_rows(coadds: CoaddSource, plan: TemplatePlan, parts: Sequence[TilePart]) -> tuple[list[RowsOfPatch], ...]:
    """All that a group of tiles needs: for each of its parts, and each patch of ``part.reads``, rows of chunks.

    Rows are read at the same time, from a source that several threads may read from.
    """
    needs = [TractBands(plan, part, Workspace()).needs for part in parts]
    with ChunkRowReader(coadds, plan, needs) as reader:
        reader.load(0, len(needs))
        return tuple([reader.rows(number, patch) for patch, _ in part.reads] for number, part in enumerate(parts))


def shift_bands(plan: TemplatePlan, part: TilePart, loaded: Sequence[RowsOfPatch]) -> StepResult[BandedPixels]:
    """`dcrflow.steps.shift_subfilters` for a group of tiles, band by band.

    Parameters
    ----------
    plan : TemplatePlan
        How the template is made; one with `by_bands`.
    part : TilePart
        Which tract, and which region of it.
    loaded : sequence of list of StepResult of PatchPixels
        What `dcrflow.steps.load_rows` read, for each patch of ``part.reads``.
    """
    bands, made = TractBands(plan, part, Workspace()), []
    of_patch = {patch: rows for (patch, _), rows in zip(part.reads, loaded, strict=True)}
    for number in range(bands.number):
        strips = dict(bands.need(number))

        def rows_of(patch: Patch, strips: dict[Patch, Sequence[Box]] = strips) -> RowsOfPatch:
            wanted = strips.get(patch, ())
            return [row for row in of_patch[patch] if any(row.pixels.box.overlaps(strip) for strip in wanted)]

        made.append(bands.make(number, rows_of))
    return StepResult(BandedPixels(part.region, bands.of(part)), *combined(made))


def _sources(rows: Sequence[PatchPixels], reach: Reach, workspace: Workspace) -> list[PatchPixels]:
    """Chunk rows of a patch, one above the other, for `match_and_merge`: they, and the seams between them.

    A seam is what the light near the edge of a row comes from: some pixels of either row.
    """
    spread = reach.y_high - reach.y_low
    if len(rows) > 1 and any(row.box.height < spread for row in rows):
        boxes = [row.box for row in rows]
        x0, x1 = min(b.x0 for b in boxes), max(b.x1 for b in boxes)
        return [stacked(Box.from_bounds(x0, boxes[0].y0, x1, boxes[-1].y1), rows, boxes, workspace)]
    found = list(rows)
    for number, (upper, lower) in enumerate(pairwise(rows)):
        x0, x1 = max(upper.box.x0, lower.box.x0), min(upper.box.x1, lower.box.x1)
        box = Box.from_bounds(x0, upper.box.y1 - spread, x1, lower.box.y0 + spread)
        if not box.is_empty:
            found.append(stacked(box, [upper, lower], [box], workspace, f"seam {number}"))
    return found
