"""Coordinate maps: from a detector's pixels to a tract's, exact on a coarse grid and linear in between.

The grid starts at the region's lower-left pixel. So a pixel's coordinates do not depend on the tile that it is computed
in. The grid's step is the largest for which the measured interpolation error stays within a bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import WcsError
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs

Float = NDArray[np.float64]

TOLERANCE = 2e-4  # pixels; a shift of this size leaves 1e-4 of a star's peak
_HALF_STEP = 2.0  # pixels to each side between which coordinates are differenced for a Jacobian
_FEW = 2048  # nodes of a map that are made at once
_STEPS = (256, 128, 64, 32, 16, 8, 4, 2, 1)


def map_pixels(source: SkyWcs, target: SkyWcs, x: Float, y: Float) -> tuple[Float, Float]:
    """Convert pixel coordinates (x, y) of `source` to those of `target`, exactly, through the sky."""
    return target.sky_to_pixel(*source.pixel_to_sky(x, y))


def local_maps(source: SkyWcs, target: SkyWcs, x: Float, y: Float) -> tuple[Float, Float, Float]:
    """Places of `source` in pixels of `target`, and the map's Jacobians there.

    Parameters
    ----------
    source, target : SkyWcs
        From where, to where.
    x, y : ndarray of float64, shape (n,)
        Pixels of `source`.

    Returns
    -------
    x, y : ndarray of float64, shape (n,)
        Pixels of `target`.
    matrices : ndarray of float64, shape (n, 2, 2)
        d(x, y) of the target by d(x, y) of the source.
    """
    steps = _HALF_STEP * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    u, v = map_pixels(source, target, x[:, None] + steps[:, 0], y[:, None] + steps[:, 1])
    mapped = np.stack([u, v], axis=1)
    matrices = np.stack([mapped[..., 1] - mapped[..., 2], mapped[..., 3] - mapped[..., 4]], axis=-1)
    return u[:, 0], v[:, 0], matrices / (2 * _HALF_STEP)


@dataclass(frozen=True)
class PixelMap:
    """A map from the pixels of a region of a detector to tract pixels.

    Parameters
    ----------
    source, target : SkyWcs
        Of the detector and of the tract.
    bbox : Box
        The region, absolute detector pixels; the grid's first node is its lower-left pixel.
    step : int
        Detector pixels between nodes.
    error : float
        Largest interpolation error found, tract pixels.
    """

    source: SkyWcs
    target: SkyWcs
    bbox: Box
    step: int
    error: float

    @classmethod
    def measured(cls, source: SkyWcs, target: SkyWcs, bbox: Box, tolerance: float = TOLERANCE) -> PixelMap:
        """Choose the largest step whose interpolation error stays within `tolerance` pixels.

        The error is measured where linear interpolation is worst: in the middle of cells and of their sides (in the
        middle of a cell, the errors of a conformal map along x and y cancel). It is measured on up to 7 x 7 cells that
        are spread over the region, corners included.

        Raises
        ------
        WcsError
            If the map is not finite on the region.
        """
        error = np.inf
        for step in _STEPS:
            ends = [max(0, n - 1 - step) for n in (bbox.width, bbox.height)]
            x, y = (np.unique(np.linspace(0, end, 7).round()) for end in ends)
            x, y = (g.ravel() for g in np.meshgrid(bbox.x0 + x, bbox.y0 + y))
            half = step / 2
            dx, dy = np.array([0, step, 0, step, half, half, 0]), np.array([0, 0, step, step, half, 0, half])
            mapped = np.stack(map_pixels(source, target, x[:, None] + dx, y[:, None] + dy))
            linear = np.stack(
                [mapped[..., :4].mean(axis=-1), mapped[..., :2].mean(axis=-1), mapped[..., :3:2].mean(axis=-1)]
            )
            error = float(np.max(np.linalg.norm(np.moveaxis(linear, 0, -1) - mapped[..., 4:], axis=0)))
            if not np.isfinite(error):
                raise WcsError("the detector's WCS does not map all of its pixels into the tract: not finite there")
            if error <= tolerance:
                return cls(source, target, bbox, step, error)
        return cls(source, target, bbox, 1, 0.0)

    def nodes(self, tile: Box) -> tuple[Float, Float, int, int]:
        """The grid's nodes around a tile.

        Parameters
        ----------
        tile : Box
            Part of the region.

        Returns
        -------
        y, x : ndarray of float64, shape (ny, nx)
            Tract pixel coordinates of the nodes.
        y0, x0 : int
            Pixels from the first of these nodes to the tile's lower-left pixel.
        """
        first_x, first_y = (tile.x0 - self.bbox.x0) // self.step, (tile.y0 - self.bbox.y0) // self.step
        last_x = (tile.x1 - 1 - self.bbox.x0) // self.step + 1
        last_y = (tile.y1 - 1 - self.bbox.y0) // self.step + 1
        if (
            self.bbox.contains(tile)
            and (self.bbox.width // self.step + 2) * (self.bbox.height // self.step + 2) <= _FEW
        ):
            v, u = (np.ascontiguousarray(c[first_y : last_y + 1, first_x : last_x + 1]) for c in _all_nodes(self))
        else:
            v, u = self._nodes(first_x, first_y, last_x, last_y)
        return (
            v,
            u,
            tile.y0 - self.bbox.y0 - first_y * self.step,
            tile.x0 - self.bbox.x0 - first_x * self.step,
        )

    def _nodes(self, first_x: int, first_y: int, last_x: int, last_y: int) -> tuple[Float, Float]:
        """Tract pixel coordinates y and x of nodes by their numbers, the last ones included."""
        x = self.bbox.x0 + self.step * np.arange(first_x, last_x + 1, dtype=np.float64)
        y = self.bbox.y0 + self.step * np.arange(first_y, last_y + 1, dtype=np.float64)
        u, v = map_pixels(self.source, self.target, *np.meshgrid(x, y))
        return v, u


@lru_cache(maxsize=16)
def _all_nodes(pixel_map: PixelMap) -> tuple[Float, Float]:
    """All nodes of a map: of few a call maps as fast as it maps those of a tile."""
    box, step = pixel_map.bbox, pixel_map.step
    return pixel_map._nodes(0, 0, (box.width - 1) // step + 1, (box.height - 1) // step + 1)
