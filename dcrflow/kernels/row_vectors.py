"""Parts of rows looked at, and merged, 16 pixels at a time.

LLVM's vectoriser takes as many pixels at once as numbers of the widest type fit half a register, 4 where a float64 is
among them, and counts in int64. A row that is only looked at then takes as long as the memory does, and longer.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dcrflow.kernels.vectors import fetch_line, row_address, spread

TOGETHER = 16  # pixels
_WORD, _INT, _BYTES = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
_OF_INT, _OF_FLAG = ir.VectorType(_INT, TOGETHER), ir.VectorType(ir.IntType(1), TOGETHER)
_OF_FLOAT, _OF_DOUBLE = (ir.VectorType(t, TOGETHER) for t in (ir.FloatType(), ir.DoubleType()))
_LARGEST = 0x7F7FFFFF  # the bits of the largest number


def _over_row(context: Any, builder: Any, signature: Any, arguments: Any, first: int, combine: Any) -> Any:
    """Combine a row's vectors of int32, beginning with one whose elements are `first`; the last may overlap."""
    row, x, number, ahead = (context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (1, 2, 3, 4))
    start, _ = row_address(context, builder, signature.args[0], arguments[0], row, x)
    found = cgutils.alloca_once_value(builder, ir.Constant(_OF_INT, [first] * TOGETHER))
    last = builder.sub(number, ir.Constant(_WORD, TOGETHER))
    blocks = builder.sdiv(builder.add(number, ir.Constant(_WORD, TOGETHER - 1)), ir.Constant(_WORD, TOGETHER))
    with cgutils.for_range(builder, blocks) as loop:
        at = builder.mul(loop.index, ir.Constant(_WORD, TOGETHER))
        at = builder.select(builder.icmp_signed("<", at, last), at, last)
        where = builder.add(start, builder.mul(at, ir.Constant(_WORD, 4)))
        more = builder.load(builder.inttoptr(where, _OF_INT.as_pointer()), align=4)
        builder.store(combine(builder.load(found), more), found)
        later = builder.add(where, builder.mul(ahead, ir.Constant(_WORD, 4)))
        fetch_line(builder, builder.inttoptr(later, _BYTES))
    return builder.load(found)


def _any(builder: Any, flags: Any) -> Any:
    """Whether any of 16 flags is set."""
    return builder.icmp_unsigned("!=", builder.bitcast(flags, ir.IntType(TOGETHER)), ir.IntType(TOGETHER)(0))


@intrinsic
def some_set(typing, masks, row, x, number, ahead, planes):  # type: ignore[no-untyped-def]
    """Whether any of `planes` is set in pixels x to x + number - 1 of a row of masks, at least 16.

    Asks the cache for the pixels that lie `ahead` of them in memory.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        found = _over_row(context, builder, signature, arguments, 0, builder.or_)
        wanted = spread(builder, _OF_INT, context.cast(builder, arguments[5], signature.args[5], types.int32))
        return _any(builder, builder.icmp_unsigned("!=", builder.and_(found, wanted), ir.Constant(_OF_INT, None)))

    return types.boolean(masks, row, x, number, ahead, planes), generate


@intrinsic
def some_not_positive(typing, values, row, x, number):  # type: ignore[no-untyped-def]
    """Whether any of pixels x to x + number - 1 of a row of float32, at least 16, is not finite and above zero."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        one = ir.Constant(_OF_INT, [1] * TOGETHER)

        def larger(a: Any, b: Any) -> Any:
            """Positive numbers are ordered as their bits are; less 1, the bits of all others are above these."""
            b = builder.sub(b, one)
            return builder.select(builder.icmp_unsigned(">", a, b), a, b)

        zero = context.get_constant(types.intp, 0)
        given = types.void(*signature.args, types.intp)
        found = _over_row(context, builder, given, [*arguments, zero], 0, larger)
        return _any(builder, builder.icmp_unsigned(">=", found, ir.Constant(_OF_INT, [_LARGEST] * TOGETHER)))

    return types.boolean(values, row, x, number), generate


