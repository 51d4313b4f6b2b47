"""The state of a campaign, from the events that are told of it. Its size does not grow with the campaign's.

Events are mappings with ``event`` and, in the lines of a journal, ``time`` (ISO 8601). Anybody may have written a
journal: what is not of its kind is ignored.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dcrflow.base.attributes import is_number
from dcrflow.base.texts import one_line
from dcrflow.campaign.causes import causes
from dcrflow.live.places import Places
from dcrflow.live.timeline import Timeline

SCHEMA = 1
FAILURES, THUMBNAILS, LOSSES = 200, 12, 20  # the last so many are kept
SLOWEST = 10  # patches and workers that are shown
_MOST = 4000  # patches, or workers, whose times are kept
_LONGEST = 2000  # letters of a message
_SILENT = 30.0  # s; a client that is alive tells something every second
_NUMBERS = 100  # steps, or patches, of an event
_OCTAVE = 2  # bins of the distribution of times for each factor of two

Event = Mapping[str, Any]


class Means:
    """Number and sum of times, by name; of too many names, the fastest are forgotten."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = {}

    def add(self, name: str, seconds: float) -> None:
        """Add a time."""
        if len(self._sums) >= _MOST and name not in self._sums:
            for fast in sorted(self._sums, key=self._mean)[: _MOST // 4]:
                del self._sums[fast]
        found = self._sums.get(name)
        if found is None:
            found = self._sums[name] = [0, 0.0]
        found[0] += 1
        found[1] += seconds

    def _mean(self, name: str) -> float:
        number, total = self._sums[name]
        return total / number

    def all(self) -> dict[str, tuple[int, float]]:
        """Number, and mean time in seconds, by name."""
        return {name: (int(number), round(total / number, 4)) for name, (number, total) in self._sums.items()}

    def slowest(self, number: int) -> list[tuple[str, int, float]]:
        """Name, number and mean time of those that take longest."""
        names = sorted(self._sums, key=self._mean, reverse=True)[:number]
        return [(name, int(self._sums[name][0]), round(self._mean(name), 4)) for name in names]


class CampaignState:
    """What is known of a run.

    Parameters
    ----------
    run : str
        Its name, as its journal's.
    """

    def __init__(self, run: str) -> None:
        self.run = run
        self.kind = "templates"  # or "coadds", of patches
        self.store = self.inputs = ""
        self.state = "running"
        self.began = self.heard = 0.0  # seconds since 1970, by the client's clock
        self.total = self.skipped = self.losses = 0
        self.counts: Counter[str] = Counter()
        self.damaged = 0
        self.bytes: Counter[str] = Counter()
        self.steps: defaultdict[str, float] = defaultdict(float)  # seconds
        self.places = Places()
        self._told: dict[str, Any] = {}  # the last progress
        self._running: dict[tuple[int, int], int | None] = {}
        self._timed = 0
        self._work: dict[
            int, defaultdict[str, float]
        ] = {}  # by length of the work: seconds by step; "" counts templates
        self._patches, self._workers = Means(), Means()
        self._failures: deque[dict[str, Any]] = deque(maxlen=FAILURES)
        self._losses: deque[dict[str, Any]] = deque(maxlen=LOSSES)
        self._thumbnails: deque[Mapping[str, Any]] = deque(maxlen=THUMBNAILS)
        self._timeline: Timeline | None = None

    def take(self, event: Event) -> None:
        """Add what an event says."""
        when = seconds_of(event.get("time"))
        if when is not None:
            self.heard = max(self.heard, when)
            if self._timeline is None:
                self.began, self._timeline = when, Timeline(when)
        handler = _HANDLERS.get(str(event.get("event")))
        if handler is not None:
            handler(self, event)

    def _requested(self, event: Event) -> None:
        self.store, self.inputs = _text(event.get("store")), _text(event.get("inputs"))
        asked, patches = event.get("detector_visits"), event.get("patches")
        if isinstance(patches, list):
            self.kind, self.total = "coadds", len(patches)
        elif isinstance(asked, Mapping):
            self.total = sum(len(_list(each)) for each in asked.values())
        self.total = _count(event.get("total"), self.total)

    @property
    def _names(self) -> tuple[str, str]:
        return ("tract", "patch") if self.kind == "coadds" else ("visit", "detector")

    def _progress(self, event: Event) -> None:
        self._told = dict(event)
        self.total = _count(event.get("total"), self.total)
        self.skipped = _count(event.get("skipped"), self.skipped)
        self.losses = _count(event.get("worker_losses"), self.losses)

    def _note_workers(self, event: Event) -> None:
        if self._timeline is not None:
            self._timeline.workers(self.heard, _count(event.get("workers"), 0))

    def _begun(self, event: Event) -> None:
        for visit, detector, cell in _rows(event.get("rows"), 3):
            self._running[visit, detector] = cell
            self.places.change((visit, detector), cell, "waiting", "running")

    def _before(self, event: Event) -> None:
        for visit, detector, cell, status in _rows(event.get("rows"), 4):
            self.places.change((visit, detector), cell, "waiting", status)

    def _ended(self, event: Event) -> None:
        status, first, second = (event.get(name) for name in ("status", *self._names))
        if status not in _ENDED or not isinstance(first, int) or not isinstance(second, int):
            return
        data_id = first, second
        self.counts[status] += 1
        self.damaged += bool(event.get("damage"))
        for name in ("read", "written"):
            self.bytes[name] += _count(event.get(name), 0)
        steps = _numbers(event.get("steps"))
        if self._timeline is not None:
            self._timeline.add(seconds_of(event.get("time")) or self.heard, status, steps)
        self._time(event, steps)
        if status == "failed":
            self._fail(event, data_id)
        before = "running" if data_id in self._running else "waiting"
        cell = self._running.pop(data_id, None)
        cell = event["cell"] if cell is None and isinstance(event.get("cell"), int) else cell
        self.places.change(data_id, cell, before, "damaged" if event.get("damage") else status)

    def _time(self, event: Event, steps: Mapping[str, float]) -> None:
        """Add a template's seconds by step, patch and worker."""
        work = sum(steps.values())
        if work > 0:
            self._timed += 1
            number = round(_OCTAVE * math.log2(work))
            if number not in self._work:
                self._work[number] = defaultdict(float)
            templates = self._work[number]
            templates[""] += 1
            for step, seconds in steps.items():
                self.steps[step] += seconds
                templates[step] += seconds
        patches = event.get("patches")
        if self.kind == "coadds":
            patches = {f"{event['tract']}/{event['patch']}": event.get("seconds")}
        for patch, seconds in _numbers(patches).items():
            self._patches.add(patch, seconds)
        worker = event.get("worker")
        if isinstance(worker, str) and work > 0:
            self._workers.add(worker[:_LONGEST], work)

    def _fail(self, event: Event, data_id: tuple[int, int]) -> None:
        error = event.get("error")
        error, has_id = error if isinstance(error, Mapping) else {}, min(data_id) >= 0
        self._failures.append(
            {
                **{name: number if has_id else None for name, number in zip(self._names, data_id, strict=True)},
                "kind": _text(error.get("type")),
                "message": _text(error.get("message")), "time": _text(event.get("time")),
                "worker": _text(event.get("worker")),
            }
        )  # fmt: skip

    def _take_steps(self, event: Event) -> None:
        """Seconds by step of the whole run, where tasks are not of one patch each."""
        self.steps.update(_numbers(event.get("steps")))

    def _lost(self, event: Event) -> None:
        which = {name: event.get(name) for name in self._names if isinstance(event.get(name), int)}
        self._losses.append({**which, "message": _text(event.get("message")), "time": _text(event.get("time"))})

    def _worker_gone(self, event: Event) -> None:
        self._losses.append({"message": _text(event.get("message")), "time": _text(event.get("when"))})

    def _over(self, event: Event) -> None:
        self.state = _text(event.get("event"))
        self._running.clear()

    def _outlines(self, event: Event) -> None:
        if "footprints" in event:
            self.places.footprints(_rows(event["footprints"], 3))
        if "cells" in event and isinstance(event.get("order"), int):
            self.places.cells(event["order"], _rows(event["cells"], 3))
        if "tracts" in event:
            self.places.tracts(each for each in _list(event["tracts"]) if isinstance(each, Mapping))

    def _add_thumbnails(self, event: Event) -> None:
        self._thumbnails.extend(each for each in _list(event.get("templates")) if isinstance(each, Mapping))

    def done(self) -> dict[str, int]:
        """Numbers of detector-visits that ended in this run, by status."""
        told = self._told.get("done")
        return {name: max(self.counts[name], _count(_get(told, name), 0)) for name in _ENDED}

    def rates(self, now: float) -> dict[str, float]:
        """Detector-visits that ended per minute: in the last minute, and since the run began."""
        elapsed = max(now - self.began, 1e-3)
        if self._timeline is None:
            return {"last_minute": 0.0, "overall": 0.0}
        span = min(60.0, elapsed)
        recent = 60 * self._timeline.recent(now, span) / span
        return {"last_minute": round(recent, 2), "overall": round(60 * sum(self.counts.values()) / elapsed, 2)}

    def counted(self, now: float | None = None) -> dict[str, Any]:
        """The numbers of `shown`."""
        is_over = self.state != "running"
        now = self.heard if now is None or is_over else max(now, self.heard)
        done, rate = self.done(), self.rates(now)
        ended = sum(done.values()) + self.skipped
        running = len(self._running) or (0 if is_over else _count(self._told.get("running"), 0))
        speed = rate["last_minute"] or rate["overall"]
        is_silent = not is_over and now - self.heard > _SILENT
        left = 60 * (self.total - ended) / speed if speed and not is_over and not is_silent else None
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            "run": self.run,
            "store": self.store,
            "inputs": self.inputs,
            "state": "silent" if is_silent else self.state,
            "began": _iso(self.began),
            "updated": _iso(self.heard),
            "elapsed": round(max(0.0, now - self.began), 1),
            "total": self.total,
            "waiting": max(0, self.total - ended - running),
            "running": running,
            "skipped": self.skipped,
            "done": done,
            "damaged": max(self.damaged, _count(self._told.get("damaged"), 0)),
            "worker_losses": self.losses,
            "rate": rate,
            "left": None if left is None else round(left),
        }

    def shown(self, now: float | None = None) -> dict[str, Any]:
        """As JSON has it; see ``dcrflow/docs/operations.md``.

        Parameters
        ----------
        now : float, optional
            Seconds since 1970 by the client's clock; by default, when it last said something.
        """
        is_over = self.state != "running"
        now = self.heard if now is None or is_over else max(now, self.heard)
        return {
            **self.counted(now),
            "bytes": {name: self.bytes[name] for name in ("read", "written")},
            "steps": {name: round(seconds, 3) for name, seconds in self.steps.items()},
            "timed": self._timed,
            "work": self._distribution(),
            "patches": [{"patch": p, "reads": n, "seconds": s} for p, n, s in self._patches.slowest(SLOWEST)],
            "workers": [{"address": a, "templates": n, "seconds": s} for a, n, s in self._workers.slowest(SLOWEST)],
            "failures": list(self._failures)[::-1],
            "causes": [
                {"number": c.number, "kind": c.kind, "message": c.message}
                for c in causes((f["kind"], f["message"], None) for f in self._failures)[:SLOWEST]
            ],
            "losses": list(self._losses)[::-1],
            "timeline": None if self._timeline is None else self._timeline.shown(now),
            "templates": list(self._thumbnails)[::-1],
            "sky": self.places.shown(),
        }  # fmt: skip

    def summary(self, now: float | None = None) -> dict[str, Any]:
        """What Prometheus asks for: sums of the run, and the numbers ``now`` by state."""
        shown = self.counted(now)
        return {
            "store": self.store,
            "state": self.state,
            "done": dict(self.counts),
            "steps": dict(self.steps),
            "bytes": dict(self.bytes),
            "now": {name: shown[name] for name in ("waiting", "running", "skipped", "damaged")} | shown["done"],
            "rate": shown["rate"]["last_minute"],
        }

    def made_by(self) -> dict[str, tuple[int, float]]:
        """Number of templates by worker, and their mean time."""
        return self._workers.all()

    def _distribution(self) -> list[dict[str, Any]]:
        """Templates by how long all steps together took, and the seconds of each step in them."""
        return [
            {
                "from": round(2 ** ((number - 0.5) / _OCTAVE), 4),
                "to": round(2 ** ((number + 0.5) / _OCTAVE), 4),
                "templates": int(templates[""]),
                "steps": {name: round(seconds, 3) for name, seconds in templates.items() if name},
            }
            for number, templates in sorted(self._work.items())
        ]


