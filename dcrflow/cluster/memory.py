"""The memory allocator of workers: which freed memory they keep for the next template.

dask sets the allocator of its workers so that every freed block of 128 KiB or more goes back to the system at once.
Asking for it again, page by page, takes a third of a template's time. With the thresholds here the largest arrays still
go back; rows of chunks, and the blocks in which chunks are decoded, are kept. All threads share one heap, so that one
thread can use what another has freed. With a heap for each thread, two templates at a time take a fifth more memory and
a tenth more time.
"""

from __future__ import annotations

import ctypes

from distributed import Worker, WorkerPlugin

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # glibc's malloc.h
_GIVEN_BACK = 32 << 20  # bytes, the most that glibc takes; larger blocks go back to the system when they are freed
_KEPT = 512 << 20  # bytes; so much free memory at the end of the heap is kept


def set_thresholds() -> None:
    """Set the thresholds in this process; does nothing where the allocator is not glibc's."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, _GIVEN_BACK)
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_ARENA_MAX, 1)


class AllocatorThresholds(WorkerPlugin):
    """Sets the thresholds in every worker, also in those that start later."""

    name = "dcrflow-allocator"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        set_thresholds()
