"""No test of clusters waits for ever: what it started is killed, and it fails, where it waits."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Generator, Iterator

import psutil
import pytest

LIMIT = 600.0  # s, of a test, of what prepares it and of what cleans up after it; each takes a minute at most
_AGAIN = 60.0  # s, after which what still waits is interrupted again


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, None, None]:
    with _limited(item, "what prepares it"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    with _limited(item, "it"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    with _limited(item, "what cleans up after it"):
        return (yield)


@contextlib.contextmanager
def _limited(item: pytest.Item, what: str) -> Iterator[None]:
    def end(*_: object) -> None:
        killed = ", ".join(_kill_all()) or "none"
        pytest.fail(f"{item.name}: {what} did not end within {LIMIT:.0f} s; processes that were killed: {killed}")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, LIMIT, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _kill_all() -> Iterator[str]:
    """All that this process has started; yields what they were."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            name = f"{process.pid} {process.status()} {' '.join(process.cmdline())[:120]}"
            process.kill()
            yield name
