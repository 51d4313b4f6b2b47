"""What workers tell about detector-visits while a batch of them is being made.

Workers send events, several at a time, as messages of dask's topics `TOPIC`, for scheduler plugins (``log_event``), and
`topic_of` the run, which its client has subscribed to. A message is ``{"run": ..., "events": TEXT}``, where the text is
a JSON array of objects: msgpack, in which dask sends messages, refuses integers over 64 bits and text that is no UTF-8,
and a table may have both. dask adds the worker's address as ``worker``. An event has

- ``row``: the detector-visit's place in the run, ``visit``, ``detector`` (-1 where a table's row has none),
- ``state``: ``running``, ``complete``, ``no-overlap``, ``failed``, or ``skipped`` (complete before this run),
- ``time``: seconds since 1970,
- while it runs: ``sky``, the detector's corners [[ra, dec], ...], degrees, and ``cell``, the HEALPix cell of its middle
  as the live map counts them,
- at its end: ``seconds``, ``config_hash``, ``inputs``, ``inputs_digest``, ``coverage``, ``damage``, ``error``,
  ``steps`` and ``patches`` (seconds by step, and of reading by ``tract/patch``), ``bytes_read`` (of arrays),
  ``bytes_written`` (of files), ``made_from`` (pairs of tract and patch), ``band``, ``spans`` ([step, begin, end], not
  of every template when there are many workers), ``again`` (why it was made although something was there), ``before``
  (true if it ended in an earlier run). What is empty is left out.

The client sends events of its own under `TOPIC`, with ``state`` and ``time``: ``begun`` with ``total`` and ``url`` (of
the templates), ``lost`` (a worker, with it ``visit`` and ``detector``), ``finished`` or ``stopped``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distributed import Worker, get_worker

from dcrflow.base.attributes import is_number

TOPIC = "dcrflow"
STATES = ("running", "complete", "no-overlap", "failed", "skipped")
_EVERY = 0.1  # seconds between messages, at least
_MOST_SPANS = 64  # of a template

Event = dict[str, Any]


def topic_of(run: str) -> str:
    """The topic of one run: a client has one subscription a topic."""
    return f"{TOPIC}-{run}"


def running(row: int, visit: int, detector: int, place: Mapping[str, Any]) -> Event:
    """The event of a detector-visit that is begun."""
    return {"row": row, "visit": visit, "detector": detector, "state": "running", "time": time.time(), **place}


def summed(spans: list[tuple[str, float, float]]) -> list[list[Any]]:
    """Spans for display: runs of one step that follow each other become one, and the shortest are left out."""
    joined: list[list[Any]] = []
    for step, begin, end in spans:
        if joined and joined[-1][0] == step:
            joined[-1][2] = max(end, joined[-1][2])
        else:
            joined.append([step, begin, end])
    if len(joined) > _MOST_SPANS:
        shortest = sorted(joined, key=lambda span: span[1] - span[2])[_MOST_SPANS - 1]
        joined = [span for span in joined if span[2] - span[1] >= shortest[2] - shortest[1]]
    return joined


def _worker() -> Worker | None:
    """The worker whose task this is; None in other processes."""
    try:
        return get_worker()
    except ValueError:
        return None


@dataclass
class Reporter:
    """Sends the events of a batch; the last must be followed by `flush`.

    Parameters
    ----------
    run : str
        Of the campaign.
    spans_every : float
        Seconds between templates whose spans are sent, at least.
    """

    run: str
    spans_every: float = 0.0
    _worker: Worker | None = field(default_factory=_worker)
    _waiting: list[Event] = field(default_factory=list)
    _sent: float = 0.0
    _spans_sent: float = 0.0

    def __call__(self, event: Event, spans: list[tuple[str, float, float]] | None = None) -> None:
        """Send an event now, or with the next ones if something was sent just before."""
        now = time.monotonic()
        if spans and now - self._spans_sent >= self.spans_every:
            event = {**event, "spans": summed(spans)}
            self._spans_sent = now
        self._waiting.append(event)
        if now - self._sent >= _EVERY and event["state"] == "running":  # so an end goes with the next beginning
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        if self._worker is not None and self._waiting:
            self._worker.log_event([TOPIC, topic_of(self.run)], message(self.run, self._waiting))
        self._waiting = []
        self._sent = time.monotonic()


def message(run: str, events: list[Event]) -> dict[str, str]:
    """The message that tells some events of a run."""
    return {"run": run, "events": json.dumps(events, default=str)}


def events_of(heard: Any) -> list[Mapping[str, Any]]:
    """The events in a message that a subscriber got; none if it is something else, which other clients may send."""
    try:
        _, content = heard
        worker, events = str(content["worker"]), json.loads(content["events"])
    except (LookupError, TypeError, ValueError, RecursionError):
        return []
    found = events if isinstance(events, list) else []
    return [{"worker": worker, **_checked(event)} for event in found if isinstance(event, dict) and _is_event(event)]


def _is_event(event: Event) -> bool:
    numbers = all(type(event.get(name)) is int for name in ("row", "visit", "detector"))
    return numbers and event.get("state") in STATES


def _checked(event: Event) -> Event:
    """The event without fields of a wrong type: workers may have another version, and any client can send one."""
    return {name: value for name, value in event.items() if name not in _KINDS or _KINDS[name](value)}


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_not_negative(value: Any) -> bool:
    return is_number(value) and value >= 0


def _is_error(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(name, ""), str) for name in ("type", "message"))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _is_pairs(value: Any) -> bool:
    pairs = isinstance(value, list) and all(isinstance(v, list) and len(v) == 2 for v in value)
    return pairs and all(type(number) is int for pair in value for number in pair)


def _is_took(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_not_negative(v) for v in value.values())


def _is_spans(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(v, list) and len(v) == 3 and isinstance(v[0], str) and is_number(v[1]) and is_number(v[2])
        for v in value
    )


_KINDS: dict[str, Callable[[Any], bool]] = {
    "time": _is_not_negative, "seconds": _is_not_negative, "coverage": is_number, "bytes_read": _is_not_negative,
    "bytes_written": _is_not_negative, "config_hash": _is_text, "inputs": _is_text, "inputs_digest": _is_text,
    "band": _is_text, "again": _is_text, "error": _is_error, "damage": _is_texts, "made_from": _is_pairs,
    "steps": _is_took, "patches": _is_took, "spans": _is_spans,
}  # fmt: skip
