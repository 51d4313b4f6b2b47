"""Arithmetic with eight complex numbers at a time, as instructions: what Fourier transforms are made of.

Arrays of lanes have rows of 16 numbers: the real parts of eight lines, and their imaginary parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dcrflow.kernels.vectors import pick, row_address, spread

Complex = tuple[Any, Any]

LANES = 8  #: lines at a time
PAIR = 2 * LANES  #: numbers of these lines: real parts, imaginary parts


class Vectors:
    """Arithmetic with complex vectors, as instructions."""

    def __init__(self, builder: Any) -> None:
        self.builder, self.type = builder, ir.VectorType(ir.FloatType(), LANES)

    def add(self, a: Complex, b: Complex) -> Complex:
        """a + b."""
        return tuple(self.builder.fadd(x, y, flags=("contract",)) for x, y in zip(a, b, strict=True))

    def sub(self, a: Complex, b: Complex) -> Complex:
        """a - b."""
        return tuple(self.builder.fsub(x, y, flags=("contract",)) for x, y in zip(a, b, strict=True))

    def scale(self, a: Complex, factor: float) -> Complex:
        """A real factor times a."""
        f = ir.Constant(self.type, [factor] * LANES)
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

    def turned(self, a: Complex, angle: float) -> Complex:
        """A times exp(-i angle), with an angle from 0 to pi that is known now."""
        if angle == 0:
            return a
        if 2 * angle == math.pi:
            zero = ir.Constant(self.type, [0.0] * LANES)
            return a[1], self.builder.fsub(zero, a[0])
        re, im = (ir.Constant(self.type, [value] * LANES) for value in (math.cos(angle), -math.sin(angle)))
        return self.times(a, re, im)

    def transform(self, a: Sequence[Complex]) -> list[Complex]:
        """The discrete Fourier transform of 2 to 6, 8 or 10 numbers."""
        if len(a) > 5:
            halves = [self.transform(a[first::2]) for first in (0, 1)]
            turned = [self.turned(value, 2 * math.pi * n / len(a)) for n, value in enumerate(halves[1])]
            pairs = list(zip(halves[0], turned, strict=True))
            return [self.add(x, y) for x, y in pairs] + [self.sub(x, y) for x, y in pairs]
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
def combine(typing, radix, source, at, apart, target, to, beside, factors, factor):  # type: ignore[no-untyped-def]
    """Transform the rows at, at + apart, ... of one array to the rows to, to + beside, ... of another.

    As many as `radix`, a tuple, has elements. All but the first are then multiplied by the factors from `factor` on,
    unless that is None.
    """
    number, twiddled = radix.count, not isinstance(factor, types.NoneType)

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vectors, word = Vectors(builder), ir.IntType(64)
        pointer, zero = vectors.type.as_pointer(), ir.Constant(word, 0)

        def rows(array: int, first: int, distance: int) -> tuple[Any, Any]:
            begin, step = (
                context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (first, distance)
            )
            address, stride = row_address(context, builder, signature.args[array], arguments[array], begin, zero)
            return address, builder.mul(stride, step)

        def parts(address: Any) -> list[Any]:
            return [builder.inttoptr(builder.add(address, ir.Constant(word, 4 * n)), pointer) for n in (0, LANES)]

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
    pointer = Vectors(builder).type.as_pointer()
    bytes_ = [builder.mul(column, ir.Constant(ir.IntType(64), 4)) for column in columns]
    return [builder.inttoptr(builder.add(address, n), pointer) for n in bytes_]


def _both(context: Any, builder: Any, signature: Any, arguments: Any, array: int, row: Any) -> list[Any]:
    """Pointers to the real parts and the imaginary parts in a row."""
    columns = [ir.Constant(ir.IntType(64), n) for n in (0, LANES)]
    return _places(context, builder, signature, arguments, array, row, columns)


def _loaded(context: Any, builder: Any, signature: Any, arguments: Any, array: int, row: Any) -> list[Any]:
    return [builder.load(place, align=4) for place in _both(context, builder, signature, arguments, array, row)]


def _store(
    context: Any, builder: Any, signature: Any, arguments: Any, array: int, row: Any, values: Sequence[Any]
) -> None:
    for value, place in zip(values, _both(context, builder, signature, arguments, array, row), strict=True):
        builder.store(value, place, align=4)


def _integers(context: Any, builder: Any, signature: Any, arguments: Any, which: Sequence[int]) -> list[Any]:
    return [context.cast(builder, arguments[n], signature.args[n], types.intp) for n in which]


def _plus(builder: Any, value: Any, number: int) -> Any:
    return builder.add(value, ir.Constant(ir.IntType(64), number))


@intrinsic
def split_parts(typing, source, y, x, target, row, re, im):  # type: ignore[no-untyped-def]
    """Copy eight complex numbers from x on to the real parts and imaginary parts of a row."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        y, x, row, re, im = _integers(context, builder, signature, arguments, (1, 2, 4, 5, 6))
        columns = x, _plus(builder, x, LANES)
        low, high = (
            builder.load(place, align=4)
            for place in _places(context, builder, signature, arguments, 0, y, columns)
        )  # fmt: skip
        to = _places(context, builder, signature, arguments, 3, row, (re, im))
        for place, first in zip(to, (0, 1), strict=True):
            builder.store(pick(builder, low, high, range(first, PAIR, 2)), place, align=4)
        return context.get_dummy_value()

    return types.void(source, y, x, target, row, re, im), generate


