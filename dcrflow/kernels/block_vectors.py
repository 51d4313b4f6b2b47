"""What `dcrflow.kernels.blocks` does with the eight frequencies of a row of a block, as instructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dcrflow.kernels.complex_vectors import LANES, PAIR, Complex, Vectors
from dcrflow.kernels.vectors import row_address, spread

_WORD, _FLOAT = ir.IntType(64), ir.FloatType()
_CONTRACT = ("contract",)


class _Rows:
    """Rows of 16 numbers of an argument that is a contiguous array."""

    def __init__(self, context: Any, builder: Any, signature: Any, arguments: Any, which: int) -> None:
        zero = ir.Constant(_WORD, 0)
        self.builder = builder
        self.start, _ = row_address(context, builder, signature.args[which], arguments[which], zero, zero)

    def address(self, row: Any) -> Any:
        return self.builder.add(self.start, self.builder.mul(row, ir.Constant(_WORD, 4 * PAIR)))

    def load(self, row: Any) -> Complex:
        return _load(self.builder, self.address(row))

    def store(self, row: Any, value: Complex) -> None:
        for part, place in zip(value, _parts(self.builder, self.address(row)), strict=True):
            self.builder.store(part, place, align=4)


def _parts(builder: Any, address: Any) -> list[Any]:
    pointer = ir.VectorType(_FLOAT, LANES).as_pointer()
    return [builder.inttoptr(builder.add(address, ir.Constant(_WORD, 4 * n)), pointer) for n in (0, LANES)]


def _load(builder: Any, address: Any) -> Complex:
    re, im = (builder.load(place, align=4) for place in _parts(builder, address))
    return re, im


def _integers(context: Any, builder: Any, signature: Any, arguments: Any, which: Sequence[int]) -> list[Any]:
    return [context.cast(builder, arguments[n], signature.args[n], types.intp) for n in which]


def _plus(builder: Any, total: Any, a: Any, b: Any, sign: int = 1) -> Any:
    """total + sign a b; None for a total of 0."""
    product = builder.fmul(a, b, flags=_CONTRACT)
    if total is None:
        return product if sign > 0 else builder.fneg(product)
    return (builder.fadd if sign > 0 else builder.fsub)(total, product, flags=_CONTRACT)


@intrinsic
def see_row(typing, terms, transfer, sky, row, apart, scale, target, to):  # type: ignore[no-untyped-def]
    """To row `to` of `target`, scale times the sum of T_j sky_j, imaginary part first.

    As many terms as `terms`, a tuple, has elements: rows row, row + apart, ... of `transfer` and `sky`.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        row, apart, to = _integers(context, builder, signature, arguments, (3, 4, 7))
        t, s, out = (_Rows(context, builder, signature, arguments, n) for n in (1, 2, 6))
        re = im = None
        for _ in range(terms.count):
            (a, b), (c, d) = t.load(row), s.load(row)
            re, im = _plus(builder, re, a, c), _plus(builder, im, a, d)
            re, im = _plus(builder, re, b, d, -1), _plus(builder, im, b, c)
            row = builder.add(row, apart)
        factor = spread(builder, Vectors(builder).type, arguments[5])
        out.store(to, (builder.fmul(im, factor), builder.fmul(re, factor)))
        return context.get_dummy_value()

    return types.void(terms, transfer, sky, row, apart, scale, target, to), generate


