"""The service for `bps`: submit, report, cancel, restart, with a controller that only pretends, and the real ones."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lsst.ctrl.bps", reason="the extra lsst is not installed")

from documentation import RUBIN, files
from lsst.ctrl.bps import WmsStates
from lsst.daf.butler import Butler
from rubin import command, must, wait_until

from dcrflow.lsst.bps import COMMAND, LOG, STATE, DaskService
from dcrflow.lsst.quanta import GraphProgress, write_state

CONFIG = {"runQgraphFile": "run.qg", "butlerConfig": "repo", "dask": {"cluster": "slurm", "workers": 40}}
WORKFLOW: Any = SimpleNamespace(name="u_me_run", run_attrs={"bps_run": "u_me_run", "bps_project": "dev"})


@pytest.fixture
def service(tmp_path: Path) -> DaskService:
    """With a run that is ready in `tmp_path`."""
    made = DaskService({})
    workflow = made.prepare(CONFIG, WORKFLOW, tmp_path)
    assert list(workflow.command[3:5]) == ["lsst", "run-graph"]
    assert workflow.command[5:] == (
        "run.qg", "-b", "repo", "--state", str(tmp_path / STATE), "--cluster=slurm", "--workers=40",
    )  # fmt: skip
    return made


def pretend(directory: Path, code: str) -> Any:
    """Let the controller be some Python code; a run to submit."""
    run = json.loads((directory / COMMAND).read_text())
    run["command"] = [sys.executable, "-c", code, "run-graph"]
    (directory / COMMAND).write_text(json.dumps(run))
    return SimpleNamespace(submit_path=str(directory), run_id=None)


def test_a_run_that_is_cancelled_and_started_again(service: DaskService, tmp_path: Path) -> None:
    state = GraphProgress(6, running=1, skipped=1)
    state.done["complete"] = 2
    workflow = service.submit(pretend(tmp_path, "import time; time.sleep(60)"))
    assert workflow.run_id == str(tmp_path)
    write_state(state, tmp_path / STATE)
    (report,), message = service.report(str(tmp_path))
    assert (report.state, report.run, report.project, report.total_number_jobs, message) == (
        WmsStates.RUNNING, "u_me_run", "dev", 6, "",
    )  # fmt: skip
    assert report.job_state_counts[WmsStates.SUCCEEDED] == 3
    assert report.job_state_counts[WmsStates.UNREADY] == 2
    assert service.list_submitted_jobs(str(tmp_path)) == [str(tmp_path)]
    assert service.restart(tmp_path)[0] is None
    assert service.cancel(str(tmp_path)) == (True, "")
    wait_until(lambda: service.get_status(tmp_path)[0] == WmsStates.DELETED)
    assert service.cancel(str(tmp_path))[0] is False

    pretend(tmp_path, "")
    assert service.restart(str(tmp_path)) == (str(tmp_path), "u_me_run", "")
    wait_until(lambda: not service.list_submitted_jobs(str(tmp_path)))
    states = {"complete": WmsStates.SUCCEEDED, "failed": WmsStates.FAILED, "stopped": WmsStates.DELETED}
    for state.ended, expected in states.items():
        write_state(state, tmp_path / STATE)
        assert service.get_status(str(tmp_path))[0] == expected


@pytest.mark.parametrize("written", [True, False])
def test_a_controller_that_dies_is_a_failure(service: DaskService, tmp_path: Path, written: bool) -> None:
    """Before it has done anything, or in the middle; the report says where to look."""
    service.submit(pretend(tmp_path, "raise SystemExit('no cluster')"))
    wait_until(lambda: not service.list_submitted_jobs(str(tmp_path)))
    if written:
        write_state(GraphProgress(6, running=1), tmp_path / STATE)
    (report,), message = service.report(str(tmp_path))
    assert report.state == WmsStates.FAILED
    assert message == f"its controller came to an end before the run did: see {tmp_path / LOG}"
    assert "no cluster" in (tmp_path / LOG).read_text()


def test_ids_and_commands_do_not_depend_on_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "submit").mkdir()
    made, service = DaskService({}).prepare(CONFIG, WORKFLOW, "submit"), DaskService({})
    assert made.submit_path == str(tmp_path / "submit")
    service.submit(pretend(tmp_path / "submit", "import os; print(os.getcwd())"))
    assert service.get_status("submit")[0] != WmsStates.UNKNOWN
    monkeypatch.chdir("/")
    wait_until(lambda: not service.list_submitted_jobs(str(tmp_path / "submit")))
    assert service.restart(str(tmp_path / "submit"))[0] == str(tmp_path / "submit")
    wait_until(lambda: not service.list_submitted_jobs(str(tmp_path / "submit")))
    assert (tmp_path / "submit" / LOG).read_text().split() == [str(tmp_path)] * 2


def test_what_is_no_run(tmp_path: Path) -> None:
    service = DaskService({})
    assert service.report(str(tmp_path))[0] == []
    assert service.restart(tmp_path)[0] is None
    assert service.get_status(str(tmp_path))[0] == WmsStates.UNKNOWN
    assert service.list_submitted_jobs(str(tmp_path)) == []
    assert service.ping(None) == (0, "")


@pytest.mark.integration
def test_the_real_commands(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the documentation has it: a run submitted, reported on, cancelled before its end, and started again."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BPS_WMS_SERVICE_CLASS", "dcrflow.lsst.bps.DaskService")
    (tmp_path / "repo").symlink_to(repo)
    for name, text in files(RUBIN).items():
        (tmp_path / name).write_text(text.replace("simulated", "test").replace("by-bps", "by-bps-in-a-test"))
    said = must("bps", "submit", "bps.yaml")
    run = tmp_path / "submit" / "by-bps-in-a-test" / "run"
    assert f"Run Id: {run}" in said
    controller = int((run / "dask-run.pid").read_text())
    os.kill(controller, signal.SIGSTOP)  # it waits, that it may not be done before it is cancelled
    try:
        assert "RUNNING" in must("bps", "report", "--id", run)
        assert "Successfully canceled" in must("bps", "cancel", "--id", run)
    finally:
        os.kill(controller, signal.SIGCONT)
    service = DaskService({})
    wait_until(lambda: not service.list_submitted_jobs(run))
    report = must("bps", "report", "--id", run)
    assert "DELETED" in report
    assert "it was cancelled" in report
    assert f"Run Id: {run}" in must("bps", "restart", "--id", run)
    wait_until(lambda: not service.list_submitted_jobs(run))
    assert "SUCCEEDED" in must("bps", "report", "--id", "submit/by-bps-in-a-test/run"), (run / LOG).read_text()
    assert command("bps", "status", "--id", run).returncode == WmsStates.SUCCEEDED.value
    refs = Butler.from_config(str(repo)).query_datasets("dcrDiff_templateExp", collections="by-bps-in-a-test")
    assert {r.dataId["visit"] for r in refs} == {12, 13}
