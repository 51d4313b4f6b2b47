"""Convolution of images of float64 with many taps along one axis, whose sums stay in registers.

Down the columns, each vector of pixels serves 4 rows of sums. Along the rows, vectors of pixels would begin anywhere,
lie on two lines of the cache, and serve one product each. So there each pixel is multiplied by a vector of taps, those
with which it enters 8 neighbours, and that vector serves 8 rows. The products of a pixel are added from the first tap
on, each with one rounding, whatever block the pixel is in.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.vectors import spread

_ROWS_DOWN, _COLUMNS_DOWN = 4, 32
_ROWS_ALONG, _COLUMNS_ALONG = 8, 8
_FEW = 7  # taps, for fewer of which there are no vectors
_SIZE = 8  # bytes of a float64
_WORD, _DOUBLE = ir.IntType(64), ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, 8)


def _number(value: int) -> ir.Constant:
    return ir.Constant(_WORD, value)


def _rows_of(context: Any, builder: Any, signature: Any, arguments: Any, n: int, place: Any, number: int) -> list[Any]:
    """Addresses of a pixel of argument n, an array, and of those below it."""
    array = context.make_array(signature.args[n])(context, builder, arguments[n])
    pitch, size = builder.extract_value(array.strides, 0), signature.args[n].dtype.bitwidth // 8
    along = builder.add(builder.mul(pitch, place[0]), builder.mul(place[1], _number(size)))
    rows = [builder.add(builder.ptrtoint(array.data, _WORD), along)]
    while len(rows) < number:
        rows.append(builder.add(rows[-1], pitch))
    return rows


def _load(builder: Any, address: Any, of: Any) -> Any:
    return builder.load(builder.inttoptr(address, of.as_pointer()), align=_SIZE)


def _add_product(context: Any, builder: Any, total: Any, a: Any, b: Any, where: Any = None) -> None:
    """Add to a variable, or to those of its lanes that are chosen."""
    function = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    fma = cgutils.get_or_insert_function(builder.module, function, "llvm.fma.v8f64")
    before = builder.load(total)
    more = builder.call(fma, [a, b, before])
    builder.store(more if where is None else builder.select(where, more, before), total)


def _store(builder: Any, total: Any, address: Any, dtype: Any) -> None:
    value, size = builder.load(total), dtype.bitwidth // 8
    if dtype == types.float32:
        value = builder.fptrunc(value, ir.VectorType(ir.FloatType(), 8))
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=size)


@intrinsic
def _down(typing, source, taps, sy, sx, out, y, x):  # type: ignore[no-untyped-def]
    """Set 4 rows by 32 columns: ``out[y + r, x + c]`` is the sum over j of ``taps[j] * source[sy + r - j, sx + c]``."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = {n: context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (2, 3, 5, 6)}
        last, vectors = _ROWS_DOWN - 1, _COLUMNS_DOWN // 8
        given = context, builder, signature, arguments
        lowest, *_ = _rows_of(*given, 0, (builder.add(place[2], _number(last)), place[3]), 1)
        pitch = builder.extract_value(context.make_array(signature.args[0])(context, builder, arguments[0]).strides, 0)
        of_taps = context.make_array(signature.args[1])(context, builder, arguments[1])
        first_tap, number = builder.ptrtoint(of_taps.data, _WORD), builder.extract_value(of_taps.shape, 0)
        zero = ir.Constant(_VECTOR, None)
        sums = [[cgutils.alloca_once_value(builder, zero) for _ in range(vectors)] for _ in range(_ROWS_DOWN)]
        for variable in (v for row in sums for v in row):
            builder.store(zero, variable)

        def add_row(t: Any, rows: range) -> None:
            """Add source row sy + 3 - t: sums of row r take tap t - 3 + r."""
            from_source = builder.sub(lowest, builder.mul(pitch, t))
            tap = {}
            for r in rows:
                at = builder.add(first_tap, builder.mul(builder.sub(t, _number(last - r)), _number(_SIZE)))
                tap[r] = spread(builder, _VECTOR, _load(builder, at, _DOUBLE))
            for v in range(vectors):
                value = _load(builder, builder.add(from_source, _number(8 * _SIZE * v)), _VECTOR)
                for r in rows:
                    _add_product(context, builder, sums[r][v], tap[r], value)

        for t in range(last):
            add_row(_number(t), range(last - t, _ROWS_DOWN))
        with cgutils.for_range(builder, builder.sub(number, _number(last))) as loop:
            add_row(builder.add(loop.index, _number(last)), range(_ROWS_DOWN))
        for t in range(last):
            add_row(builder.add(number, _number(t)), range(last - t))
        target = _rows_of(*given, 4, (place[5], place[6]), _ROWS_DOWN)
        dtype = signature.args[4].dtype
        for address, row in zip(target, sums, strict=True):
            for v, variable in enumerate(row):
                _store(builder, variable, builder.add(address, _number(dtype.bitwidth * v)), dtype)
        return context.get_dummy_value()

    return types.void(source, taps, sy, sx, out, y, x), generate


