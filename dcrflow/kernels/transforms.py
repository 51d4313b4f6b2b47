"""Fourier transforms of real images in single precision, with all of a processor's vectors.

Transforms are taken of eight lines at once, which lie side by side in a copy: lane by lane, the numbers of a vector
belong to eight lines. The algorithm is Stockham's (Van Loan 1992, Computational Frameworks for the Fast Fourier
Transform, 1.7), with radices 2, 3, 4 and 5. Along x two real lines are the real and the imaginary part of a complex
one. A transform back is that of numbers whose real and imaginary parts are exchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.vectors import copy_turned, pick, row_address, spread

Plan = tuple[NDArray[np.int64], NDArray[np.float32]]
Complex = tuple[Any, Any]

_LANES = 8  # lines at a time
_PAIR = 2 * _LANES  # numbers of these lines: real parts, imaginary parts
_RADICES = (4, 5, 3, 2)


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


class _Vectors:
    """Arithmetic with complex vectors, as instructions."""

    def __init__(self, builder: Any) -> None:
        self.builder, self.type = builder, ir.VectorType(ir.FloatType(), _LANES)

    def add(self, a: Complex, b: Complex) -> Complex:
        """a + b."""
        return tuple(self.builder.fadd(x, y, flags=("contract",)) for x, y in zip(a, b, strict=True))

    def sub(self, a: Complex, b: Complex) -> Complex:
        """a - b."""
        return tuple(self.builder.fsub(x, y, flags=("contract",)) for x, y in zip(a, b, strict=True))

    def scale(self, a: Complex, factor: float) -> Complex:
        """A real factor times a."""
        f = ir.Constant(self.type, [factor] * _LANES)
        return tuple(self.builder.fmul(x, f, flags=("contract",)) for x in a)

    def turns(self, a: Complex, b: Complex) -> tuple[Complex, Complex]:
        """a - i b and a + i b."""
        one, other = self.add(a, (b[1], b[0])), self.sub(a, (b[1], b[0]))
        return (one[0], other[1]), (other[0], one[1])

    def times(self, a: Complex, re: Any, im: Any) -> Complex:
        """A times re + i im."""
        b, flags = self.builder, ("contract",)
        real = b.fsub(b.fmul(a[0], re, flags=flags), b.fmul(a[1], im, flags=flags), flags=flags)
        return real, b.fadd(b.fmul(a[0], im, flags=flags), b.fmul(a[1], re, flags=flags), flags=flags)

    def transform(self, a: Sequence[Complex]) -> list[Complex]:
        """The discrete Fourier transform of 2 to 5 numbers."""
        if len(a) == 2:
            return [self.add(a[0], a[1]), self.sub(a[0], a[1])]
        if len(a) == 3:
            both, apart = self.add(a[1], a[2]), self.scale(self.sub(a[1], a[2]), math.sqrt(0.75))
            return [self.add(a[0], both), *self.turns(self.add(a[0], self.scale(both, -0.5)), apart)]
        if len(a) == 4:
            even, odd = self.add(a[0], a[2]), self.sub(a[0], a[2])
            both, apart = self.add(a[1], a[3]), self.sub(a[1], a[3])
            one, three = self.turns(odd, apart)
            return [self.add(even, both), one, self.sub(even, both), three]
        c1, c2 = (math.cos(2 * math.pi * n / 5) for n in (1, 2))
        s1, s2 = (math.sin(2 * math.pi * n / 5) for n in (1, 2))
        near, far = self.add(a[1], a[4]), self.add(a[2], a[3])
        near_apart, far_apart = self.sub(a[1], a[4]), self.sub(a[2], a[3])
        one, four = self.turns(
            self.add(self.add(a[0], self.scale(near, c1)), self.scale(far, c2)),
            self.add(self.scale(near_apart, s1), self.scale(far_apart, s2)),
        )
        two, three = self.turns(
            self.add(self.add(a[0], self.scale(near, c2)), self.scale(far, c1)),
            self.sub(self.scale(near_apart, s2), self.scale(far_apart, s1)),
        )
        return [self.add(self.add(a[0], near), far), one, two, three, four]


@intrinsic
def _combine(typing, radix, source, at, apart, target, to, beside, factors, factor):  # type: ignore[no-untyped-def]
    """Transform the rows at, at + apart, ... of one array to the rows to, to + beside, ... of another.

    As many as `radix`, a tuple, has elements. All but the first are then multiplied by the factors from `factor` on,
    unless that is None.
    """
    number, twiddled = radix.count, not isinstance(factor, types.NoneType)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vectors, word = _Vectors(builder), ir.IntType(64)
        pointer, zero = vectors.type.as_pointer(), ir.Constant(word, 0)

        def rows(array: int, first: int, distance: int) -> tuple[Any, Any]:
            begin, step = (
                context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (first, distance)
            )
            address, stride = row_address(context, builder, signature.args[array], arguments[array], begin, zero)
            return address, builder.mul(stride, step)

        def parts(address: Any) -> list[Any]:
            return [builder.inttoptr(builder.add(address, ir.Constant(word, 4 * n)), pointer) for n in (0, _LANES)]

        address, stride = rows(1, 2, 3)
        values = []
        for _ in range(number):
            values.append(tuple(builder.load(part, align=4) for part in parts(address)))
            address = builder.add(address, stride)
        values = vectors.transform(values)
        if twiddled:
            base = context.make_array(signature.args[7])(context, builder, arguments[7]).data
            first = context.cast(builder, arguments[8], signature.args[8], types.intp)
            for u in range(1, number):
                factor = []
                for n in (2 * u - 2, 2 * u - 1):
                    one = builder.load(builder.gep(base, [builder.add(first, ir.Constant(word, n))]))
                    factor.append(spread(builder, vectors.type, one))
                values[u] = vectors.times(values[u], *factor)
        address, stride = rows(4, 5, 6)
        for value in values:
            for part, place in zip(value, parts(address), strict=True):
                builder.store(part, place, align=4)
            address = builder.add(address, stride)
        return context.get_dummy_value()

    return types.void(radix, source, at, apart, target, to, beside, factors, factor), generate


def _places(
    context: Any, builder: Any, signature: Any, arguments: Any, array: int, row: Any, columns: Any
) -> list[Any]:
    """Pointers to vectors in a row of an array."""
    zero = ir.Constant(ir.IntType(64), 0)
    address, _ = row_address(context, builder, signature.args[array], arguments[array], row, zero)
    pointer = _Vectors(builder).type.as_pointer()
    bytes_ = [builder.mul(column, ir.Constant(ir.IntType(64), 4)) for column in columns]
    return [builder.inttoptr(builder.add(address, n), pointer) for n in bytes_]


def _integers(context: Any, builder: Any, signature: Any, arguments: Any, which: Sequence[int]) -> list[Any]:
    return [context.cast(builder, arguments[n], signature.args[n], types.intp) for n in which]


def _plus(builder: Any, value: Any, number: int) -> Any:
    return builder.add(value, ir.Constant(ir.IntType(64), number))


@intrinsic
def _part(typing, source, y, x, target, row, re, im):  # type: ignore[no-untyped-def]
    """Copy eight complex numbers from x on to the real parts and imaginary parts of a row."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        y, x, row, re, im = _integers(context, builder, signature, arguments, (1, 2, 4, 5, 6))
        columns = x, _plus(builder, x, _LANES)
        low, high = (
            builder.load(place, align=4)
            for place in _places(context, builder, signature, arguments, 0, y, columns)
        )  # fmt: skip
        to = _places(context, builder, signature, arguments, 3, row, (re, im))
        for place, first in zip(to, (0, 1), strict=True):
            builder.store(pick(builder, low, high, range(first, _PAIR, 2)), place, align=4)
        return context.get_dummy_value()

    return types.void(source, y, x, target, row, re, im), generate


