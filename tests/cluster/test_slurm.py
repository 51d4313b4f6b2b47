"""Campaigns on a real SLURM: a cluster of one node that these tests start."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from runs import arguments, complete, contents, ended, make_survey, start, start_anew, wait_for
from slurm_on_this_machine import slurm, why_not

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]

NUMBER = 24
ROOT = Path(__file__).parents[2]
SBATCH = ROOT / "deploy" / "slurm" / "campaign.sbatch"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with slurm(tmp_path_factory.mktemp("slurm") / "home") as found:
        yield found | {"DCRFLOW_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_survey(tmp_path_factory.mktemp("survey"), NUMBER)


@pytest.fixture(scope="module")
def undisturbed(survey: Path) -> dict[str, bytes]:
    status, said = ended(start(survey, survey / "undisturbed.zarr", "--workers", "2"))
    assert status == 0, said
    return contents(survey / "undisturbed.zarr")


def told(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60).stdout


def described(directory: Path) -> Path:
    """Two workers, a job each."""
    path = directory / "cluster.yaml"
    path.write_text(
        f"kind: slurm\nqueue: main\nworkers: 2\nmemory: 1GiB\nwalltime: 00:10:00\ndashboard: 0\n"
        f"interface: lo\nlogs: {directory / 'logs'}\n"
    )
    return path


def job_ids(environment: dict[str, str]) -> list[str]:
    return told(environment, "squeue", "-h", "-t", "R", "-o", "%i").split()


def submit(environment: dict[str, str], survey: Path, out: Path, *options: str) -> str:
    """Submit the deploy script from the directory of the survey; gives the job's id."""
    return told(
        environment | {"DCRFLOW_SCRATCH": str(survey)}, "sbatch", "--parsable", "--ntasks=2", "--mem-per-cpu=1G",
        f"--chdir={survey}", f"--output={survey}/job-%j.out", *options, str(SBATCH), *arguments(survey, out)[1:],
    ).strip()  # fmt: skip


def job_ended(environment: dict[str, str], job: str, timeout: float = 300) -> tuple[str, str]:
    """State and exit code of a job, once it is over."""
    until = time.monotonic() + timeout
    while True:
        words = dict(w.split("=", 1) for w in told(environment, "scontrol", "show", "job", job).split() if "=" in w)
        if words["JobState"] not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"):
            return words["JobState"], words["ExitCode"]
        if time.monotonic() > until:
            raise TimeoutError(words)
        time.sleep(0.5)


def test_workers_as_jobs(
    environment: dict[str, str], survey: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """From a login shell; all jobs are lost in the middle; over TLS, with keys that nobody else reads."""
    out, soon = tmp_path / "out.zarr", {"DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "3s"}
    process = start_anew(survey, out, "--cluster", str(described(tmp_path)), "--window", "2", **environment, **soon)
    wait_for(out, 3, process)
    keys = [p for p in (tmp_path / "logs").iterdir() if p.is_file() and b"PRIVATE KEY" in p.read_bytes()]
    assert keys
    assert all(p.stat().st_mode & 0o077 == 0 for p in keys)
    first = job_ids(environment)
    assert first
    told(environment, "scancel", *first)
    status, said = ended(process)
    assert status == 0, said
    assert contents(out) == undisturbed
    assert not {*first} & {*job_ids(environment)}


def test_one_allocation(
    environment: dict[str, str], survey: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Submit and walk away: scheduler, workers and client inside the job."""
    out = tmp_path / "out.zarr"
    job = submit(environment, survey, out)
    state = job_ended(environment, job)
    said = (survey / f"job-{job}.out").read_text()
    assert state == ("COMPLETED", "0:0"), said
    assert f"{NUMBER} complete of {NUMBER}" in said
    assert contents(out) == undisturbed
    assert not list(survey.glob(".dcrflow-*"))  # the certificates went with the run


def test_the_walltime_ends_in_the_middle(
    environment: dict[str, str], survey: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """SLURM's warning comes; what is in flight is finished; the same line, submitted again, finishes the rest."""
    out = tmp_path / "out.zarr"
    job = submit(environment, survey, out, "--time=10")
    wait_for(out, 2)
    told(environment, "scancel", "--batch", "--signal=TERM", job)  # what --signal=B:TERM@300 sends
    assert job_ended(environment, job) == ("FAILED", "130:0"), (survey / f"job-{job}.out").read_text()
    before = complete(out)
    assert 2 <= len(before) < NUMBER
    assert "the same command again finishes what is missing" in (survey / f"job-{job}.out").read_text()
    again = submit(environment, survey, out, "--time=10")
    assert job_ended(environment, again) == ("COMPLETED", "0:0"), (survey / f"job-{again}.out").read_text()
    assert contents(out) == undisturbed
    assert {k: v for k, v in complete(out).items() if k in before} == before


def test_the_job_is_killed(
    environment: dict[str, str], survey: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """No warning at all: as when a node goes down, or the walltime is up and nobody listened."""
    out = tmp_path / "out.zarr"
    job = submit(environment, survey, out)
    wait_for(out, 2)
    told(environment, "scancel", "--signal=KILL", "--full", job)
    job_ended(environment, job)
    before = complete(out)
    again = submit(environment, survey, out)
    assert job_ended(environment, again) == ("COMPLETED", "0:0"), (survey / f"job-{again}.out").read_text()
    assert contents(out) == undisturbed
    assert {k: v for k, v in complete(out).items() if k in before} == before
    assert os.path.exists(out)
