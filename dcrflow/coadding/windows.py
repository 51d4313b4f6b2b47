"""A cell in squares: what is told of visits square by square, and what they show in a few of these.

A second look at the visits is for what changed since the first, which is little where little was rejected. What a visit
shows in one square follows from the sky within a PSF's reach of it, on a grid that is smaller than the cell's.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.cell_visits import CellVisits, Member, Seen
from dcrflow.coadding.cells import is_smooth
from dcrflow.coadding.transfer import Blocks, Transform, backward, blocks_shape, forward, in_blocks, transfer_functions
from dcrflow.kernels.coadd_pixels import cut_periodic, subtract_in_window

Image = NDArray[np.float32]
Bounds = tuple[int, int, int, int]

_LEAST = 80  # pixels; the side of a square, at least
_SIDE = 100  # pixels; about the side of a square where no window is possible


class Squares:
    """The squares of a part of a cell.

    Parameters
    ----------
    visits : CellVisits
        The visits of the cell.
    within, core : (y0, y1, x0, x1)
        The part that is cut into squares, and a part of it.

    Attributes
    ----------
    bounds : ndarray of int64, shape (num, 4)
        (y0, y1, x0, x1) of each.
    core : ndarray of int64, shape (num, 4)
        Its part in the core; empty ones have y1 = y0 or x1 = x0.
    side : int
        Of a square's window, pixels; 0 if a visit spreads light too far for windows smaller than the cell.
    """

    def __init__(self, visits: CellVisits, within: Bounds, core: Bounds) -> None:
        self.visits, side = visits, visits.side
        self.reach = max(visits.optics(m).reach for m in visits.members)
        self.margin = self.reach + self.reach // 2
        window = next(n for n in range(2 * self.margin + _LEAST, 10 * side) if n % 2 == 0 and is_smooth(n))
        self.side = window if 2 * window < side else 0
        longest = self.side - 2 * self.margin if self.side else _SIDE
        rows, columns = (_cut(*ends, longest) for ends in (within[:2], within[2:]))
        self.bounds = np.array([(*y, *x) for y in rows for x in columns], np.int64)
        low, high = np.array(core)[[0, 0, 2, 2]], np.array(core)[[1, 1, 3, 3]]
        self.core = np.clip(self.bounds, low, high)

    def __len__(self) -> int:
        return len(self.bounds)

    @property
    def cost(self) -> float:
        """Cost of a visit in one window over that of the visit in the cell."""
        return (self.side / self.visits.side) ** 2

    def largest(self, image: Image) -> NDArray[np.float32]:
        """Largest value of an image in each square."""
        return np.array([image[y0:y1, x0:x1].max() for y0, y1, x0, x1 in self.bounds], np.float32)

    def touched(self, pixels: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """In which squares any of these pixels are."""
        return np.array([pixels[y0:y1, x0:x1].any() for y0, y1, x0, x1 in self.bounds])

    def skies(self, sky: Transform, numbers: Iterable[int]) -> dict[int, Blocks]:
        """The sky in the windows of some squares, in blocks."""
        images, out = backward(sky), {}
        part = np.empty((self.side, self.side), np.float32)
        for number in numbers:
            terms = []
            for image in images:
                cut_periodic(image, *self.start(number), part)
                terms.append(forward(part))
            out[number] = in_blocks(np.stack(terms))
        return out

    def see(self, member: Member) -> Window:
        """A visit, to be compared with the sky in some squares."""
        return Window(self, self.visits.read(member))

    def start(self, number: int) -> tuple[int, int]:
        """(y, x) of the first pixel of a square's window, in the cell."""
        y0, _, x0, _ = (int(n) for n in self.bounds[number])
        return y0 - self.margin, x0 - self.margin

    def inside(self, number: int, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
        """A part of a square, seen from its window; shape (1, 4)."""
        y0, x0 = self.start(number)
        return np.asarray(bounds[number : number + 1] - np.array([y0, y0, x0, x0]), np.int64)


class Window:
    """One visit in the windows of squares.

    Parameters
    ----------
    squares : Squares
        The squares.
    seen : Seen
        The visit.
    """

    def __init__(self, squares: Squares, seen: Seen) -> None:
        self.squares, self.seen = squares, seen
        basis, side = squares.visits.basis, squares.side
        blocks = np.empty(blocks_shape(basis.num_terms, side), np.float32)
        self.transfer = transfer_functions(squares.visits.optics(seen.member), basis, blocks)
        self.rest, self.good = np.empty((side, side), np.float32), np.empty((side, side), np.bool_)
        self.model = self.rest

    def compare(self, number: int, sky: Blocks) -> None:
        """Set `model`, `rest` and `good`, the valid pixels, in a square's window."""
        self.model = self.transfer.shown(sky)
        subtract_in_window(
            self.seen.image, self.seen.valid, self.model, *self.squares.start(number), self.squares.reach,
            self.rest, self.good,
        )  # fmt: skip

    def flux(self, factor: float) -> Image:
        """`rest` matched with the visit's PSF, times a factor."""
        return self.transfer.matched(self.rest, factor)


def _cut(start: int, end: int, longest: int) -> list[tuple[int, int]]:
    """An interval in as few equal parts as are not longer than this."""
    ends = np.linspace(start, end, -(-(end - start) // longest) + 1).round().astype(int).tolist()
    return list(pairwise(ends))
