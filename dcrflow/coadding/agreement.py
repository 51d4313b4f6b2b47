"""Whether visits show the same stars in the same places: found before anything is solved, and robustly.

A visit whose WCS is off by more than its PSF does not fit the others anywhere, and draws the solution away from them.
The visits are smoothed, so that seeing and DCR matter little, and each is compared with their median.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from dcrflow.coadding.visits import VisitOnCell

Float = NDArray[np.float64]

REACH = 15  # pixels; a larger shift is found as no agreement at all
_SMOOTH = 2.5  # pixels, standard deviation
_BRIGHT = 10.0  # noise units of the smoothed median, above which a pixel counts
_FEWEST = 40  # bright pixels of a cell that are enough
_VISITS = 4  # with fewer, nobody knows which of them is wrong


@dataclass(frozen=True)
class Agreement:
    """How a visit agrees with the median of all.

    Parameters
    ----------
    dy, dx : float
        Position of its stars minus that in the median, pixels.
    scale : float
        Its flux over that of the median; the widths of the PSFs, as they are told, are allowed for.
    pixels : int
        Bright pixels that were compared.
    """

    dy: float
    dx: float
    scale: float
    pixels: int


def agreement(cells: Iterable[Sequence[VisitOnCell]]) -> Mapping[tuple[int, int], Agreement]:
    """Compare visits with their median, over several cells.

    Parameters
    ----------
    cells : iterable of sequence of VisitOnCell
        The visits on each cell.

    Returns
    -------
    mapping of (visit, detector) to Agreement
        Without visits that share too few bright pixels with others, and empty if there are too few visits.
    """
    surfaces: dict[tuple[int, int], Float] = {}
    sums: dict[tuple[int, int], Float] = {}
    for visits in cells:
        if len(visits) < _VISITS:
            continue
        smooth, weights = zip(*(_smoothed(v) for v in visits), strict=True)
        stack = np.where(np.array(weights) > 0.5, np.array(smooth), np.nan)
        enough = np.isfinite(stack).sum(axis=0) >= _VISITS
        median = np.where(enough, np.nanmedian(np.where(enough, stack, 0.0), axis=0), 0.0)
        noise = float(np.median([v.sigma for v in visits])) / (2 * np.sqrt(np.pi) * _SMOOTH)
        expected = _expected([v.psf for v in visits])
        for visit, image, ratio in zip(visits, stack, expected, strict=True):
            where = enough & np.isfinite(image) & (median > _BRIGHT * noise)
            if np.count_nonzero(where) < _FEWEST:
                continue
            reference = np.where(where, median, 0.0)
            own = np.where(np.isfinite(image), image, 0.0)
            surface = fftconvolve(own, reference[::-1, ::-1], mode="same")
            middle = [n // 2 for n in surface.shape]  # no shift
            part = surface[tuple(slice(m - REACH, m + REACH + 1) for m in middle)]
            surfaces[visit.name] = surfaces.get(visit.name, 0.0) + part
            power = float(np.sum(reference**2)) * ratio
            sums[visit.name] = sums.get(visit.name, np.zeros(2)) + np.array([power, np.count_nonzero(where)])
    return {name: _peak(surface, *sums[name]) for name, surface in surfaces.items()}


def _smoothed(visit: VisitOnCell) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The image, smoothed over its valid pixels, and the share of them."""
    weight = gaussian_filter(visit.valid.astype(np.float32), _SMOOTH)
    image = gaussian_filter(visit.image, _SMOOTH)
    return np.divide(image, weight, out=np.zeros_like(image), where=weight > 0), weight


def _expected(psfs: Sequence[NDArray[np.float32]]) -> Float:
    """Flux that each visit is expected to have over that of the median, as `agreement` measures it."""
    size = max(p.shape[-1] for p in psfs)
    wide = [gaussian_filter(np.pad(p, (size - p.shape[-1]) // 2 + 10).astype(np.float64), _SMOOTH) for p in psfs]
    median = np.median(wide, axis=0)
    return np.asarray([np.sum(p * median) for p in wide], np.float64) / float(np.sum(median**2))


def _peak(surface: Float, power: float, pixels: float) -> Agreement:
    """Place and height of the highest point of a correlation."""
    y, x = (int(n) for n in np.unravel_index(np.argmax(surface), surface.shape))
    dy, dx = (_vertex(line) for line in (surface[:, x][max(y - 1, 0) : y + 2], surface[y, max(x - 1, 0) : x + 2]))
    return Agreement(y - REACH + dy, x - REACH + dx, float(surface[y, x] / power), int(pixels))


def _vertex(three: Float) -> float:
    """Where the parabola through three points is highest, from the middle one."""
    if len(three) < 3:
        return 0.0
    bend = three[0] - 2 * three[1] + three[2]
    return float(0.5 * (three[0] - three[2]) / bend) if bend < 0 else 0.0
