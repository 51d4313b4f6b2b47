"""One Ctrl-C stops in good order, however often the signal comes; a second one leaves at once."""

from __future__ import annotations

import signal
import subprocess
import sys
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


_WHILE_IT_IMPORTS = """
import signal, sys

wanted, *ignored = sys.argv[1:]
sys.argv[1:] = ["status", "nothing.zarr"]

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
if ignored:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
from dcrflow.cli import main
main()
"""


@pytest.mark.parametrize(
    ("module", "more", "status", "words"),
    [
        ("typer", (), STATUS, "interrupted before it began"),
        ("dcrflow.campaign.status", (), STATUS, "interrupted before it was done: what was complete is kept"),
        ("typer", ("ignored",), 2, "Error: /"),
    ],
)
def test_a_command_that_is_interrupted_while_python_imports(
    module: str, more: tuple[str, ...], status: int, words: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _WHILE_IT_IMPORTS, module, *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1


def test_an_interruption_of_code_that_was_made_from_text_is_one_too() -> None:
    """Python gives its own exit status to a KeyboardInterrupt there, also if it was caught."""
    script = (
        "import signal, sys; import dcrflow.cli.app as a; from dcrflow.cli import main\n"
        "a.app = lambda: exec('import signal; signal.raise_signal(signal.SIGINT)'); main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == STATUS
    assert done.stderr == "interrupted before it was done: what was complete is kept\n"
