"""What compiled kernels do with vectors of float32, in LLVM's terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_INDEX = ir.IntType(32)


def pick(builder: Any, a: Any, b: Any, which: Sequence[int]) -> Any:
    """A vector of some elements of two: those of `b` are counted on after those of `a`."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_INDEX, len(which)), list(which)))


def spread(builder: Any, vector: ir.VectorType, value: Any) -> Any:
    """A vector with the same value everywhere."""
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_INDEX, 0))
    return pick(builder, one, one, [0] * vector.count)


def turn(builder: Any, rows: Sequence[Any]) -> list[Any]:
    """The columns of eight rows of eight elements."""
    halves = []
    for four in (rows[:4], rows[4:]):
        low = [pick(builder, four[i], four[i + 1], [0, 8, 1, 9, 4, 12, 5, 13]) for i in (0, 2)]
        high = [pick(builder, four[i], four[i + 1], [2, 10, 3, 11, 6, 14, 7, 15]) for i in (0, 2)]
        near, far = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
        halves.append([pick(builder, two[0], two[1], which) for two in (low, high) for which in (near, far)])
    ends = [0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]
    return [pick(builder, halves[0][n], halves[1][n], which) for which in ends for n in range(4)]


def row_address(context: Any, builder: Any, array_type: Any, value: Any, row: Any, column: Any) -> Any:
    """Address of an array's pixel, as an integer, and the bytes from there to the next row."""
    word, array = ir.IntType(64), context.make_array(array_type)(context, builder, value)
    stride = builder.extract_value(array.strides, 0)
    along = builder.add(builder.mul(stride, row), builder.mul(ir.Constant(word, 4), column))
    return builder.add(builder.ptrtoint(array.data, word), along), stride


def numbers_at(context: Any, builder: Any, array_type: Any, value: Any, index: Any, number: int) -> Any:
    """Pointer to a vector of several numbers of a contiguous array of float32, from an index of it flattened."""
    data = context.make_array(array_type)(context, builder, value).data
    return builder.bitcast(builder.gep(data, [index]), ir.VectorType(ir.FloatType(), number).as_pointer())


def fetch_line(builder: Any, place: Any, write: bool = False) -> None:
    """Ask for the line of the cache at a pointer to a byte, before it is read or written; it may be anywhere."""
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [place.type, *[_INDEX] * 3]), "llvm.prefetch.p0i8"
    )
    builder.call(function, [place, *(ir.Constant(_INDEX, value) for value in (int(write), 3, 1))])


@intrinsic
def copy_turned(typing, source, sy, sx, target, ty, tx):  # type: ignore[no-untyped-def]
    """Copy 8 x 8 pixels from one array of float32 to another, rows to columns."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(ir.FloatType(), 8)
        at = [context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (1, 2, 4, 5)]

        address, stride = row_address(context, builder, signature.args[0], arguments[0], at[0], at[1])
        rows = []
        for _ in range(8):
            rows.append(builder.load(builder.inttoptr(address, vector.as_pointer()), align=4))
            address = builder.add(address, stride)
        address, stride = row_address(context, builder, signature.args[3], arguments[3], at[2], at[3])
        for column in turn(builder, rows):
            builder.store(column, builder.inttoptr(address, vector.as_pointer()), align=4)
            address = builder.add(address, stride)
        return context.get_dummy_value()

    return types.void(source, sy, sx, target, ty, tx), generate


@intrinsic
def fetch_ahead(typing, array, index, write):  # type: ignore[no-untyped-def]
    """Ask for an element of a contiguous array before it is read, or written (1) if `write` is not 0, a constant.

    Any index may be given: where nothing is, nothing happens.
    """
    if not isinstance(write, types.IntegerLiteral):
        return None

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        byte = ir.IntType(8).as_pointer()
        pointer = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        at = context.cast(builder, arguments[1], signature.args[1], types.intp)
        fetch_line(builder, builder.bitcast(builder.gep(pointer, [at]), byte), write.literal_value != 0)
        return context.get_dummy_value()

    return types.void(array, index, write), generate
