"""Ctrl-C: the first stops in good order, the second ends at once."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dcrflow.cli import leave, show

STATUS = 130  # of a command that was interrupted
#: s; two signals so close are one: without a terminal, `uv run` hands on after 0.2 s what its whole process group got
_ONE = 0.5


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. Python ends with another exit status after a plain KeyboardInterrupt in code that was made from text,
    also if it was caught."""


@contextmanager
def interrupting() -> Iterator[None]:
    """Ctrl-C raises `Interrupted` while a command runs, unless it is ignored or the caller handles it."""
    before = signal.getsignal(signal.SIGINT)
    if before in (signal.default_int_handler, leave):
        signal.signal(signal.SIGINT, _raise)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is _raise:
            signal.signal(signal.SIGINT, before)


def _raise(*_: object) -> None:
    raise Interrupted


@contextmanager
def interruptible(stop: Callable[[], object]) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) calls `stop`; the second leaves at once; a third interrupts what that still does.

    Once there was one, this holds until the process ends: the cluster, which is closed after this, may take a while.
    """
    last: float | None = None
    leaving = False

    def handle(number: int, frame: object) -> None:
        nonlocal last, leaving
        now, before_that = time.monotonic(), last
        if before_that is not None and now - before_that <= _ONE:
            return
        last = now
        if before_that is None:
            stop()
            show.console.print("stopping: finishing what is in flight; once more to leave at once")
        elif not leaving:
            leaving = True
            sys.exit(STATUS)
        else:
            signal.signal(number, before[signal.Signals(number)])
            signal.raise_signal(number)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if last is None:
            for number, handler in before.items():
                signal.signal(number, handler)


def ignore() -> None:
    """Ignore Ctrl-C and SIGTERM from now on."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def was_the_cause(error: BaseException) -> bool:
    """Whether an exception was raised because of Ctrl-C, by Python's own handler."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, KeyboardInterrupt):
        found = found.__cause__ or found.__context__
    return found is not None
