"""Steps within a task, on dask's own pages: task stream, progress, performance report, metrics. Knows no astronomy."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from distributed import Client, Scheduler, SchedulerPlugin

from dcrflow.compat.dask_steps import count_steps, show_spans


class StepsOnDashboard(SchedulerPlugin):
    """Shows the steps that tasks report as messages of a topic.

    A message has the keys ``worker`` (an address) and ``events`` (a JSON array). An event may have ``steps`` (seconds
    by name) and ``spans`` (lists of name, begin and end).

    Parameters
    ----------
    topic : str
        Of dask's events.
    """

    name = "dcrflow-steps-on-dashboard"
    idempotent = True

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._scheduler: Scheduler | None = None

    async def start(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def log_event(self, topic: str, msg: Any) -> None:
        if topic != self._topic or self._scheduler is None:
            return
        with suppress(Exception):  # whatever it says, the scheduler goes on
            for event in json.loads(msg["events"]):
                count_steps(self._scheduler, event.get("steps", {}))
                show_spans(self._scheduler, str(msg["worker"]), event.get("spans", ()))


def show_steps(client: Client, topic: str) -> None:
    """Have a scheduler show the steps that are reported under a topic; one that has no dcrflow shows tasks alone."""
    with suppress(Exception):
        client.register_plugin(StepsOnDashboard(topic))
