"""What part of a tract a tile of a detector lies on: a turned rectangle, cut into strips of whole rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box


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

    def columns(self, y0: int, y1: int, margin: int) -> tuple[int, int]:
        """First, and one past the last, column within `margin` pixels of what the region has near the rows y0 to y1.

        Both are 0 where it has nothing within `margin` of these rows.
        """
        low, high = y0 - 0.5 - margin, y1 - 0.5 + margin
        found: list[float] = []
        for xa, ya, xb, yb in zip(self.x, self.y, (*self.x[1:], self.x[0]), (*self.y[1:], self.y[0]), strict=True):
            first, last = max(min(ya, yb), low), min(max(ya, yb), high)
            if first > last:
                continue
            slope = (xb - xa) / (yb - ya) if ya != yb else 0.0
            found += [xa + slope * (first - ya), xa + slope * (last - ya)] if ya != yb else [xa, xb]
        if not found:
            return 0, 0
        return math.floor(min(found) - margin), math.ceil(max(found) + margin) + 1

    def strips(self, box: Box, rows: int, margin: int) -> list[Box]:
        """The region, grown by `margin`, within `box`, cut at every row that is a multiple of `rows`."""
        found = []
        for top in range(box.y0 // rows * rows, box.y1, rows):
            y0, y1 = max(top, box.y0), min(top + rows, box.y1)
            x0, x1 = self.columns(y0, y1, margin)
            found.append(Box.from_bounds(x0, y0, x1, y1).intersection(box))
        return [strip for strip in found if not strip.is_empty]
