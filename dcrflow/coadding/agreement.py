"""Whether visits show the same stars in the same places: found before anything is solved, and robustly.

A visit whose WCS is off by more than its PSF does not fit the others anywhere, and draws the solution away from them.
The visits are smoothed, so that seeing and DCR matter little, and each is compared with their median.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from dcrflow.coadding.cells import Cell, cut
from dcrflow.coadding.visits import VisitOnCell, VisitOnFrame

Float = NDArray[np.float64]

REACH = 15  # pixels; a larger shift is found as no agreement at all
_SMOOTH = 2.5  # pixels, standard deviation
_BRIGHT = 10.0  # noise units of the smoothed median, above which a pixel counts
_FEWEST = 40  # bright pixels of a cell that are enough
_SAMPLE = 32  # visits at most of which a median is taken, so that memory does not grow with their number
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


def agreement(visits: Sequence[VisitOnFrame], cells: Iterable[Cell]) -> Mapping[tuple[int, int], Agreement]:
    """Compare visits with their median, over several cells; visits are read one at a time.

    Parameters
    ----------
    visits : sequence of VisitOnFrame
        The visits of a patch.
    cells : iterable of Cell
        Where to compare them.

    Returns
    -------
    mapping of (visit, detector) to Agreement
        Without visits that share too few bright pixels with others, and empty if there are too few visits.
    """
    surfaces: dict[tuple[int, int], Float] = {}
    sums: dict[tuple[int, int], Float] = {}
    for cell in cells:
        there = [v for v in visits if np.any(cut(v.valid, cell.box, False))]
        if len(there) < _VISITS:
            continue
        reference = _Reference.of(there, cell)
        for on in _on(there, cell):
            image = _smoothed(on)
            where = reference.bright & np.isfinite(image)
            if np.count_nonzero(where) < _FEWEST:
                continue
            median = np.where(where, reference.image, 0.0)
            own = np.where(np.isfinite(image), image, 0.0)
            surface = fftconvolve(own, median[::-1, ::-1], mode="same")
            middle = [n // 2 for n in surface.shape]  # no shift
            part = surface[tuple(slice(m - REACH, m + REACH + 1) for m in middle)]
            surfaces[on.name] = surfaces.get(on.name, 0.0) + part
            power = float(np.sum(median**2)) * reference.expected(on.psf)
            sums[on.name] = sums.get(on.name, np.zeros(2)) + np.array([power, np.count_nonzero(where)])
    return {name: _peak(surface, *sums[name]) for name, surface in surfaces.items()}


@dataclass(frozen=True, eq=False)
class _Reference:
    """The median of visits on a cell: of their smoothed images and PSFs, and where the former is bright."""

    image: NDArray[np.float32]
    bright: NDArray[np.bool_]
    psf: Float

    @classmethod
    def of(cls, visits: Sequence[VisitOnFrame], cell: Cell) -> _Reference:
        """The median of all visits, or of `_SAMPLE` of them."""
        places = np.unique(np.linspace(0, len(visits) - 1, min(_SAMPLE, len(visits))).round().astype(int))
        images, psfs, sigmas = zip(
            *((_smoothed(on), on.psf, on.sigma) for on in _on([visits[n] for n in places], cell)), strict=True
        )
        stack = np.array(images)
        enough = np.isfinite(stack).sum(axis=0) >= _VISITS
        stack[:, ~enough] = 0.0
        median = np.nanmedian(stack, axis=0, overwrite_input=True)
        noise = float(np.median(sigmas)) / (2 * np.sqrt(np.pi) * _SMOOTH)
        size = max(v.psf.shape[-1] for v in visits) + 20
        wide = np.median([_wide(p, size) for p in psfs], axis=0)
        return cls(median, enough & (median > _BRIGHT * noise), wide)

    def expected(self, psf: NDArray[np.float32]) -> float:
        """Flux that a visit with this PSF is expected to have over that of the median, as `agreement` measures it."""
        return float(np.sum(_wide(psf, self.psf.shape[-1]) * self.psf) / np.sum(self.psf**2))


def _on(visits: Iterable[VisitOnFrame], cell: Cell) -> Iterator[VisitOnCell]:
    return (on for visit in visits if (on := visit.on(cell)) is not None)


def _smoothed(visit: VisitOnCell) -> NDArray[np.float32]:
    """The image, smoothed over its valid pixels; NaN where half of the pixels or fewer are valid."""
    weight = gaussian_filter(visit.valid.astype(np.float32), _SMOOTH)
    image = gaussian_filter(visit.image, _SMOOTH)
    return np.where(weight > 0.5, image / np.maximum(weight, 0.5), np.float32(np.nan))


def _wide(psf: NDArray[np.float32], size: int) -> Float:
    """A PSF, smoothed as the images are, on a stamp of a given size."""
    return np.asarray(gaussian_filter(np.pad(psf, (size - psf.shape[-1]) // 2).astype(np.float64), _SMOOTH))


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
