"""Workers as jobs of a batch system, by dask-jobqueue: what SLURM, PBS and HTCondor have in common."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from dask.utils import format_bytes, parse_bytes
from distributed import Client
from pydantic import Field, field_validator

from dcrflow.base.errors import ClusterError
from dcrflow.cluster.client import dashboard_address, started
from dcrflow.cluster.description import Workers, seconds
from dcrflow.cluster.forkserver import ONE_HEAP
from dcrflow.cluster.tls import certificates, security_of


class Batch(Workers):
    """Workers as jobs of a batch system, the scheduler in this process."""

    workers: Annotated[int, Field(ge=1)] = Field(4, description="worker processes")
    memory: str = Field("4GiB", description="memory of a worker; a job asks for that of all its workers")
    workers_per_job: Annotated[int, Field(ge=1)] = Field(1, description="worker processes in one job")
    queue: str | None = Field(None, description="partition or queue")
    account: str | None = Field(None, description="account or project")
    walltime: str = Field("04:00:00", description="of a job, HH:MM:SS; its workers retire some time before")
    directives: tuple[str, ...] = Field((), description="more lines for the job's header, without #SBATCH and the like")
    prologue: tuple[str, ...] = Field((), description="shell lines before the worker: modules, environments")
    python: str | None = Field(None, description="the workers' Python; None: this one")
    interface: str | None = Field(None, description="network interface to listen on, as ib0")
    logs: Path = Field(Path("dcrflow-logs"), description="directory for the jobs' logs, shared by all nodes")
    tls: bool = Field(True, description="encrypt and authenticate, with certificates made for the run")

    @field_validator("walltime")
    @classmethod
    def _is_walltime(cls, value: str) -> str:
        if seconds(value) < 120:
            raise ValueError(f"a walltime of {value} is too short: give HH:MM:SS, 2 minutes or more")
        return value

    @property
    def lifetime(self) -> tuple[int, int]:
        """Seconds after which a worker retires, handing over what it holds, and how much later at most.

        The margin, a twentieth of the walltime (1 to 10 minutes), is left to retire in. Half a margin more spreads the
        workers' retirements.
        """
        whole = seconds(self.walltime)
        margin = min(600, max(60, whole // 20))
        stagger = margin // 2
        return whole - margin - stagger, stagger


def queue_settings(description: Batch) -> dict[str, Any]:
    """Arguments for systems that have queues, accounts and a walltime: `job_settings` and these."""
    return job_settings(description) | {
        "queue": description.queue,
        "account": description.account,
        "walltime": description.walltime,
    }


def job_settings(description: Batch) -> dict[str, Any]:
    """Arguments of dask-jobqueue for one job that every batch system takes."""
    lifetime, stagger = description.lifetime
    return {
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


def job_script(description: Batch, prefix: str, settings: Mapping[str, Any]) -> str:
    """The job script, without a cluster; the scheduler's address and the certificates are placeholders.

    Parameters
    ----------
    description : Batch
        The cluster.
    prefix : str
        How the names of dask-jobqueue's classes for the system begin, such as ``SLURM``.
    settings : mapping of str to object
        Arguments of its job.
    """
    settings = dict(settings)
    if description.tls:
        settings |= {"security": security_of(Path("certificates-of-the-run")), "protocol": "tls://"}
    address = f"{'tls' if description.tls else 'tcp'}://scheduler:8786"
    new = [folder for folder in (description.logs, *description.logs.parents) if not folder.exists()]
    try:
        return str(_named(prefix, "Job")(address, name="dcrflow-worker", **settings).job_script())
    finally:  # dask-jobqueue makes the folder of the logs, but nothing is submitted
        for folder in new:
            with suppress(OSError):
                folder.rmdir()


def open_batch(description: Batch, prefix: str, settings: Mapping[str, Any]) -> Iterator[Client]:
    """Start the scheduler here and submit the jobs; yields a client. Parameters as `job_script`."""
    kind = _named(prefix, "Cluster")
    description.logs.mkdir(parents=True, exist_ok=True)
    settings = dict(settings)
    if description.tls:
        settings |= {
            "security": certificates(),
            "protocol": "tls://",
            "shared_temp_directory": str(description.logs.absolute()),
        }
    cluster = kind(scheduler_options={"dashboard_address": dashboard_address(description)}, **settings)
    jobs = -(-description.workers // description.workers_per_job)
    if description.adaptive:
        cluster.adapt(minimum_jobs=1, maximum_jobs=jobs)
    else:
        cluster.scale(jobs=jobs)
    yield from started(cluster)


def _named(prefix: str, what: str) -> Any:
    try:
        return getattr(importlib.import_module(f"dask_jobqueue.{prefix.lower()}"), f"{prefix}{what}")
    except ImportError:
        raise ClusterError(
            f"a {prefix} cluster needs the package dask-jobqueue: pip install 'dcrflow[cluster]'"
        ) from None
