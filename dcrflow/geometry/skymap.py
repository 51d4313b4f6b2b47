"""Tracts, patches, and which of them a detector falls on.

A tract is one large pixel grid with one WCS; its patches are overlapping rectangles of that grid: an inner
part (the tract's area cut into a regular grid) and a border on every side that overlaps the neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry import sphere
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.view.cards import Shape

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Patch:
    """One patch of a tract.

    Parameters
    ----------
    tract, patch : int
        The data ID; ``patch = iy * nx + ix``.
    bbox : Box
        Outer bounding box (with border) in tract pixels.
    """

    tract: int
    patch: int
    bbox: Box


@dataclass(frozen=True)
class Tract:
    """A tract: its pixel grid and how that is cut into patches.

    Parameters
    ----------
    tract : int
        The data ID.
    wcs : SkyWcs
        Of the whole tract, in absolute tract pixels.
    bbox : Box
        All pixels of the tract.
    patch_inner : (int, int)
        Width and height of a patch's inner part, pixels.
    patch_border : int
        How far a patch reaches over its inner part on each side, pixels; cut at the tract's edge.
    num_patches : (int, int)
        Number of patches along x and along y.
    clipped : bool
        Whether patches end at the tract's edge, or reach over it by their border, as those made of cells do.
    """

    tract: int
    wcs: SkyWcs
    bbox: Box
    patch_inner: tuple[int, int]
    patch_border: int
    num_patches: tuple[int, int]
    clipped: bool = True

    def patch(self, patch: int) -> Patch:
        """The patch with this id.

        Raises
        ------
        LookupError
            If the tract has no such patch.
        """
        outer = self.inner(patch).grown(self.patch_border)
        return Patch(self.tract, patch, outer.intersection(self.bbox) if self.clipped else outer)

    def inner(self, patch: int) -> Box:
        """The inner part of the patch with this id, without its border; `LookupError` if there is none."""
        nx, ny = self.num_patches
        if not 0 <= patch < nx * ny:
            raise LookupError(f"tract {self.tract} has patches 0 to {nx * ny - 1}, not {patch}")
        iy, ix = divmod(patch, nx)
        width, height = self.patch_inner
        return Box(self.bbox.x0 + ix * width, self.bbox.y0 + iy * height, width, height)

    def patch_at(self, x: float, y: float) -> int | None:
        """Id of the patch whose inner part holds the pixel at a position (tract pixels); None outside the tract."""
        column, row = math.floor(x + 0.5) - self.bbox.x0, math.floor(y + 0.5) - self.bbox.y0
        if not (0 <= column < self.bbox.width and 0 <= row < self.bbox.height):
            return None
        return (row // self.patch_inner[1]) * self.num_patches[0] + column // self.patch_inner[0]

    @property
    def patches(self) -> tuple[Patch, ...]:
        """All patches, in the order of their ids."""
        return tuple(self.patch(i) for i in range(self.num_patches[0] * self.num_patches[1]))

    def patches_near(self, x: Float, y: Float, margin: float) -> tuple[Patch, ...]:
        """The patches that may be within `margin` pixels of some points, in the order of their ids.

        Parameters
        ----------
        x, y : ndarray of float64, shape (n,)
            Tract pixels, all finite.
        margin : float
            Pixels.
        """
        reach = margin + self.patch_border + 1.0
        axes = zip((x, y), (self.bbox.x0, self.bbox.y0), self.patch_inner, self.num_patches, strict=True)
        columns, rows = (
            range(
                max(0, math.floor((float(np.min(v)) - low - reach) / inner)),
                min(number - 1, math.floor((float(np.max(v)) - low + reach) / inner)) + 1,
            )
            for v, low, inner, number in axes
        )
        return tuple(self.patch(row * self.num_patches[0] + column) for row in rows for column in columns)

    @cached_property
    def centre(self) -> tuple[float, float]:
        """ICRS position of the middle of the tract's pixels, degrees."""
        ra, dec = self.wcs.pixel_to_sky(
            self.bbox.x0 + (self.bbox.width - 1) / 2, self.bbox.y0 + (self.bbox.height - 1) / 2
        )
        return float(ra), float(dec)

    @cached_property
    def radius(self) -> float:
        """Distance from the centre to the farthest point of the tract's outline, degrees."""
        ra, dec = self.wcs.pixel_to_sky(*self.bbox.outline())
        return float(np.nanmax(sphere.separation(*self.centre, ra, dec)))


