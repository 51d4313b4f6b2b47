"""Whole runs of the command line in processes of their own, and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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


def ended(process: Process, timeout: float = 600) -> tuple[int, str]:
    """Exit status and output; one that does not end is killed, with all that it started."""
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"it did not end within {timeout} s: {_killed(process)[-2000:]}") from None
    return process.returncode, said


def _killed(process: Process) -> str:
    """With all that it started; what it had said."""
    os.killpg(process.pid, signal.SIGKILL)
    return process.communicate()[0]


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


def wait_for(out: Path, number: int, process: Process | None = None, timeout: float = 360) -> None:
    """Until so many are complete."""
    until = time.monotonic() + timeout
    while len(complete(out)) < number:
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it ended too early: {process.stdout.read() if process.stdout else ''}")
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
