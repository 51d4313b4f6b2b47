"""The state of a campaign, from its events. Its size does not grow with the number of detector-visits.

It is kept where events are summed up: by the client that runs the campaign (`reporter`, and the widget of notebooks),
and by `dcrflow watch` of a store. The scheduler gets it as text.

Events are mappings with ``event`` and, in the lines of a journal, ``time`` (ISO 8601). Anybody may have written a
journal: what is not of its kind is ignored.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from dcrflow.campaign.causes import causes
from dcrflow.live import checked
from dcrflow.live.checked import seconds_of
from dcrflow.live.places import Places
from dcrflow.live.timeline import Timeline

SCHEMA = 1
FAILURES, THUMBNAILS, LOSSES = 200, 12, 20  # the last so many are kept
SLOWEST = 10  # patches and workers that are shown
_MOST = 4000  # patches, or workers, whose times are kept
_RUNNING = 100_000  # detector-visits that are known to be running, at most
_STEPS = 100  # names of steps, at most
_SILENT = 30.0  # s; a client that is alive tells something every second
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
        self._work: dict[int, defaultdict[str, float]] = {}  # by bin of `_distribution`: seconds by step; "" counts
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
        self.store, self.inputs = checked.text(event.get("store")), checked.text(event.get("inputs"))
        asked, patches = event.get("detector_visits"), event.get("patches")
        if isinstance(patches, list):
            self.kind, self.total = "coadds", len(patches)
        elif isinstance(asked, Mapping):
            self.total = sum(len(checked.items(each)) for each in asked.values())
        self.total = checked.count(event.get("total"), self.total)

    @property
    def _names(self) -> tuple[str, str]:
        return ("tract", "patch") if self.kind == "coadds" else ("visit", "detector")

    def _progress(self, event: Event) -> None:
        self._told = dict(event)
        self.total = checked.count(event.get("total"), self.total)
        self.skipped = checked.count(event.get("skipped"), self.skipped)
        self.losses = checked.count(event.get("worker_losses"), self.losses)

    def _note_workers(self, event: Event) -> None:
        if self._timeline is not None:
            self._timeline.workers(self.heard, checked.count(event.get("workers"), 0))

    def _begun(self, event: Event) -> None:
        for visit, detector, cell in checked.rows(event.get("rows"), 3):
            which = checked.data_id(visit, detector)
            if which is not None:
                self._running[which] = cell
                self.places.change(which, cell, "waiting", "running")
        while len(self._running) > _RUNNING:
            del self._running[next(iter(self._running))]

    def _before(self, event: Event) -> None:
        for visit, detector, cell, status in checked.rows(event.get("rows"), 4):
            which = checked.data_id(visit, detector)
            if which is not None:
                self.places.change(which, cell, "waiting", status)

    def _ended(self, event: Event) -> None:
        status, data_id = event.get("status"), self.data_id_in(event)
        if status not in _ENDED or data_id is None:
            return
        self.counts[status] += 1
        self.damaged += bool(event.get("damage"))
        for name in ("read", "written"):
            self.bytes[name] += checked.count(event.get(name), 0)
        steps = self._known_steps(checked.times(event.get("steps")))
        if self._timeline is not None:
            self._timeline.add(seconds_of(event.get("time")) or self.heard, status, steps)
        self._time(event, steps)
        if status == "failed":
            self._fail(event, data_id)
        before = "running" if data_id in self._running else "waiting"
        cell = self._running.pop(data_id, None)
        cell = event.get("cell") if cell is None else cell
        self.places.change(data_id, cell, before, "damaged" if event.get("damage") else status)

    def data_id_in(self, event: Event) -> tuple[int, int] | None:
        """Visit and detector of an event, or tract and patch; None if they are not integers."""
        first, second = self._names
        return checked.data_id(event.get(first), event.get(second))

    def _known_steps(self, steps: Mapping[str, float]) -> dict[str, float]:
        """Times of steps that are known, and of new steps until 100 are known."""
        room = max(0, _STEPS - len(self.steps))
        new = [step for step in steps if step not in self.steps][:room]
        return {step: seconds for step, seconds in steps.items() if step in self.steps or step in new}

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
        for patch, seconds in checked.times(patches).items():
            self._patches.add(patch, seconds)
        worker = checked.name(event.get("worker"))
        if worker and work > 0:
            self._workers.add(worker, work)

    def _fail(self, event: Event, data_id: tuple[int, int]) -> None:
        error = event.get("error")
        error = error if isinstance(error, Mapping) else {}
        self._failures.append(
            {
                **checked.named(data_id, self._names),
                "kind": checked.text(error.get("type")),
                "message": checked.text(error.get("message")), "time": checked.text(event.get("time")),
                "worker": checked.text(event.get("worker")),
            }
        )  # fmt: skip

    def _take_steps(self, event: Event) -> None:
        """Seconds by step of the whole run, where tasks are not of one patch each."""
        self.steps.update(self._known_steps(checked.times(event.get("steps"))))

    def _lost(self, event: Event) -> None:
        found = self.data_id_in(event)
        which = {} if found is None else checked.named(found, self._names)
        self._losses.append(
            {**which, "message": checked.text(event.get("message")), "time": checked.text(event.get("time"))}
        )

    def _worker_gone(self, event: Event) -> None:
        self._losses.append({"message": checked.text(event.get("message")), "time": checked.text(event.get("when"))})

    def _over(self, event: Event) -> None:
        self.state = checked.text(event.get("event"))
        self._running.clear()

    def _outlines(self, event: Event) -> None:
        if "footprints" in event:
            self.places.footprints(checked.rows(event["footprints"], 3))
        if "cells" in event:
            self.places.cells(event.get("order"), checked.rows(event["cells"], 3))
        if "tracts" in event:
            self.places.tracts(each for each in checked.items(event["tracts"]) if isinstance(each, Mapping))

    def _add_thumbnails(self, event: Event) -> None:
        found = (checked.thumbnail(each, self._names) for each in checked.items(event.get("templates")))
        self._thumbnails.extend(each for each in found if each is not None)

    def done(self) -> dict[str, int]:
        """Numbers of detector-visits that ended in this run, by status."""
        told = self._told.get("done")
        return {name: max(self.counts[name], checked.count(_get(told, name), 0)) for name in _ENDED}

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
        running = len(self._running) or (0 if is_over else checked.count(self._told.get("running"), 0))
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
            "damaged": max(self.damaged, checked.count(self._told.get("damaged"), 0)),
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


def _iso(seconds: float) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds") if seconds else None


def _get(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, Mapping) else None