_ENDED = ("complete", "no-overlap", "failed")

_HANDLERS: Mapping[str, Callable[[CampaignState, Event], None]] = {
    "requested": CampaignState._requested,
    "progress": CampaignState._progress,
    "workers": CampaignState._note_workers,
    "begun": CampaignState._begun,
    "before": CampaignState._before,
    "ended": CampaignState._ended,
    "lost": CampaignState._lost,
    "steps": CampaignState._take_steps,
    "worker-gone": CampaignState._worker_gone,
    "finished": CampaignState._over,
    "stopped": CampaignState._over,
    "failed": CampaignState._over,
    "sky": CampaignState._outlines,
    "thumbnails": CampaignState._add_thumbnails,
}


def seconds_of(time: object) -> float | None:
    """Seconds since 1970 of an ISO 8601 time; None if the text is not one."""
    if not isinstance(time, str):
        return None
    try:
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError):
        return None


def _iso(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds") if seconds else None


def _text(value: object) -> str:
    return "" if value is None else one_line(str(value)[:_LONGEST])


def _count(value: object, otherwise: int) -> int:
    return int(value) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise


def _get(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None


def _numbers(values: object) -> dict[str, float]:
    if not isinstance(values, Mapping):
        return {}
    some = values.items() if len(values) <= _NUMBERS else list(values.items())[:_NUMBERS]
    return {str(k): float(v) for k, v in some if k and is_number(v) and v >= 0}


def _list(value: object) -> Sequence[Any]:
    """A list, or nothing."""
    return value if isinstance(value, list | tuple) else ()


def _rows(rows: object, width: int) -> Iterable[Sequence[Any]]:
    return [row for row in _list(rows) if len(_list(row)) == width]
