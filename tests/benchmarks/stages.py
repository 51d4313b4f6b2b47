"""Each step alone, over a whole detector."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from statistics import median
from typing import TypedDict

import numpy as np

from benchmarks.competitors import read_all
from benchmarks.measure import once
from benchmarks.scene import Work
from dcrflow.base.workspace import Workspace
from dcrflow.kernels.arrays import MaskedImage, RunningMean
from dcrflow.kernels.merge import merge_into
from dcrflow.planning.template import plan_template
from dcrflow.steps import load_patch, make_region, mosaic_tracts, shift_subfilters, warp_tract, write_tiles
from dcrflow.stores.templates.store import TemplateStore


class Row(TypedDict):
    """A step: seconds of a processor, pixels made, bytes of arrays taken and made."""

    step: str
    seconds: float
    pixels: int
    bytes: int


def table(work: Work, folder: Path, repeat: int) -> list[Row]:
    """Medians of some repetitions."""
    runs = [_run(work, folder) for _ in range(repeat + 1)][1:]  # the first compiles
    return [{**rows[0], "seconds": median(row["seconds"] for row in rows)} for rows in zip(*runs, strict=True)]


def _run(work: Work, folder: Path) -> list[Row]:
    return _each_step(work, folder, Workspace())


def _each_step(work: Work, folder: Path, space: Workspace) -> list[Row]:
    plan = plan_template(work.coadds, work.visit)
    seconds = dict.fromkeys(("load", "shift (merging)", "warp", "mosaic", "write"), 0.0)
    pixels, amount = dict.fromkeys(seconds, 0), dict.fromkeys(seconds, 0)

    def timed(step, number, size, function):  # type: ignore[no-untyped-def]
        kept = []
        seconds[step] += once(lambda: kept.append(function()))[0]
        pixels[step] += number
        amount[step] += size
        return kept[0]

    asked = plan.bytes_read // (4 * (plan.info.num_subfilters + 2))
    timed("load", asked, plan.bytes_read, lambda: read_all(work, plan))
    for tile in plan.tiles:
        area, warped = tile.box.area, []
        for part in tile.parts:
            patches = [load_patch(work.coadds, plan, patch, box, [part.footprint]) for patch, box in part.reads]
            taken = sum(strip.area for p, b in part.reads for strip in plan.strips_to_read(p, b, part.footprint))
            size = 4 * (plan.info.num_subfilters + 2) * taken + 12 * area
            shifted = timed(
                "shift (merging)",
                taken,
                size,
                lambda part=part, patches=patches: shift_subfilters(plan, part, patches, space),
            )
            warped.append(
                timed(
                    "warp", area, 24 * area,
                    lambda part=part, made=shifted, tile=tile: warp_tract(plan, part.tract, made, tile.box, space),
                )
            )  # fmt: skip
        size = 12 * area * (len(warped) + 1)
        timed("mosaic", area, size, lambda tile=tile, warped=warped: mosaic_tracts(plan, tile.box, warped, space))
    whole = make_region(work.coadds, plan, plan.bbox)
    store = TemplateStore.create_or_open(folder / "stages.zarr")
    timed("write", plan.bbox.area, plan.bytes_written, lambda: write_tiles(plan, store, [whole]))
    rows: list[Row] = [{"step": s, "seconds": seconds[s], "pixels": pixels[s], "bytes": amount[s]} for s in seconds]
    return [*rows[:2], _merge(whole.pixels.image.shape), *rows[2:]]


def _merge(shape: tuple[int, int]) -> Row:
    """The merge of one patch alone, which is part of the shift."""
    ones = np.ones(shape, np.float32)
    merged = RunningMean(*(np.zeros(shape, dtype) for dtype in (np.float64, np.float32, np.int32, np.float32)))
    merge = partial(merge_into, MaskedImage(ones.astype(float), ones, merged.mask.copy()), False, 0, 0, merged)
    merge()  # compiles
    merged.weight.fill(0)
    seconds, _ = once(merge)
    return {"step": "merge, a patch", "seconds": seconds, "pixels": ones.size, "bytes": ones.nbytes * 9}
