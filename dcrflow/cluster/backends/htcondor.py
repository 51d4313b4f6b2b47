"""Workers as HTCondor jobs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from distributed import Client
from pydantic import Field

from dcrflow.cluster.description import Backend, seconds
from dcrflow.cluster.jobqueue import Batch, job_script, job_settings, open_batch


class HtCondor(Batch):
    """Workers as HTCondor jobs."""

    kind: Literal["htcondor"] = "htcondor"
    disk: str = Field("10GiB", description="local disk of a job")


def _settings(description: HtCondor) -> dict[str, Any]:
    """HTCondor has no queues; a job's limits are lines ``key = value`` of its description."""
    limit = f"+MaxRuntime = {seconds(description.walltime)}"
    return job_settings(description) | {
        "disk": description.disk,
        "job_extra_directives": dict(line.split("=", 1) for line in (limit, *description.directives)),
    }


def _open(description: HtCondor) -> Iterator[Client]:
    account = ["-append", f"accounting_group={description.account}"]
    more = {"submit_command_extra": account} if description.account else {}
    return open_batch(description, "HTCondor", _settings(description) | more)


BACKEND = Backend(
    HtCondor, open=_open, submitted=lambda description: job_script(description, "HTCondor", _settings(description))
)
