"""What a scheduler knows of its workers: memory, spilled bytes, threads, where their log is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

MOST = 64  # workers that are listed: those with the most memory for their limit


def workers_of(scheduler: Any, made_by: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it: ``workers``, a list, and ``cluster``, sums over all of them.

    Parameters
    ----------
    scheduler : distributed.Scheduler
        Whose workers they are.
    made_by : mapping of str to (int, float)
        How many templates each made, by address, and how long they took on average.
    """
    known = list(scheduler.workers.values())
    shown = sorted(known, key=_fullness, reverse=True)[:MOST] if len(known) > MOST else known
    return {
        "workers": [_worker(each, made_by) for each in shown],
        "cluster": {
            "workers": len(known),
            "threads": sum(each.nthreads for each in known),
            "memory": sum(each.memory.process for each in known),
            "limit": sum(each.memory_limit or 0 for each in known),
            "spilled": sum(each.memory.spilled for each in known),
        },
    }


def _fullness(worker: Any) -> float:
    return float(worker.memory.process / (worker.memory_limit or 2**40))


def _worker(worker: Any, made_by: Mapping[str, Any]) -> dict[str, Any]:
    templates, seconds = made_by.get(worker.address, (0, None))
    return {
        "address": worker.address,
        "name": str(worker.name),
        "state": worker.status.name,
        "threads": worker.nthreads,
        "memory": worker.memory.process,
        "limit": worker.memory_limit or None,
        "spilled": worker.memory.spilled,
        "cpu": worker.metrics.get("cpu"),
        "templates": templates,
        "seconds": seconds,
        "log": log_link(worker.address),
    }


def log_link(address: str) -> str:
    """Where dask's dashboard shows the log of a worker, relative to the page."""
    return f"info/logs/{quote(address, safe='')}.html"
