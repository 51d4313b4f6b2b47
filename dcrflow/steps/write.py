"""write_template: the tiles of a template, put together and into the store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dcrflow import dataset
from dcrflow.pixels import Pixels
from dcrflow.plan import TemplatePlan
from dcrflow.psf_plan import PsfPlan
from dcrflow.stores.templates import TemplateRecord, TemplateStore

Psf = tuple[PsfPlan, NDArray[np.float32]]


def assemble(plan: TemplatePlan, tiles: Sequence[Pixels], psf: Psf | None = None) -> xr.Dataset:
    """Put the tiles of a template together, in memory, laid out and described as the store keeps it.

    `psf` are the PSF's nodes and what `warp_psf` made of them.
    """
    image, variance = np.empty(plan.bbox.shape, np.float32), np.empty(plan.bbox.shape, np.float32)
    mask = np.empty(plan.bbox.shape, np.int32)
    for tile in tiles:
        where = tile.box.slices(plan.bbox)
        image[where], variance[where], mask[where] = tile.image, tile.variance, tile.mask
    return dataset.template_dataset(plan, image, variance, mask, psf)


def write_template(
    plan: TemplatePlan, store: TemplateStore, tiles: Sequence[Pixels], psf: Psf | None = None
) -> TemplateRecord:
    """Write a template from its tiles; its status last."""
    return dataset.write_template(assemble(plan, tiles, psf), store)
