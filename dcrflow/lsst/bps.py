"""A workflow management system for ``bps`` that runs quantum graphs on a dask cluster.

    wmsServiceClass: dcrflow.lsst.bps.DaskService
    dask: {cluster: slurm, workers: 40}

``bps submit`` starts a controller: ``dcrflow lsst run-graph`` with the graph that bps made. It continues to run after
bps has ended. The id of a run is its submit directory.

To use ``bps report``, ``status``, ``cancel`` and ``restart``, set BPS_WMS_SERVICE_CLASS to the name of the class. They
work on any host that sees the submit directory.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
from lsst.ctrl.bps import BaseWmsService, BaseWmsWorkflow, WmsRunReport, WmsStates
from lsst.utils.logging import getLogger

from dcrflow.lsst.controller import (
    ALIVE,
    CANCELLED,
    COMMAND,
    JOBS,
    LOG,
    PATIENCE,
    STATE,
    host_of,
    introduce,
    pid_of,
    read_json,
    silence,
)
from dcrflow.lsst.jobs import JobPlan, Needs

_BATCH = frozenset(("slurm", "pbs", "htcondor", "kubernetes"))  # clusters whose workers have the memory that we ask for
_PASSED = ("cluster", "workers", "memory", "retries")
_FINAL, _INIT = "finalJob", "pipetaskInit"
_LOG = getLogger(__name__)

_STARTED: dict[int, subprocess.Popen[bytes]] = {}  # controllers started by this process, by PID


class DaskWorkflow(BaseWmsWorkflow):
    """One run: the command of its controller and its jobs, in the submit directory."""

    command: tuple[str, ...] = ()
    about: Mapping[str, str] = {}
    plan = JobPlan()

    @classmethod
    def from_generic_workflow(
        cls, config: Any, generic_workflow: Any, out_prefix: Any, service_class: str
    ) -> DaskWorkflow:
        """Make the controller's command and the jobs from the run's configuration."""
        found = cls(generic_workflow.name, config)
        found.service_class, found.submit_path = service_class, str(Path(str(out_prefix)).absolute())
        attributes = generic_workflow.run_attrs
        dask = dict(config["dask"]) if "dask" in config else {}
        found.plan = plan_of(map(generic_workflow.get_job, generic_workflow), dask.get("retries"))
        if "memory" not in dask and str(dask.get("cluster", "")) in _BATCH:
            largest = max((n.memory for n in (found.plan.needs or {}).values() if n.memory), default=None)
            if largest:
                dask["memory"] = f"{largest}MB"
        if config["computeSite"]:
            _LOG.warning("computeSite %s is ignored: `dask: cluster` says where the run is", config["computeSite"])
        graph, repo = str(config["runQgraphFile"]), str(config["butlerConfig"])
        folder = Path(found.submit_path)
        options = [f"--{key}={dask[key]}" for key in _PASSED if key in dask]
        options += [f"--jobs={folder / JOBS}", *_final_options(generic_workflow, folder, graph, repo)]
        run = [sys.executable, "-c", "from dcrflow.cli import main; main()", "lsst", "run-graph"]
        found.command = (*run, graph, "-b", repo, "--state", str(folder / STATE), *options)
        names = {"run": "bps_run", "project": "bps_project", "campaign": "bps_campaign", "payload": "bps_payload",
                 "operator": "bps_operator"}  # fmt: skip
        found.about = {key: str(attributes.get(name, "")) for key, name in names.items()}
        return found

    def write(self, out_prefix: Any) -> None:
        """Write the controller's command and the jobs to the submit directory."""
        about = {"name": self.name, "command": list(self.command), "in": str(Path.cwd()), "about": dict(self.about)}
        Path(str(out_prefix), COMMAND).write_text(json.dumps(about, indent=1))
        self.plan.write(Path(str(out_prefix), JOBS))


