"""Where on the sky detector-visits are in which state: one by one, or how many in each cell when there are many.

Cells are HEALPix cells (Gorski et al. 2005) in nested numbering. A cell of a coarser order has the number of any cell
within it without the last bits, so that what happens is told in cells of the finest order and counted in coarser ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: In the order of their letters in `Places.shown`.
STATES = ("waiting", "running", "complete", "no-overlap", "failed", "damaged")
FINEST = 13  # order of the cells that events name; 26 arcsec wide

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
        self._early: list[tuple[DataId, int | None, str, str]] = []

    def footprints(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add the outlines of some detector-visits: (visit, detector, corners)."""
        for visit, detector, corners in rows:
            if (visit, detector) not in self._index:
                self._index[visit, detector] = len(self._footprints)
                self._footprints.append([visit, detector, corners])
                self._states.append(0)
        self._replay()

    def cells(self, order: int, cells: Iterable[Sequence[Any]]) -> None:
        """Set the cells of a map: (cell, number of detector-visits, corners or None) each."""
        self._order = order
        for cell, number, corners in cells:
            self._cells[cell] = corners
            self._counts[cell] = [number, *[0] * (len(STATES) - 1)]
        self._replay()

    def tracts(self, outlines: Iterable[Mapping[str, Any]]) -> None:
        """Add the outlines of tracts: ``tract``, ``corners``."""
        self._tracts += outlines
        self.version += 1

    def change(self, which: DataId, cell: int | None, before: str, after: str) -> None:
        """Note that a detector-visit changed its state."""
        if self._order is None and not self._index:
            self._early.append((which, cell, before, after))
        elif which in self._index:
            self._states[self._index[which]] = _NUMBER[after]
        elif self._order is not None and cell is not None:
            counts = self._counts.setdefault(cell >> 2 * (FINEST - self._order), [0] * len(STATES))
            counts[_NUMBER[before]] = max(0, counts[_NUMBER[before]] - 1)
            counts[_NUMBER[after]] += 1

    def _replay(self) -> None:
        early, self._early = self._early, []
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


_DIGITS = bytes(48 + i if i < len(STATES) else 63 for i in range(256))
