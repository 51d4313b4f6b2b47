"""Ctrl-C: the first stops in good order, the second ends at once."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dcrflow.cli import show

STATUS = 130  # of a command that was interrupted
_ONE = 0.05  # s; two signals so close are one Ctrl-C, which reached this process and what started it (as `uv run`)


@contextmanager
def interruptible(stop: Callable[[], object]) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) calls `stop`; the second leaves at once."""
    asked: float | None = None

    def handle(number: int, frame: object) -> None:
        nonlocal asked
        now = time.monotonic()
        if asked is not None:
            if now - asked > _ONE:
                sys.exit(STATUS)
            return
        asked = now
        stop()
        show.console.print("stopping: finishing what is in flight; once more to leave at once")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
