"""Workers keep the memory that chunks are decoded in, instead of asking the system for it again page by page.

And a scheduler does not keep what it sent to them.
"""

import ctypes
import pickle
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dask
import numpy as np
import pytest

from dcrflow import cluster
from dcrflow.cluster import memory

pytestmark = pytest.mark.integration

CHUNK = 1 << 20  # bytes
TIMES = 100


def pages_asked_for() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(TIMES):
        np.ones(CHUNK, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def pages_asked_for_by_a_second_thread() -> int:
    """The first one has freed as much, and is still there."""
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        first.submit(_hold, TIMES).result()
        return second.submit(_hold, TIMES).result()


def _hold(chunks: int) -> int:
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    held = [np.ones(CHUNK, np.uint8) for _ in range(chunks)]
    assert len(held) == chunks
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before


_GLIBC = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the allocator is not glibc's")


@_GLIBC
def test_chunks_take_the_same_memory_again() -> None:
    every_time = TIMES * CHUNK // resource.getpagesize()
    with cluster.connect("local", workers=1, dashboard=0) as client:
        client.submit(pages_asked_for, pure=False).result()
        assert client.submit(pages_asked_for, pure=False).result() < every_time / 20
        client.restart()  # a worker that comes later
        client.submit(pages_asked_for, pure=False).result()
        assert client.submit(pages_asked_for, pure=False).result() < every_time / 20


@_GLIBC
def test_threads_take_what_others_have_freed() -> None:
    with cluster.connect("local", workers=1, dashboard=0) as client:
        pages = client.submit(pages_asked_for_by_a_second_thread, pure=False).result()
    assert pages < TIMES * CHUNK // resource.getpagesize() / 20


@_GLIBC
def test_an_idle_worker_gives_memory_back() -> None:
    with cluster.connect("local", workers=1, dashboard=0) as client:
        client.submit(_hold, 400, pure=False).result()
        (kept,) = client.run(_resident).values()
        for _ in range(200):
            time.sleep(0.1)
            (left,) = client.run(_resident).values()
            if left < kept - 300 * CHUNK:
                return
    pytest.fail(f"a worker that had {kept / CHUNK:.0f} MiB after its task still has {left / CHUNK:.0f} MiB")


def _resident() -> int:
    """Resident memory of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@dataclass
class State:
    """What `WhenIdle` looks at of a worker's state."""

    executing: set[str]
    long_running: set[str]
    transition_counter: int = 0


def test_when_a_worker_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each time, and never beside a task, however short."""
    now, done = [0.0], []
    monkeypatch.setattr(memory, "monotonic", lambda: now[0])
    state = State(set(), set())
    idle = memory.WhenIdle(SimpleNamespace(state=state), lambda: done.append(now[0]))  # type: ignore[arg-type]

    def pass_seconds(number: int) -> list[float]:
        done.clear()
        for _ in range(number):
            now[0] += 1
            idle.look()
        return done

    assert pass_seconds(20) == [6.0]
    state.executing.add("a task")
    assert pass_seconds(20) == []
    state.executing.clear()
    state.long_running.add("another")
    assert pass_seconds(20) == []
    state.long_running.clear()
    assert pass_seconds(3) == []
    state.transition_counter += 2  # a short task, between two looks
    assert pass_seconds(5) == []
    assert len(pass_seconds(20)) == 1


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
