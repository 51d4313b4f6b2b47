"""dask's performance reports of a run: several, since one report keeps only the last 100,000 tasks."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from distributed import performance_report

TASKS = 50_000  # a report


class PerformanceReports:
    """Writes FILE.html, and FILE-2.html and so on when a report is full.

    Parameters
    ----------
    path : Path or None
        The first; None writes none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._number = 0
        self._tasks = 0
        self._current: AbstractContextManager[Any] | None = None

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._current is not None:
            self._current.__exit__(kind, error, trace)
            self._current = None

    def count(self, tasks: int) -> None:
        """Count tasks that were submitted; begins a new report when the current one is full."""
        self._tasks += tasks
        if self._current is not None and self._tasks > TASKS:
            self.__exit__(None, None, None)
            self._begin()

    def _begin(self) -> None:
        if self._path is None:
            return
        self._number += 1
        self._tasks = 0
        name = self._path.name if self._number == 1 else f"{self._path.stem}-{self._number}{self._path.suffix}"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._current = performance_report(filename=str(self._path.with_name(name)))
        self._current.__enter__()
