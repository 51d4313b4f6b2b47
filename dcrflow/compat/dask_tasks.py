"""Tasks of a dask graph that are not fused with their neighbours.

Why
    A task's name on the dashboard is the part of its key before the first hyphen. Optimising an array's graph fuses
    chains of tasks and keeps one of their names, so that `load_patch` and `shift_subfilters` would not be seen.
Public ways tried
    Tasks as tuples are public, but dask turns them into `Task` objects and fuses them. ``optimization.fuse.active:
    False`` and ``array_optimize`` keep the names, but are settings of the whole process: graphs of other code change
    with them. A subclass of `dask.highlevelgraph.Layer` sees keys only, and fusing happens after the layers are
    dissolved.
Versions
    dask 2026.1.1 to 2026.8.0.
Remove when
    dask exports `Task` under a public name, with a public attribute or annotation that forbids fusing.
"""

from __future__ import annotations

from dask._task_spec import List, Task, TaskRef

__all__ = ["List", "Task", "TaskRef", "UnfusedTask"]


class UnfusedTask(Task):
    """A task that graph optimisation does not fuse with its neighbours."""

    __slots__ = ()

    @property
    def block_fusion(self) -> bool:
        """What dask asks a task before it fuses it."""
        return True
