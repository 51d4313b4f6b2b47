"""DCR coadds from visits as a dask graph: load_visit -> warp_visit -> accumulate -> solve_patch -> write_patch.

Before the sums, check_visits leaves out visits that contradict the others.

Here is only wiring; each task calls one function of `dcrflow.steps.coadd`. A patch is a graph of its own. Keys are made
from the inputs, and a task's name on the dashboard is the name of its step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph

from dcrflow.compat.dask_tasks import List, Task, TaskRef, UnfusedTask
from dcrflow.planning.coadds import PatchPlan
from dcrflow.steps.check_visits import check_visits
from dcrflow.steps.coadd import (
    PatchOrder,
    accumulate,
    calibrate_visits,
    load_visit,
    solve_patch,
    warp_visit,
    write_patch,
)
from dcrflow.steps.labelled import LabelledStep

CALIBRATIONS = 2  # rounds of self-calibration


def coadd_task(
    plan: PatchPlan, order: PatchOrder, store: str, about: Mapping[str, Any], token: str,
    before: Sequence[tuple[int, int, str]] = (),
) -> Delayed:  # fmt: skip
    """A Delayed that makes a patch's coadds and writes them; its value is the `PatchRecord` written.

    Parameters
    ----------
    plan : PatchPlan
        The patch and the visits of this run.
    order : PatchOrder
        What its tasks need to know.
    store : str
        The DCR-coadd store.
    about : mapping
        More attributes of the patch.
    token : str
        Of all inputs: names the tasks.
    before : sequence of (visit, detector, digest)
        In the sums of an earlier run.
    """
    layers: dict[str, dict[Any, Task]] = {}

    def add(
        function: Callable[..., object], what: object, *arguments: object, of: str = "", layer: str = ""
    ) -> TaskRef:
        name = function.__name__
        key = f"{name}-{blake2b(f'{token}:{name}:{what}'.encode(), digest_size=16).hexdigest()}"
        task = UnfusedTask(key, LabelledStep(function, of or order.label), *arguments)
        layers.setdefault(layer or key, {})[key] = task
        return TaskRef(key)

    warped = []
    for visit in plan.visits:
        who = f"{visit.label}, {order.label}"
        loaded = add(load_visit, visit.group, order, visit, of=who, layer=f"load_visit-{token}")
        warped.append(add(warp_visit, visit.group, order, visit, loaded, of=who, layer=f"warp_visit-{token}"))
    visits = add(check_visits, "", order, List(*warped))
    blocks = plan.blocks(order.config)
    solved = [add(accumulate, cells, order, cells, visits, layer=f"accumulate-{token}") for cells in blocks]
    found: TaskRef | None = None
    for again in range(CALIBRATIONS if order.config.self_calibrate is not False else 0):
        found = add(calibrate_visits, again, order, List(*solved), visits, found, again == 0)
        solved = [
            add(
                accumulate,
                (again, cells),
                order,
                cells,
                visits,
                found,
                alone,
                layer=f"accumulate-{again}-{token}",
            )
            for cells, alone in zip(blocks, solved, strict=True)
        ]
    solution = add(solve_patch, "", order, List(*solved))
    written = add(write_patch, store, order, store, dict(about), list(before), visits, solution)
    return Delayed(written.key, _graph(layers))


def _graph(layers: Mapping[str, Mapping[Any, Task]]) -> HighLevelGraph:
    """A graph of one layer a step; each may depend on all before it."""
    names = list(layers)
    dependencies = {name: set(names[:i]) for i, name in enumerate(names)}
    return HighLevelGraph({n: dict(tasks) for n, tasks in layers.items()}, dependencies)
