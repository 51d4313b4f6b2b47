"""Whether a run is alive: it writes its progress into the store every few seconds, and others judge by that.

Every run has one small file beside its journal, ``.dcrflow/<run>.progress.json``, which is replaced each time.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeGuard

import psutil

from dcrflow.base.attributes import is_number
from dcrflow.campaign.outcome import Progress
from dcrflow.stores.journal import Journal

PERIOD = 10.0  # seconds between two beats
_LATE = 90.0  # seconds without a beat after which a run on another machine counts as dead; clocks differ
_RECENT = 600.0  # seconds over which the rate is measured
_LAST_TIME = 1e10  # seconds since 1970; what is later is no time
_ENDED = ("finished", "stopped", "failed")


class Heartbeat:
    """Writes the progress of a run into its store, also while nothing ends. Use it as a context manager.

    Parameters
    ----------
    journal : Journal
        Of the run.
    dashboard : str
        The dashboard's address.
    """

    def __init__(self, journal: Journal, dashboard: str = "") -> None:
        self._journal = journal
        self._facts: dict[str, Any] = {
            "host": socket.gethostname(), "pid": os.getpid(), "began": time.time(), "dashboard": dashboard,
        }  # fmt: skip
        self._progress: Progress | None = None
        self._seen: deque[tuple[float, int]] = deque()
        self._state = "running"
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._beat, name="dcrflow-heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._write()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if kind is not None:
            self._state = "failed" if issubclass(kind, Exception) else "stopped"  # by a second Ctrl-C
        elif self._state == "running":
            self._state = "finished"
        self._write()

    def tell(self, progress: Progress) -> None:
        """Note the progress; it is written with the next beat, and the first at once."""
        is_first = self._progress is None
        ended, now = sum(progress.done.values()), time.monotonic()
        with self._lock:
            if not self._seen or self._seen[-1][1] != ended:
                self._seen.append((now, ended))
            while len(self._seen) > 2 and now - self._seen[0][0] > _RECENT:
                self._seen.popleft()
            self._progress = progress
        if is_first:
            self._write()

    def stopped(self) -> None:
        """Note that the run ends before all is done."""
        self._state = "stopped"

    def _beat(self) -> None:
        while not self._over.wait(PERIOD):
            self._write()

    def _write(self) -> None:
        with self._lock:
            progress = {} if self._progress is None else _as_json(self._progress)
            facts = {**self._facts, **progress, "rate": self._rate(), "state": self._state}
        self._journal.write_progress({**facts, "updated": time.time()})

    def _rate(self) -> float | None:
        """Templates a minute, over the last ten minutes."""
        if len(self._seen) < 2:
            return None
        (since, before), ended = self._seen[0], self._seen[-1][1]
        passed = time.monotonic() - since
        return round((ended - before) / passed * 60, 2) if passed > 0 else None


def _as_json(progress: Progress) -> dict[str, Any]:
    return {
        "total": progress.total, "skipped": progress.skipped, "running": progress.running,
        "done": dict(progress.done), "damaged": progress.damaged, "worker_losses": progress.worker_losses,
        "workers": progress.workers, "elapsed": round(progress.elapsed, 1),
    }  # fmt: skip


def told(*listeners: Callable[[Progress], None] | None) -> Callable[[Progress], None]:
    """A progress callback that calls all of these."""
    given = [listener for listener in listeners if listener is not None]

    def tell(progress: Progress) -> None:
        for listener in given:
            listener(progress)

    return tell


@dataclass(frozen=True)
class RunState:
    """What is known of a run.

    Parameters
    ----------
    run : str
        Its name, as its journal's.
    state : str
        ``running``, ``finished``, ``stopped``, ``failed`` (ended with an error), or ``dead`` (ended without a word).
    host : str
        The machine of the client.
    pid : int
        Its process there.
    began, updated : float
        Seconds since 1970: when it began, and when it last wrote.
    total, ended, running : int
        Numbers of detector-visits: requested, done or skipped, in flight.
    workers : int
        Number of workers of the cluster.
    rate : float or None
        Detector-visits a minute over the last ten minutes.
    dashboard : str
        Address of the dashboard.
    counts : mapping of str to int
        How detector-visits ended in this run, by status.
    """

    run: str
    state: str
    host: str
    pid: int
    began: float
    updated: float
    total: int = 0
    ended: int = 0
    running: int = 0
    workers: int = 0
    rate: float | None = None
    dashboard: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        """Whether it is running."""
        return self.state == "running"

    @property
    def ends(self) -> float | None:
        """When it will be done at this rate, in seconds since 1970; None if that is not known."""
        if not self.is_alive or not self.rate:
            return None
        end = self.updated + (self.total - self.ended) / self.rate * 60
        return end if _is_time(end) else None

    @property
    def words(self) -> str:
        """A line about it."""
        where = f"on {self.host} (process {self.pid})"
        if self.state == "dead":
            return f"run died {where}: it began {_when(self.began)}, last sign of life {_when(self.updated)}"
        if not self.is_alive:
            words = {"failed": "ended with an error"}.get(self.state, self.state)
            return f"last run {words} {_when(self.updated)} {where}; it began {_when(self.began)}"
        line = f"run alive {where} since {_when(self.began)}: {self.ended} of {self.total}, {self.workers} workers"
        if self.rate:
            line += f", {self.rate:.3g}/min"
        return line if self.ends is None else f"{line}, ends about {_when(self.ends)}"

    def as_json(self) -> dict[str, Any]:
        """The same as values that JSON can hold, times in ISO 8601."""
        return {
            "run": self.run, "state": self.state, "host": self.host, "pid": self.pid, "began": _iso(self.began),
            "updated": _iso(self.updated), "total": self.total, "ended": self.ended, "running": self.running,
            "workers": self.workers, "rate_per_minute": self.rate, "dashboard": self.dashboard,
            "ends": None if self.ends is None else _iso(self.ends), "counts": dict(self.counts),
        }  # fmt: skip


def runs_of(progress: Iterable[Mapping[str, Any]], now: float | None = None) -> Sequence[RunState]:
    """The runs that are alive or died, or else the one that ended last.

    Parameters
    ----------
    progress : iterable of mapping
        From `TemplateStore.progress`.
    now : float, optional
        Seconds since 1970.
    """
    found = sorted(_states(progress, time.time() if now is None else now), key=lambda r: r.began)
    alive = [run for run in found if run.is_alive]
    return alive or found[-1:]


def _states(progress: Iterable[Mapping[str, Any]], now: float) -> Iterator[RunState]:
    for entry in progress:
        began, updated = entry.get("began"), entry.get("updated")
        if not (_is_time(began) and _is_time(updated)):
            continue
        counts = {str(k): _count(v) for k, v in _mapping(entry.get("done")).items()}
        state, rate = entry.get("state"), entry.get("rate")
        host, pid = str(entry.get("host", "")), _count(entry.get("pid"))
        if state not in _ENDED:
            state = "running" if _lives(host, pid, float(began), float(updated), now) else "dead"
        yield RunState(
            run=str(entry.get("run", "")), state=state, host=host, pid=pid, began=float(began), updated=float(updated),
            total=_count(entry.get("total")), ended=sum(counts.values()) + _count(entry.get("skipped")),
            running=_count(entry.get("running")), workers=_count(entry.get("workers")),
            rate=float(rate) if _is_time(rate) and rate > 0 else None,
            dashboard=str(entry.get("dashboard", "")), counts=counts,
        )  # fmt: skip


def _lives(host: str, pid: int, began: float, updated: float, now: float) -> bool:
    """Whether a run that has not ended is alive: its process on this machine, its beats on another one."""
    if host != socket.gethostname():
        return now - updated < _LATE
    try:
        return bool(psutil.Process(pid).create_time() <= began + 1.0)  # a later process has only the same number
    except (psutil.Error, ValueError, OverflowError):
        return False


def _is_time(value: Any) -> TypeGuard[float]:
    return is_number(value) and bool(0 <= value < _LAST_TIME)


def _count(value: Any) -> int:
    return int(value) if is_number(value) else 0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
