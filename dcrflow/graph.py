"""The lazy template: a plan's steps as a dask graph, and its pixels as an xarray.Dataset.

This module only connects tasks; each task calls one function of `dcrflow.steps`. Keys are hashes of the inputs, so the
same template has the same keys in every process. A task's name on the dashboard is the name of its step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from hashlib import blake2b
from operator import getitem
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from dcrflow.base.workspace import UNSET_MEMORY
from dcrflow.compat.dask_arrays import ReplannedArray
from dcrflow.compat.dask_tasks import List, Task, TaskRef, UnfusedTask
from dcrflow.geometry.box import Box
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import Pixels
from dcrflow.model.visit import DetectorVisit
from dcrflow.planning.psf import PsfPlan, plan_psf
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.steps import (
    StepResult,
    TemplatePsf,
    flag_high_variance,
    load_patches,
    load_psf,
    load_rows,
    make_region,
    make_template,
    map_variance,
    mosaic_tracts,
    shift_bands,
    shift_subfilters,
    warp_psf,
    warp_tract,
    write_tiles,
)
from dcrflow.steps.dataset import template_dataset
from dcrflow.steps.labelled import LabelledStep
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.coadds.store import coadd_source
from dcrflow.stores.templates.store import TemplateStore

_DTYPES = {"image": np.float32, "variance": np.float32, "mask": np.int32}


def build_template(
    coadds: CoaddSource | Any, visit: DetectorVisit, config: TemplateConfig | None = None, **settings: Any
) -> xr.Dataset:
    """Plan a template and return it as a lazy dataset; reads metadata but no pixels.

    Parameters
    ----------
    coadds : CoaddSource, or anything that `open_coadds` takes
        The subfilter coadds.
    visit : DetectorVisit
        The detector-visit to make the template for.
    config : TemplateConfig, optional
        How to make it; defaults if not given.
    **settings
        Single keys of the configuration; they override `config`.

    Returns
    -------
    xarray.Dataset
        Dask-backed variables image, variance (float32, nJy and nJy^2) and mask (int32, CF flags), dims (y, x), over the
        detector's bounding box and border in absolute detector pixels. If the coadds have a PSF, also psf (float32,
        dims psf_node, psf_y, psf_x), which ``template.dcrflow.psf_at`` interpolates.

        A slice of a variable along x and y reads and computes only the pixels that it needs. The mask is an exception:
        HIGH_VARIANCE is relative to the median variance of the whole detector, so any part of the mask needs all of it,
        unless ``high_variance_threshold=None``.

    Raises
    ------
    DcrflowError
        As `plan_template`; `ConfigError` for an unknown or unusable setting.

    Examples
    --------
    >>> import dcrflow
    >>> coadds = dcrflow.open_coadds("survey/coadds.zarr")
    >>> visits = dcrflow.read_visits("survey/visits.ecsv")
    >>> template = dcrflow.build_template(coadds, visits[0], border=10)
    >>> template.image.shape
    (200, 220)
    >>> part = template.image.sel(x=slice(0, 49), y=slice(0, 99)).compute()  # computes these pixels, no others
    >>> part.shape, bool(part.notnull().all())
    ((100, 50), True)
    """
    coadds = coadd_source(coadds)
    if settings:
        config = TemplateConfig.make((config or TemplateConfig()).model_dump(exclude_unset=True) | settings)
    return lazy_template(coadds, plan_template(coadds, visit, config))


def lazy_template(coadds: CoaddSource, plan: TemplatePlan) -> xr.Dataset:
    """The lazy dataset of a plan, as `build_template` returns it."""
    graph = TemplateGraph(coadds, plan)
    image, variance, mask = (graph.array(name, plan.bbox) for name in _DTYPES)
    return template_dataset(plan, image, variance, mask, graph.psf())


def write_task(coadds: CoaddSource, plan: TemplatePlan, store: TemplateStore) -> Delayed:
    """A Delayed that makes a template and writes it; its value is the `TemplateRecord` written."""
    return TemplateGraph(coadds, plan, on_one_worker=True).written(store)


class TemplateGraph:
    """The tasks of one template.

    Parameters
    ----------
    coadds : CoaddSource
        The subfilter coadds.
    plan : TemplatePlan
        How the template is made.
    on_one_worker : bool
        Whether all tasks take the plan from one task. A scheduler then has them run where that ran, unless other
        workers are idle: for templates that are put together in the end, and of which many are made at once.
    """

    def __init__(self, coadds: CoaddSource, plan: TemplatePlan, on_one_worker: bool = False) -> None:
        self.coadds = coadds
        self.plan = plan
        self.token = f"{plan.digest}:{coadds.digest}{':on one worker' if on_one_worker else ''}"
        self._on_one_worker = on_one_worker

    def _key(self, name: str, *what: object) -> str:
        return f"{name}-{blake2b(f'{self.token}:{what}'.encode(), digest_size=16).hexdigest()}"

    def _step(self, key: Any, function: Callable[..., object], *arguments: object) -> UnfusedTask:
        return UnfusedTask(key, LabelledStep(function, self.plan.visit.label), *arguments)

    def steps(self, box: Box) -> tuple[dict[str, dict[Any, Task]], list[list[str]]]:
        """The tasks for a region, grouped by step, and the keys of its tiles, row by row."""
        if self.plan.config.granularity == "detector":
            key = self._key("make_region", box)
            return {"make_region": {key: self._step(key, make_region, self.coadds, self.plan, box)}}, [[key]]
        layers: dict[str, dict[Any, Task]] = {
            "load_patch": {}, "shift_subfilters": {}, "warp_tract": {}, "mosaic_tracts": {},
        }  # fmt: skip
        plan: TemplatePlan | TaskRef = self.plan
        if self._on_one_worker:
            key_of_plan = self._key("plan")
            layers = {"plan": {key_of_plan: UnfusedTask(key_of_plan, _itself, self.plan)}, **layers}
            plan = TaskRef(key_of_plan)

        def add(name: str, function: Callable[..., object], key: Any, *arguments: object) -> TaskRef:
            layers[name][key] = self._step(key, function, *arguments)
            return TaskRef(key)

        load, shift = (load_rows, shift_bands) if self.plan.by_bands else (load_patches, shift_subfilters)
        made: dict[Box, str] = {}
        groups = self.plan.groups(box)
        for group, whole in zip(groups, self.plan.tiles_of([group.box for group in groups]), strict=True):
            parts, shifted = whole.parts, {}
            if parts:  # read by one task, and so on one worker: then the steps after it move nothing between workers
                reads: Any = self._key("load_patch", parts)
                if self._on_one_worker:  # tasks that depend on few others are spread, if they are of a large group
                    reads = (self._key("load_patch"), *astuple(group.box))
                loaded = add("load_patch", load, reads, self.coadds, plan, parts)
            for index, part in enumerate(parts):
                patches = Task(None, getitem, loaded, index)
                arguments = plan, part, patches, *(() if self.plan.by_bands else (UNSET_MEMORY,))
                shifted[part.tract] = add("shift_subfilters", shift, self._key("shift_subfilters", part), *arguments)
            for tile, planned in zip(group.tiles, self.plan.tiles_of(group.tiles), strict=True):
                tracts = [part.tract for part in planned.parts if part.tract in shifted]
                warped = []
                for tract in tracts:
                    key = self._key("warp_tract", tract, tile, group.box)
                    warped.append(add("warp_tract", warp_tract, key, plan, tract, shifted[tract], tile))
                made[tile] = self._key("mosaic_tracts", tile, group.box)
                add("mosaic_tracts", mosaic_tracts, made[tile], plan, tile, List(*warped))
        tiles, columns = list(box.tiles(self.plan.config.tile)), len(box.cuts(self.plan.config.tile)[1])
        rows = [[made[tile] for tile in tiles[n : n + columns]] for n in range(0, len(tiles), columns)]
        return layers, rows

    def _chunks(self, box: Box) -> tuple[tuple[int, ...], tuple[int, ...]]:
        if self.plan.config.granularity == "detector":
            return (box.height,), (box.width,)
        return box.cuts(self.plan.config.tile)

    def array(self, name: str, box: Box) -> TemplateArray:
        """One variable on a region, as a dask array with one chunk per tile."""
        layers, rows = self.steps(box)
        output = self._key(name, box)
        pick: tuple[Any, ...] = (_pick, name)
        if name == "mask" and self.plan.config.high_variance_threshold is not None:
            pick = (_flagged, self.plan, self._add_variance_map(layers))
        picked = {
            (output, i, j): Task((output, i, j), pick[0], TaskRef(key), *pick[1:])
            for i, row in enumerate(rows)
            for j, key in enumerate(row)
        }
        array = TemplateArray(  # type: ignore[no-untyped-call]
            _graph(layers, output, picked), output, self._chunks(box), dtype=_DTYPES[name]
        )
        array.template = (self, name, box)
        return array

    def _add_variance_map(self, layers: dict[str, dict[Any, Task]]) -> TaskRef:
        """Add the tasks that map the variance of the whole template; returns a reference to the map."""
        whole, rows = self.steps(self.plan.bbox)
        for step, tasks in whole.items():
            layers[step].update(tasks)
        key = self._key("map_variance")
        tiles = List(*(TaskRef(k) for row in rows for k in row))
        layers["map_variance"] = {key: self._step(key, map_variance, self.plan, tiles)}
        return TaskRef(key)

    def _psf_layers(self) -> tuple[PsfPlan, dict[str, dict[Any, Task]]] | None:
        nodes = plan_psf(self.coadds, self.plan)
        if nodes is None:
            return None
        layers: dict[str, dict[Any, Task]] = {}
        for step in (warp_psf,) if nodes.coadd_shape is None else (warp_psf, load_psf):
            key = (self._key(step.__name__), 0, 0, 0)
            layers[step.__name__] = {key: self._step(key, step, self.coadds, self.plan, nodes)}
        return nodes, layers

    def psf(self) -> TemplatePsf | None:
        """The PSF, as dask arrays of one chunk; None if the coadds have no PSF."""
        found = self._psf_layers()
        if found is None:
            return None
        nodes, layers = found
        arrays = []
        for layer, shape in zip(layers.values(), ((nodes.size, nodes.size), nodes.coadd_shape), strict=False):
            ((name, *_),) = layer
            chunks = tuple((n,) for n in (len(nodes.x), *(shape or ())))
            arrays.append(da.Array(layer, name, chunks, dtype=np.float32))
        return TemplatePsf(nodes, *arrays)

    def written(self, store: TemplateStore) -> Delayed:
        """A Delayed that makes the whole template and writes it to a store.

        Best of a graph whose tasks run on one worker: then only what an idle one takes over moves between workers.
        """
        if self.plan.config.granularity == "detector":
            key = self._key("make_template", store.url)
            nodes = plan_psf(self.coadds, self.plan)
            task = self._step(key, make_template, self.coadds, self.plan, store, nodes)
            return Delayed(key, _graph({}, key, {key: task}))
        layers, rows = self.steps(self.plan.bbox)
        key = self._key("write_template", store.url)
        arguments: list[Any] = [self.plan, store, List(*(TaskRef(k) for row in rows for k in row))]
        found = self._psf_layers()
        if found is not None:
            nodes, of_psf = found
            layers.update(of_psf)
            arguments.append(List(nodes, *(TaskRef(key) for layer in of_psf.values() for key in layer)))
        return Delayed(key, _graph(layers, key, {key: self._step(key, write_tiles, *arguments)}))


def _graph(layers: dict[str, dict[Any, Task]], last: str, tasks: dict[Any, Task]) -> HighLevelGraph:
    """A graph with one layer per step, each of which depends on the one before, and `tasks` as the last layer."""
    named = {f"{step}-{last}": tasks_of_step for step, tasks_of_step in layers.items()}
    order = [*named, last]
    dependencies = {name: {before} if before else set() for name, before in zip(order, [None, *order], strict=False)}
    return HighLevelGraph({**named, last: tasks}, dependencies)


def _itself(plan: TemplatePlan) -> TemplatePlan:
    return plan


def _pick(tile: StepResult[Pixels], name: str) -> Any:
    return getattr(tile.pixels, name)


def _flagged(tile: StepResult[Pixels], plan: TemplatePlan, variance: Any) -> Any:
    return flag_high_variance(plan, tile, variance)


class TemplateArray(ReplannedArray):
    """A variable of a template; a slice of it is planned anew, so that only the slice is computed."""

    template: tuple[TemplateGraph, str, Box] | None = None

    def plan_slice(self, index: Any) -> da.Array | None:
        """The variable on the part of its box that `index` selects; None if `_sliced` returns None."""
        if self.template is None:
            return None
        graph, name, box = self.template
        part = _sliced(box, index)
        if part is None:
            return None
        return self if part == box else graph.array(name, part)


def _sliced(box: Box, index: Any) -> Box | None:
    """The part of `box` that an index of plain slices selects; None for any other index, or an empty selection."""
    index = index if isinstance(index, tuple) else (index,)
    if len(index) > 2 or not all(isinstance(i, slice) and i.step in (None, 1) for i in index):
        return None
    (y0, y1, _), (x0, x1, _) = (
        i.indices(n) for i, n in zip((*index, slice(None), slice(None)), box.shape, strict=False)
    )
    if y1 <= y0 or x1 <= x0:
        return None
    return Box.from_bounds(box.x0 + x0, box.y0 + y0, box.x0 + x1, box.y0 + y1)
