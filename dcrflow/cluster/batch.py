"""Workers as jobs of SLURM, PBS and HTCondor, by dask-jobqueue."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from dask.utils import format_bytes, parse_bytes

from dcrflow.base.errors import ClusterError
from dcrflow.cluster.description import Batch, HtCondor, Pbs, Slurm, seconds
from dcrflow.cluster.forkserver import ONE_HEAP
from dcrflow.cluster.tls import certificates, security_of

_CLASSES = {Slurm: ("slurm", "SLURM"), Pbs: ("pbs", "PBS"), HtCondor: ("htcondor", "HTCondor")}


def _named(description: Batch, what: str) -> Any:
    module, prefix = _CLASSES[type(description)]
    try:
        return getattr(importlib.import_module(f"dask_jobqueue.{module}"), f"{prefix}{what}")
    except ImportError:
        raise ClusterError(
            f"a {description.kind} cluster needs the package dask-jobqueue: pip install 'dcrflow[cluster]'"
        ) from None


def job_settings(description: Batch) -> dict[str, Any]:
    """What dask-jobqueue needs to know of one job."""
    lifetime, stagger = description.lifetime
    settings: dict[str, Any] = {
        "cores": description.workers_per_job * description.threads,
        "processes": description.workers_per_job,
        "memory": format_bytes(description.workers_per_job * parse_bytes(description.memory)).replace(" ", ""),
        "interface": description.interface,
        "local_directory": None if description.local_directory is None else str(description.local_directory),
        "log_directory": str(description.logs),
        "python": description.python or sys.executable,
        "job_name": "dcrflow",
        "job_extra_directives": list(description.directives),
        "job_script_prologue": [*(f"export {k}={v}" for k, v in ONE_HEAP.items()), *description.prologue],
        "worker_extra_args": [
            "--lifetime", f"{lifetime}s", "--lifetime-stagger", f"{stagger}s",
            "--dashboard-address", f"{description.dashboard_host}:0",
        ],
        "death_timeout": 120,
    }  # fmt: skip
    if isinstance(description, HtCondor):
        limit = f"+MaxRuntime = {seconds(description.walltime)}"
        return settings | {
            "disk": description.disk,
            "job_extra_directives": dict(d.split("=", 1) for d in (limit, *description.directives)),
            **({"submit_command_extra": ["-append", f"accounting_group={description.account}"]}
               if description.account else {}),
        }  # fmt: skip
    return settings | {
        "queue": description.queue,
        "account": description.account,
        "walltime": description.walltime,
    }


def job_script(description: Batch) -> str:
    """The job script, without a cluster; the scheduler's address and the certificates are stand-ins."""
    settings = job_settings(description)
    if description.tls:
        settings |= {"security": security_of(Path("certificates-of-the-run")), "protocol": "tls://"}
    address = f"{'tls' if description.tls else 'tcp'}://scheduler:8786"
    if isinstance(description, HtCondor):
        settings.pop("submit_command_extra", None)
    job = _named(description, "Job")(address, name="dcrflow-worker", **settings)
    return str(job.job_script())


def open_batch(description: Batch, dashboard: str) -> Any:
    """Start the scheduler here, and submit the jobs; gives dask-jobqueue's cluster."""
    kind = _named(description, "Cluster")
    description.logs.mkdir(parents=True, exist_ok=True)
    settings = job_settings(description)
    if description.tls:
        settings |= {
            "security": certificates(),
            "protocol": "tls://",
            "shared_temp_directory": str(description.logs.absolute()),
        }
    cluster = kind(scheduler_options={"dashboard_address": dashboard}, **settings)
    jobs = -(-description.workers // description.workers_per_job)
    if description.adaptive:
        cluster.adapt(minimum_jobs=1, maximum_jobs=jobs)
    else:
        cluster.scale(jobs=jobs)
    return cluster
