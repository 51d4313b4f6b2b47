"""Show on dask's dashboard what happens within a task.

Why
    A task of a campaign makes several templates. Their steps are not tasks, but are to be seen where tasks are: in the
    task stream, among the progress bars, in performance reports and in the scheduler's metrics.
Public ways tried
    - ``distributed.metrics.context_meter``: public; what it measures is on the page "fine performance metrics" alone.
    - `distributed.span`: marks whole tasks, when they are submitted.
    - A plot of one's own on the dashboard: beside the pages that people look at, not on them.
Versions
    distributed 2026.1.1 to 2026.8.0.
Remove when
    tasks can report parts of themselves to the task stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from distributed.diagnostics.task_stream import TaskStreamPlugin
from distributed.scheduler import Scheduler, TaskPrefix


def show_spans(scheduler: Scheduler, worker: str, spans: Iterable[tuple[str, float, float]]) -> None:
    """Draw steps in the task stream, in a row of their own beside the worker's tasks.

    Parameters
    ----------
    scheduler : Scheduler
        Whose dashboard.
    worker : str
        Address of the worker.
    spans : iterable of (str, float, float)
        Name, begin and end, seconds since 1970.
    """
    stream = scheduler.plugins.get(TaskStreamPlugin.name)
    if not isinstance(stream, TaskStreamPlugin):  # nobody has looked yet
        return
    for step, start, stop in spans:
        stream.buffer.append({
            "key": f"{step}-{stream.index}", "type": None, "worker": worker, "thread": "steps", "status": "OK",
            "nbytes": 0, "startstops": [{"action": "compute", "start": start, "stop": stop}],
        })  # fmt: skip
        stream.index += 1


def count_steps(scheduler: Scheduler, seconds: Mapping[str, Any]) -> None:
    """Count a run of each step among the progress bars and in the metrics, with the seconds that it took."""
    for step, took in seconds.items():
        prefix = scheduler.task_prefixes.get(step)
        if prefix is None:
            prefix = scheduler.task_prefixes[step] = TaskPrefix(step)
        prefix.states["released"] += 1  # it is done, and nothing is kept
        prefix.state_counts["released"] += 1
        prefix.add_duration("compute", 0.0, float(took))


def seconds_of_tasks(scheduler: Scheduler, names: Iterable[str]) -> dict[str, float]:
    """Seconds that workers computed tasks of some names, since the scheduler began."""
    known = ((name, scheduler.task_prefixes.get(name)) for name in names)
    return {name: float(prefix.all_durations.get("compute", 0.0)) for name, prefix in known if prefix is not None}
