"""Transfer functions of a visit on a cell: its response to each spectral coefficient, by spatial frequency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.basis import SpectralBasis
from dcrflow.coadding.visits import Correction
from dcrflow.kernels.blocks import (
    add_visits,
    blocks_to_rows,
    from_blocks,
    light_series,
    match_columns,
    rows_to_blocks,
    see_columns,
    some_of_blocks,
    spread_columns,
    to_blocks,
)
from dcrflow.kernels.complex_vectors import LANES, PAIR
from dcrflow.kernels.transforms import columns, plan, rows_back, rows_forward

Transform = NDArray[np.complex64]
Blocks = NDArray[np.float32]
Image = NDArray[np.float32]

SAMPLED = 8  # means over frequencies are taken from every 8th one along each axis
_HIGHEST = 0.75  # cycles per pixel along any direction: sqrt(1/2), and a margin
_ENTRIES = 32  # series of light between frequency 0 and the highest
_WIDE = 2.0  # radians, by which light may turn within a series


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
    return _phase(np.fft.fftfreq(side), dy)[:, None] * _phase(np.fft.rfftfreq(side), dx)


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


def in_blocks(transform: Transform) -> Blocks:
    """Half spectra, shape (num_terms, side, side // 2 + 1), in the blocks of `dcrflow.kernels.blocks`."""
    out = np.empty(blocks_shape(*transform.shape[:2]), np.float32)
    to_blocks(transform, out)
    return out


def blocks_shape(num_terms: int, side: int) -> tuple[int, int, int, int]:
    """Shape of `in_blocks` for images of `side` pixels a side."""
    return num_terms, -(-(side // 2 + 1) // LANES), side, PAIR


def rows_in_blocks(image: Image, out: Blocks) -> None:
    """Transform along x of an image, to `out` of shape (num_blocks, height, 16)."""
    rows_to_blocks(np.ascontiguousarray(image, np.float32), *plan(image.shape[1]), out)


@dataclass(frozen=True, eq=False)
class TransferFunctions:
    """Transfer functions T_j = P k_j of a visit, whose first term is the PSF P.

    Parameters
    ----------
    blocks : ndarray of float32, shape (num_terms, num_blocks, side, 16)
        T in the blocks of `dcrflow.kernels.blocks`.
    """

    blocks: Blocks

    @property
    def side(self) -> int:
        """Side of the images, pixels."""
        return int(self.blocks.shape[2])

    def shown(self, sky: Blocks) -> Image:
        """What the visit shows of a sky that is `in_blocks`: F^-1 of the sum of T_j sky_j, shape (side, side)."""
        side, half = self.side, np.empty(self.blocks.shape[1:], np.float32)
        see_columns(self._terms, self.blocks, sky, side**-2, *plan(side), half)
        return self._image(half)

    def matched(self, image: Image, scale: float) -> Image:
        """An image correlated with the PSF, times `scale`."""
        side, half = self.side, np.empty(self.blocks.shape[1:], np.float32)
        rows_in_blocks(image, half)
        match_columns(self.blocks[0], scale * side**-2, *plan(side), half)
        return self._image(half)

    def add_adjoint(self, image: Image, weight: float, out: Transform) -> None:
        """Add weight conj(T_j) F image to half spectra, shape (num_terms, side, side // 2 + 1)."""
        rows = np.empty((1, *self.blocks.shape[1:]), np.float32)
        rows_in_blocks(image, rows[0])
        sums, none = np.zeros_like(self.blocks), np.empty((0, *self.blocks.shape[1:]), np.float32)
        add_visits(self._terms, (self.blocks,), rows, np.array([weight], np.float32), *plan(self.side), none, sums)
        from_blocks(sums, True, out)

    def every(self, step: int) -> Transform:
        """T at every step-th row and column of frequencies, shape (num_terms, ny, nh)."""
        num, _, side, _ = self.blocks.shape
        out = np.empty((num, -(-side // step), -(-(side // 2 + 1) // step)), np.complex64)
        some_of_blocks(self.blocks, step, out)
        return out

    @property
    def _terms(self) -> tuple[int, ...]:
        return (1,) * len(self.blocks)

    def _image(self, half: Blocks) -> Image:
        out = np.empty((self.side, self.side), np.float32)
        blocks_to_rows(half, *plan(self.side), out)
        return out


def transfer_functions(optics: Optics, basis: SpectralBasis, out: Blocks) -> TransferFunctions:
    """Transfer functions of a visit, T_j = P k_j, made in `out` of shape `blocks_shape`.

    k_j(f) = sum_l (W B)_lj exp(-2 pi i f . d_l). All d_l lie along the direction to the zenith, so k_j depends only on
    the frequency along this direction. Its Taylor series around some frequencies is tabulated.
    """
    num, _, side, _ = out.shape
    correction, psf = optics.correction, optics.psf
    along, ey, ex = line_of(optics.displacement)
    step = _HIGHEST / _ENTRIES
    furthest = step / 2 + (LANES - 1) / 2 / side  # of frequencies from that of their series
    if 2 * np.pi * furthest * float(np.max(np.abs(along))) > _WIDE:
        light = np.array([_light(side, optics.displacement, one) for one in basis.nodes.T])
        shift = correction.scale * shift_transform(side, correction.dy, correction.dx)
        to_blocks((stamp_transform(psf, side) * shift * light).astype(np.complex64), out)
        return TransferFunctions(out)
    half = min(psf.shape[0] // 2, (side - 1) // 2)
    middle, size = psf.shape[0] // 2, 2 * half + 1
    stamp = np.zeros((-(-size // PAIR) * PAIR, side), np.float32)
    rows = psf[middle - half : middle + half + 1] * np.float32(correction.scale)
    stamp[:size, : half + 1], stamp[:size, side - half :] = (
        rows[:, middle : middle + half + 1], rows[:, middle - half : middle]
    )  # fmt: skip
    transformed = np.empty((out.shape[1], len(stamp), PAIR), np.float32)
    rows_in_blocks(stamp, transformed)
    phases = np.zeros(0, np.complex64), np.zeros(0, np.complex64)
    if (correction.dy, correction.dx) != (0.0, 0.0):
        phases = (
            _phase(np.fft.fftfreq(side), correction.dy),
            _phase(np.arange(out.shape[1] * LANES) / side, correction.dx),
        )
    table = light_series(along, basis.nodes, step, _ENTRIES, furthest)
    spread_columns((1,) * num, transformed, half, *phases, table, step, ey, ex, *plan(side), out)
    return TransferFunctions(out)


def _phase(frequency: NDArray[np.float64], shift: float) -> Transform:
    return np.exp(-2j * np.pi * shift * frequency).astype(np.complex64)


def _light(side: int, displacement: NDArray[np.float64], light: NDArray[np.float64]) -> Transform:
    """Transform of light at several places, without a table."""
    y, x = (
        np.exp(-2j * np.pi * f[:, None] * d)
        for f, d in zip((np.fft.fftfreq(side), np.fft.rfftfreq(side)), displacement.T, strict=True)
    )
    return np.asarray((y * light) @ x.T, np.complex64)