@dataclass(frozen=True)
class Outline:
    """The outline of a region of a detector on the sky.

    Parameters
    ----------
    ra, dec : ndarray of float64, shape (n,)
        Points along it, in order, ICRS degrees.
    centre : (float, float)
        ICRS position of its middle, degrees.
    radius : float
        Distance from the centre to its farthest point, degrees.
    """

    ra: Float
    dec: Float
    centre: tuple[float, float]
    radius: float

    @classmethod
    def of(cls, wcs: SkyWcs, bbox: Box, per_side: int = 16) -> Outline:
        """The outline of `bbox`'s pixel areas through `wcs`."""
        ra, dec = wcs.pixel_to_sky(*bbox.outline(per_side))
        ra0, dec0 = wcs.pixel_to_sky(bbox.x0 + (bbox.width - 1) / 2, bbox.y0 + (bbox.height - 1) / 2)
        centre = (float(ra0), float(dec0))
        return cls(ra, dec, centre, float(np.max(sphere.separation(*centre, ra, dec))))

    def meets(self, tract: Tract) -> bool:
        """Whether it can touch the tract, by distance on the sky: far from its centre, a projection is not reliable."""
        return bool(sphere.separation(*self.centre, *tract.centre) <= self.radius + tract.radius)

    def on(self, tract: Tract) -> tuple[Float, Float]:
        """The outline's points in tract pixels, (x, y), each of shape (n,)."""
        return tract.wcs.sky_to_pixel(self.ra, self.dec)


def sketched(kind: str, wcs: SkyWcs, bbox: Box, label: str = "") -> Shape:
    """A region of pixels as a polygon for a sketch on the sky."""
    ra, dec = wcs.pixel_to_sky(*bbox.outline(2))
    return Shape(kind, ra.tolist(), dec.tolist(), label)


def overlapping_patches(outline: Outline, tract: Tract, patches: tuple[Patch, ...]) -> tuple[Patch, ...]:
    """Find the patches that share area with a detector's outline, in the tract's pixels.

    Parameters
    ----------
    outline : Outline
        Of the detector's bounding box, border included.
    tract : Tract
        Whose patches are looked at.
    patches : tuple of Patch
        The candidates: those that the coadds hold.

    Returns
    -------
    tuple of Patch
        The candidates whose outer bbox shares a non-zero area with the outline, in the order given.
    """
    if not outline.meets(tract):
        return ()
    x, y = outline.on(tract)
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
        return ()
    return tuple(p for p in patches if clipped_area(x, y, p.bbox) > 0)


def clipped_area(x: Float, y: Float, box: Box) -> float:
    """Area of the part of a polygon that lies on a box's pixels (Sutherland & Hodgman 1974).

    Parameters
    ----------
    x, y : ndarray of float64, shape (n,)
        Corners of the polygon, in order, pixels.
    box : Box
        The clipping rectangle; its area reaches half a pixel past its outermost pixel centres.
    """
    if np.max(x) <= box.x0 - 0.5 or np.min(x) >= box.x1 - 0.5 or np.max(y) <= box.y0 - 0.5 or np.min(y) >= box.y1 - 0.5:
        return 0.0
    points = np.stack([x, y], axis=1)
    low = np.array([box.x0, box.y0]) - 0.5
    high = np.array([box.x1, box.y1]) - 0.5
    for axis in (0, 1):
        for sign, edge in ((1.0, low[axis]), (-1.0, high[axis])):
            if len(points) == 0:
                return 0.0
            inside = sign * (points[:, axis] - edge)
            following = np.roll(points, -1, axis=0)
            next_inside = np.roll(inside, -1)
            clipped = []
            for p, q, a, b in zip(points, following, inside, next_inside, strict=True):
                if a >= 0:
                    clipped.append(p)
                if (a > 0) != (b > 0) and a != b:
                    clipped.append(p + (q - p) * (a / (a - b)))
            points = np.array(clipped).reshape(-1, 2)
    if len(points) < 3:
        return 0.0
    px, py = points.T
    return float(0.5 * abs(np.sum(px * np.roll(py, -1) - np.roll(px, -1) * py)))
