"""Workers as PBS jobs."""

from __future__ import annotations

from typing import Literal

from dcrflow.cluster.description import Backend
from dcrflow.cluster.jobqueue import Batch, job_script, open_batch, queue_settings


class Pbs(Batch):
    """Workers as PBS jobs."""

    kind: Literal["pbs"] = "pbs"


BACKEND = Backend(
    Pbs,
    open=lambda description: open_batch(description, "PBS", queue_settings(description)),
    submitted=lambda description: job_script(description, "PBS", queue_settings(description)),
)
