"""The command line: parses arguments, calls the library and prints its results."""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Run the command line; see `dcrflow.cli.app.main`. Ctrl-C ends it in one line while its modules are imported."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # neither ignored, as after nohup, nor handled by the caller
        signal.signal(signal.SIGINT, leave)
    try:
        from dcrflow.cli.app import main as run_command

        run_command()
    finally:
        if signal.getsignal(signal.SIGINT) is leave:
            signal.signal(signal.SIGINT, before)


def leave(*_: object) -> None:
    """End at once: nothing has begun, and an exception might be taken for that of a module that cannot be imported."""
    os.write(2, b"interrupted before it began\n")
    os._exit(130)


__all__ = ["main"]