@intrinsic
def match_row(typing, psf, row, scale, target, to):  # type: ignore[no-untyped-def]
    """Row `to` of `target` times scale conj(P), imaginary part first."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        row, to = _integers(context, builder, signature, arguments, (1, 4))
        p, out = (_Rows(context, builder, signature, arguments, n) for n in (0, 3))
        (a, b), (c, d) = p.load(row), out.load(to)
        factor = spread(builder, Vectors(builder).type, arguments[2])
        a, b = builder.fmul(a, factor), builder.fmul(b, factor)
        re = _plus(builder, builder.fmul(a, c, flags=_CONTRACT), b, d)
        im = _plus(builder, builder.fmul(a, d, flags=_CONTRACT), b, c, -1)
        out.store(to, (im, re))
        return context.get_dummy_value()

    return types.void(psf, row, scale, target, to), generate


@intrinsic
def spread_row(typing, terms, psf, y, series, entry, degree, first, step, target, to, apart):  # type: ignore[no-untyped-def]
    """To rows to, to + apart, ... of `target`, row y of `psf` times polynomials, one for each element of `terms`.

    Their variable is first, first + step, ... for the eight frequencies. Their coefficients, the lowest power first,
    real and imaginary part, are in `series` from `entry` on.
    """
    number = terms.count

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        y, entry, degree, to, apart = _integers(context, builder, signature, arguments, (2, 4, 5, 9, 10))
        p, out = (_Rows(context, builder, signature, arguments, n) for n in (1, 8))
        vector = Vectors(builder).type
        ramp = ir.Constant(vector, [float(n) for n in range(LANES)])
        t = builder.fmul(spread(builder, vector, arguments[7]), ramp, flags=_CONTRACT)
        t = builder.fadd(t, spread(builder, vector, arguments[6]), flags=_CONTRACT)
        base = context.make_array(signature.args[3])(context, builder, arguments[3]).data
        lengths = builder.mul(builder.add(degree, ir.Constant(_WORD, 1)), ir.Constant(_WORD, 2))
        starts = [builder.add(entry, builder.mul(lengths, ir.Constant(_WORD, j))) for j in range(number)]

        def coefficient(j: int, power: Any, part: int) -> Any:
            at = builder.add(builder.mul(power, ir.Constant(_WORD, 2)), ir.Constant(_WORD, part))
            return spread(builder, vector, builder.load(builder.gep(base, [builder.add(starts[j], at)])))

        sums = [
            [cgutils.alloca_once_value(builder, coefficient(j, degree, part)) for part in (0, 1)]
            for j in range(number)
        ]  # fmt: skip
        with cgutils.for_range(builder, degree) as loop:
            power = builder.sub(builder.sub(degree, loop.index), ir.Constant(_WORD, 1))
            for j in range(number):
                for part in (0, 1):
                    old = builder.load(sums[j][part])
                    builder.store(_plus(builder, coefficient(j, power, part), old, t), sums[j][part])
        a, b = p.load(y)
        for j in range(number):
            c, d = (builder.load(place) for place in sums[j])
            re = _plus(builder, builder.fmul(a, c, flags=_CONTRACT), b, d, -1)
            im = _plus(builder, builder.fmul(a, d, flags=_CONTRACT), b, c)
            out.store(to, (re, im))
            to = builder.add(to, apart)
        return context.get_dummy_value()

    return types.void(terms, psf, y, series, entry, degree, first, step, target, to, apart), generate


@intrinsic
def add_products(typing, terms, places, images, y, height, weights, row, apart, normal, right):  # type: ignore[no-untyped-def]
    """Add weight conj(T_i) T_j and weight conj(T_i) D of several visits to rows of the sums.

    As many terms as `terms`, a tuple, has elements: rows row, row + apart, ... of each visit's array, whose address is
    in `places`, of `normal`, which may be empty, and of `right`. D is in rows y, y + height, ... of `images`.
    """
    number = terms.count

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        y, height, row, apart = _integers(context, builder, signature, arguments, (3, 4, 6, 7))
        d, a, r = (_Rows(context, builder, signature, arguments, n) for n in (2, 8, 9))
        vector = Vectors(builder).type
        addresses, weights = (context.make_array(signature.args[n])(context, builder, arguments[n]) for n in (1, 5))
        visits = builder.extract_value(addresses.shape, 0)
        pairs = [(i, j) for i in range(number) for j in range(i, number + 1)]  # T of `number` is the image
        zero = ir.Constant(vector, None)
        sums = {(i, j): [cgutils.alloca_once_value(builder, zero) for _ in range(1 if i == j else 2)] for i, j in pairs}
        rows = [row]
        for _ in range(1, number):
            rows.append(builder.add(rows[-1], apart))
        bytes_ = [builder.mul(one, ir.Constant(_WORD, 4 * PAIR)) for one in rows]
        with cgutils.for_range(builder, visits) as loop:
            base = builder.load(builder.gep(addresses.data, [loop.index]))
            values = [_load(builder, builder.add(base, at)) for at in bytes_]
            values.append(d.load(builder.add(y, builder.mul(height, loop.index))))
            w = spread(builder, vector, builder.load(builder.gep(weights.data, [loop.index])))
            for i in range(number):
                re, im = (builder.fmul(w, part) for part in values[i])
                for j in range(i, number + 1):
                    c, e = values[j]
                    to = sums[i, j]
                    total = _plus(builder, builder.load(to[0]), re, c)
                    builder.store(_plus(builder, total, im, e), to[0])
                    if i != j:
                        total = _plus(builder, builder.load(to[1]), re, e)
                        builder.store(_plus(builder, total, im, c, -1), to[1])
        shape = context.make_array(signature.args[8])(context, builder, arguments[8]).shape
        wanted = builder.icmp_signed(">", builder.extract_value(shape, 0), ir.Constant(_WORD, 0))
        with builder.if_then(wanted):
            at = row
            for i, j in pairs:
                if j < number:
                    _add(builder, a, at, [builder.load(place) for place in sums[i, j]])
                    at = builder.add(at, apart)
        for i in range(number):
            _add(builder, r, rows[i], [builder.load(place) for place in sums[i, number]])
        return context.get_dummy_value()

    return types.void(terms, places, images, y, height, weights, row, apart, normal, right), generate


def _add(builder: Any, to: _Rows, row: Any, values: Sequence[Any]) -> None:
    for value, place in zip(values, _parts(builder, to.address(row)), strict=False):
        builder.store(builder.fadd(builder.load(place, align=4), value), place, align=4)