@intrinsic
def _join(typing, source, row, re, im, scale, target, y, x):  # type: ignore[no-untyped-def]
    """The reverse of `_part`, with a factor."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        row, re, im, y, x = _integers(context, builder, signature, arguments, (1, 2, 3, 6, 7))
        factor = spread(builder, _Vectors(builder).type, arguments[4])
        real, imaginary = [
            builder.fmul(factor, builder.load(place, align=4))
            for place in _places(context, builder, signature, arguments, 0, row, (re, im))
        ]  # fmt: skip
        to = _places(context, builder, signature, arguments, 5, y, (x, _plus(builder, x, _LANES)))
        for place, first in zip(to, (0, _LANES // 2), strict=True):
            order = [n for i in range(first, first + _LANES // 2) for n in (i, i + _LANES)]
            builder.store(pick(builder, real, imaginary, order), place, align=4)
        return context.get_dummy_value()

    return types.void(source, row, re, im, scale, target, y, x), generate


@intrinsic
def _apart(typing, source, k, last, target, row):  # type: ignore[no-untyped-def]
    """From rows k and -k of the transforms of pairs of real lines: row k of each line's, to `row` and the next."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        k, last, row = _integers(context, builder, signature, arguments, (1, 2, 4))
        both = ir.Constant(ir.IntType(64), 0), ir.Constant(ir.IntType(64), _LANES)
        (a, b), (c, d) = (
            [builder.load(p, align=4) for p in _places(context, builder, signature, arguments, 0, at, both)]
            for at in (k, last)
        )
        half = ir.Constant(_Vectors(builder).type, [0.5] * _LANES)
        rows = (
            (builder.fadd(a, c), builder.fadd(b, d)),
            (builder.fsub(b, d), builder.fsub(c, a)),
        )  # fmt: skip
        for n, values in enumerate(rows):
            to = _places(context, builder, signature, arguments, 3, _plus(builder, row, n), both)
            for value, place in zip(values, to, strict=True):
                builder.store(builder.fmul(half, value), place, align=4)
        return context.get_dummy_value()

    return types.void(source, k, last, target, row), generate


