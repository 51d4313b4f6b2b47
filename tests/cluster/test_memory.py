"""Workers keep the memory that chunks are decoded in, instead of asking the system for it again page by page.

And a scheduler does not keep what it sent to them.
"""

import ctypes
import pickle
import resource
from typing import Any

import dask
import numpy as np
import pytest

from dcrflow import cluster

pytestmark = pytest.mark.integration

CHUNK = 1 << 20  # bytes
TIMES = 100


def pages_asked_for() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(TIMES):
        np.ones(CHUNK, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the allocator is not glibc's")
def test_chunks_take_the_same_memory_again() -> None:
    every_time = TIMES * CHUNK // resource.getpagesize()
    with cluster.connect("local", workers=1, dashboard=0) as client:
        client.submit(pages_asked_for, pure=False).result()
        assert client.submit(pages_asked_for, pure=False).result() < every_time / 20
        client.restart()  # a worker that comes later
        client.submit(pages_asked_for, pure=False).result()
        assert client.submit(pages_asked_for, pure=False).result() < every_time / 20


def test_a_scheduler_forgets_what_it_sent() -> None:
    """It keeps its last messages to each worker, and plans are in them: a few of them do."""
    large, many = b"x" * 100_000, 300
    with cluster.connect("local", workers=1, dashboard=0) as client:
        before = client.run_on_scheduler(_bytes_kept)
        for number in range(many):
            assert client.compute(dask.delayed(_nothing)(large, number)).result() is None
        assert client.run_on_scheduler(_bytes_kept) - before < many * len(large) / 2


def _nothing(*_: object) -> None:
    """A task."""


def _bytes_kept(dask_scheduler: Any) -> int:
    streams = dask_scheduler.stream_comms.values()
    return sum(len(pickle.dumps(message)) for stream in streams for message in stream.recent_message_log)
