"""What the runs of a store did when: the report's timeline, from the journals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from dcrflow.base.attributes import is_number
from dcrflow.live.checked import seconds_of
from dcrflow.live.timeline import Timeline

_RUNS = 12  # the last so many are shown
_STATUSES = ("complete", "no-overlap", "failed")
_STEPS = 20  # names of steps that a line may have


class _Run:
    """One run's lines, summed up."""

    def __init__(self, run: str, began: float, time: str) -> None:
        self.run, self.time = run, time
        self.began = self.last = began
        self.state = "not ended"
        self.done: Counter[str] = Counter()
        self.timeline = Timeline(began)

    def take(self, when: float, line: Mapping[str, Any]) -> None:
        self.last = max(self.last, when)
        event, status, steps = line.get("event"), line.get("status"), line.get("steps")
        if event == "ended" and status in _STATUSES:
            self.done[status] += 1
            known = list(steps.items())[:_STEPS] if isinstance(steps, Mapping) else []
            self.timeline.add(when, status, {str(k): float(v) for k, v in known if is_number(v) and v >= 0})
        elif event == "workers" and is_number(line.get("workers")):
            self.timeline.workers(when, int(line["workers"]))
        elif event in ("finished", "stopped", "failed"):
            self.state = str(event)

    def shown(self) -> dict[str, Any]:
        elapsed = self.last - self.began
        return {
            "run": self.run, "began": self.time, "elapsed": round(elapsed, 1), "state": self.state,
            "done": {name: self.done[name] for name in _STATUSES}, "timeline": self.timeline.shown(self.last),
        }  # fmt: skip


def timelines(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Sum up the runs of a store, the last one first.

    Parameters
    ----------
    lines : iterable of mapping
        The journals' lines, each with its ``run``.

    Returns
    -------
    list of dict
        As JSON has it, of each run that made anything: ``run``, ``began`` (ISO 8601), ``state``, ``elapsed`` (s),
        ``done`` (numbers by status), and ``timeline`` as `dcrflow.live.timeline.Timeline.shown` has it.
    """
    runs: dict[str, _Run] = {}
    for line in lines:
        when, run = seconds_of(line.get("time")), str(line.get("run", ""))
        if when is None:
            continue
        if run not in runs:
            runs[run] = _Run(run, when, str(line["time"])[:40])
        runs[run].take(when, line)
    last = sorted(runs.values(), key=lambda found: found.began)[-_RUNS:]
    return [found.shown() for found in reversed(last) if sum(found.done.values())]