@intrinsic
def join_parts(typing, source, row, re, im, scale, target, y, x):  # type: ignore[no-untyped-def]
    """The reverse of `split_parts`, with a factor."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        row, re, im, y, x = _integers(context, builder, signature, arguments, (1, 2, 3, 6, 7))
        factor = spread(builder, Vectors(builder).type, arguments[4])
        real, imaginary = [
            builder.fmul(factor, builder.load(place, align=4))
            for place in _places(context, builder, signature, arguments, 0, row, (re, im))
        ]  # fmt: skip
        to = _places(context, builder, signature, arguments, 5, y, (x, _plus(builder, x, LANES)))
        for place, first in zip(to, (0, LANES // 2), strict=True):
            order = [n for i in range(first, first + LANES // 2) for n in (i, i + LANES)]
            builder.store(pick(builder, real, imaginary, order), place, align=4)
        return context.get_dummy_value()

    return types.void(source, row, re, im, scale, target, y, x), generate


@intrinsic
def split_pairs(typing, source, k, last, target, row, beside):  # type: ignore[no-untyped-def]
    """From rows k and -k of the transforms of pairs of real lines: row k of each line's, to `row` and row + beside."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        k, last, row, beside = _integers(context, builder, signature, arguments, (1, 2, 4, 5))
        (a, b), (c, d) = (_loaded(context, builder, signature, arguments, 0, at) for at in (k, last))
        half = ir.Constant(Vectors(builder).type, [0.5] * LANES)
        rows = (
            (builder.fadd(a, c), builder.fadd(b, d)),
            (builder.fsub(b, d), builder.fsub(c, a)),
        )  # fmt: skip
        for at, values in zip((row, builder.add(row, beside)), rows, strict=True):
            halves = [builder.fmul(half, value) for value in values]
            _store(context, builder, signature, arguments, 3, at, halves)
        return context.get_dummy_value()

    return types.void(source, k, last, target, row, beside), generate


@intrinsic
def join_pairs(typing, source, row, beside, target, k, last):  # type: ignore[no-untyped-def]
    """From row k of the transforms of real lines, `row` and row + beside: rows k and -k of pairs', parts exchanged."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        row, beside, k, last = _integers(context, builder, signature, arguments, (1, 2, 4, 5))
        both = row, builder.add(row, beside)
        (a, c), (b, d) = (_loaded(context, builder, signature, arguments, 0, at) for at in both)
        pairs = (
            (k, builder.fadd(b, c), builder.fsub(a, d)),
            (last, builder.fsub(c, b), builder.fadd(a, d)),
        )  # fmt: skip
        for at, *values in pairs:
            _store(context, builder, signature, arguments, 3, at, values)
        return context.get_dummy_value()

    return types.void(source, row, beside, target, k, last), generate
