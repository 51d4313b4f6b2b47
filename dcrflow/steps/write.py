"""write_tiles: the tiles of a template, put together and written to the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter, time
from typing import Any

import numpy as np
import xarray as xr

from dcrflow.base.attributes import encoded
from dcrflow.model.pixels import Pixels
from dcrflow.planning.psf import PsfPlan
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps import dataset
from dcrflow.steps.high_variance import flag_high_variance, map_variance
from dcrflow.steps.psf import TemplatePsf
from dcrflow.steps.region import make_region
from dcrflow.steps.results import StepResult, combined, pixels_read, timing_summary
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore


def assemble(plan: TemplatePlan, tiles: Sequence[StepResult[Pixels]], psf: TemplatePsf | None = None) -> xr.Dataset:
    """Put the tiles of a template together, in memory, laid out and described as the store keeps it.

    HIGH_VARIANCE is set here, where the whole detector is.
    """
    pixels = Pixels.joined(plan.bbox, [tile.pixels for tile in tiles])
    timing, damage_of_tiles = combined(tiles)
    whole = StepResult(pixels, timing, damage_of_tiles)
    mask = flag_high_variance(plan, whole, map_variance(plan, [whole]))
    template = dataset.template_dataset(plan, pixels.image, pixels.variance, mask, psf)
    damage = sorted(damage_of_tiles.union(_without_psf(plan, psf)))
    return template.assign_attrs(encoded({"damage": damage})) if damage else template


def _without_psf(plan: TemplatePlan, psf: TemplatePsf | None) -> Iterator[str]:
    """A line for each patch that says that it has a PSF, at nodes where none came of it."""
    if psf is None:
        return
    nodes = psf.nodes
    without = set(np.flatnonzero(np.isnan(psf.kernels).all(axis=(1, 2))).tolist())
    for tract, patch in sorted({(s.patch.tract, s.patch.patch) for s in nodes.shares if s.node in without}):
        yield f"tract {tract} patch {patch} band {plan.band}: psf: no kernel is usable, or its chunk is damaged or gone"


def write_tiles(
    plan: TemplatePlan, store: TemplateStore, tiles: Sequence[StepResult[Pixels]], psf: Sequence[Any] | None = None
) -> TemplateRecord:
    """Write a template from its tiles; its status last. `psf` are the fields of a `TemplatePsf`."""
    took, began, began_at = timing_summary(tiles), perf_counter(), time()
    record = dataset.write_template(
        assemble(plan, tiles, None if psf is None else TemplatePsf(*psf)), store, in_place=True
    )
    seconds = perf_counter() - began
    took["steps"]["write_template"] = round(seconds, 4)
    took["bytes_read"] = 4 * (plan.info.num_subfilters + 2) * pixels_read(tiles)
    took["spans"].append(("write_template", began_at, began_at + seconds))
    return replace(record, took=took)


def make_template(
    coadds: CoaddSource, plan: TemplatePlan, store: TemplateStore, nodes: PsfPlan | None = None
) -> TemplateRecord:
    """All steps of a template in one go, and its writing."""
    psf = None if nodes is None else TemplatePsf.made(coadds, plan, nodes)
    return write_tiles(plan, store, [make_region(coadds, plan, plan.bbox)], psf)
