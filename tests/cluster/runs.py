"""Whole runs of the command line in processes of their own, and what they leave behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from forked import Forked
from scenes import IMAGE, coadds, visit

import dcrflow

Process = subprocess.Popen[str] | Forked


def make_survey(directory: Path, number: int) -> Path:
    """coadds.zarr and visits.ecsv, with so many small detector-visits."""
    coadds(IMAGE, store=str(directory / "coadds.zarr"))
    rows = [visit(visit=100 + i // 2, detector=i % 2, altitude=35.0 + 50 * i / number) for i in range(number)]
    dcrflow.write_visits(rows, directory / "visits.ecsv")
    return directory


def arguments(survey: Path, out: Path, *more: str) -> list[str]:
    return ["run", str(survey / "coadds.zarr"), str(survey / "visits.ecsv"), str(out), *more]


def start(survey: Path, out: Path, *more: str) -> Forked:
    """Begin `dcrflow run` in a process group of its own, forked from one that has imported what it needs."""
    return Forked(arguments(survey, out, *more), COLUMNS="200")


def start_anew(
    survey: Path, out: Path, *more: str, before: tuple[str, ...] = (), **environment: str
) -> subprocess.Popen[str]:
    """The same by an interpreter that starts in another environment; `before` are words before the command."""
    return subprocess.Popen(
        [*before, sys.executable, "-m", "dcrflow", *arguments(survey, out, *more)],
        env=os.environ | {"COLUMNS": "200"} | environment, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def ended(process: Process, timeout: float = 480) -> tuple[int, str]:
    """Exit status and output; one that does not end is killed, with all that it started."""
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"it did not end within {timeout} s: {_killed(process)[-2000:]}") from None
    return process.returncode, said


def _killed(process: Process) -> str:
    """With all that it started; what it had said.

    What has left its process group is still in its session. What else has its output open is named: it would keep one
    waiting for the end of that.
    """
    for each in _session(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    try:
        return process.communicate(timeout=30)[0]
    except subprocess.TimeoutExpired as error:
        assert process.stdout is not None
        output = os.fstat(process.stdout.fileno()).st_ino
        others = ", ".join(f"{each.pid} {' '.join(each.cmdline())[:200]}" for each in _that_have_open(output))
        said = error.output or b""
        return f"{said if isinstance(said, str) else said.decode()}\n(its output is still open in: {others})"


def _session(leader: int) -> Iterator[int]:
    """The processes of a session, its leader among them."""
    for each in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(each) == leader:
                yield each


def _that_have_open(pipe: int) -> Iterator[psutil.Process]:
    """The processes, but this one, that have a pipe open, by its inode."""
    for each in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            links = [os.readlink(path) for path in Path(f"/proc/{each.pid}/fd").iterdir()]
            if each.pid != os.getpid() and f"pipe:[{pipe}]" in links:
                yield each


def complete(out: Path) -> dict[str, int]:
    """Templates that are complete, and when each was finished, ns."""
    found = {}
    for metadata in out.glob("*/*/zarr.json"):
        try:
            if '"status": "complete"' in metadata.read_text():
                found[metadata.parent.relative_to(out).as_posix()] = metadata.stat().st_mtime_ns
        except FileNotFoundError:  # it is being written anew
            continue
    return found


def wait_for(out: Path, number: int, process: Process | None = None, timeout: float = 240) -> None:
    """Until so many are complete."""
    until = time.monotonic() + timeout
    while len(complete(out)) < number:
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it ended too early: {_killed(process)}")
        if time.monotonic() > until:
            said = "" if process is None else _killed(process)
            raise TimeoutError(f"{len(complete(out))} of {number} after {timeout} s: {said[-2000:]}")
        time.sleep(0.05)


def contents(out: Path) -> dict[str, bytes]:
    """Every file of a store's templates; journals and locks aside."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file() and ".dcrflow" not in path.parts
    }
