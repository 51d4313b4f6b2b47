"""The memory allocator of workers: which freed memory they keep for the next template.

dask sets the allocator of its workers so that every freed block of 128 KiB or more goes back to the system at once.
Asking for it again, page by page, takes a third of a template's time. With the thresholds here the largest arrays still
go back; rows of chunks, and the blocks in which chunks are decoded, are kept. All threads share one heap, so that one
thread can use what another has freed. With a heap for each thread, two templates at a time take a fifth more memory and
a tenth more time.

A worker that has had nothing to do for some seconds gives back what it keeps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from time import monotonic

from distributed import Worker, WorkerPlugin
from tornado.ioloop import PeriodicCallback

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # glibc's malloc.h
_GIVEN_BACK = 32 << 20  # bytes, the most that glibc takes; larger blocks go back to the system when they are freed
_KEPT = 512 << 20  # bytes; so much free memory at the end of the heap is kept
_IDLE = 5.0  # seconds without a task, after which free memory goes back to the system
_LOOK = 1000  # milliseconds from one look at the worker to the next
_CALLBACK = "dcrflow-memory"  # its name among the worker's own


def set_thresholds() -> None:
    """Set the thresholds in this process; does nothing where the allocator is not glibc's."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, _GIVEN_BACK)
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Give all free memory of this process back to the system; does nothing where the allocator is not glibc's."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):
        return
    trim(0)


class WhenIdle:
    """Calls something once whenever a worker has had nothing to do for `_IDLE` seconds; to be asked now and then.

    Parameters
    ----------
    worker : Worker
        Whose tasks count.
    then : callable
        What to call.
    """

    def __init__(self, worker: Worker, then: Callable[[], None] = give_back) -> None:
        self._worker, self._then = worker, then
        self._changes, self._since, self._is_done = -1, 0.0, True

    def look(self) -> None:
        """See whether the worker has been idle for long enough."""
        state = self._worker.state
        if state.executing or state.long_running or state.transition_counter != self._changes:
            self._changes, self._since, self._is_done = state.transition_counter, monotonic(), False
        elif not self._is_done and monotonic() - self._since >= _IDLE:
            self._is_done = True
            self._then()


class AllocatorThresholds(WorkerPlugin):
    """Sets the thresholds in every worker, also in those that start later, and has idle ones give memory back."""

    name = "dcrflow-allocator"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        set_thresholds()
        callback = PeriodicCallback(WhenIdle(worker).look, _LOOK)
        worker.periodic_callbacks[_CALLBACK] = callback
        callback.start()

    def teardown(self, worker: Worker) -> None:
        callback = worker.periodic_callbacks.pop(_CALLBACK, None)
        if callback is not None:
            callback.stop()
