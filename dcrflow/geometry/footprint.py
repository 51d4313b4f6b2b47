"""The part of a tract that lies under a tile of a detector: a rotated rectangle, cut into strips of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box

Int = NDArray[np.int64]


@dataclass(frozen=True)
class Footprint:
    """A convex region of a tract.

    Parameters
    ----------
    x, y : tuple of float
        Points along its edge, once around; tract pixel coordinates.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    @classmethod
    def of(cls, x: NDArray[np.float64], y: NDArray[np.float64]) -> Self:
        """From points along its edge."""
        return cls(tuple(x.tolist()), tuple(y.tolist()))

    def columns(self, y0: Int, y1: Int, margin: int) -> tuple[Int, Int]:
        """First column, and one past the last, within `margin` pixels of the region, for several ranges of rows.

        Each range is the rows from y0 to y1, grown by `margin`. Both columns are 0 where the region has no pixel in it.
        """
        low, high = (np.asarray(edge, np.float64)[:, None] for edge in (y0 - 0.5 - margin, y1 - 0.5 + margin))
        xa, ya = np.array(self.x), np.array(self.y)
        xb, yb = np.roll(xa, -1), np.roll(ya, -1)
        first, last = np.maximum(np.minimum(ya, yb), low), np.minimum(np.maximum(ya, yb), high)
        level = ya == yb
        slope = (xb - xa) / np.where(level, 1.0, yb - ya)
        one, other = (np.where(level, end, xa + slope * (y - ya)) for end, y in ((xa, first), (xb, last)))
        there = first <= last
        x0 = np.floor(np.min(np.minimum(one, other), axis=1, initial=np.inf, where=there) - margin)
        x1 = np.ceil(np.max(np.maximum(one, other), axis=1, initial=-np.inf, where=there) + margin) + 1
        some = there.any(axis=1)
        return np.where(some, x0, 0).astype(np.int64), np.where(some, x1, 0).astype(np.int64)

    def strips(self, box: Box, rows: int, margin: int) -> list[Box]:
        """The region, grown by `margin`, within `box`, cut at every row that is a multiple of `rows`."""
        y0 = np.arange(box.y0 // rows * rows, box.y1, rows)
        y0, y1 = np.maximum(y0, box.y0), np.minimum(y0 + rows, box.y1)
        x0, x1 = (np.clip(x, box.x0, box.x1) for x in self.columns(y0, y1, margin))
        bounds = zip(x0.tolist(), y0.tolist(), x1.tolist(), y1.tolist(), strict=True)
        return [Box.from_bounds(*each) for each in bounds if each[0] < each[2]]
