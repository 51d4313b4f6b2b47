"""The detector-visits that a cluster is making: tasks of several each, and what is heard of them."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from distributed import Client, Future

from dcrflow.campaign.batch import Job, Row, make_templates, stop_batches
from dcrflow.campaign.batch_size import BatchSize
from dcrflow.campaign.events import events_of, topic_of
from dcrflow.campaign.failures import VisitFailure, machine_trouble
from dcrflow.campaign.task_keys import TaskKeys
from dcrflow.cluster.answers import answer
from dcrflow.cluster.opaque import call, packed
from dcrflow.stores.templates.complete import ranges_of
from dcrflow.stores.visits.long_table import LongTable

WINDOW = 3  # detector-visits in flight for each worker thread, at least
_TASKS = 2  # in flight for each worker thread: one that runs, and one that waits

Rows = Sequence[Row]


@dataclass
class _Batch:
    """The rows of a task that have not ended, by their places in the run."""

    rows: dict[int, Row]
    running: int | None = None
    size: int = 0

    @property
    def suspects(self) -> list[int]:
        """The row that was being made when the task failed; all of them if that was not heard."""
        return [self.running] if self.running is not None and self.running in self.rows else list(self.rows)


@dataclass(frozen=True)
class Begun:
    """A detector-visit that a worker has begun, as its event tells."""

    event: Mapping[str, Any]


@dataclass(frozen=True)
class Ended:
    """A detector-visit that ended on a worker, as its event tells."""

    event: Mapping[str, Any]


@dataclass(frozen=True)
class Lost:
    """A detector-visit whose worker died: begun again, or given up."""

    row: Row
    trouble: VisitFailure
    given_up: bool


@dataclass(frozen=True)
class Raised:
    """A detector-visit whose task raised outside of the code that writes failures down."""

    row: Row
    failure: VisitFailure


Outcome = Begun | Ended | Lost | Raised


class InFlight:
    """Sends rows to workers in batches, and tells what becomes of each; use it in a ``with`` statement.

    Parameters
    ----------
    client : Client
        Of the cluster.
    job : Job
        What to do with the rows.
    rows : sequence of DetectorVisit or BadVisit
        All rows of the run, in the order in which they are made. Those of a long table go to the workers as they are.
    window : int, optional
        Largest number of rows in flight; by default as many as keep all threads busy.
    worker_retries : int
        How often a row is begun again after its worker died.
    """

    def __init__(self, client: Client, job: Job, rows: Rows, window: int | None, worker_retries: int) -> None:
        self._client, self._job, self._rows, self._window = client, job, rows, window
        self._packed, self._keys = job.packed(), TaskKeys(job)
        self._worker_retries = worker_retries
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._batches: dict[Future[Any], _Batch] = {}
        self._of_row: dict[int, _Batch] = {}
        self._losses: Counter[int] = Counter()
        self._begun: Counter[int] = Counter()  # tries, as far as was heard, of rows in flight
        self._again: deque[dict[int, Row]] = deque()
        self._left: deque[range] = deque([range(len(rows))] if len(rows) else [])
        self._num_left = len(rows)
        self._stopped = False
        self._told_to_stop: set[str] = set()
        self.size = BatchSize()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear what workers report, meanwhile."""
        topic = topic_of(self._job.run)
        self._client.subscribe_topic(topic, self._inbox.put)
        try:
            yield
        finally:
            if self._client.status == "running":
                self._client.unsubscribe_topic(topic)

    def __len__(self) -> int:
        return len(self._of_row)

    @property
    def num_left(self) -> int:
        """Rows that were not sent yet, or came back without being begun."""
        return self._num_left + sum(map(len, self._again))

    def leave_out(self, done: Any) -> int:
        """Leave rows out where an array is True; to be called before any was sent. Returns how many."""
        self._left = deque(ranges_of(~done))
        self._num_left = sum(map(len, self._left))
        return len(self._rows) - self._num_left

    def fill(self, threads: int) -> None:
        """Send rows until enough are in flight for so many threads."""
        while (self._again or self._left) and not self._stopped:
            size = self.size.next(self.num_left, threads)
            size = min(size, max(1, self._window // max(threads, 1))) if self._window else size
            if len(self) + size > (self._window or max(threads, 1) * max(WINDOW, _TASKS * size)):
                return
            self._submit(self._again.popleft() if self._again else self._next(size))

    def _next(self, size: int) -> dict[int, Row]:
        rows: dict[int, Row] = {}
        while self._left and len(rows) < size:
            first = self._left[0]
            taken, rest = first[: size - len(rows)], first[size - len(rows) :]
            rows.update(zip(taken, self._of(taken), strict=True))
            if rest:
                self._left[0] = rest
            else:
                self._left.popleft()
        self._num_left -= len(rows)
        return rows

    def _of(self, places: range) -> Sequence[Row]:
        return self._rows.raw(places) if isinstance(self._rows, LongTable) else self._rows[places.start : places.stop]

    def _submit(self, rows: dict[int, Row]) -> None:
        batch = _Batch(rows, size=len(rows))
        task = packed(make_templates, self._packed, list(rows.values()), list(rows))
        future: Future[Any] = self._client.submit(call, task, key=self._keys.key(rows), pure=False)
        self._batches[future] = batch
        self._of_row.update(dict.fromkeys(rows, batch))
        future.add_done_callback(self._inbox.put)

    def stop(self, workers: Iterable[str]) -> None:
        """Send no more; workers finish the templates that they are making, and begin no others.

        Parameters
        ----------
        workers : iterable of str
            Addresses of those that there are now. Call it again when there may be others: they are told too, and if
            none is left, nothing is in flight any more.
        """
        self._stopped, there = True, set(workers)
        new = there - self._told_to_stop
        if new:
            self._told_to_stop |= new
            told = partial(
                self._client.run, stop_batches, self._job.run, workers=list(new), wait=False, on_error="ignore"
            )
            answer(self._client, told, None)
        if not there and self._batches:
            batches, self._batches = self._batches, {}
            self._client.cancel(list(batches))
            for batch in batches.values():
                self._put_back(batch.rows)

    def outcomes(self, wait: float) -> Iterator[Outcome]:
        """What became of rows; waits at most so many seconds for the first news."""
        until = time.monotonic() + wait
        try:
            news = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            return
        while True:
            if isinstance(news, Future):
                yield from self._of_task(news)
            else:
                for event in events_of(news):
                    yield from self._of_event(event)
            try:
                news = self._inbox.get_nowait()
            except Empty:
                return

    def _of_event(self, event: Mapping[str, Any]) -> Iterator[Begun | Ended]:
        """Take an event; one that was heard before, also of an earlier try of the same task, says nothing."""
        batch = self._of_row.get(event["row"])
        if batch is None:
            return
        if event["state"] == "running":
            batch.running = event["row"]
            self._begun[event["row"]] += 1
            yield Begun(event)
            return
        del batch.rows[event["row"]], self._of_row[event["row"]]
        self._keys.forget([event["row"]])
        batch.running = None
        self.size.took(event.get("seconds", 0.0))
        if self._begun.pop(event["row"], 0) > 1 and event.get("before"):  # a worker ended it, and was lost
            state = "complete" if event["state"] == "skipped" else event["state"]
            event = {**event, "state": state, "before": False}
        yield Ended(event)

    def _of_task(self, future: Future[Any]) -> Iterator[Outcome]:
        batch = self._batches.pop(future, None)
        if batch is None:
            return
        ended = _result(future)
        if ended is not None:
            self.size.ended(batch.size)
            for event in ended:
                yield from self._of_event(event)
            self._put_back(batch.rows)
            return
        trouble = machine_trouble(self._client, future)
        if trouble is None:
            failure = VisitFailure.of(future.exception())
            for number in batch.suspects:
                del self._of_row[number]
                self._keys.forget([number])
                yield Raised(batch.rows.pop(number), failure)
            self._put_back(batch.rows)
            return
        yield from self._lost(batch, trouble)

    def _lost(self, batch: _Batch, trouble: VisitFailure) -> Iterator[Lost]:
        """Begin the rows of a lost task again: those that may have killed it by themselves."""
        for number in batch.suspects:
            row = batch.rows.pop(number)
            self._losses[number] += 1
            given_up = self._losses[number] > self._worker_retries
            if given_up:
                message = f"{trouble.message} (begun {self._losses[number]} times)"
                yield Lost(row, VisitFailure(trouble.kind, message), given_up)
                del self._of_row[number]
                self._keys.forget([number])
            else:
                yield Lost(row, trouble, given_up)
                self._put_back({number: row})
        self._put_back(batch.rows)

    def _put_back(self, rows: dict[int, Row]) -> None:
        for number in rows:
            self._of_row.pop(number, None)
        if rows:
            self._again.append(rows)


def _result(future: Future[Any]) -> list[Mapping[str, Any]] | None:
    """The events that a task returned; None if it failed, or if the result was lost repeatedly with its workers."""
    if future.status != "finished":
        return None
    try:
        events: list[Mapping[str, Any]] = future.result()
    except (Exception, CancelledError):
        return None
    return events
