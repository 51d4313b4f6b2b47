"""What a run of a quantum graph says of itself: its progress, its result, its failures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from uuid import UUID


@dataclass(frozen=True)
class QuantumFailure:
    """A quantum that failed for good.

    Parameters
    ----------
    quantum : UUID
        Its id in the graph.
    task : str
        Label of the task.
    data_id : str
        In words.
    message : str
        Why.
    """

    quantum: UUID
    task: str
    data_id: str
    message: str


@dataclass
class GraphProgress:
    """Progress of a run.

    Parameters
    ----------
    total, running : int
        Quanta of the graph; jobs in flight.
    done : mapping of str to int
        Quanta that ended, by status: ``complete``, ``failed``, ``blocked`` (by the failure of an earlier quantum).
    skipped : int
        Done by an earlier run.
    elapsed : float
        Seconds.
    ended : str
        Empty while the run goes on; then ``complete``, ``failed`` or ``stopped``.
    labels : mapping of str to mapping of str to int
        By label, how many jobs there are (``total``), and how many are ``complete``, ``failed``, ``blocked`` and
        ``running``.
    exit_codes : mapping of str to list of int
        By label, the exit statuses of attempts that failed.
    """

    total: int
    running: int = 0
    skipped: int = 0
    done: dict[str, int] = field(default_factory=lambda: {"complete": 0, "failed": 0, "blocked": 0})
    elapsed: float = 0.0
    ended: str = ""
    labels: dict[str, dict[str, int]] = field(default_factory=dict)
    exit_codes: dict[str, list[int]] = field(default_factory=dict)


def write_state(state: GraphProgress, path: Path) -> None:
    """Write a run's figures to a file, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(asdict(state)))
    partial.replace(path)


@dataclass(frozen=True)
class GraphResult:
    """Result of a run.

    Parameters
    ----------
    total, complete, skipped, blocked : int
        Quanta of the graph; executed now; done before; not begun because something before them failed.
    failures : tuple of QuantumFailure
        Those that failed.
    stopped : bool
        Whether it was asked to stop.
    final : str, optional
        The program of the end, if it failed.
    """

    total: int
    complete: int
    skipped: int
    blocked: int
    failures: tuple[QuantumFailure, ...]
    stopped: bool
    final: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every quantum is done, and what comes after them."""
        return self.complete + self.skipped == self.total and self.final is None
