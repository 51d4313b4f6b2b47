"""How workers hold on to memory that they have freed.

Dask starts its workers with an allocator that gives every block of 128 KiB and more back to the system at once, so that
their memory is seen to shrink; asking for it again, page by page, then takes a third of a template's time. These
thresholds give large arrays back and keep what chunks are decoded in. All threads share one heap, where what one has
freed the next one takes: with a heap each, every thread keeps memory that only it can use, two templates at a
time take a fifth more memory and a tenth more time.
"""

from __future__ import annotations

import ctypes

from distributed import Worker, WorkerPlugin

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # glibc's malloc.h
_GIVEN_BACK = 4 << 20  # bytes of a block that is given back when it is freed
_KEPT = 512 << 20  # bytes free at the end of the heap that are not


def set_thresholds() -> None:
    """Set them in this process; where the allocator is not glibc's, nothing."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    mallopt(_MMAP_THRESHOLD, _GIVEN_BACK)
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_ARENA_MAX, 1)


class AllocatorThresholds(WorkerPlugin):
    """Sets them in every worker, now and later."""

    name = "dcrflow-allocator"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        set_thresholds()
