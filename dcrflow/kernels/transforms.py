"""Fourier transforms of real images in single precision, with all of a processor's vectors.

Transforms are taken of eight lines at once, which lie side by side in a copy: lane by lane, the numbers of a vector
belong to eight lines. The algorithm is Stockham's (Van Loan 1992, Computational Frameworks for the Fast Fourier
Transform, 1.7), with radices 2, 3, 4, 5, 6, 8 and 10. Along x two real lines are the real and the imaginary part of a
complex one. A transform back is that of numbers whose real and imaginary parts are exchanged.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.complex_vectors import LANES, PAIR, combine, join_pairs, join_parts, split_pairs, split_parts
from dcrflow.kernels.vectors import copy_turned

Plan = tuple[NDArray[np.int64], NDArray[np.float32]]

_BESIDE = 4  # vectors of columns that are transformed together
_RADICES = (10, 8, 6, 5, 4, 3, 2)  # large ones first: fewer passes over the numbers


@cache
def plan(number: int) -> Plan:
    """Radices and twiddle factors of transforms of a length.

    Parameters
    ----------
    number : int
        The length.

    Returns
    -------
    radices : ndarray of int64
        Their product is `number`.
    factors : ndarray of float32
        For each radix r, and for p from 1 up to the length that is left over r: exp(-2 pi i p u / length), u = 1 ...
        r - 1, real and imaginary parts.

    Raises
    ------
    ValueError
        If `number` has a prime factor above 5.
    """
    left, radices, factors = number, list[int](), list[float]()
    while left > 1:
        radix = next((r for r in _RADICES if left % r == 0), None)
        if radix is None:
            raise ValueError(f"a transform of {number} numbers has a prime factor above 5; take one that is_smooth")
        radices.append(radix)
        for p in range(1, left // radix):
            for u in range(1, radix):
                angle = -2 * math.pi * p * u / left
                factors += (math.cos(angle), math.sin(angle))
        left //= radix
    return np.array(radices, np.int64), np.array(factors or [0.0], np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def _pass(radix, source, target, together, factors, first):  # type: ignore[no-untyped-def]
    """One pass over all numbers, of transforms that are already done by `together`; returns the next pass's factor."""
    number = len(radix)
    length = len(source) // (together * number)  # of the transforms that are left
    apart = together * length
    for q in range(together):
        combine(radix, source, q, apart, target, q, together, factors, None)  # type: ignore[call-arg]
    for p in range(1, length):
        at, to = p * together, p * number * together
        for q in range(together):
            combine(radix, source, at + q, apart, target, to + q, together, factors, first)  # type: ignore[call-arg]
        first += 2 * (number - 1)
    return first


@njit(cache=True, nogil=True, error_model="numpy")
def transform_lines(lines, other, radices, factors):  # type: ignore[no-untyped-def]
    """Transform eight lines, shape (number, 16); returns the array with the result, which is one of the two."""
    together, first = 1, 0
    for radix in radices:
        if radix == 10:
            first = _pass((1,) * 10, lines, other, together, factors, first)
        elif radix == 8:
            first = _pass((1,) * 8, lines, other, together, factors, first)
        elif radix == 6:
            first = _pass((1,) * 6, lines, other, together, factors, first)
        elif radix == 5:
            first = _pass((1, 1, 1, 1, 1), lines, other, together, factors, first)
        elif radix == 4:
            first = _pass((1, 1, 1, 1), lines, other, together, factors, first)
        elif radix == 3:
            first = _pass((1, 1, 1), lines, other, together, factors, first)
        else:
            first = _pass((1, 1), lines, other, together, factors, first)
        together *= radix
        lines, other = other, lines
    return lines


@njit(cache=True, nogil=True, error_model="numpy")
def _turned(rows, number, columns, to, lane):  # type: ignore[no-untyped-def]
    """Copy up to eight rows to lanes of an array, rows to columns."""
    whole = columns // LANES * LANES if number == LANES else 0
    for x in range(0, whole, LANES):
        copy_turned(rows, 0, x, to, x, lane)  # type: ignore[call-arg]
    for r in range(number):
        for x in range(whole, columns):
            to[x, lane + r] = rows[r, x]


@njit(cache=True, nogil=True, error_model="numpy")
def _turned_back(lanes, lane, number, columns, rows):  # type: ignore[no-untyped-def]
    """Copy lanes of an array to up to eight rows."""
    whole = columns // LANES * LANES if number == LANES else 0
    for x in range(0, whole, LANES):
        copy_turned(lanes, x, lane, rows, 0, x)  # type: ignore[call-arg]
    for r in range(number):
        for x in range(whole, columns):
            rows[r, x] = lanes[x, lane + r]


