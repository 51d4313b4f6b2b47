"""One Ctrl-C stops in good order, however often the signal comes; a second one leaves at once."""

from __future__ import annotations

import signal
import time

import pytest
import typer

import dcrflow.cli.app as command_line
from dcrflow.cli.interrupt import STATUS, interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("inside", [True, False])
def test_a_signal_that_comes_twice_is_one(number: int, inside: bool) -> None:
    """A terminal sends it to all, and `uv run` hands on what it got."""
    asked: list[int] = []
    before = signal.getsignal(number)
    other = signal.SIGTERM if number == signal.SIGINT else signal.SIGINT
    before_other = signal.getsignal(other)
    heard: list[int] = []
    signal.signal(number, lambda *_: heard.append(1))
    try:
        with interruptible(lambda: asked.append(1)):
            signal.raise_signal(number)
            time.sleep(0.25)
            signal.raise_signal(number)
            assert asked == [1]
            time.sleep(0.55)
            if inside:
                with pytest.raises(SystemExit) as left:
                    signal.raise_signal(number)
        if not inside:  # while the cluster closes
            with pytest.raises(SystemExit) as left:
                signal.raise_signal(number)
        assert left.value.code == STATUS
        assert asked == [1]
        signal.raise_signal(number)  # the second one, handed on while this process leaves
        assert heard == []
        time.sleep(0.55)
        signal.raise_signal(number)
        assert heard == [1]
    finally:
        signal.signal(number, before)
        signal.signal(other, before_other)


def test_afterwards_signals_are_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interruptible(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Exit(STATUS)])
def test_a_command_that_is_interrupted_early_says_so(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a campaign begins, which says it itself."""
    other = typer.Typer()

    @other.command()
    def plan() -> None:
        raise error

    monkeypatch.setattr(command_line, "app", other)
    monkeypatch.setattr("sys.argv", ["dcrflow"])
    monkeypatch.setattr(command_line.interrupt, "ignore", lambda: None)
    with pytest.raises(SystemExit) as left:
        command_line.main()
    assert left.value.code == STATUS
    said = capsys.readouterr().err
    assert ("interrupted before it was done" in said) == isinstance(error, KeyboardInterrupt)
