"""The files through which a run's controller and those who ask about it talk, from any host that sees them.

A controller touches one file of the submit directory every few seconds. Another host judges by the age of that file
whether the controller lives, by the clock of the file system that both share.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

COMMAND, STATE, LOG = "dask-run.json", "dask-state.json", "dask-run.log"
JOBS, WHO, ALIVE, CANCELLED = "dask-jobs.json", "dask-controller.json", "dask-run.alive", "dask-run.cancelled"

BEAT = 5.0  # seconds between two signs of life
PATIENCE = 60.0  # seconds after the last sign of life


def read_json(path: Path) -> dict[str, Any]:
    """What a file has; empty if it cannot be read."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found


def introduce(directory: Path, pid: int) -> None:
    """Write down which process of this host is the controller."""
    (directory / WHO).write_text(json.dumps({"host": socket.gethostname(), "pid": pid}))
    (directory / ALIVE).touch()


def host_of(directory: Path) -> str:
    """The host of the controller; empty if it is not known."""
    return str(read_json(directory / WHO).get("host", ""))


def pid_of(directory: Path) -> int:
    """The number of the controller's process, if it is one of this host; 0 otherwise."""
    who = read_json(directory / WHO)
    return int(who.get("pid", 0)) if who.get("host") == socket.gethostname() else 0


def silence(directory: Path) -> float:
    """Seconds since the controller's last sign of life; infinite if there was none."""
    mark = directory / f"dask-run.now-{socket.gethostname()}-{os.getpid()}"
    try:
        mark.touch()  # two times of the same file system
        return mark.stat().st_mtime - (directory / ALIVE).stat().st_mtime
    except OSError:
        with suppress(OSError):
            return time.time() - (directory / ALIVE).stat().st_mtime  # it may not be written to
        return float("inf")
    finally:
        with suppress(OSError):
            mark.unlink()


@contextmanager
def signs_of_life(directory: Path | None, stop: Callable[[], object], every: float = BEAT) -> Iterator[None]:
    """Give signs of life in a submit directory, and call `stop` when somebody has cancelled the run there."""
    if directory is None or not (directory / WHO).exists():
        yield
        return
    end, asked = threading.Event(), False

    def beat() -> None:
        nonlocal asked
        while True:
            with suppress(OSError):  # a file server that does not answer for a while
                (directory / ALIVE).touch()
                if not asked and (directory / CANCELLED).exists():
                    asked = True
                    stop()
            if end.wait(every):
                return

    thread = threading.Thread(target=beat, daemon=True, name="signs-of-life")
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
        with suppress(OSError):
            (directory / ALIVE).unlink()
