"""Workers as SLURM jobs."""

from __future__ import annotations

from typing import Literal

from dcrflow.cluster.description import Backend
from dcrflow.cluster.jobqueue import Batch, job_script, open_batch, queue_settings


class Slurm(Batch):
    """Workers as SLURM jobs."""

    kind: Literal["slurm"] = "slurm"


BACKEND = Backend(
    Slurm,
    open=lambda description: open_batch(description, "SLURM", queue_settings(description)),
    submitted=lambda description: job_script(description, "SLURM", queue_settings(description)),
)
