"""Image, variance and mask of a region, which every step takes and returns together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from sys import getsizeof
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box


@dataclass(frozen=True, slots=True)
class PatchPixels:
    """Subfilter coadds of a patch, or of a part of it.

    Parameters
    ----------
    box : Box
        The part, absolute tract pixels.
    image : ndarray of float32, shape (num_subfilters, box.height, box.width)
        nJy; NaN where there are no data.
    variance : ndarray of float32, shape (num_subfilters or 1, box.height, box.width)
        nJy^2, of one subfilter; a first axis of 1 holds for each subfilter.
    mask : ndarray of int32, shape (num_subfilters or 1, box.height, box.width)
        Bits of the planes that the reader was asked for; a first axis of 1 holds for each subfilter.
    damage : frozenset of str
        Chunks that could not be read and are NO_DATA here, a line each.
    """

    box: Box
    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]
    damage: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        num = self.image.shape[0]
        for name in ("image", "variance", "mask"):
            array = getattr(self, name)
            if array.ndim != 3 or array.shape[1:] != self.box.shape or array.shape[0] not in (1, num):
                raise ValueError(f"{name} of shape {array.shape} does not fit {num} subfilters on {self.box}")

    def __sizeof__(self) -> int:
        """Bytes, with the arrays: by it a dask scheduler knows what it costs to move them to another worker."""
        return object.__sizeof__(self) + self.image.nbytes + self.variance.nbytes + self.mask.nbytes

    def part(self, box: Box) -> PatchPixels:
        """A part of the region; its arrays are views."""
        where = (..., *box.slices(self.box))
        return replace(self, box=box, image=self.image[where], variance=self.variance[where], mask=self.mask[where])


@dataclass(frozen=True, slots=True)
class Pixels:
    """Image, variance and mask of one region.

    Parameters
    ----------
    box : Box
        The region, absolute pixels of a tract or a detector.
    image : ndarray of float32, shape box.shape
        nJy; NaN where there are no data.
    variance : ndarray of float32, shape box.shape
        nJy^2; NaN where there are no data.
    mask : ndarray of int32, shape box.shape
        Mask planes; NO_DATA where there are no data.
    """

    box: Box
    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]

    def __post_init__(self) -> None:
        for name in ("image", "variance", "mask"):
            if getattr(self, name).shape != self.box.shape:
                raise ValueError(f"{name} of shape {getattr(self, name).shape} does not fit {self.box}")

    def __sizeof__(self) -> int:
        """Bytes, as `PatchPixels` says them."""
        return object.__sizeof__(self) + self.image.nbytes + self.variance.nbytes + self.mask.nbytes

    def part(self, box: Box) -> Pixels:
        """A part of the region; its arrays are views."""
        where = box.slices(self.box)
        return replace(self, box=box, image=self.image[where], variance=self.variance[where], mask=self.mask[where])

    def copy(self) -> Pixels:
        """A copy, in arrays of its own."""
        return replace(self, image=self.image.copy(), variance=self.variance.copy(), mask=self.mask.copy())

    @classmethod
    def joined(cls, box: Box, tiles: Sequence[Self]) -> Self:
        """The tiles of a region as one; if there is only one tile, that tile itself."""
        if len(tiles) == 1 and tiles[0].box == box:
            return tiles[0]
        image, variance = np.empty(box.shape, np.float32), np.empty(box.shape, np.float32)
        mask = np.empty(box.shape, np.int32)
        for tile in tiles:
            where = tile.box.slices(box)
            image[where], variance[where], mask[where] = tile.image, tile.variance, tile.mask
        return cls(box, image, variance, mask)


@dataclass(frozen=True, slots=True)
class Band:
    """Some rows of a matched tract, from which the pixels of a tile are made that lie on them.

    Parameters
    ----------
    pixels : Pixels
        The rows, and those around them that the warp's kernel looks at.
    first, end : float
        The pixels from row `first` of the tract on and before row `end` are made from this band.
    """

    pixels: Pixels
    first: float
    end: float


@dataclass(frozen=True, slots=True)
class BandedPixels:
    """A region of a matched tract, in bands from top to bottom.

    Parameters
    ----------
    box : Box
        The region.
    bands : tuple of Band
        Together they make every row.
    """

    box: Box
    bands: tuple[Band, ...]

    def __sizeof__(self) -> int:
        """Bytes, as `PatchPixels` says them."""
        return object.__sizeof__(self) + sum(getsizeof(band.pixels) for band in self.bands)

    def under(self, box: Box) -> list[Band]:
        """The bands of which some rows are a box's."""
        return [band for band in self.bands if band.first < box.y1 and box.y0 < band.end]
