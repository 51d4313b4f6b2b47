"""The cells of a patch: overlapping squares, small enough that PSF and DCR are constant inside one.

A *frame* is the pixel grid that visits are warped to: the patch's outer bounding box, grown by a margin of real data.
Its first pixel is (0, 0) here. The *core* of a cell is the part of the frame that the cell provides; cores tile the
frame without its margin. The *box* of a cell is the core grown by the halo on every side. It extends beyond the frame
where the margin is narrower than the halo; what is there is not known, and costs rounds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box


@dataclass(frozen=True)
class Cell:
    """One cell of a frame.

    Parameters
    ----------
    index : int
        Its index in `CellGrid.cells`, and in arrays with an axis of cells.
    core : Box
        The pixels that the cell provides, frame pixels.
    box : Box
        The pixels on which the cell is solved; the side is always `CellGrid.side` pixels.
    """

    index: int
    core: Box
    box: Box

    @property
    def centre(self) -> tuple[float, float]:
        """(y, x) of the centre of the core, frame pixels, at which PSF and DCR are evaluated."""
        return self.core.y0 + (self.core.height - 1) / 2, self.core.x0 + (self.core.width - 1) / 2


@dataclass(frozen=True)
class CellGrid:
    """The cells of a frame.

    Parameters
    ----------
    shape : (int, int)
        (height, width) of the frame, pixels.
    cell : int
        Largest side of a core, pixels.
    halo : int
        Width by which a box exceeds its core on each side, pixels.
    taper : int
        Width of the outer rim of a box in which weights fall to zero, pixels; less than `halo`. See
        `dcrflow.coadding.window`.
    margin : int
        Width of the rim of the frame that no cell provides, pixels.
    """

    shape: tuple[int, int]
    cell: int = 514
    halo: int = 43
    taper: int = 31
    margin: int = 0

    def __post_init__(self) -> None:
        if min(self.inner) < 1:
            raise ValueError(f"a frame of {self.shape} pixels with a margin of {self.margin} has no cells")
        if not 0 <= self.taper < self.halo or self.cell < 1:
            raise ValueError(f"a cell of {self.cell} px with halo {self.halo} cannot have a taper of {self.taper} px")

    @property
    def inner(self) -> tuple[int, int]:
        """(height, width) of what the cells provide, pixels."""
        return self.shape[0] - 2 * self.margin, self.shape[1] - 2 * self.margin

    @property
    def numbers(self) -> tuple[int, int]:
        """Number of cells down and across."""
        height, width = self.inner
        return -(-height // self.cell), -(-width // self.cell)

    @property
    def side(self) -> int:
        """Side of every cell's box and of its Fourier transforms, pixels."""
        (ny, nx), (height, width) = self.numbers, self.inner
        least = max(-(-height // ny), -(-width // nx)) + 2 * self.halo
        return next(n for n in count(least + least % 2, 2) if is_smooth(n))

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, row by row."""
        return tuple(self)

    def __len__(self) -> int:
        return self.numbers[0] * self.numbers[1]

    def __iter__(self) -> Iterator[Cell]:
        (ny, nx), (height, width), edge = self.numbers, self.inner, self.margin
        for index in range(ny * nx):
            iy, ix = divmod(index, nx)
            y0, y1 = edge + iy * height // ny, edge + (iy + 1) * height // ny
            x0, x1 = edge + ix * width // nx, edge + (ix + 1) * width // nx
            box = Box(x0 - self.halo, y0 - self.halo, self.side, self.side)
            yield Cell(index, Box.from_bounds(x0, y0, x1, y1), box)


def is_smooth(number: int) -> bool:
    """Whether Fourier transforms of this length are fast: an even number without prime factors above 5."""
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1


def cut(image: NDArray[np.generic], box: Box, fill: float) -> NDArray[np.generic]:
    """A copy of the part of a frame's image inside a box; `fill` where the box extends beyond the frame."""
    inside = box.intersection(Box(0, 0, image.shape[1], image.shape[0]))
    if inside == box:
        return np.array(image[box.y0 : box.y1, box.x0 : box.x1])
    out = np.full(box.shape, fill, image.dtype)
    if not inside.is_empty:
        out[inside.slices(box)] = image[inside.y0 : inside.y1, inside.x0 : inside.x1]
    return out
