"""What a template needs of each tract, and each tile of every tract: boxes and outlines, no pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from dcrflow.geometry.box import Box
from dcrflow.geometry.footprint import Footprint
from dcrflow.geometry.mapping import PixelMap
from dcrflow.geometry.skymap import Patch, Tract


@dataclass(frozen=True)
class Reach:
    """Range of tap offsets of the DCR kernels, inclusive, pixels: light of pixel q reaches q + low to q + high."""

    y_low: int
    y_high: int
    x_low: int
    x_high: int

    def reached(self, box: Box) -> Box:
        """The pixels that get light from within `box` alone."""
        return Box.from_bounds(box.x0 + self.x_high, box.y0 + self.y_high, box.x1 + self.x_low, box.y1 + self.y_low)

    def source(self, box: Box) -> Box:
        """The pixels whose light reaches `box`."""
        return Box.from_bounds(box.x0 - self.x_high, box.y0 - self.y_high, box.x1 - self.x_low, box.y1 - self.y_low)


@dataclass(frozen=True)
class TractPlan:
    """One tract's share of a template.

    Parameters
    ----------
    tract : Tract
        Its geometry.
    patches : tuple of Patch
        Those that the detector (border included) overlaps, in the order of their ids.
    pixel_map : PixelMap
        From detector to tract pixels.
    reach : Reach
        Of the DCR kernels anywhere on the detector.
    """

    tract: Tract
    patches: tuple[Patch, ...]
    pixel_map: PixelMap
    reach: Reach


@dataclass(frozen=True)
class TilePart:
    """What one tile needs of one tract.

    Parameters
    ----------
    tract : int
        Index into the plan's `tracts`.
    region : Box
        The tract pixels that the warp of this tile looks at, and a pixel more on each side.
    footprint : Footprint
        The tile's own outline on the tract. It is turned against the region, whose corners far from it are not made.
    reads : tuple of (Patch, Box)
        What to read: patches and parts of them, tract pixels.
    """

    tract: int
    region: Box
    footprint: Footprint
    reads: tuple[tuple[Patch, Box], ...]


@dataclass(frozen=True)
class Tile:
    """One tile of the output: its pixels, and what it needs of each tract."""

    box: Box
    parts: tuple[TilePart, ...]


@dataclass(frozen=True)
class TileGroup:
    """Neighbouring tiles whose pixels of a tract are read and matched together.

    Parameters
    ----------
    box : Box
        All of them.
    tiles : tuple of Box
        Each, row by row from the lower left.
    """

    box: Box
    tiles: tuple[Box, ...]


def tile_groups(box: Box, size: int, side: int) -> list[TileGroup]:
    """The tiles that `Box.tiles` cuts a box into, in groups of `side` x `side`; fewer at the upper ends."""
    columns = len(box.cuts(size)[1])
    groups: dict[tuple[int, int], list[Box]] = {}
    for number, tile in enumerate(box.tiles(size)):
        row, column = divmod(number, columns)
        groups.setdefault((row // side, column // side), []).append(tile)
    return [TileGroup(reduce(Box.union, tiles), tuple(tiles)) for tiles in groups.values()]