def plan_of(jobs: Iterable[Any], retries: Any = None) -> JobPlan:
    """The quanta that bps has clustered, and what its configuration says of each label.

    Parameters
    ----------
    jobs : iterable of lsst.ctrl.bps.GenericWorkflowJob
        Of the workflow.
    retries : int, optional
        Of every label, whatever the exit status, in place of numberOfRetries and retryUnlessExit.
    """
    clusters, needs = [], {}
    for job in jobs:
        quanta = tuple(q for q in str(job.cmdvals.get("qgraphNodeId", "")).split(",") if q)
        if not quanta:
            continue  # what precedes and follows the quanta
        clusters.append((str(job.name), str(job.label), quanta))
        codes = job.retry_unless_exit if job.retry_unless_exit is not None else []
        needs[str(job.label)] = Needs(
            retries=int(job.number_of_retries or 0) if retries is None else int(retries),
            final_codes=() if retries is not None else tuple(codes if isinstance(codes, list) else [int(codes)]),
            memory=None if job.request_memory is None else int(job.request_memory),
            memory_multiplier=float(job.memory_multiplier or 1.0),
            memory_max=None if job.request_memory_max is None else int(job.request_memory_max),
        )
    return JobPlan(tuple(clusters), needs)


def _final_options(workflow: Any, folder: Path, graph: str, repo: str) -> list[str]:
    """What the controller does at the end: what the final job does.

    The final job that bps has by default registers the outputs, which the controller does itself, in one process. Where
    its script has other commands, the script is run instead.
    """
    final, when = workflow.get_final(), "always"
    if final is None:
        final, when = next((workflow.get_job(n) for n in workflow if n == _FINAL), None), "success"
    if final is None:
        return ["--no-aggregate"]
    script = folder / "final_job.bash"
    lines = script.read_text().splitlines() if script.exists() else []
    own = ("#", "set ", "qgraphFile=", "butlerConfig=")  # what bps writes before the commands
    lines = [line for line in lines if line and not line.startswith(own)]
    if all("butler " in line and " aggregate-graph " in line for line in lines):
        options = []
    else:
        options = ["--no-aggregate", f"--final={script}"]
    return options if when == "always" else [*options, "--only-if-complete"]


