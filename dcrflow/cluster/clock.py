"""A clock that is set back must not bring a cluster to a stop.

Dask and tornado wait until a time of day. When somebody sets the clock back by an hour, heartbeats and checks of
workers pause for that hour. Messages that were about to be sent wait for as long, and a campaign with them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client, Worker, WorkerPlugin
from tornado.ioloop import IOLoop

from dcrflow.compat.dask_timers import restart_timers

_LOOK_EVERY = 1.0  # s
_STEP = 0.5  # s back that count as the clock being set


async def follow_clock() -> None:
    """For as long as it runs: once the clock has been set back, all that this loop waits for begins anew."""
    before = _ahead()
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        now = _ahead()
        if now < before - _STEP:
            restart_timers(IOLoop.current())
        before = now


def _ahead() -> float:
    """By how much the time of day is ahead of a clock that nobody sets, s."""
    return time.time() - time.monotonic()


@contextmanager
def clock_followed(client: Client) -> Iterator[None]:
    """Follow the clock in the loop of a client, which runs in another thread, as its local cluster does."""
    loop = client.loop
    assert loop is not None  # a client that is open has one
    task = asyncio.run_coroutine_threadsafe(follow_clock(), loop.asyncio_loop)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        task.cancel()


class FollowsClock(WorkerPlugin):
    """Every worker does, now and later."""

    name = "dcrflow-follows-clock"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        self._task = asyncio.ensure_future(follow_clock())

    def teardown(self, worker: Worker) -> None:
        self._task.cancel()
