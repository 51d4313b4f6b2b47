"""What happened when: counts in bins of equal width, never more than a fixed number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

BINS = 240  # at most; when they are full, neighbours are added up and the width doubles
_ENDED = ("complete", "no-overlap", "failed")


class Timeline:
    """How many detector-visits ended in each bin of time, by status, and how many workers there were.

    Parameters
    ----------
    began : float
        When the first bin begins, seconds since 1970.
    width : float
        Of a bin, seconds.
    """

    def __init__(self, began: float, width: float = 1.0) -> None:
        self.began, self.width = began, width
        self._bins: list[Counter[str]] = []
        self._steps: list[Counter[Any]] = []  # seconds
        self._workers: dict[int, int] = {}

    def add(self, when: float, status: str, steps: Mapping[str, float] | None = None) -> None:
        """Count a detector-visit that ended, and its seconds by step."""
        number = self._bin(when)
        self._bins[number][status] += 1
        if steps:
            bin_: Any = self._steps[number]
            for name, seconds in steps.items():
                bin_[name] += seconds

    def workers(self, when: float, number: int) -> None:
        """Note how many workers there are from now on."""
        self._workers[self._bin(when)] = number

    def _bin(self, when: float) -> int:
        number = max(0, int((when - self.began) / self.width))
        if number < len(self._bins):
            return number
        while number >= BINS:
            self._halve()
            number = max(0, int((when - self.began) / self.width))
        while len(self._bins) <= number:
            self._bins.append(Counter())
            self._steps.append(Counter())
        return number

    def _halve(self) -> None:
        self.width *= 2
        for bins in (self._bins, self._steps):
            bins[:] = [sum(bins[i : i + 2], Counter()) for i in range(0, len(bins), 2)]
        self._workers = {number // 2: workers for number, workers in sorted(self._workers.items())}

    def recent(self, when: float, seconds: float) -> float:
        """Number of detector-visits that ended in the last so many seconds, to within a bin."""
        first = (when - seconds - self.began) / self.width
        total = 0.0
        for number in range(max(0, int(first)), len(self._bins)):
            total += sum(self._bins[number].values()) * min(1.0, number + 1 - max(first, number))
        return total

    def shown(self, now: float | None = None) -> dict[str, Any]:
        """As JSON has it: ``began`` (seconds since 1970), ``width`` (seconds), and a list for each kind of number."""
        if now is not None:
            self._bin(now)
        workers: list[int | None] = []
        for number in range(len(self._bins)):
            workers.append(self._workers.get(number, workers[-1] if workers else None))
        steps = sorted({name for seconds in self._steps for name in seconds})
        return {
            "began": round(self.began, 3),
            "width": self.width,
            **{status: [bin_[status] for bin_ in self._bins] for status in _ENDED},
            "workers": workers,
            "steps": {name: [round(seconds[name], 2) for seconds in self._steps] for name in steps},
        }