class DaskService(BaseWmsService):
    """Submits runs to a dask cluster, reports on them, cancels and restarts them."""

    def prepare(self, config: Any, generic_workflow: Any, out_prefix: Any = None) -> DaskWorkflow:
        """Prepare a run in its submit directory."""
        name = f"{type(self).__module__}.{type(self).__name__}"
        workflow = DaskWorkflow.from_generic_workflow(config, generic_workflow, out_prefix, name)
        workflow.write(out_prefix)
        return workflow

    def submit(self, workflow: Any, **kwargs: Any) -> DaskWorkflow:
        """Start the controller; it continues after this process has ended."""
        _start(Path(workflow.submit_path))
        workflow.run_id = workflow.submit_path
        found: DaskWorkflow = workflow
        return found

    def restart(self, wms_workflow_id: Any) -> tuple[str | None, str | None, str]:
        """Restart the controller of a run, on this host; it skips quanta that are done."""
        directory = _directory(wms_workflow_id)
        if not (directory / COMMAND).exists():
            return None, None, f"{directory} is not a submit directory of this service"
        if _is_alive(directory):
            where = f" on {host_of(directory)}" if not pid_of(directory) else ""
            quiet = silence(directory)
            words = f" (last sign of life {quiet:.0f} s ago)" if where else ""
            return None, None, f"the run in {directory} has not ended{where}{words}; cancel it first"
        _start(directory)
        return str(directory), str(read_json(directory / COMMAND)["name"]), ""

    def list_submitted_jobs(
        self, wms_id: Any = None, user: Any = None, require_bps: bool = True, pass_thru: Any = None,
        is_global: bool = False,
    ) -> list[str]:  # fmt: skip
        """The run with this id, if it has not ended."""
        return [str(wms_id)] if wms_id is not None and _is_alive(_directory(wms_id)) else []

    def report(
        self, wms_workflow_id: Any = None, user: Any = None, hist: float = 0, pass_thru: Any = None,
        is_global: bool = False, return_exit_codes: bool = False,
    ) -> tuple[list[WmsRunReport], str]:  # fmt: skip
        """Report the states of the jobs of a run, by label, and the exit statuses of attempts that failed."""
        directory = _directory(wms_workflow_id)
        if wms_workflow_id is None or not (directory / COMMAND).exists():
            return [], f"give a submit directory of this service as --id; {wms_workflow_id} is not one"
        run, found = read_json(directory / COMMAND), read_json(directory / STATE)
        labels = {label: _of_label(counts) for label, counts in (found.get("labels") or {}).items()}
        counts = _sum(labels.values())
        state, message = self.get_status(directory)
        report = WmsRunReport(
            wms_id=str(directory), path=str(directory), label=run["name"], state=state, jobs=[],
            total_number_jobs=sum(counts.values()), job_state_counts=counts, job_summary=labels or None,
            run_summary=";".join(f"{label}:{sum(of.values())}" for label, of in labels.items()),
            exit_code_summary=found.get("exit_codes") or {}, **run["about"],
        )  # fmt: skip
        return [report], message

    def get_status(
        self, wms_workflow_id: Any = None, hist: float = 1, is_global: bool = False
    ) -> tuple[WmsStates, str]:
        """The state of a run as a whole."""
        directory = _directory(wms_workflow_id)
        if not (directory / COMMAND).exists():
            return WmsStates.UNKNOWN, f"{directory} is not a submit directory of this service"
        if _is_alive(directory):
            return WmsStates.RUNNING, ""
        ended = read_json(directory / STATE).get("ended")
        if ended == "complete":
            return WmsStates.SUCCEEDED, ""
        if ended == "stopped" or (directory / CANCELLED).exists():
            return WmsStates.DELETED, f"it was cancelled; continue it with `bps restart --id {directory}`"
        if ended == "failed":
            return WmsStates.FAILED, f"quanta failed; see {directory / LOG} for the errors"
        return WmsStates.FAILED, f"its controller ended before the run was finished: see {directory / LOG}"

    def cancel(self, wms_id: Any, pass_thru: Any = None) -> tuple[bool, str]:
        """Ask a run to start no more quanta and to finish those in flight."""
        directory = _directory(wms_id)
        if not _is_alive(directory):
            return False, f"no run is active in {directory}"
        (directory / CANCELLED).touch()  # the controller looks for it every few seconds
        pid = pid_of(directory)
        if pid:
            os.kill(pid, signal.SIGTERM)
        return True, ""

    def run_submission_checks(self) -> None:
        """Nothing to check."""

    def ping(self, pass_thru: Any) -> tuple[int, str]:
        """There is no service to reach before a run starts its own cluster."""
        return 0, ""


def _directory(run: Any) -> Path:
    """The submit directory that a run's id names; it may be a relative path."""
    return Path(str(run)).absolute()


def _start(directory: Path) -> None:
    run = read_json(directory / COMMAND)
    for left in (STATE, CANCELLED, ALIVE):
        (directory / left).unlink(missing_ok=True)
    with (directory / LOG).open("ab") as log:
        started = subprocess.Popen(
            run["command"], cwd=run["in"], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    _STARTED[started.pid] = started
    introduce(directory, started.pid)


def _is_alive(directory: Path) -> bool:
    """Whether the controller of a submit directory still runs; another process with the same PID does not count."""
    pid = pid_of(directory)
    if not pid:
        return silence(directory) < PATIENCE
    if pid in _STARTED:
        return _STARTED[pid].poll() is None
    try:
        return "run-graph" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def _of_label(counts: Mapping[str, int]) -> dict[WmsStates, int]:
    """Jobs of a label by state."""
    found = dict.fromkeys(WmsStates, 0)
    found[WmsStates.SUCCEEDED], found[WmsStates.FAILED] = counts["complete"], counts["failed"]
    found[WmsStates.PRUNED], found[WmsStates.RUNNING] = counts["blocked"], counts["running"]
    found[WmsStates.UNREADY] = counts["total"] - sum(found.values())
    return found


def _sum(counts: Iterable[Mapping[WmsStates, int]]) -> dict[WmsStates, int]:
    found = dict.fromkeys(WmsStates, 0)
    for one in counts:
        for state, number in one.items():
            found[state] += number
    return found
