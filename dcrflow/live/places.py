"""Where on the sky detector-visits are in which state: one by one, or how many in each cell when there are many.

Cells are HEALPix cells (Gorski et al. 2005) in nested numbering. A cell of a coarser order has the number of any cell
within it without the last bits, so that what happens is told in cells of the finest order and counted in coarser ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dcrflow.live import checked

#: In the order of their letters in `Places.shown`.
STATES = ("waiting", "running", "complete", "no-overlap", "failed", "damaged")
FINEST = 13  # order of the cells that events name; 26 arcsec wide

_OUTLINES, _CELLS, _TRACTS = 20_000, 100_000, 1000  # of each, at most
_EARLY = 500_000  # changes that wait for a map, at most
_NUMBER = {state: number for number, state in enumerate(STATES)}

DataId = tuple[int, int]


class Places:
    """The states of detector-visits on the sky."""

    def __init__(self) -> None:
        self.version = 0  #: changes whenever `outlines` does
        self._footprints: list[Any] = []
        self._index: dict[DataId, int] = {}
        self._states = bytearray()
        self._order: int | None = None
        self._counts: dict[int, list[int]] = {}
        self._cells: dict[int, Any] = {}
        self._tracts: list[Any] = []
        self._early: deque[tuple[DataId, int | None, str, str]] = deque(maxlen=_EARLY)

    def footprints(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add the outlines of some detector-visits: (visit, detector, corners)."""
        for visit, detector, corners in rows:
            which = checked.data_id(visit, detector)
            if which is not None and which not in self._index and len(self._footprints) < _OUTLINES:
                self._index[which] = len(self._footprints)
                self._footprints.append([*map(checked.exact, which), checked.corners(corners)])
                self._states.append(0)
        self._replay()

    def cells(self, order: object, cells: Iterable[Sequence[Any]]) -> None:
        """Set the cells of a map: (cell, number of detector-visits, corners or None) each."""
        self._order = checked.whole(order, FINEST + 1)
        below = 0 if self._order is None else _number_of_cells(self._order)
        for cell, number, corners in cells:
            which = checked.whole(cell, below)
            if which is not None and len(self._cells) < _CELLS:
                self._cells[which] = None if corners is None else checked.corners(corners)
                self._counts[which] = [checked.count(number), *[0] * (len(STATES) - 1)]
        self._replay()

    def tracts(self, outlines: Iterable[Mapping[str, Any]]) -> None:
        """Add the outlines of tracts: ``tract``, ``corners``."""
        found = [
            {"tract": checked.count(t.get("tract")), "corners": checked.corners(t.get("corners"))} for t in outlines
        ]
        self._tracts = [*self._tracts, *(each for each in found if each["corners"])][:_TRACTS]
        self.version += 1

    def change(self, which: DataId, cell: object, before: str, after: object) -> None:
        """Note that a detector-visit changed its state."""
        if after not in STATES:
            return
        cell = checked.whole(cell, _number_of_cells(FINEST))
        if self._order is None and not self._index:
            self._early.append((which, cell, before, str(after)))
        elif which in self._index:
            self._states[self._index[which]] = _NUMBER[str(after)]
        elif self._order is not None and cell is not None:
            counts = self._counts.setdefault(cell >> 2 * (FINEST - self._order), [0] * len(STATES))
            counts[_NUMBER[before]] = max(0, counts[_NUMBER[before]] - 1)
            counts[_NUMBER[str(after)]] += 1

    def _replay(self) -> None:
        early, self._early = self._early, deque(maxlen=_EARLY)
        self.version += 1
        for change in early:
            self.change(*change)

    def outlines(self) -> dict[str, Any]:
        """As JSON has it: what does not change while states do."""
        return {
            "version": self.version,
            "tracts": self._tracts,
            "footprints": self._footprints,
            "cells": [[cell, corners] for cell, corners in self._cells.items()],
        }

    def shown(self) -> dict[str, Any]:
        """As JSON has it: ``footprints``, a digit for each (its index in `STATES`); ``cells``, counts by state."""
        return {
            "version": self.version,
            "order": self._order,
            "footprints": self._states.translate(_DIGITS).decode("ascii"),
            "cells": [self._counts[cell] for cell in self._cells],
        }

    def counts(self) -> tuple[int | None, dict[int, list[int]]]:
        """The order of the cells, and how many detector-visits are in each, by state."""
        return self._order, self._counts


def _number_of_cells(order: int) -> int:
    return int(12 << 2 * order)


_DIGITS = bytes(48 + i if i < len(STATES) else 63 for i in range(256))
