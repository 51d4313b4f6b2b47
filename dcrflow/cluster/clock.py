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
_STEP = 0.5  # s; a smaller step back is not taken for a clock that was set


async def follow_clock() -> None:
    """Restart the timers of this event loop whenever the clock has been set back; runs until it is cancelled."""
    before = _ahead()
    while True:
        await asyncio.sleep(_LOOK_EVERY)
        now = _ahead()
        if now < before - _STEP:
            restart_timers(IOLoop.current())
        before = now


def _ahead() -> float:
    """Time of day minus a clock that nobody can set, s."""
    return time.time() - time.monotonic()


@contextmanager
def clock_followed(client: Client) -> Iterator[None]:
    """Follow the clock in the event loop of a client, which runs in a thread of its own and serves a local cluster
    too."""
    loop = client.loop
    assert loop is not None  # a client that is open has one
    task = asyncio.run_coroutine_threadsafe(follow_clock(), loop.asyncio_loop)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        task.cancel()


class FollowsClock(WorkerPlugin):
    """Follows the clock in every worker, also in those that start later."""

    name = "dcrflow-follows-clock"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        self._task = asyncio.ensure_future(follow_clock())

    def teardown(self, worker: Worker) -> None:
        self._task.cancel()