@intrinsic
def _together(typing, source, row, target, k, last):  # type: ignore[no-untyped-def]
    """From row k of the transforms of real lines: rows k and -k of those of pairs, parts exchanged."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        row, k, last = _integers(context, builder, signature, arguments, (1, 3, 4))
        both = ir.Constant(ir.IntType(64), 0), ir.Constant(ir.IntType(64), _LANES)
        (a, c), (b, d) = (
            [builder.load(p, align=4) for p in _places(context, builder, signature, arguments, 0, at, both)]
            for at in (row, _plus(builder, row, 1))
        )
        pairs = (
            (k, builder.fadd(b, c), builder.fsub(a, d)),
            (last, builder.fsub(c, b), builder.fadd(a, d)),
        )  # fmt: skip
        for at, *values in pairs:
            to = _places(context, builder, signature, arguments, 2, at, both)
            for value, place in zip(values, to, strict=True):
                builder.store(value, place, align=4)
        return context.get_dummy_value()

    return types.void(source, row, target, k, last), generate


@njit(cache=True, nogil=True, error_model="numpy")
def _pass(radix, source, target, together, factors, first):  # type: ignore[no-untyped-def]
    """One pass over all numbers, of transforms that are already done by `together`; returns the next pass's factor."""
    number = len(radix)
    length = len(source) // (together * number)  # of the transforms that are left
    apart = together * length
    for q in range(together):
        _combine(radix, source, q, apart, target, q, together, factors, None)  # type: ignore[call-arg]
    for p in range(1, length):
        at, to = p * together, p * number * together
        for q in range(together):
            _combine(radix, source, at + q, apart, target, to + q, together, factors, first)  # type: ignore[call-arg]
        first += 2 * (number - 1)
    return first


