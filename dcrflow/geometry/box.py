"""Integer pixel boxes with an origin.

A `Box` is half-open: it holds the pixels ``x0 <= x < x1`` and ``y0 <= y < y1``. Pixel centres are at integer
coordinates, so the area of a box reaches from ``x0 - 0.5`` to ``x1 - 0.5``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, order=True)
class Box:
    """A rectangle of pixels, half-open, in absolute pixel indices.

    Parameters
    ----------
    x0, y0 : int
        The lower-left pixel.
    width, height : int
        Extent in pixels; not negative. A box with no pixels is *empty*.
    """

    x0: int
    y0: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width < 0 or self.height < 0:
            raise ValueError(f"a box cannot have a negative extent: width={self.width}, height={self.height}")

    @classmethod
    def from_bounds(cls, x0: int, y0: int, x1: int, y1: int) -> Box:
        """Make the box ``[x0, x1) x [y0, y1)``; empty if an upper bound does not exceed the lower one."""
        return cls(int(x0), int(y0), max(0, int(x1) - int(x0)), max(0, int(y1) - int(y0)))

    @classmethod
    def around(cls, x: NDArray[np.float64], y: NDArray[np.float64]) -> Box:
        """Make the smallest box whose pixel *areas* cover all points (pixel coordinates, any shape)."""
        return cls.from_bounds(
            math.floor(float(np.min(x)) + 0.5),
            math.floor(float(np.min(y)) + 0.5),
            math.floor(float(np.max(x)) + 0.5) + 1,
            math.floor(float(np.max(y)) + 0.5) + 1,
        )

    @property
    def x1(self) -> int:
        """One past the last column."""
        return self.x0 + self.width

    @property
    def y1(self) -> int:
        """One past the last row."""
        return self.y0 + self.height

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), as of an array indexed [y, x]."""
        return self.height, self.width

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def is_empty(self) -> bool:
        """Whether it holds no pixel."""
        return self.width == 0 or self.height == 0

    def grown(self, margin: int) -> Box:
        """The box with `margin` more pixels on each side (fewer if `margin` is negative; the box may become empty)."""
        return Box.from_bounds(self.x0 - margin, self.y0 - margin, self.x1 + margin, self.y1 + margin)

    def moved(self, dx: int, dy: int) -> Box:
        """The box moved by (dx, dy) pixels."""
        return Box(self.x0 + dx, self.y0 + dy, self.width, self.height)

    def intersection(self, other: Box) -> Box:
        """The pixels in both boxes; empty if there are none."""
        return Box.from_bounds(
            max(self.x0, other.x0), max(self.y0, other.y0), min(self.x1, other.x1), min(self.y1, other.y1)
        )

    def union(self, other: Box) -> Box:
        """The smallest box that holds both; an empty box adds nothing."""
        if other.is_empty:
            return self
        if self.is_empty:
            return other
        return Box.from_bounds(
            min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1)
        )

    def without(self, others: Iterable[Box]) -> list[Box]:
        """The pixels that are in none of several boxes, as boxes that do not overlap."""
        parts = [part for part in (self.intersection(other) for other in others) if not part.is_empty]
        found: list[Box] = []
        for y0, y1 in pairwise(sorted({self.y0, self.y1, *(y for part in parts for y in (part.y0, part.y1))})):
            x0 = self.x0
            for part in (*sorted(part for part in parts if part.y0 <= y0 < part.y1), Box(self.x1, y0, 0, 0)):
                if part.x0 > x0:
                    found.append(Box(x0, y0, part.x0 - x0, y1 - y0))
                x0 = max(x0, part.x1)
        return found

    def overlaps(self, other: Box) -> bool:
        """Whether the two share a pixel."""
        return max(self.x0, other.x0) < min(self.x1, other.x1) and max(self.y0, other.y0) < min(self.y1, other.y1)

    def contains(self, other: Box) -> bool:
        """Whether every pixel of `other` is in this box."""
        inside = self.x0 <= other.x0 and self.y0 <= other.y0 and other.x1 <= self.x1 and other.y1 <= self.y1
        return inside or other.is_empty

    def slices(self, within: Box) -> tuple[slice, slice]:
        """The ``[y, x]`` slices of this box in an array that covers `within`.

        Raises
        ------
        ValueError
            If `within` does not contain this box.
        """
        if not within.contains(self):
            raise ValueError(f"{self} reaches outside {within}")
        return (
            slice(self.y0 - within.y0, self.y1 - within.y0),
            slice(self.x0 - within.x0, self.x1 - within.x0),
        )

    def cuts(self, size: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The (heights, widths) of the tiles that `tiles` makes, as dask's ``chunks``."""
        return _cut(self.height, size), _cut(self.width, size)

    def tiles(self, size: int) -> Iterator[Box]:
        """Cut into tiles of `size` pixels a side, row by row from the lower left.

        The last tile of a row or column may be smaller, or up to an eighth larger, so that no narrow rest is left.
        """
        heights, widths = self.cuts(size)
        y0 = self.y0
        for height in heights:
            x0 = self.x0
            for width in widths:
                yield Box(x0, y0, width, height)
                x0 += width
            y0 += height

    def outline(self, per_side: int = 8) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points along the edge of the box's *area*, once around counter-clockwise.

        Returns
        -------
        x, y : ndarray of float64, shape (4 * per_side,)
            Pixel coordinates; corners included, half a pixel outside the outermost pixel centres.
        """
        t = np.arange(per_side) / per_side
        zero, one = np.zeros(per_side), np.ones(per_side)
        x = np.concatenate([t, one, 1 - t, zero])
        y = np.concatenate([zero, t, one, 1 - t])
        return self.x0 - 0.5 + self.width * x, self.y0 - 0.5 + self.height * y

    def as_list(self) -> list[int]:
        """``[x0, y0, width, height]``, as the stores keep it."""
        return [self.x0, self.y0, self.width, self.height]


def _cut(length: int, size: int) -> tuple[int, ...]:
    """Lengths of the pieces of one axis; a remainder of at most an eighth of `size` joins the last piece."""
    whole, rest = divmod(length, size)
    if rest and whole and rest <= size // 8:
        return (size,) * (whole - 1) + (size + rest,)
    return (size,) * whole + ((rest,) if rest else ())