@intrinsic
def merge_pixels(typing, values, variances, bits, y, x, equal, means, spreads, flags, weights, row, column, ahead):  # type: ignore[no-untyped-def]
    """Add 16 pixels of a contributor to a running weighted mean, as `dcrflow.kernels.merge.merge_into` says.

    They lie at (y, x) of the contributor and at (row, column) of the mean.
    Asks the cache for the pixels of the mean that lie `ahead` of them in memory.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        def integer(n: int) -> Any:
            return context.cast(builder, arguments[n], signature.args[n], types.intp)

        def pointer(n: int, y: Any, x: Any) -> Any:
            dtype = signature.args[n].dtype
            vector = {types.float64: _OF_DOUBLE, types.float32: _OF_FLOAT, types.int32: _OF_INT}[dtype]
            array = context.make_array(signature.args[n])(context, builder, arguments[n])
            size = ir.Constant(_WORD, dtype.bitwidth // 8)
            along = builder.add(builder.mul(builder.extract_value(array.strides, 0), y), builder.mul(x, size))
            return builder.inttoptr(builder.add(builder.ptrtoint(array.data, _WORD), along), vector.as_pointer())

        def load(where: Any) -> Any:
            return builder.load(where, align=4)

        def store(value: Any, where: Any) -> None:
            builder.store(value, where, align=4)

        def call(name: str, kind: str, value: Any) -> Any:
            of_type = ir.FunctionType(value.type, [value.type])
            function = cgutils.get_or_insert_function(builder.module, of_type, f"llvm.{name}.{kind}")
            return builder.call(function, [value])

        def double(value: Any) -> Any:
            return value if value.type == _OF_DOUBLE else builder.fpext(value, _OF_DOUBLE)

        def single(value: Any) -> Any:
            return value if value.type == _OF_FLOAT else builder.fptrunc(value, _OF_FLOAT)

        def moved(before: Any, value: Any, share: Any) -> Any:
            """A mean that a contributor of this share has been added to."""
            same = value.type == before.type
            step = builder.fsub(value, before) if same else builder.fsub(double(value), double(before))
            return builder.fadd(double(before), builder.fmul(double(step), share))

        y, x, row, column, ahead = (integer(n) for n in (3, 4, 10, 11, 12))
        value, variance, mask = (load(pointer(n, y, x)) for n in (0, 1, 2))
        of_mean, of_spread, of_flag, of_weight = there = [pointer(n, row, column) for n in (6, 7, 8, 9)]
        kind, infinite = "v16f32" if value.type == _OF_FLOAT else "v16f64", [float("inf")] * TOGETHER
        of_image = double if signature.args[6].dtype == types.float64 else single
        for place, size in zip(there, (8 if of_image is double else 4, 4, 4, 4), strict=True):
            start = builder.add(builder.ptrtoint(place, _WORD), builder.mul(ahead, ir.Constant(_WORD, size)))
            for line in range(0, size * TOGETHER, 64):
                later = builder.inttoptr(builder.add(start, ir.Constant(_WORD, line)), _BYTES)
                fetch_line(builder, later, write=True)
        zero = ir.Constant(_OF_FLOAT, None)
        finite = builder.fcmp_ordered("<", call("fabs", kind, value), ir.Constant(value.type, infinite))
        good = builder.and_(finite, builder.fcmp_ordered(">", variance, zero))
        good = builder.and_(good, builder.fcmp_ordered("<", variance, ir.Constant(_OF_FLOAT, infinite)))
        one = ir.Constant(_OF_FLOAT, [1.0] * TOGETHER)
        alike = spread(builder, _OF_FLAG, context.cast(builder, arguments[5], signature.args[5], types.boolean))
        weight = builder.select(alike, one, builder.fdiv(one, call("sqrt", "v16f32", variance)))
        mean, before, total = (load(where) for where in (of_mean, of_spread, of_weight))
        kept = builder.select(good, mask, ir.Constant(_OF_INT, None))
        store(builder.or_(load(of_flag), kept), of_flag)
        taken = builder.fcmp_ordered(">", total, zero)
        first = builder.or_(good, builder.and_(finite, builder.fcmp_unordered("uno", mean, mean)))
        with builder.if_else(_any(builder, taken)) as (some, none):
            with none:
                store(builder.select(first, of_image(value), mean), of_mean)
                store(builder.select(good, variance, before), of_spread)
                store(builder.select(good, weight, zero), of_weight)
            with some:
                more = builder.and_(good, taken)
                alone = builder.and_(first, builder.not_(more))
                wide = double(weight)
                share = builder.fdiv(wide, builder.fadd(double(total), wide))
                last = builder.select(alone, of_image(value), mean)
                store(builder.select(more, of_image(moved(mean, value, share)), last), of_mean)
                last = builder.select(good, variance, before)
                store(builder.select(more, single(moved(before, variance, share)), last), of_spread)
                store(builder.select(good, builder.fadd(total, weight), total), of_weight)
        return context.get_dummy_value()

    given = values, variances, bits, y, x, equal, means, spreads, flags, weights, row, column, ahead
    return types.void(*given), generate
