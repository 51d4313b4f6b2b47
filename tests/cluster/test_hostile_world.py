"""Full disks, lost permissions, hung workers and jumping clocks, each on a real cluster: nothing is lost or wrong."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import workers_of
from runs import complete, contents, ended, make_survey, start, start_anew, wait_for

from dcrflow.campaign.status import campaign_status
from dcrflow.campaign.verify import verify

pytestmark = [pytest.mark.integration, pytest.mark.slow]

NUMBER = 12


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_survey(tmp_path_factory.mktemp("survey"), NUMBER)


@pytest.fixture(scope="module")
def undisturbed(survey: Path) -> dict[str, bytes]:
    status, said = ended(start(survey, survey / "undisturbed.zarr", "--workers", "2"))
    assert status == 0, said
    return contents(survey / "undisturbed.zarr")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for a few templates."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=800k", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def is_as_if_nothing_had_happened(out: Path, undisturbed: dict[str, bytes]) -> None:
    """The same bytes, no lock or temporary file left, every template sound, and a status that says so."""
    assert contents(out) == undisturbed
    locks = out / ".dcrflow" / "locks"
    assert not locks.exists() or not list(locks.iterdir())
    verdicts = list(verify(out))
    assert len(verdicts) == NUMBER
    assert [v for v in verdicts if v.problems] == []
    status = campaign_status(out)
    assert (status.count("complete"), status.missing) == (NUMBER, ())


def test_a_full_disk(survey: Path, undisturbed: dict[str, bytes], small_disk: Path) -> None:
    """What does not fit fails with what to do; once there is room, the same command with --retry-failed finishes."""
    out = small_disk / "out.zarr"
    status, said = ended(start(survey, out, "--workers", "2"))
    assert status == 1, said
    assert "No space left on device" in said
    assert "free space there, then run again with --retry-failed" in " ".join(said.split())
    assert "Traceback (most" not in said, said
    done = complete(out)
    assert 0 < len(done) < NUMBER
    assert [v for v in verify(out) if v.problems] == []
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    status, said = ended(start(survey, out, "--workers", "2", "--retry-failed"))
    assert status == 0, said
    assert {k: complete(out)[k] for k in done} == done
    is_as_if_nothing_had_happened(out, undisturbed)


def test_the_disk_becomes_read_only(survey: Path, undisturbed: dict[str, bytes], small_disk: Path) -> None:
    """As Linux makes a disk with errors; first in the middle of a run, then before one."""
    out = small_disk / "out.zarr"
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    process = start(survey, out, "--workers", "2", "--window", "2")
    wait_for(out, 3, process)
    while subprocess.run(["mount", "-o", "remount,ro", small_disk], capture_output=True).returncode:
        assert process.poll() is None  # busy: a file is being written right now
    status, said = ended(process)
    assert status == 1, said
    assert "Read-only file system" in said
    assert "give yourself permission to write there, then run again" in " ".join(said.split())
    assert "Traceback (most" not in said, said
    status, said = ended(start(survey, out, "--workers", "2"))
    assert status != 0, said
    assert "Read-only file system" in " ".join(said.split())
    assert "Traceback (most" not in said, said
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    status, said = ended(start(survey, out, "--workers", "2", "--retry-failed"))
    assert status == 0, said
    is_as_if_nothing_had_happened(out, undisturbed)


def test_permission_is_lost(survey: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """In the middle of a run; root is without the capability to pass over permissions."""
    powers = "-dac_override,-dac_read_search"
    as_others = ("setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}") if os.getuid() == 0 else ()
    if as_others and shutil.which("setpriv") is None:
        pytest.skip("root can write anywhere, and there is no setpriv to change that")
    out = tmp_path / "out.zarr"
    process = start_anew(survey, out, "--workers", "2", "--window", "2", before=as_others)
    wait_for(out, 3, process)
    _allow(out, 0o555)
    status, said = ended(process)
    assert status == 1, said
    assert "give yourself permission to write there, then run again with --retry-failed" in " ".join(said.split())
    assert "Traceback (most" not in said, said
    _allow(out, 0o755)
    status, said = ended(start_anew(survey, out, "--workers", "2", "--retry-failed", before=as_others))
    assert status == 0, said
    is_as_if_nothing_had_happened(out, undisturbed)


def _allow(out: Path, mode: int) -> None:
    """Of all folders that are there; new ones may appear meanwhile, in the last that is not yet done."""
    out.chmod(mode)
    for path in out.rglob("*"):
        if path.is_dir():
            path.chmod(mode)


def test_a_worker_hangs(survey: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """It lives and holds its lock, but does nothing any more: after `worker_ttl` its work is done elsewhere.

    On a busy machine a worker that lives says so some seconds late.
    """
    out, description = tmp_path / "out.zarr", tmp_path / "cluster.yaml"
    description.write_text("kind: local\nworkers: 2\nworker_ttl: 20s\n")
    process = start(survey, out, "--cluster", str(description))
    wait_for(out, 2, process)
    workers_of(process.pid)[0].send_signal(signal.SIGSTOP)
    status, said = ended(process)
    assert status == 0, said
    is_as_if_nothing_had_happened(out, undisturbed)


CLOCK = """
import os, time
def faked(plain, unit):
    def now():
        try:
            with open(os.environ["CLOCK_OFFSET"]) as file:
                return plain() + int(file.read() or 0) * unit
        except OSError:
            return plain()
    return now
