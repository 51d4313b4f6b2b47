"""Workers keep the memory that chunks are decoded in, instead of asking the system for it again page by page."""

import ctypes
import resource

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
