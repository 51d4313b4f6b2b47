"""Distinguish failures of the code or its inputs from failures of workers and machines."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, KilledWorker

from dcrflow.base.addresses import redacted_text
from dcrflow.base.errors import DcrflowError, shortened
from dcrflow.cluster.answers import answer
from dcrflow.cluster.opaque import OtherVersionError

_MEMORY = "worker-restart-memory"  # topic of dask's events for workers restarted for their memory


@dataclass(frozen=True)
class VisitFailure:
    """Class and message of an error."""

    kind: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> VisitFailure:
        """From an exception; its message and notes become one line."""
        words = [str(error) or type(error).__name__, *getattr(error, "__notes__", ())]
        if not isinstance(error, DcrflowError) and error.__traceback__ is not None:
            last = traceback.extract_tb(error.__traceback__)[-1]
            words.append(f"in {last.name}")
        return cls(type(error).__name__, shortened(redacted_text(" ".join(" | ".join(words).split()))))

    def as_attribute(self) -> dict[str, str]:
        """The failure as an attribute of the template store."""
        return {"type": self.kind, "message": self.message}


def machine_trouble(client: Client, future: Future[Any]) -> VisitFailure | None:
    """The failure, if workers or machines caused it; None if the task itself raised."""
    if future.status in ("cancelled", "lost"):
        return VisitFailure("WorkersLost", f"the task was {future.status}: the scheduler lost the workers that had it")
    error = future.exception()
    if error is None:
        return VisitFailure("WorkersLost", "it was finished, and the worker lost before it could say so")
    if isinstance(error, OtherVersionError):
        return VisitFailure("OtherVersion", str(error))
    if not isinstance(error, KilledWorker):
        return None
    address = str(error.last_worker.address)
    restarts: Sequence[Any] = answer(client, lambda: client.get_events(_MEMORY), ())
    if any(event.get("worker") == address for _, event in restarts):
        return VisitFailure(
            "OutOfMemory",
            f"worker {address} was restarted because it exceeded 95 % of its memory limit; give the workers more "
            "memory (--memory), fewer threads, or the template a smaller tile",
        )
    return VisitFailure(
        "WorkersLost",
        f"{error.allowed_failures + 1} workers died while they made it, the last at {address}: killed by the system or "
        "the batch queue (memory, walltime) or with their machine; see the workers' logs",
    )
