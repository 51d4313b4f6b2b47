"""Noise and defects by seed and position: overlapping patches have the same noise and defects where they overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.geometry.box import Box

Float = NDArray[np.float64]

_TILE = 256
_DETECTED_SIGMA = 5.0


@dataclass(frozen=True, eq=False)
class Defects:
    """Defects of an image: missing pixels and added light.

    Parameters
    ----------
    missing : ndarray of bool, shape box.shape
        No data.
    added : ndarray of float64, shape box.shape
        nJy on top of the sky.
    mask : ndarray of int32, shape box.shape
        `STANDARD_PLANES` of the defects.
    """

    missing: NDArray[np.bool_]
    added: Float
    mask: NDArray[np.int32]


def plane(*names: str) -> np.int32:
    """The bits of standard mask planes."""
    return np.int32(sum(1 << STANDARD_PLANES[name] for name in names))


def white_noise(key: tuple[int, ...], box: Box) -> NDArray[np.float32]:
    """Standard normal noise on a region of an unbounded pixel grid; equal keys give equal noise at equal pixels.

    Parameters
    ----------
    key : tuple of int
        Names the grid; not negative.
    box : Box
        The region, absolute pixels.

    Returns
    -------
    ndarray of float32, shape box.shape
    """
    noise = np.empty(box.shape, np.float32)
    for ty in range(box.y0 // _TILE, (box.y1 - 1) // _TILE + 1):
        for tx in range(box.x0 // _TILE, (box.x1 - 1) // _TILE + 1):
            tile = Box(tx * _TILE, ty * _TILE, _TILE, _TILE)
            part = tile.intersection(box)
            drawn = _generator((*key, ty, tx)).standard_normal((_TILE, _TILE), dtype=np.float32)
            noise[part.slices(box)] = drawn[part.slices(tile)]
    return noise


def observed(
    sky: Float, key: tuple[int, ...], box: Box, noise: float, gain: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
    """Put noise on a drawn image.

    Parameters
    ----------
    sky : ndarray of float64, shape box.shape
        nJy, without noise.
    key : tuple of int
        Names the pixel grid and the image.
    box : Box
        The region.
    noise : float
        Of the sky's background, nJy; 0 leaves the image as drawn, with a variance of 1.
    gain : float
        Photoelectrons per nJy: how noisy the sources' own light is.

    Returns
    -------
    image, variance : ndarray of float32, shape box.shape
        nJy, nJy^2; the variance is the expected one.
    mask : ndarray of int32, shape box.shape
        DETECTED where the sky is 5 sigma above the background.
    """
    mask = np.where(sky > _DETECTED_SIGMA * (noise or 1.0), plane("DETECTED"), np.int32(0)).astype(np.int32)
    if noise == 0:
        return sky.astype(np.float32), np.ones(box.shape, np.float32), mask
    variance = noise**2 + np.maximum(sky, 0.0) / gain
    image = sky + np.sqrt(variance) * white_noise(key, box)
    return image.astype(np.float32), variance.astype(np.float32), mask


def coadd_defects(key: tuple[int, ...], whole: Box, box: Box, per_megapixel: float) -> Defects:
    """Round defects of a coadd: a third have no data, the others are interpolated saturated cores.

    Parameters
    ----------
    key : tuple of int
        Names the tract.
    whole : Box
        The tract: its defects are drawn alike, whatever part is looked at.
    box : Box
        The part.
    per_megapixel : float
        How many per million pixels of the tract.
    """
    rng = _generator(key)
    number = round(per_megapixel * whole.area / 1e6)
    x = rng.uniform(whole.x0, whole.x1 - 1, number)
    y = rng.uniform(whole.y0, whole.y1 - 1, number)
    radius = rng.uniform(1.5, 6.0, number)
    no_data = rng.random(number) < 1 / 3
    out = _no_defects(box)
    for i in range(number):
        part = Box.around(x[i] + np.array([-radius[i], radius[i]]), y[i] + np.array([-radius[i], radius[i]]))
        part = part.intersection(box)
        if part.is_empty:
            continue
        yy, xx = np.mgrid[part.y0 : part.y1, part.x0 : part.x1]
        inside = np.hypot(xx - x[i], yy - y[i]) <= radius[i]
        where = part.slices(box)
        if no_data[i]:
            out.missing[where] |= inside
        out.mask[where] |= np.where(inside, plane("NO_DATA") if no_data[i] else plane("SAT", "INTRP"), np.int32(0))
    return out


def detector_defects(key: tuple[int, ...], box: Box, per_megapixel: float) -> Defects:
    """Defects of a detector: bad columns (without data) and tracks of cosmic rays, flagged.

    Parameters
    ----------
    key : tuple of int
        Names the detector-visit.
    box : Box
        The detector.
    per_megapixel : float
        How many cosmic rays per million pixels; bad columns are a quarter as many.
    """
    rng = _generator(key)
    out = _no_defects(box)
    for column in rng.integers(0, box.width, round(per_megapixel / 4 * box.area / 1e6)):
        start = int(rng.integers(0, box.height))
        out.missing[start:, column] = True
        out.mask[start:, column] |= plane("BAD")
    for _ in range(round(per_megapixel * box.area / 1e6)):
        length, angle = rng.uniform(2, 25), rng.uniform(0, 2 * np.pi)
        steps = np.arange(0.0, length, 0.5)
        x = np.rint(rng.uniform(0, box.width) + steps * np.cos(angle)).astype(int)
        y = np.rint(rng.uniform(0, box.height) + steps * np.sin(angle)).astype(int)
        inside = (x >= 0) & (x < box.width) & (y >= 0) & (y < box.height)
        out.added[y[inside], x[inside]] = rng.uniform(500, 5000)
        out.mask[y[inside], x[inside]] |= plane("CR")
    return out


def _no_defects(box: Box) -> Defects:
    return Defects(np.zeros(box.shape, np.bool_), np.zeros(box.shape), np.zeros(box.shape, np.int32))


def _generator(key: tuple[int, ...]) -> np.random.Generator:
    """A generator for a key of integers of any sign."""
    return np.random.default_rng([value % (1 << 32) for value in key])
