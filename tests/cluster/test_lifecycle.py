"""Campaigns that are interrupted, killed, timed out and run twice: nothing is lost, and no byte changes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from processes import workers_of
from runs import complete, contents, ended, make_survey, start, start_anew, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.slow]

NUMBER = 24


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_survey(tmp_path_factory.mktemp("a survey's place"), NUMBER)


@pytest.fixture(scope="module")
def undisturbed(survey: Path) -> dict[str, bytes]:
    status, said = ended(start_anew(survey, survey / "undisturbed.zarr", "--workers", "2"))
    assert status == 0, said
    return contents(survey / "undisturbed.zarr")


@contextmanager
def dask_cluster(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler with one worker, as users start them; its process."""
    words = ("--scheduler-file", str(file), "--host", "127.0.0.1")
    with ExitStack() as stack:
        started = []
        for name, *more in (("scheduler", "--port", "0", "--dashboard-address", ":0"), ("worker", "--nthreads", "1")):
            command = [sys.executable, "-m", f"distributed.cli.dask_{name}", *words, *more]
            quiet = subprocess.DEVNULL
            process = stack.enter_context(subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True))
            stack.callback(os.killpg, process.pid, signal.SIGKILL)
            started.append(process)
        yield started[0]


def finish(survey: Path, out: Path, undisturbed: dict[str, bytes]) -> None:
    """The same command again: makes what is missing and nothing else, and then all is as if nothing had happened."""
    before = complete(out)
    status, said = ended(start(survey, out, "--workers", "2"))
    assert status == 0, said
    after = complete(out)
    assert {k: after[k] for k in before} == before
    assert len(after) == NUMBER
    assert contents(out) == undisturbed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_to_stop(survey: Path, undisturbed: dict[str, bytes], tmp_path: Path, number: int) -> None:
    """Once: what is in flight is finished. The terminal's Ctrl-C goes to the whole process group."""
    out = tmp_path / "out.zarr"
    process = start(survey, out, "--workers", "2")
    wait_for(out, 3, process)
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    status, said = ended(process)
    assert status == 130, said
    assert "stopped before the end (interrupted); the same command again finishes" in said
    assert 3 <= len(complete(out)) < NUMBER
    assert f"{len(complete(out))} complete of {NUMBER}" in said
    finish(survey, out, undisturbed)


def test_asked_twice(survey: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    process = start(survey, out, "--workers", "2", "--window", "20")
    wait_for(out, 2, process)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.6)
    status, said = ended(process)
    assert status == 130, said
    finish(survey, out, undisturbed)


def test_workers_are_killed(survey: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """Four times, each time the older of the two."""
    out = tmp_path / "out.zarr"
    process = start(survey, out, "--workers", "2")
    for number in (1, 5, 9, 13):
        wait_for(out, number, process)
        workers_of(process.pid)[0].kill()
    status, said = ended(process)
    assert status == 0, said
    assert contents(out) == undisturbed


def test_the_client_is_killed(survey: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """With everything that it started, in the middle of writing; its locks are taken over."""
    out = tmp_path / "out.zarr"
    process = start(survey, out, "--workers", "2")
    wait_for(out, 4, process)
    for child in workers_of(process.pid):
        child.kill()
    os.killpg(process.pid, signal.SIGKILL)
    ended(process)
    finish(survey, out, undisturbed)


def test_the_scheduler_is_killed(survey: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """The run ends with what to do, and the same command on a new one finishes the rest; the client waits 60 s if it is
    not told another time."""
    out, patience = tmp_path / "out.zarr", {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s"}
    with dask_cluster(tmp_path / "first.json") as scheduler:
        process = start_anew(survey, out, "--cluster", str(tmp_path / "first.json"), "--window", "2", **patience)
        wait_for(out, 2, process)
        scheduler.kill()
        status, said = ended(process)
    assert status == 3, said
    assert "the scheduler does not answer any more: start the cluster again" in " ".join(said.split())
    assert "Traceback (most" not in said, said
    done = complete(out)
    assert 2 <= len(done) < NUMBER
    with dask_cluster(tmp_path / "second.json"):
        status, said = ended(start(survey, out, "--cluster", str(tmp_path / "second.json")))
    assert status == 0, said
    assert {k: complete(out)[k] for k in done} == done
    assert contents(out) == undisturbed


def test_two_runs_on_one_output(survey: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    out = tmp_path / "out.zarr"
    both = [start(survey, out, "--workers", "1") for _ in range(2)]
    for process in both:
        status, said = ended(process)
        assert status == 0, said
    assert contents(out) == undisturbed
    assert not list((out / ".dcrflow" / "locks").iterdir())
    assert len(list((out / ".dcrflow").glob("*.jsonl"))) == 2


def test_no_time(survey: Path, tmp_path: Path) -> None:
    """Of a first template nobody knows how long it takes: within seconds none is begun."""
    status, said = ended(start(survey, tmp_path / "out.zarr", "--workers", "1", "--walltime", "20s"))
    assert status == 3, said
    assert "stopped before the end (the walltime is nearly up)" in said
    assert complete(tmp_path / "out.zarr") == {}
    status, said = ended(start(survey, tmp_path / "out.zarr", "--workers", "1", "--walltime", "a while"))
    assert status == 2
    assert "--walltime: 'a while' is no time" in said


def test_how_long_each_step_took_is_in_the_journal(survey: Path, undisturbed: dict[str, bytes]) -> None:
    """One line a template, with the patches that were slow to read."""
    assert undisturbed
    (journal,) = (survey / "undisturbed.zarr" / ".dcrflow").glob("*.jsonl")
    ended_lines = [e for e in map(json.loads, journal.read_text().splitlines()) if e["event"] == "ended"]
    assert len(ended_lines) == NUMBER
    for entry in ended_lines:
        assert {"load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts"} <= entry["steps"].keys()
        assert set(entry["patches"]) == {"7/0", "7/1", "7/2", "7/3"}
        assert entry["steps"]["load_patch"] == pytest.approx(sum(entry["patches"].values()), abs=1e-3)


def test_performance_report(survey: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    more = ("--workers", "1", "--limit", "2", "--performance-report", str(report))
    status, said = ended(start(survey, tmp_path / "out.zarr", *more))
    assert status == 0, said
    assert "shift_subfilters" in report.read_text()