@intrinsic
def _along(typing, source, taps, number, sy, sx, out, y, x):  # type: ignore[no-untyped-def]
    """Set 8 rows by 8 columns: ``out[y + r, x + c]`` is the sum over i of ``taps[7 + i] * source[sy + r, sx + c - i]``.

    i goes from 0 to number - 1, at least 7; there are 7 zeros before and after the taps.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = {n: context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (2, 3, 4, 6, 7)}
        number, spare = place[2], _COLUMNS_ALONG - 1
        given = context, builder, signature, arguments
        rightmost = _rows_of(*given, 0, (place[3], builder.add(place[4], _number(spare))), _ROWS_ALONG)
        of_taps = context.make_array(signature.args[1])(context, builder, arguments[1])
        first_tap, zero = builder.ptrtoint(of_taps.data, _WORD), ir.Constant(_VECTOR, None)
        sums = [cgutils.alloca_once_value(builder, zero) for _ in range(_ROWS_ALONG)]
        for variable in sums:
            builder.store(zero, variable)
        lane = ir.Constant(ir.VectorType(_WORD, 8), list(range(8)))

        def add_pixels(m: Any, where: Any = None) -> None:
            """Add the source's column sx + 7 - m: column c takes tap c - 7 + m."""
            offset = builder.mul(m, _number(_SIZE))
            tap = _load(builder, builder.add(first_tap, offset), _VECTOR)
            for row, variable in zip(rightmost, sums, strict=True):
                value = spread(builder, _VECTOR, _load(builder, builder.sub(row, offset), _DOUBLE))
                _add_product(context, builder, variable, tap, value, where)

        with cgutils.for_range(builder, _number(spare)) as loop:
            least = spread(builder, lane.type, builder.sub(_number(spare), loop.index))
            add_pixels(loop.index, builder.icmp_signed(">=", lane, least))
        with cgutils.for_range(builder, builder.sub(number, _number(spare))) as loop:
            add_pixels(builder.add(loop.index, _number(spare)))
        with cgutils.for_range(builder, _number(spare)) as loop:
            end = spread(builder, lane.type, builder.sub(_number(spare), loop.index))
            add_pixels(builder.add(number, loop.index), builder.icmp_signed("<", lane, end))
        dtype = signature.args[5].dtype
        for address, variable in zip(_rows_of(*given, 5, (place[6], place[7]), _ROWS_ALONG), sums, strict=True):
            _store(builder, variable, address, dtype)
        return context.get_dummy_value()

    return types.void(source, taps, number, sy, sx, out, y, x), generate


