"""Tells the page on the scheduler, and a listener on the client, what happens in a run.

This runs on the client. The run's own thread only adds events to a queue. Once a second another thread sums them up and
sends the sums to the scheduler. What the page shows is sent as the JSON text that the browser gets, each second while
somebody looks and every five seconds otherwise, so that it costs the scheduler almost nothing.
No error here reaches the run, and the run never waits: if the scheduler does not answer, it goes on without its page.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dcrflow.live.plugin import OPERATION, serve_page
from dcrflow.live.state import CampaignState

if TYPE_CHECKING:
    from distributed import Client

    from dcrflow.campaign.outcome import Progress
    from dcrflow.live.subjects import Subject
    from dcrflow.stores.journal import Journal

EVERY = 1.0  # s between two messages
_UNSEEN = 5.0  # s between two states while nobody looks
_WAITING = 20_000  # events that wait until they are summed up; then the oldest are dropped
_PATIENCE = 10.0  # s until an answer
_GIVE_UP = 5  # messages in a row without an answer
_LOOKED_AT = 12  # templates whose thumbnail is looked up at a time
_LOOK_EVERY, _SHARE = 1.0, 0.05  # s between two looks; and the share of the time that they may take

Event = Mapping[str, Any]

logger = logging.getLogger("dcrflow.live")


class Reporter:
    """The report of one run.

    Parameters
    ----------
    client : distributed.Client
        Of the scheduler.
    run : str
        The run's name.
    subject : Subject
        What the run makes, for the map and for thumbnails.
    listener : callable, optional
        Gets each event, too, in the caller's thread.
    """

    def __init__(
        self, client: Client, run: str, subject: Subject,
        listener: Callable[[Event], None] | None = None,
    ) -> None:  # fmt: skip
        self._client, self._run, self._subject = client, run, subject
        self._listener = listener
        self._events: deque[Event] = deque(maxlen=_WAITING)
        self._progress: Progress | None = None
        self._workers = -1  # as the journal has it
        self._cells: dict[tuple[int, int], int] = {}
        self._made: OrderedDict[tuple[int, int], Any] = OrderedDict()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dcrflow-live", daemon=True)
        self._state = CampaignState(run)
        self._sky_told: int | None = None
        self._steps_before: Mapping[str, float] | None = None
        self._looked, self._told = True, 0.0
        self._unanswered = 0

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send the rest, as far as that takes no more than a few seconds."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    def line(self, line: Event) -> None:
        """Tell a line of the journal."""
        with suppress(Exception):
            self._line(line)

    def _line(self, line: Event) -> None:
        if line.get("event") == "requested":
            line = {**line, "store": self._subject.url, "total": self._subject.total}
        if line.get("event") == "ended":
            which = self._name(line)
            self._cells.pop(which, None)
            if line.get("status") == "complete":
                self._made[which] = line.get("coverage")
                while len(self._made) > _LOOKED_AT:
                    self._made.popitem(last=False)
        self._add(line)

    def begun(self, event: Event) -> None:
        """Tell that a template, or a coadd, is being made: its name, and its ``cell``."""
        self._add({"event": "begun", "rows": [[*self._name(event), self._cell(event)]]})

    def before(self, event: Event, status: str) -> None:
        """Tell the status that one has from an earlier run."""
        which = self._name(event)
        self._add({"event": "before", "rows": [[*which, self._cells.pop(which, event.get("cell")), status]]})

    def _name(self, event: Event) -> tuple[int, int]:
        first, second = self._subject.names
        return event[first], event[second]

    def progress(self, progress: Progress) -> None:
        """Tell the numbers of the run. The last ones are sent with each message: they hold until there are others."""
        self._progress = progress

    def note_changes(self, journal: Journal, workers: int) -> None:
        """Add to the run's journal how many workers there are, if that has changed, and the map once it is known."""
        if workers != self._workers:
            self._workers = workers
            journal.add("workers", workers=workers)
        found, self._subject.map = self._subject.map, None
        if found is not None:
            journal.add(**found)

    def about(self, first: int, second: int) -> dict[str, Any]:
        """What a journal's line says of the place of a detector-visit, or of a patch."""
        cell = self._cells.get((first, second), -1)
        return {"cell": cell} if cell >= 0 else {}

    def _cell(self, event: Event) -> int | None:
        cell: int | None = event.get("cell")
        if cell is not None:
            self._cells[self._name(event)] = cell
        return cell

    def _add(self, event: Event) -> None:
        self._events.append(event)
        if self._listener is not None:
            with suppress(Exception):
                self._listener(event)

    def _work(self) -> None:
        if not serve_page(self._client):
            return
        sky = self._subject.sky()
        look = 0.0
        while True:
            over = self._over.wait(EVERY)
            with suppress(Exception):
                self._events.extend(next(sky, ()))
                if over:
                    self._events.extend(event for some in sky for event in some)
                if self._pictures_wanted(over) and (time.monotonic() > look or over):
                    began = time.monotonic()
                    self._events.extend(self._thumbnails())
                    look = time.monotonic() + max(_LOOK_EVERY, (time.monotonic() - began) / _SHARE)
            self._send(over)
            if over or self._unanswered >= _GIVE_UP:
                return

    def _pictures_wanted(self, over: bool) -> bool:
        """Whether somebody looks, or may come later: a scheduler that is not the run's own is there after the run."""
        return self._looked or (over and self._client.cluster is None)

    def _send(self, over: bool) -> None:
        """Tell the scheduler what changed; whatever fails here, the campaign goes on."""
        try:
            news, version = self._news(over), self._state.places.version
            operation = getattr(self._client.scheduler, OPERATION)
            answer = self._client.sync(operation, run=self._run, **news, callback_timeout=_PATIENCE)
            self._unanswered, self._sky_told = 0, version
            self._looked = bool(answer.get("looked"))
            self._events.extend(answer.get("gone", ()))
            self._count_steps(answer.get("steps", {}))
        except Exception as error:
            self._unanswered += 1
            if self._unanswered == _GIVE_UP:
                logger.warning("the page of this campaign is not told any more: %s", error)

    def _news(self, over: bool) -> dict[str, Any]:
        """What the scheduler is told; the outlines on the sky only if they changed, the state if somebody looks."""
        self._sum_up()
        now = time.time()
        what: dict[str, Any] = {"summary": self._state.summary(now)}
        if self._subject.steps:
            what["steps"] = self._subject.steps
        if self._sky_told != self._state.places.version:
            what["sky"] = _json(self._state.places.outlines())
        if self._looked or over or "sky" in what or now - self._told >= _UNSEEN:
            shown = self._state.shown(now)
            del shown["workers"]  # the scheduler knows more of them
            what |= {"state": _json(shown), "made_by": self._state.made_by()}
            self._told = now
        return what

    def _count_steps(self, seconds: Mapping[str, float]) -> None:
        """Take the seconds by step that the scheduler counted since the run began."""
        if self._steps_before is None:
            self._steps_before = dict(seconds)
        before = self._steps_before
        spent = {name: value - before.get(name, 0.0) for name, value in seconds.items()}
        if any(spent.values()):
            self._events.append({"event": "steps", "steps": spent})

    def _sum_up(self) -> None:
        """Take what happened since the last time."""
        events = [self._events.popleft() for _ in range(len(self._events))]
        if self._progress is not None:
            events.append({"event": "progress", "time": _now(), **asdict(self._progress)})
        for event in events:
            with suppress(Exception):
                self._state.take(event)

    def _thumbnails(self) -> list[Event]:
        """The last that were made."""
        wanted = dict(self._made.popitem() for _ in range(len(self._made)))
        return [self._subject.pictures(dict(reversed(wanted.items())))] if wanted else []


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextmanager
def reporting(reporter: Reporter) -> Iterator[Reporter]:
    """Report while a run lasts."""
    with suppress(RuntimeError):  # no thread can be started
        reporter.start()
    try:
        yield reporter
    except BaseException as error:
        reporter.line({"event": "failed" if isinstance(error, Exception) else "stopped", "time": _now()})
        raise
    finally:
        reporter.stop()
