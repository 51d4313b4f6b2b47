"""How long the steps of a run took: what the scheduler knows of the tasks, by their names."""

from __future__ import annotations

from collections.abc import Mapping

from distributed import Client, Scheduler


def step_seconds(client: Client, before: Mapping[str, float] | None = None) -> dict[str, float]:
    """Seconds that workers have spent computing, by the name of the step, summed over all tasks.

    Parameters
    ----------
    client : distributed.Client
        Whose scheduler is asked; it counts from its own start.
    before : mapping of str to float, optional
        What it said earlier, to be taken off: other runs on the same scheduler.

    Returns
    -------
    dict of str to float
        The longest first; steps that took no time are left out.
    """

    def read(dask_scheduler: Scheduler) -> dict[str, float]:
        prefixes = dask_scheduler.task_prefixes.items()
        return {name: float(prefix.all_durations.get("compute", 0.0)) for name, prefix in prefixes}

    found: dict[str, float] = client.run_on_scheduler(read)
    spent = {name: round(seconds - (before or {}).get(name, 0.0), 3) for name, seconds in found.items()}
    return dict(sorted(((n, s) for n, s in spent.items() if s > 0), key=lambda item: -item[1]))
