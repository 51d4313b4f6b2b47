"""The service for `bps`: submit, report, cancel, restart, with a controller that only pretends, and the real ones."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("lsst.ctrl.bps", reason="the extra lsst is not installed")

from documentation import RUBIN, files
from lsst.ctrl.bps import WmsStates
from lsst.daf.butler import Butler
from rubin import command, must, wait_until

from dcrflow.lsst import bps, controller
from dcrflow.lsst.bps import DaskService, plan_of
from dcrflow.lsst.controller import ALIVE, CANCELLED, COMMAND, JOBS, LOG, STATE, WHO, signs_of_life
from dcrflow.lsst.graph_progress import GraphProgress, write_state
from dcrflow.lsst.jobs import Needs

HERE = Path(__file__).parent
CONFIG = {
    "runQgraphFile": "run.qg", "butlerConfig": "repo", "dask": {"cluster": "slurm", "workers": 40}, "computeSite": "",
}  # fmt: skip
NONE = {"total": 0, "complete": 0, "failed": 0, "blocked": 0, "running": 0}


class Workflow(dict[str, Any]):
    """A generic workflow, as far as the service looks at it."""

    name, run_attrs = "u_me_run", {"bps_run": "u_me_run", "bps_project": "dev"}

    def __init__(self, jobs: Iterable[Any] = (), final: Any = None) -> None:
        super().__init__({job.name: job for job in jobs})
        self._final = final

    def get_job(self, name: str) -> Any:
        return self[name]

    def get_final(self) -> Any:
        return self._final


@pytest.fixture
def service(tmp_path: Path) -> DaskService:
    """With a run that is ready in `tmp_path`."""
    made = DaskService({})
    workflow = made.prepare(CONFIG, Workflow(), tmp_path)
    assert list(workflow.command[3:5]) == ["lsst", "run-graph"]
    assert workflow.command[5:] == (
        "run.qg", "-b", "repo", "--state", str(tmp_path / STATE), "--cluster=slurm", "--workers=40",
        f"--jobs={tmp_path / JOBS}", "--no-aggregate",
    )  # fmt: skip
    return made


def pretend(directory: Path, code: str) -> Any:
    """Let the controller be some Python code; a run to submit."""
    run = json.loads((directory / COMMAND).read_text())
    run["command"] = [sys.executable, "-c", code, "run-graph"]
    (directory / COMMAND).write_text(json.dumps(run))
    return SimpleNamespace(submit_path=str(directory), run_id=None)


def test_a_run_that_is_cancelled_and_started_again(service: DaskService, tmp_path: Path) -> None:
    state = GraphProgress(6, labels={"isr": NONE | {"total": 6, "complete": 3, "running": 1}})
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
    assert message == f"its controller ended before the run was finished: see {tmp_path / LOG}"
    assert "no cluster" in (tmp_path / LOG).read_text()


def test_ids_and_commands_do_not_depend_on_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "submit").mkdir()
    made, service = DaskService({}).prepare(CONFIG, Workflow(), "submit"), DaskService({})
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


def a_job(name: str, label: str, quanta: str, **more: Any) -> Any:
    """As bps makes them of its configuration; the values are its defaults."""
    values = {
        "number_of_retries": 5, "retry_unless_exit": [1, 2], "request_memory": 2048, "memory_multiplier": 2.0,
        "request_memory_max": 491520, "cmdvals": {"qgraphNodeId": quanta} if quanta else {},
    }  # fmt: skip
    return SimpleNamespace(name=name, label=label, **(values | more))


def test_what_bps_says_of_jobs() -> None:
    """Clusters, retries and memory by label; pipetaskInit and finalJob have no quanta."""
    jobs = [
        a_job("pipetaskInit", "pipetaskInit", ""), a_job("one", "isr", "a,b"),
        a_job("two", "stats", "c", request_memory=9000, retry_unless_exit=None, number_of_retries=None),
    ]  # fmt: skip
    plan = plan_of(jobs)
    assert plan.jobs == (("one", "isr", ("a", "b")), ("two", "stats", ("c",)))
    assert plan.needs_of("isr") == Needs(5, (1, 2), 2048, 2.0, 491520)
    assert plan.needs_of("stats") == Needs(0, (), 9000, 2.0, 491520)
    assert plan_of(jobs, retries=3).needs_of("isr") == Needs(3, (), 2048, 2.0, 491520)


@pytest.mark.parametrize(("commands", "when", "expected"), [
    ("butler --long-log aggregate-graph ${qgraphFile} ${butlerConfig} -j 16", "ALWAYS", []),
    ("butler --long-log aggregate-graph ${qgraphFile} ${butlerConfig} -j 16", "SUCCESS", ["--only-if-complete"]),
    ("butler aggregate-graph x\nsay --done", "ALWAYS", ["--no-aggregate", "--final={}"]),
    ("say --done", "SUCCESS", ["--no-aggregate", "--final={}", "--only-if-complete"]),
    ("", "NEVER", ["--no-aggregate"]),
])  # fmt: skip
def test_the_final_job(tmp_path: Path, commands: str, when: str, expected: list[str]) -> None:
    """What it does is done: by the controller itself, or by the script that bps wrote."""
    script = tmp_path / "final_job.bash"
    if commands:
        head = "#!/bin/bash\n\nset -e\nset -x\nqgraphFile=$1\nbutlerConfig=$2\n"
        script.write_text(head + commands + "\n")
    final, jobs = a_job("finalJob", "finalJob", ""), [a_job("one", "isr", "a")]
    workflow = Workflow([*jobs, *([final] if when == "SUCCESS" else [])], final if when == "ALWAYS" else None)
    made = DaskService({}).prepare(CONFIG, workflow, tmp_path)
    options = made.command[made.command.index(f"--jobs={tmp_path / JOBS}") + 1 :]
    assert list(options) == [word.format(script) for word in expected]
    assert "--memory=2048MB" in made.command, "a batch system is asked for what the largest label asks for"


def test_a_report_by_label(service: DaskService, tmp_path: Path) -> None:
    """As `bps report` prints it, exit statuses included."""
    from lsst.ctrl.bps.bps_reports import DetailedRunReport, ExitCodesReport

    state = GraphProgress(5, ended="failed")
    state.labels = {
        "isr": NONE | {"total": 3, "complete": 2, "failed": 1}, "stats": NONE | {"total": 2, "blocked": 1},
    }  # fmt: skip
    state.exit_codes = {"isr": [1, 137, 1], "stats": []}
    write_state(state, tmp_path / STATE)
    (report,), _ = service.report(str(tmp_path))
    names = [("", "S"), *((s.name, "i") for s in WmsStates), ("EXPECTED", "i")]
    table = DetailedRunReport(names)
    table.add(report)
    rows = {line.split()[0]: line.split()[1:] for line in str(table).splitlines()[2:] if not line.startswith("-")}
    place = {s.name: i for i, s in enumerate(WmsStates)}
    assert (rows["isr"][place["SUCCEEDED"]], rows["isr"][place["FAILED"]], rows["isr"][-1]) == ("2", "1", "3")
    assert (rows["stats"][place["PRUNED"]], rows["stats"][place["UNREADY"]], rows["stats"][-1]) == ("1", "1", "2")
    assert rows["TOTAL"][-1] == "5"
    codes = ExitCodesReport([(" ", "S"), ("a", "i"), ("b", "S"), ("c", "i"), ("d", "S")])
    codes.add(report)
    assert str(codes).splitlines()[2].split() == ["isr", "2", "1", "1", "137"]


def test_from_another_host(service: DaskService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lives as long as it gives signs of life; it is cancelled through a file, and restarted once it is silent."""
    stopped = []
    service.submit(pretend(tmp_path, "import time; time.sleep(60)"))
    monkeypatch.setattr(controller.socket, "gethostname", lambda: "another-host")
    with signs_of_life(tmp_path, lambda: stopped.append(1), every=0.05):
        assert service.get_status(tmp_path) == (WmsStates.RUNNING, "")
        refused = service.restart(tmp_path)
        assert refused[0] is None
        assert "has not ended on " in refused[2]
        assert service.cancel(tmp_path) == (True, "")
        wait_until(lambda: stopped, 10)
    assert stopped == [1]
    assert service.get_status(tmp_path)[0] == WmsStates.DELETED

    (tmp_path / CANCELLED).unlink()
    (tmp_path / ALIVE).touch()
    old = (tmp_path / ALIVE).stat().st_mtime - 2 * controller.PATIENCE
    os.utime(tmp_path / ALIVE, (old, old))  # its host lost power
    assert service.get_status(tmp_path)[0] == WmsStates.FAILED
    first = bps._STARTED[json.loads((tmp_path / WHO).read_text())["pid"]]
    first.kill()
    first.wait()
    pretend(tmp_path, "")
    assert service.restart(tmp_path)[0] == str(tmp_path)
    assert controller.host_of(tmp_path) == "another-host"
    wait_until(lambda: not service.list_submitted_jobs(tmp_path))