@njit(cache=True, nogil=True, error_model="numpy")
def rows_forward(image, radices, factors, out):  # type: ignore[no-untyped-def]
    """Transform real rows along x.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
        The rows, contiguous along x; width is even.
    radices, factors
        `plan(width)`.
    out : ndarray of float32, shape (height, width + 2)
        Overwritten: complex64 of shape (height, width // 2 + 1), viewed as float32.
    """
    height, width = image.shape
    half = width // 2
    lines, other = np.zeros((width, PAIR), np.float32), np.empty((width, PAIR), np.float32)
    parts = np.empty((width + 2, PAIR), np.float32)
    for top in range(0, height, PAIR):
        two = image[top : top + PAIR]
        odd = len(two) // 2
        even = len(two) - odd
        _turned(two[0::2], even, width, lines, 0)
        _turned(two[1::2], odd, width, lines, LANES)
        found = transform_lines(lines, other, radices, factors)
        split_pairs(found, 0, 0, parts, 0, 1)  # type: ignore[call-arg]
        for k in range(1, half + 1):
            split_pairs(found, k, width - k, parts, 2 * k, 1)
        to = out[top : top + PAIR]
        _turned_back(parts, 0, even, width + 2, to[0::2])
        _turned_back(parts, LANES, odd, width + 2, to[1::2])


@njit(cache=True, nogil=True, error_model="numpy")
def rows_back(transform, which, radices, factors, out):  # type: ignore[no-untyped-def]
    """Transform some rows back along x to real ones.

    Parameters
    ----------
    transform : ndarray of float32, shape (height, width + 2)
        complex64 of shape (height, width // 2 + 1), viewed as float32.
    which : ndarray of int, shape (num_rows,)
        The rows.
    radices, factors
        `plan(width)`.
    out : ndarray of float32, shape (num_rows, width)
        Overwritten: their transforms, times the width.
    """
    width = out.shape[1]
    half = width // 2
    lines, other = np.zeros((width, PAIR), np.float32), np.empty((width, PAIR), np.float32)
    parts, rows = np.zeros((width + 2, PAIR), np.float32), np.empty((PAIR, width + 2), np.float32)
    for top in range(0, len(which), PAIR):
        number = min(PAIR, len(which) - top)
        odd = number // 2
        even = number - odd
        for r in range(number):
            rows[r] = transform[which[top + r]]
        _turned(rows[0::2], even, width + 2, parts, 0)
        _turned(rows[1::2], odd, width + 2, parts, LANES)
        parts[1], parts[width + 1] = 0, 0
        join_pairs(parts, 0, 1, lines, 0, 0)  # type: ignore[call-arg]
        for k in range(1, half + 1):
            join_pairs(parts, 2 * k, 1, lines, k, width - k)
        found = transform_lines(lines, other, radices, factors)
        to = out[top : top + number]
        _turned_back(found, LANES, even, width, to[0::2])
        _turned_back(found, 0, odd, width, to[1::2])


@njit(cache=True, nogil=True, error_model="numpy")
def columns(transform, back, scale, radices, factors, out):  # type: ignore[no-untyped-def]
    """Transform complex numbers along y.

    Parameters
    ----------
    transform : ndarray of float32, shape (height, 2 n)
        complex64 of shape (height, n), viewed as float32.
    back : bool
        Whether to transform back.
    scale : float
        Factor of the result.
    radices, factors
        `plan(height)`.
    out : ndarray of float32, shape (height, 2 n)
        Overwritten; may be `transform`.
    """
    height, width = transform.shape
    lines, others = np.zeros((_BESIDE, height, PAIR), np.float32), np.empty((_BESIDE, height, PAIR), np.float32)
    f = np.float32(scale)
    re, im = (LANES, 0) if back else (0, LANES)
    flat, whole, done = lines.reshape(-1, PAIR), width // PAIR, 0
    while done < whole:  # several vectors of a row at a time: they share lines of the cache
        number = min(_BESIDE, whole - done)
        for y in range(height):
            for n in range(number):
                split_parts(transform, y, (done + n) * PAIR, flat, n * height + y, re, im)  # type: ignore[call-arg]
        for n in range(number):
            transform_lines(lines[n], others[n], radices, factors)
        found = (others if len(radices) % 2 else lines).reshape(-1, PAIR)
        for y in range(height):
            for n in range(number):
                join_parts(found, n * height + y, re, im, f, out, y, (done + n) * PAIR)  # type: ignore[call-arg]
        done += number
    left = whole * PAIR
    if left < width:
        few = (width - left) // 2
        for y in range(height):
            for i in range(few):
                lines[0, y, re + i] = transform[y, left + 2 * i]
                lines[0, y, im + i] = transform[y, left + 2 * i + 1]
        last = transform_lines(lines[0], others[0], radices, factors)
        for y in range(height):
            for i in range(few):
                out[y, left + 2 * i] = f * last[y, re + i]
                out[y, left + 2 * i + 1] = f * last[y, im + i]