@njit(cache=True, nogil=True)
def convolve_down(image, taps, y0, x0, out):  # type: ignore[no-untyped-def]
    """Convolve along y.

    A NaN in the image makes NaN of the pixels whose taps reach it, and of no others.

    Parameters
    ----------
    image : ndarray of float64, shape (height, width)
        Contiguous along x.
    taps : ndarray of float64, shape (number,)
        The first is at offset 0.
    y0, x0 : int
        Pixel of the image that output pixel (0, 0) lies on. y0 - number + 1 must not be negative.
    out : ndarray of float32 or float64, shape (block_height, block_width)
        Filled; contiguous along x. The sums are of float64.
    """
    (height, width), number = out.shape, len(taps)
    if height >= _ROWS_DOWN and width >= _COLUMNS_DOWN and number >= _FEW:
        _blocks_down(image, taps, y0, x0, out)
        return
    block = image[y0 - number + 1 : y0 + height, x0 : x0 + width]
    if number < _FEW:
        _add_few(block, taps, 1, 0, out)
        return
    larger = np.zeros((max(height, _ROWS_DOWN) + number - 1, max(width, _COLUMNS_DOWN)))
    larger[: block.shape[0], :width] = block
    made = np.empty((max(height, _ROWS_DOWN), max(width, _COLUMNS_DOWN)))
    _blocks_down(larger, taps, number - 1, 0, made)
    out[:] = made[:height, :width]


@njit(cache=True, nogil=True)
def convolve_along(image, taps, y0, x0, out):  # type: ignore[no-untyped-def]
    """Convolve along x; see `convolve_down`. Here x0 - number + 1 must not be negative."""
    (height, width), number = out.shape, len(taps)
    if height >= _ROWS_ALONG and width >= _COLUMNS_ALONG and number >= _FEW:
        _blocks_along(image, taps, y0, x0, out)
        return
    block = image[y0 : y0 + height, x0 - number + 1 : x0 + width]
    if number < _FEW:
        _add_few(block, taps, 0, 1, out)
        return
    larger = np.zeros((max(height, _ROWS_ALONG), max(width, _COLUMNS_ALONG) + number - 1))
    larger[:height, : block.shape[1]] = block
    made = np.empty((max(height, _ROWS_ALONG), max(width, _COLUMNS_ALONG)))
    _blocks_along(larger, taps, 0, number - 1, made)
    out[:] = made[:height, :width]


@njit(cache=True, nogil=True)
def _add_few(block, taps, down, along, out):  # type: ignore[no-untyped-def]
    """Without vectors: one tap, where there is no filter."""
    last = len(taps) - 1
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            total = 0.0
            for i in range(last + 1):
                total += taps[i] * block[y + down * (last - i), x + along * (last - i)]
            out[y, x] = total


@njit(cache=True, nogil=True)
def _blocks_down(image, taps, y0, x0, out):  # type: ignore[no-untyped-def]
    """One block of columns after the other: its rows stay in the cache."""
    height, width = out.shape
    for left in range(0, width, _COLUMNS_DOWN):
        x = min(left, width - _COLUMNS_DOWN)  # the last ones are moved back: some pixels are done twice
        for top in range(0, height, _ROWS_DOWN):
            y = min(top, height - _ROWS_DOWN)
            _down(image, taps, y0 + y, x0 + x, out, y, x)  # type: ignore[call-arg]


@njit(cache=True, nogil=True)
def _blocks_along(image, taps, y0, x0, out):  # type: ignore[no-untyped-def]
    height, width = out.shape
    number, spare = len(taps), _COLUMNS_ALONG - 1
    padded = np.zeros(number + 2 * spare)
    padded[spare : spare + number] = taps
    for top in range(0, height, _ROWS_ALONG):
        y = min(top, height - _ROWS_ALONG)
        for left in range(0, width, _COLUMNS_ALONG):
            x = min(left, width - _COLUMNS_ALONG)
            _along(image, padded, number, y0 + y, x0 + x, out, y, x)  # type: ignore[call-arg]
