"""Transfer functions of a visit on a cell: its response to each spectral coefficient, by spatial frequency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.basis import SpectralBasis
from dcrflow.coadding.visits import Correction
from dcrflow.kernels.fourier import light_along, spread_transfer
from dcrflow.kernels.transforms import columns, plan, rows_back, rows_forward

Transform = NDArray[np.complex64]

TABLE = 2048  # entries between frequency 0 and the highest; linear between them, error 3e-6 for 2 px of displacement
SAMPLED = 8  # means over frequencies are taken from every 8th one along each axis
_HIGHEST = 0.75  # cycles per pixel along any direction: sqrt(1/2), and a margin


def forward(image: NDArray[np.float32]) -> Transform:
    """Fourier transform of real images in single precision, the half of `numpy.fft.rfft2`; leading axes are kept.

    Sides are even, without prime factors above 5.
    """
    if image.ndim > 2:
        return np.stack([forward(part) for part in image])
    out = rows_of(image)
    view = out.view(np.float32)
    columns(view, False, 1.0, *plan(len(image)), view)
    return out


def rows_of(image: NDArray[np.float32]) -> Transform:
    """Fourier transform along x of real rows, the half of `numpy.fft.rfft`."""
    height, width = image.shape
    out = np.empty((height, width // 2 + 1), np.complex64)
    rows_forward(np.ascontiguousarray(image, np.float32), *plan(width), out.view(np.float32))
    return out


def backward(transform: Transform, rows: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
    """Inverse Fourier transforms to square images, or to some of their rows; leading axes are kept."""
    if transform.ndim > 2:
        return np.stack([backward(part, rows) for part in transform])
    side = len(transform)
    if rows is None:
        rows = np.arange(side)
    half, out = np.empty_like(transform), np.empty((len(rows), side), np.float32)
    view, factors = half.view(np.float32), plan(side)
    columns(transform.view(np.float32), True, side**-2, *factors, view)
    rows_back(view, rows, *factors, out)
    return out


def sampled(transform: Transform) -> Transform:
    """Every `SAMPLED`-th row and column of frequencies, for means over all of them."""
    return transform[..., ::SAMPLED, ::SAMPLED]


def stamp_transform(stamp: NDArray[np.floating], side: int) -> Transform:
    """Transform of a stamp whose middle pixel is the origin; the stamp is cropped to `side` pixels."""
    half = min(stamp.shape[0] // 2, (side - 1) // 2)
    middle = stamp.shape[0] // 2
    part = np.zeros((2 * half + 1, side), np.float32)
    part[:, : half + 1] = stamp[middle - half : middle + half + 1, middle : middle + half + 1]
    part[:, side - half :] = stamp[middle - half : middle + half + 1, middle - half : middle]
    rows = rows_of(part)
    whole = np.zeros((side, rows.shape[1]), np.complex64)
    whole[: half + 1], whole[side - half :] = rows[half:], rows[:half]
    view = whole.view(np.float32)
    columns(view, False, 1.0, *plan(side), view)
    return whole


def shift_transform(side: int, dy: float, dx: float) -> Transform:
    """Transform of a shift by (dy, dx) pixels."""
    y = np.exp(-2j * np.pi * np.fft.fftfreq(side) * dy)
    x = np.exp(-2j * np.pi * np.fft.rfftfreq(side) * dx)
    return np.asarray(y[:, None] * x, np.complex64)


def line_of(displacement: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
    """Displacements (dy, dx) on a line through the origin, as distances along it and its direction (ey, ex)."""
    furthest = displacement[np.argmax(np.sum(displacement**2, axis=1))]
    length = float(np.hypot(*furthest))
    if length == 0.0:
        return np.zeros(len(displacement)), 0.0, 1.0
    ey, ex = furthest / length
    return displacement @ np.array([ey, ex]), float(ey), float(ex)


@dataclass(frozen=True, eq=False)
class Optics:
    """How a visit sees the sky of a cell.

    Parameters
    ----------
    psf : ndarray of float32, shape (n, n)
        PSF on the cell, n odd.
    displacement : ndarray of float64, shape (num_nodes, 2)
        Displacement (dy, dx) by DCR at the basis' wavelengths, pixels.
    correction : Correction
        From self-calibration.
    """

    psf: NDArray[np.float32]
    displacement: NDArray[np.float64]
    correction: Correction

    @property
    def reach(self) -> int:
        """Pixels to each side over which a point of the sky is spread."""
        shift = float(np.max(np.abs(self.displacement))) + max(abs(self.correction.dy), abs(self.correction.dx))
        return int(self.psf.shape[0]) // 2 + int(np.ceil(shift)) + 1


def transfer_functions(optics: Optics, basis: SpectralBasis, out: Transform, entries: int = TABLE) -> None:
    """T_j = P k_j of a visit, to `out` of shape (num_terms, side, side // 2 + 1).

    k_j(f) = sum_l (W B)_lj exp(-2 pi i f . d_l). All d_l lie along the direction to the zenith, so k_j depends only on
    the frequency along this direction, and is interpolated from a table of `entries` from frequency 0 to the highest.
    """
    side, correction = out.shape[1], optics.correction
    psf = stamp_transform(optics.psf, side)
    if (correction.scale, correction.dy, correction.dx) != (1.0, 0.0, 0.0):
        psf = psf * np.complex64(correction.scale) * shift_transform(side, correction.dy, correction.dx)
    along, ey, ex = line_of(optics.displacement)
    step = _HIGHEST / entries
    table = np.empty((basis.num_terms, 2 * entries + 1), np.complex64)
    light_along(along, basis.nodes, step, table)
    spread_transfer(psf, table, step, ey, ex, out)
