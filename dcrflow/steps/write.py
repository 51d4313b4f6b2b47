"""write_template: the tiles of a template, put together and into the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dcrflow.model.pixels import Pixels
from dcrflow.planning.psf import PsfPlan
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps import dataset
from dcrflow.steps.high_variance import flag_high_variance, map_variance
from dcrflow.steps.psf import warp_psf
from dcrflow.steps.region import make_region
from dcrflow.steps.timing import summary
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore

Psf = tuple[PsfPlan, NDArray[np.float32]]


def assemble(plan: TemplatePlan, tiles: Sequence[Pixels], psf: Psf | None = None) -> xr.Dataset:
    """Put the tiles of a template together, in memory, laid out and described as the store keeps it.

    HIGH_VARIANCE is set here, where the whole detector is. `psf` are the PSF's nodes and what `warp_psf` made of them.
    """
    whole = Pixels.joined(plan.bbox, tiles)
    mask = flag_high_variance(plan, whole, map_variance(plan, [whole]))
    template = dataset.template_dataset(plan, whole.image, whole.variance, mask, psf)
    damage = sorted(frozenset(_without_psf(plan, psf)).union(*(tile.damage for tile in tiles)))
    return template.assign_attrs(damage=damage) if damage else template


def _without_psf(plan: TemplatePlan, psf: Psf | None) -> Iterator[str]:
    """A line for each patch that says that it has a PSF, at nodes where none came of it."""
    if psf is None:
        return
    nodes, kernels = psf
    lost = set(np.flatnonzero(np.isnan(kernels).all(axis=(1, 2))).tolist())
    for tract, patch in sorted({(s.patch.tract, s.patch.patch) for s in nodes.shares if s.node in lost}):
        yield f"tract {tract} patch {patch} band {plan.band}: psf: no kernel is usable, or its chunk is damaged or gone"


def write_template(
    plan: TemplatePlan, store: TemplateStore, tiles: Sequence[Pixels], psf: Psf | None = None
) -> TemplateRecord:
    """Write a template from its tiles; its status last."""
    took, began = summary(tiles), perf_counter()
    record = dataset.write_template(assemble(plan, tiles, psf), store)
    took["steps"]["write_template"] = round(perf_counter() - began, 4)
    return replace(record, took=took)


def make_template(
    coadds: CoaddSource, plan: TemplatePlan, store: TemplateStore, nodes: PsfPlan | None = None
) -> TemplateRecord:
    """All steps of a template in one go, and its writing."""
    psf = None if nodes is None else (nodes, warp_psf(coadds, plan, nodes))
    return write_template(plan, store, [make_region(coadds, plan, plan.bbox)], psf)