@pytest.mark.integration
def test_the_real_commands(repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the documentation has it; a run is cancelled and started again, and its controller is killed.

    A quantum fails twice and then succeeds; another runs out of memory and gets more.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BPS_WMS_SERVICE_CLASS", "dcrflow.lsst.bps.DaskService")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("TEMPLATE_STATS_TROUBLE", str(tmp_path / "attempts"))
    (tmp_path / "attempts").mkdir()
    (tmp_path / "repo").symlink_to(repo)
    for name, text in files(RUBIN).items():
        (tmp_path / name).write_text(text.replace("simulated", "test").replace("by-bps", "by-bps-in-a-test"))
    with (tmp_path / "pipeline.yaml").open("a") as pipeline:
        pipeline.write("  templateStats: {class: template_stats.TemplateStatsTask}\n")
    configuration = (tmp_path / "bps.yaml").read_text()
    assert "  retries: 2\n" in configuration
    with (tmp_path / "bps.yaml").open("w") as file:  # by label, as for any service
        file.write(configuration.replace("  retries: 2\n", "  memory: 1500MB\n"))
        file.write("pipetask:\n  templateStats: {requestMemory: 1200, numberOfRetries: 3, retryUnlessExit: 2}\n")
        file.write("computeSite: somewhere\nsite: {somewhere: {}}\n")
    said = must("bps", "submit", "bps.yaml")
    assert "computeSite somewhere is ignored" in said
    run = tmp_path / "submit" / "by-bps-in-a-test" / "run"
    assert f"Run Id: {run}" in said
    pid = controller.pid_of(run)
    os.kill(pid, signal.SIGSTOP)  # it waits, that it may not be done before it is cancelled
    try:
        assert "RUNNING" in must("bps", "report", "--id", run)
        assert "Successfully canceled" in must("bps", "cancel", "--id", run)
    finally:
        os.kill(pid, signal.SIGCONT)
    service = DaskService({})
    wait_until(lambda: not service.list_submitted_jobs(run))
    report = must("bps", "report", "--id", run)
    assert "DELETED" in report
    assert "it was cancelled" in report
    assert f"Run Id: {run}" in must("bps", "restart", "--id", run)
    wait_until(lambda: controller.read_json(run / STATE).get("running"))
    os.kill(controller.pid_of(run), signal.SIGKILL)
    wait_until(lambda: not service.list_submitted_jobs(run))
    assert service.get_status(run)[0] == WmsStates.FAILED
    must("bps", "restart", "--id", run)
    wait_until(lambda: not service.list_submitted_jobs(run))
    report = must("bps", "report", "--id", "submit/by-bps-in-a-test/run", "--return-exit-codes")
    assert "SUCCEEDED" in report, (run / LOG).read_text()
    rows = {line.split()[0]: line.split()[1:] for line in report.splitlines() if line.strip()}
    assert rows["templateStats"] == ["2", "1", "1", "137"], report
    assert command("bps", "status", "--id", run).returncode == WmsStates.SUCCEEDED.value
    assert len((tmp_path / "attempts" / "12").read_text().split()) == 3
    small, large = map(int, (tmp_path / "attempts" / "13").read_text().split())
    assert (small, large) == (1_500_000_000, 3_000_000_000)
    refs = Butler.from_config(str(repo)).query_datasets("template_stats", collections="by-bps-in-a-test")
    assert {r.dataId["visit"] for r in refs} == {12, 13}
