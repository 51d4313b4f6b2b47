"""A clock that is set back: what dask was waiting for goes on."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from distributed import batched
from distributed.batched import BatchedSend
from tornado.ioloop import PeriodicCallback

from dcrflow.cluster import clock


class Comm:
    """Takes messages."""

    def __init__(self) -> None:
        self.taken: list[str] = []

    async def write(self, messages: list[str], **_: Any) -> int:
        self.taken += messages
        return 1

    def closed(self) -> bool:
        return False


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.005)


def test_messages_and_callbacks_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the one was to be sent, and the other to be called, at a time that is now tomorrow."""
    plain, offset = time.time, [0.0]

    def faked() -> float:
        return plain() + offset[0]

    monkeypatch.setattr(time, "time", faked)
    monkeypatch.setattr(batched, "time", faked)
    monkeypatch.setattr(clock, "_LOOK_EVERY", 0.05)

    async def run() -> None:
        comm, calls = Comm(), []
        following = asyncio.create_task(clock.follow_clock())
        stream, callback = BatchedSend(interval="100ms"), PeriodicCallback(lambda: calls.append(plain()), 10)
        stream.start(comm)
        callback.start()
        stream.send("first")
        await _until(lambda: bool(comm.taken and calls))
        stream.send("second")
        offset[0] = -86400.0
        number = len(calls)
        await _until(lambda: comm.taken == ["first", "second"] and len(calls) > number + 3)
        callback.stop()
        following.cancel()

    asyncio.run(run())