time.time, time.time_ns = faked(time.time, 1), faked(time.time_ns, 10**9)
"""


DAY = 86400


def _clock(place: Path) -> tuple[Path, dict[str, str]]:
    """A file with the seconds by which clocks are off, and the environment in which they are."""
    (place / "sitecustomize.py").write_text(CLOCK)
    path = f"{place}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return place / "offset", {"CLOCK_OFFSET": str(place / "offset"), "PYTHONPATH": path}


def test_clocks_that_jump_in_a_run(survey: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """A day ahead, then a month back, while templates are being made: what waits for the old time begins anew.

    A worker that is not heard of before that is replaced, and its work done again.
    """
    out, description = tmp_path / "out.zarr", tmp_path / "cluster.yaml"
    description.write_text("kind: local\nworkers: 2\nworker_ttl: 20s\n")
    offset, faked = _clock(tmp_path)
    offset.write_text("0")
    process = start_anew(survey, out, "--cluster", str(description), "--window", "2", **faked)
    for number, jump in ((2, DAY), (5, -30 * DAY), (8, 0)):
        wait_for(out, number, process)
        offset.write_text(str(jump))
    status, said = ended(process)
    assert status == 0, said
    assert "Traceback (most" not in said, said
    is_as_if_nothing_had_happened(out, undisturbed)


def test_clocks_that_jump_between_runs(survey: Path, undisturbed: dict[str, bytes], tmp_path: Path) -> None:
    """All is a day ahead when a run is killed; the next, a month before it, finishes what the first began."""
    out = tmp_path / "out.zarr"
    offset, faked = _clock(tmp_path)
    offset.write_text(str(DAY))
    process = start_anew(survey, out, "--workers", "2", "--window", "2", **faked)
    wait_for(out, 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    ended(process)
    offset.write_text(str(-30 * DAY))
    status, said = ended(start_anew(survey, out, "--workers", "2", **faked))
    assert status == 0, said
    is_as_if_nothing_had_happened(out, undisturbed)
    status, said = ended(start_anew(survey, out, "--workers", "2", "--overwrite", "--limit", "2", **faked))
    assert status == 0, said
    is_as_if_nothing_had_happened(out, undisturbed)
    journals = [path.read_text() for path in (out / ".dcrflow").glob("*.jsonl")]
    assert len({line[9:19] for text in journals for line in text.splitlines()}) >= 2  # days
