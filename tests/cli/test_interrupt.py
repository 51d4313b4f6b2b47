"""One Ctrl-C stops in good order, however often the signal comes; a second one leaves at once."""

from __future__ import annotations

import signal
import time

import pytest

from dcrflow.cli.interrupt import STATUS, interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_comes_twice_is_one(number: int) -> None:
    """A terminal sends it to all, and `uv run` hands on what it got."""
    asked: list[int] = []
    with interruptible(lambda: asked.append(1)):
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert asked == [1]
        time.sleep(0.06)
        with pytest.raises(SystemExit) as left:
            signal.raise_signal(number)
    assert left.value.code == STATUS
    assert asked == [1]
