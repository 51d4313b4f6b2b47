"""A workflow management system for ``bps`` that runs quantum graphs on a dask cluster.

    wmsServiceClass: dcrflow.lsst.bps.DaskService
    dask: {cluster: slurm, workers: 40, retries: 2}

``bps submit`` starts a controller: ``dcrflow lsst run-graph`` with the graph that bps made. It continues to run after
bps has ended. The id of a run is its submit directory.

To use ``bps report``, ``status``, ``cancel`` and ``restart``, set BPS_WMS_SERVICE_CLASS to the name of the class, and
call them on the machine from which the run was submitted.

The quantum clusters and the first and last jobs of bps are not used. dask runs each quantum when it is ready, and the
controller does the work before and after the quanta.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsst.ctrl.bps import BaseWmsService, BaseWmsWorkflow, WmsRunReport, WmsStates

COMMAND, STATE, LOG = "dask-run.json", "dask-state.json", "dask-run.log"
_PID, _CANCELLED = "dask-run.pid", "dask-run.cancelled"

_STARTED: dict[int, subprocess.Popen[bytes]] = {}  # controllers of this process, by their number


class DaskWorkflow(BaseWmsWorkflow):
    """One run: the command of its controller, in the submit directory."""

    command: tuple[str, ...] = ()
    about: Mapping[str, str] = {}

    @classmethod
    def from_generic_workflow(
        cls, config: Any, generic_workflow: Any, out_prefix: Any, service_class: str
    ) -> DaskWorkflow:
        """Make the controller's command from the run's configuration."""
        found = cls(generic_workflow.name, config)
        found.service_class, found.submit_path = service_class, str(Path(str(out_prefix)).absolute())
        attributes = generic_workflow.run_attrs
        dask = config["dask"] if "dask" in config else {}  # noqa: SIM401  (a BpsConfig gives "" for what is not there)
        options = [f"--{key}={dask[key]}" for key in ("cluster", "workers", "retries") if key in dask]
        graph, repo = str(config["runQgraphFile"]), str(config["butlerConfig"])
        state = str(Path(found.submit_path, STATE))
        run = [sys.executable, "-c", "from dcrflow.cli import main; main()", "lsst", "run-graph"]
        found.command = (*run, graph, "-b", repo, "--state", state, *options)
        names = {"run": "bps_run", "project": "bps_project", "campaign": "bps_campaign", "payload": "bps_payload",
                 "operator": "bps_operator"}  # fmt: skip
        found.about = {key: str(attributes.get(name, "")) for key, name in names.items()}
        return found

    def write(self, out_prefix: Any) -> None:
        """Write the controller's command to the submit directory."""
        about = {"name": self.name, "command": list(self.command), "in": str(Path.cwd()), "about": dict(self.about)}
        Path(str(out_prefix), COMMAND).write_text(json.dumps(about, indent=1))


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
        """Restart the controller of a run; it skips quanta that are done."""
        directory = _directory(wms_workflow_id)
        if not (directory / COMMAND).exists():
            return None, None, f"{directory} is no submit directory of this service"
        if _is_alive(directory):
            return None, None, f"the run in {directory} has not ended; cancel it first"
        _start(directory)
        return str(directory), str(_read(directory / COMMAND)["name"]), ""

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
        """Report the states of the quanta of a run."""
        directory = _directory(wms_workflow_id)
        if wms_workflow_id is None or not (directory / COMMAND).exists():
            return [], f"give a submit directory of this service as --id; {wms_workflow_id} is none"
        run, counts = _read(directory / COMMAND), _counts(directory)
        state, message = self.get_status(directory)
        report = WmsRunReport(
            wms_id=str(directory), path=str(directory), label=run["name"], state=state, jobs=[],
            total_number_jobs=sum(counts.values()), job_state_counts=counts, job_summary={"quanta": counts},
            run_summary=f"quanta:{sum(counts.values())}", exit_code_summary={}, **run["about"],
        )  # fmt: skip
        return [report], message

    def get_status(
        self, wms_workflow_id: Any = None, hist: float = 1, is_global: bool = False
    ) -> tuple[WmsStates, str]:
        """The state of a run as a whole."""
        directory = _directory(wms_workflow_id)
        if not (directory / COMMAND).exists():
            return WmsStates.UNKNOWN, f"{directory} is no submit directory of this service"
        if _is_alive(directory):
            return WmsStates.RUNNING, ""
        ended = _read(directory / STATE).get("ended")
        if ended == "complete":
            return WmsStates.SUCCEEDED, ""
        if ended == "stopped" or (directory / _CANCELLED).exists():
            return WmsStates.DELETED, f"it was cancelled; `bps restart --id {directory}` goes on"
        if ended == "failed":
            return WmsStates.FAILED, f"quanta failed; {directory / LOG} says which and why"
        return WmsStates.FAILED, f"its controller came to an end before the run did: see {directory / LOG}"

    def cancel(self, wms_id: Any, pass_thru: Any = None) -> tuple[bool, str]:
        """Ask a run to start no more quanta and to finish those in flight."""
        directory = _directory(wms_id)
        if not _is_alive(directory):
            return False, f"no run is going on in {directory}"
        (directory / _CANCELLED).touch()
        os.kill(_pid(directory), signal.SIGTERM)
        return True, ""

    def run_submission_checks(self) -> None:
        """Nothing to check."""

    def ping(self, pass_thru: Any) -> tuple[int, str]:
        """There is no service to reach before a run starts its own cluster."""
        return 0, ""


def _directory(run: Any) -> Path:
    """The submit directory that a run's id names; it may be a relative path."""
    return Path(str(run)).absolute()


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found


def _start(directory: Path) -> None:
    run = _read(directory / COMMAND)
    for left in (STATE, _CANCELLED):
        (directory / left).unlink(missing_ok=True)
    with (directory / LOG).open("ab") as log:
        started = subprocess.Popen(
            run["command"], cwd=run["in"], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
    _STARTED[started.pid] = started
    (directory / _PID).write_text(str(started.pid))


def _pid(directory: Path) -> int:
    try:
        return int((directory / _PID).read_text())
    except (OSError, ValueError):
        return 0


def _is_alive(directory: Path) -> bool:
    """Whether the controller of a submit directory still runs; another process with the same PID does not count."""
    pid = _pid(directory)
    if not pid:
        return False
    if pid in _STARTED:
        return _STARTED[pid].poll() is None
    try:
        return b"run-graph" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _counts(directory: Path) -> dict[WmsStates, int]:
    """Quanta by state."""
    state = _read(directory / STATE)
    counts = dict.fromkeys(WmsStates, 0)
    if state:
        done = state["done"]
        counts[WmsStates.SUCCEEDED] = done["complete"] + state["skipped"]
        counts[WmsStates.FAILED], counts[WmsStates.PRUNED] = done["failed"], done["blocked"]
        counts[WmsStates.RUNNING] = state["running"]
        counts[WmsStates.UNREADY] = state["total"] - sum(counts.values())
    return counts
