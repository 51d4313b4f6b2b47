"""A lost connection is told in one line, and not at all by a worker that is closing.

When a cluster closes, a worker can be in the middle of a heartbeat. When a worker is lost, others can be in the middle
of a transfer. dask logs either with a traceback, which looks like a fault of the program on the user's terminal.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from distributed import Status, Worker, WorkerPlugin

_CUT_OFF = "Async instruction for"  # how dask begins the message that a task has not ended when its worker closes
_LOST = (OSError, asyncio.CancelledError)  # dask's CommClosedError and TimeoutError are OSErrors


class OneLine(logging.Filter):
    """Puts the error into the message, in place of the traceback, where a connection was lost.

    Parameters
    ----------
    closing : callable
        Whether this process is about to close its connections itself: then such a message is left out.
    """

    def __init__(self, closing: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self._closing = closing

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, _LOST):
            said = " ".join(f"{record.getMessage()} {type(error).__name__}: {error}".split())
            record.msg, record.args = said, ()
            record.exc_info = record.exc_text = record.stack_info = None
            return not self._closing()
        return not (record.msg.startswith(_CUT_OFF) and self._closing())


@contextmanager
def lost_connections_in_one_line() -> Iterator[None]:
    """Shorten, in this process, what the handlers of dask, tornado and asyncio write."""
    one_line, handlers = OneLine(), _handlers()
    for handler in handlers:
        handler.addFilter(one_line)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(one_line)


def _handlers() -> list[logging.Handler]:
    """Those of dask and tornado; asyncio has none, so that the root's or the last resort write for it."""
    names = ("distributed", "distributed.client", "tornado", "tornado.application", "bokeh", None)
    handlers = [handler for name in names for handler in logging.getLogger(name).handlers]
    return handlers + ([] if logging.lastResort is None else [logging.lastResort])


class BriefLogs(WorkerPlugin):
    """Shortens what every worker writes, also those that start later, until its process ends."""

    name = "dcrflow-brief-logs"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        one_line = OneLine(lambda: worker.status in (Status.closing, Status.closed))
        for handler in _handlers():
            handler.addFilter(one_line)
