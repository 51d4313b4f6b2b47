"""How many detector-visits a dask task makes: so many that it takes some tens of seconds, by what the run measures."""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds that a task should take: long against what scheduler and client spend on it, short against a run.
TARGET = 20.0
MOST = 64  # a task; the client holds the rows of all tasks in flight
_NEW = 0.2  # weight of the last measurement in the mean
_LEAST = 1e-3  # seconds that a detector-visit counts for, however little there was to do


@dataclass
class BatchSize:
    """The number of detector-visits of the next task: one at first, and at most twice what was seen to end well."""

    seconds: float | None = None  #: mean of a detector-visit; None before any has ended
    _proven: int = 0

    def took(self, seconds: float) -> None:
        """Note how long a detector-visit took."""
        self.seconds = seconds if self.seconds is None else (1 - _NEW) * self.seconds + _NEW * seconds

    def ended(self, size: int) -> None:
        """Note that a task of so many has ended."""
        self._proven = max(self._proven, size)

    def next(self, left: int, threads: int) -> int:
        """The size of the next task.

        Parameters
        ----------
        left : int
            Detector-visits that are not in any task yet. Towards the end tasks become small, so that all threads have
            work until the end.
        threads : int
            Of all workers.
        """
        wanted = 1.0 if self.seconds is None else TARGET / max(self.seconds, _LEAST)
        share = -(-left // (2 * max(threads, 1)))
        return max(1, min(int(wanted), 2 * self._proven, MOST, share))
