"""Half spectra of real images in blocks, for what is done with the transfer functions of visits.

A block is eight neighbouring columns of frequencies, [block, fy, 16]: the real parts of the eight, then the imaginary
parts, as the lanes of `dcrflow.kernels.complex_vectors` have them. A transform along y is that of one block, whose
numbers are side by side in memory. The last block is filled up with zeros.

Products of transforms and the transforms along y that follow them are done block by block, while it is in the cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.block_vectors import add_products, match_row, see_row, spread_row
from dcrflow.kernels.complex_vectors import LANES, PAIR, join_pairs, join_parts, split_pairs, split_parts
from dcrflow.kernels.transforms import transform_lines
from dcrflow.kernels.vectors import copy_turned

_ENOUGH = 1e-6  # error of a series, of the light


def light_series(
    along: NDArray[np.float64], nodes: NDArray[np.float64], step: float, number: int, furthest: float
) -> NDArray[np.float32]:
    """Taylor series of the transforms of light on a line, sum_l nodes_lj exp(-2 pi i f along_l).

    Parameters
    ----------
    along : ndarray of float64, shape (num_nodes,)
        Positions on the line, pixels.
    nodes : ndarray of float64, shape (num_nodes, num_terms)
        Light at these positions, for each term.
    step : float
        Step in frequency, cycles per pixel.
    number : int
        Steps in each direction.
    furthest : float
        How far from its middle a series is used, cycles per pixel.

    Returns
    -------
    ndarray of float32, shape (2 number + 1, num_terms, degree + 1, 2)
        Coefficients around -number step ... number step, the lowest power first; real and imaginary part.
    """
    powers = [np.ones(len(along), np.complex128)]
    error, most = 1.0, 2 * np.pi * furthest * float(np.max(np.abs(along)))
    while True:
        error *= most / len(powers)
        if error < _ENOUGH:
            break
        powers.append(powers[-1] * (-2j * np.pi / len(powers)) * along)
    degree, terms = len(powers) - 1, nodes.shape[1]
    moments = (nodes[:, :, None] * np.array(powers).T[:, None, :]).reshape(len(along), -1)
    waves = np.exp(np.multiply.outer(np.arange(number + 1) * step, -2j * np.pi * along))
    right = (waves @ moments).reshape(number + 1, terms, degree + 1)
    out = np.empty((2 * number + 1, terms, degree + 1, 2), np.float32)
    out[number:, ..., 0], out[number:, ..., 1] = right.real, right.imag
    sign = (-1.0) ** np.arange(degree + 1)  # at -f it is the complex conjugate
    out[:number, ..., 0], out[:number, ..., 1] = (right.real * sign)[:0:-1], (right.imag * -sign)[:0:-1]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def rows_to_blocks(image, radices, factors, out):  # type: ignore[no-untyped-def]
    """Transform real rows along x.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
        The rows; width is even, and both are 16 or more.
    radices, factors
        `dcrflow.kernels.transforms.plan(width)`.
    out : ndarray of float32, shape (num_blocks, height, 16)
        Overwritten.
    """
    height, width = image.shape
    half, flat = width // 2, out.reshape(-1, PAIR)
    lines, other = np.empty((width, PAIR), np.float32), np.empty((width, PAIR), np.float32)
    parts = np.zeros((len(out) * PAIR, PAIR), np.float32)
    for first in range(0, height, PAIR):
        top = min(first, height - PAIR)
        for left in range(0, width, LANES):
            x = min(left, width - LANES)
            copy_turned(image, top, x, lines, x, 0)  # type: ignore[call-arg]
            copy_turned(image, top + LANES, x, lines, x, LANES)
        found = transform_lines(lines, other, radices, factors)
        split_pairs(found, 0, 0, parts, 0, LANES)  # type: ignore[call-arg]
        for k in range(1, half + 1):
            at = k // LANES * PAIR + k % LANES
            split_pairs(found, k, width - k, parts, at, LANES)
        for b in range(len(out)):
            row, at = b * height + top, b * PAIR
            copy_turned(parts, at, 0, flat, row, 0)
            copy_turned(parts, at, LANES, flat, row + LANES, 0)
            copy_turned(parts, at + LANES, 0, flat, row, LANES)
            copy_turned(parts, at + LANES, LANES, flat, row + LANES, LANES)


@njit(cache=True, nogil=True, error_model="numpy")
def blocks_to_rows(blocks, radices, factors, out):  # type: ignore[no-untyped-def]
    """Transform back along x to real rows; the blocks' real and imaginary parts are exchanged.

    Parameters
    ----------
    blocks : ndarray of float32, shape (num_blocks, height, 16)
        What `see_columns` and `match_columns` make.
    radices, factors
        `dcrflow.kernels.transforms.plan(width)`.
    out : ndarray of float32, shape (height, width)
        Overwritten: the rows times the width.
    """
    height, width = out.shape
    half, flat = width // 2, blocks.reshape(-1, PAIR)
    lines, other = np.empty((width, PAIR), np.float32), np.empty((width, PAIR), np.float32)
    parts = np.zeros((len(blocks) * PAIR, PAIR), np.float32)
    last = half // LANES * PAIR + half % LANES
    for first in range(0, height, PAIR):
        top = min(first, height - PAIR)
        for b in range(len(blocks)):
            row, at = b * height + top, b * PAIR
            copy_turned(flat, row, 0, parts, at + LANES, 0)  # type: ignore[call-arg]
            copy_turned(flat, row + LANES, 0, parts, at + LANES, LANES)
            copy_turned(flat, row, LANES, parts, at, 0)
            copy_turned(flat, row + LANES, LANES, parts, at, LANES)
        parts[LANES], parts[last + LANES] = 0, 0
        join_pairs(parts, 0, LANES, lines, 0, 0)  # type: ignore[call-arg]
        for k in range(1, half + 1):
            at = k // LANES * PAIR + k % LANES
            join_pairs(parts, at, LANES, lines, k, width - k)
        found = transform_lines(lines, other, radices, factors)
        for left in range(0, width, LANES):
            x = min(left, width - LANES)
            copy_turned(found, x, LANES, out, top, x)
            copy_turned(found, x, 0, out, top + LANES, x)


@njit(cache=True, nogil=True, error_model="numpy")
def to_blocks(transform, out):  # type: ignore[no-untyped-def]
    """Half spectra, complex64 of shape (num, ny, nh), to blocks of float32, shape (num, num_blocks, ny, 16)."""
    num, ny, nh = transform.shape
    source, flat, blocks = transform.view(np.float32).reshape(num * ny, 2 * nh), out.reshape(-1, PAIR), out.shape[1]
    for j in range(num):
        for y in range(ny):
            row = j * blocks * ny + y
            for b in range(nh // LANES):
                split_parts(source, j * ny + y, b * PAIR, flat, row + b * ny, 0, LANES)  # type: ignore[call-arg]
            for b in range(nh // LANES, blocks):
                for i in range(LANES):
                    x = b * LANES + i
                    value = transform[j, y, x] if x < nh else np.complex64(0)
                    out[j, b, y, i], out[j, b, y, LANES + i] = value.real, value.imag


@njit(cache=True, nogil=True, error_model="numpy")
def from_blocks(blocks, add, out):  # type: ignore[no-untyped-def]
    """The reverse of `to_blocks`; with `add`, what the half spectra hold is added to."""
    num, ny, nh = out.shape
    flat, number = blocks.reshape(-1, PAIR), blocks.shape[1]
    line = np.empty((1, number * PAIR), np.float32)
    target, row = out.view(np.float32).reshape(num * ny, 2 * nh), line[0]
    for j in range(num):
        for y in range(ny):
            for b in range(number):
                join_parts(flat, (j * number + b) * ny + y, 0, LANES, np.float32(1), line, 0, b * PAIR)  # type: ignore[call-arg]
            to = target[j * ny + y]
            if add:
                for x in range(2 * nh):
                    to[x] += row[x]
            else:
                for x in range(2 * nh):
                    to[x] = row[x]


@njit(cache=True, nogil=True, error_model="numpy")
def see_columns(terms, transfer, sky, scale, radices, factors, out):  # type: ignore[no-untyped-def]
    """What a visit shows of a sky, sum of T_j sky_j, transformed back along y.

    Parameters
    ----------
    terms : tuple of int
        As many as there are terms; of any value.
    transfer, sky : ndarray of float32, shape (num_terms, num_blocks, side, 16)
        T and the sky.
    scale : float
        Factor of the result.
    radices, factors
        `dcrflow.kernels.transforms.plan(side)`.
    out : ndarray of float32, shape (num_blocks, side, 16)
        Overwritten; for `blocks_to_rows`.
    """
    _, blocks, side, _ = transfer.shape
    t, s, apart, f = transfer.reshape(-1, PAIR), sky.reshape(-1, PAIR), blocks * side, np.float32(scale)
    lines = np.empty((side, PAIR), np.float32)
    for b in range(blocks):
        start, other = (lines, out[b]) if len(radices) % 2 else (out[b], lines)
        for y in range(side):
            see_row(terms, t, s, b * side + y, apart, f, start, y)  # type: ignore[call-arg]
        transform_lines(start, other, radices, factors)


@njit(cache=True, nogil=True, error_model="numpy")
def match_columns(psf, scale, radices, factors, blocks):  # type: ignore[no-untyped-def]
    """Correlate with a PSF: transform along y, multiply by conj(P), and transform back along y, in place.

    Parameters
    ----------
    psf : ndarray of float32, shape (num_blocks, side, 16)
        P.
    scale : float
        Factor of the result.
    radices, factors
        `dcrflow.kernels.transforms.plan(side)`.
    blocks : ndarray of float32, shape (num_blocks, side, 16)
        From `rows_to_blocks`; then for `blocks_to_rows`.
    """
    number, side, _ = blocks.shape
    p, f, other = psf.reshape(-1, PAIR), np.float32(scale), np.empty((side, PAIR), np.float32)
    for b in range(number):
        found = transform_lines(blocks[b], other, radices, factors)
        for y in range(side):
            match_row(p, b * side + y, f, found, y)  # type: ignore[call-arg]
        if len(radices) % 2:
            transform_lines(other, blocks[b], radices, factors)
        else:
            transform_lines(blocks[b], other, radices, factors)


@njit(cache=True, nogil=True, error_model="numpy")
def spread_columns(terms, rows, half, phase_y, phase_x, table, step, ey, ex, radices, factors, out):  # type: ignore[no-untyped-def]
    """Transfer functions: a PSF, transformed along y, times the transforms of light that is spread along a line.

    Parameters
    ----------
    terms : tuple of int
        As many as there are terms; of any value.
    rows : ndarray of float32, shape (num_blocks, height, 16)
        The rows of a stamp of 2 half + 1 pixels a side, transformed along x; its middle pixel is the origin.
    half : int
        See above.
    phase_y, phase_x : ndarray of complex64, shapes (side,) and (8 num_blocks,), or (0,)
        Factors of the PSF by frequency along y and x.
    table : ndarray of float32, shape (2 m + 1, num_terms, degree + 1, 2)
        From `light_series`.
    step : float
        Of the table, cycles a pixel.
    ey, ex : float
        The line's direction, a unit vector.
    radices, factors
        `dcrflow.kernels.transforms.plan(side)`.
    out : ndarray of float32, shape (num_terms, num_blocks, side, 16)
        Overwritten.
    """
    num, blocks, side, _ = out.shape
    entries, degree = len(table), table.shape[2] - 1
    lines, other = np.empty((side, PAIR), np.float32), np.empty((side, PAIR), np.float32)
    flat, series, apart = out.reshape(-1, PAIR), table.reshape(-1), blocks * side
    per_entry, middle = num * (degree + 1) * 2, entries // 2
    along = ex / side
    for b in range(blocks):
        lines[:] = 0
        lines[: half + 1], lines[side - half :] = rows[b, half : 2 * half + 1], rows[b, :half]
        psf = transform_lines(lines, other, radices, factors)
        if len(phase_y):
            for y in range(side):
                for i in range(LANES):
                    turn = phase_y[y] * phase_x[b * LANES + i]
                    re, im = psf[y, i], psf[y, LANES + i]
                    psf[y, i] = re * turn.real - im * turn.imag
                    psf[y, LANES + i] = re * turn.imag + im * turn.real
        centre = (b * LANES + 0.5 * (LANES - 1)) * along
        for y in range(side):
            frequency = centre + (y if 2 * y < side else y - side) * ey / side
            n = int(np.floor(frequency / step + 0.5))
            if abs(n) > middle:  # of a frequency that is filled up
                n = middle
            first = np.float32(frequency - n * step - 0.5 * (LANES - 1) * along)
            at = b * side + y
            entry = (n + middle) * per_entry
            spread_row(  # type: ignore[call-arg]
                terms, psf, y, series, entry, degree, first, np.float32(along), flat, at, apart
            )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")
def add_visits(terms, transfers, images, weights, radices, factors, normal, right):  # type: ignore[no-untyped-def]
    """Add several visits to the sums of products of transfer functions and images.

    Parameters
    ----------
    terms : tuple of int
        As many as there are terms; of any value.
    transfers : tuple of ndarray of float32, shape (num_terms, num_blocks, side, 16)
        Transfer functions T of each visit.
    images : ndarray of float32, shape (num_visits, num_blocks, side, 16)
        Each visit's image D, transformed along x; changed.
    weights : ndarray of float32, shape (num_visits,)
        Weights w.
    radices, factors
        `dcrflow.kernels.transforms.plan(side)`.
    normal : ndarray of float32, shape (num_terms (num_terms + 1) / 2, num_blocks, side, 16)
        w conj(T_i) T_j is added, j not less than i; not if its first axis has length 0.
    right : ndarray of float32, shape (num_terms, num_blocks, side, 16)
        w conj(T_i) D is added, D transformed along y.
    """
    _, blocks, side, _ = right.shape
    apart, number = blocks * side, len(transfers)
    seen = np.empty((number, side, PAIR), np.float32)
    places = np.empty(number, np.int64)
    for n in range(number):
        places[n] = transfers[n].ctypes.data
    d, a, r = seen.reshape(-1, PAIR), normal.reshape(-1, PAIR), right.reshape(-1, PAIR)
    for b in range(blocks):
        for n in range(number):
            found = transform_lines(images[n, b], seen[n], radices, factors)
            if len(radices) % 2 == 0:
                seen[n] = found
        for y in range(side):
            add_products(terms, places, d, y, side, weights, b * side + y, apart, a, r)  # type: ignore[call-arg]


@njit(cache=True, nogil=True, error_model="numpy")
def some_of_blocks(blocks, step, out):  # type: ignore[no-untyped-def]
    """Every step-th row and column of frequencies, to half spectra of shape (num, ny, nh)."""
    num, ny, nh = out.shape
    for j in range(num):
        for y in range(ny):
            for x in range(nh):
                b, i = x * step // LANES, x * step % LANES
                out[j, y, x] = complex(blocks[j, b, y * step, i], blocks[j, b, y * step, LANES + i])