@njit(cache=True, nogil=True, error_model="numpy")
def _transform(lines, other, radices, factors):  # type: ignore[no-untyped-def]
    """Transform eight lines, shape (number, 16); returns the array with the result, which is one of the two."""
    together, first = 1, 0
    for radix in radices:
        if radix == 5:
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
    whole = columns // _LANES * _LANES if number == _LANES else 0
    for x in range(0, whole, _LANES):
        copy_turned(rows, 0, x, to, x, lane)  # type: ignore[call-arg]
    for r in range(number):
        for x in range(whole, columns):
            to[x, lane + r] = rows[r, x]


@njit(cache=True, nogil=True, error_model="numpy")
def _turned_back(lanes, lane, number, columns, rows):  # type: ignore[no-untyped-def]
    """Copy lanes of an array to up to eight rows."""
    whole = columns // _LANES * _LANES if number == _LANES else 0
    for x in range(0, whole, _LANES):
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
    lines, other = np.zeros((width, _PAIR), np.float32), np.empty((width, _PAIR), np.float32)
    parts = np.empty((width + 2, _PAIR), np.float32)
    for top in range(0, height, _PAIR):
        two = image[top : top + _PAIR]
        odd = len(two) // 2
        even = len(two) - odd
        _turned(two[0::2], even, width, lines, 0)
        _turned(two[1::2], odd, width, lines, _LANES)
        found = _transform(lines, other, radices, factors)
        _apart(found, 0, 0, parts, 0)  # type: ignore[call-arg]
        for k in range(1, half + 1):
            _apart(found, k, width - k, parts, 2 * k)
        to = out[top : top + _PAIR]
        _turned_back(parts, 0, even, width + 2, to[0::2])
        _turned_back(parts, _LANES, odd, width + 2, to[1::2])


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
    lines, other = np.zeros((width, _PAIR), np.float32), np.empty((width, _PAIR), np.float32)
    parts, rows = np.zeros((width + 2, _PAIR), np.float32), np.empty((_PAIR, width + 2), np.float32)
    for top in range(0, len(which), _PAIR):
        number = min(_PAIR, len(which) - top)
        odd = number // 2
        even = number - odd
        for r in range(number):
            rows[r] = transform[which[top + r]]
        _turned(rows[0::2], even, width + 2, parts, 0)
        _turned(rows[1::2], odd, width + 2, parts, _LANES)
        parts[1], parts[width + 1] = 0, 0
        _together(parts, 0, lines, 0, 0)  # type: ignore[call-arg]
        for k in range(1, half + 1):
            _together(parts, 2 * k, lines, k, width - k)
        found = _transform(lines, other, radices, factors)
        to = out[top : top + number]
        _turned_back(found, _LANES, even, width, to[0::2])
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
    lines, other = np.zeros((height, _PAIR), np.float32), np.empty((height, _PAIR), np.float32)
    f = np.float32(scale)
    re, im = (_LANES, 0) if back else (0, _LANES)
    for left in range(0, width, _PAIR):
        number = min(_LANES, (width - left) // 2)
        if number == _LANES:
            for y in range(height):
                _part(transform, y, left, lines, y, re, im)  # type: ignore[call-arg]
        else:
            for y in range(height):
                for i in range(number):
                    lines[y, re + i] = transform[y, left + 2 * i]
                    lines[y, im + i] = transform[y, left + 2 * i + 1]
        found = _transform(lines, other, radices, factors)
        if number == _LANES:
            for y in range(height):
                _join(found, y, re, im, f, out, y, left)  # type: ignore[call-arg]
        else:
            for y in range(height):
                for i in range(number):
                    out[y, left + 2 * i] = f * found[y, re + i]
                    out[y, left + 2 * i + 1] = f * found[y, im + i]
