"""The warp of an image alone by the quintic spline: eight pixels at a time, each of them in a lane of the vectors.

`dcrflow.kernels.warp` takes any weights, and image and variance together; its vectors hold the taps of one pixel. Here
the weights of eight pixels are computed at once, each pixel's six rows are summed in a vector of its own, and the eight
vectors are turned before the sum along x, so that nothing is added across a vector. Weights are of single precision:
what they change of a constant is below 1e-6 of it.

A row of the output crosses many rows of a turned source, each for a few pixels, and a block of columns leaves a row
soon: no processor foresees what will be needed. What some rows farther down need is therefore asked for ahead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.interpolation import bspline
from dcrflow.kernels.vectors import fetch_ahead, spread, turn
from dcrflow.kernels.warped_rows import along_row, between

_LANES = 8  # pixels at a time; columns that are read for each, of which two have no weight
_TAPS = 6
_BEFORE = 2  # pixels that the kernel reaches beyond the lower neighbour
_COLUMNS = 256  # of the output, done at a time
_AHEAD, _OUT_AHEAD = 24.0, 4  # rows of the output from which source pixels, and output pixels, are asked for
_EVERY, _EVERY_BYTE = 4, 16  # pixels of a row for which they are, in turn: enough to meet all lines of the cache
_LINE = 64  # bytes of the cache

#: Source pixels that must exist before the pixel below a place, and after it, for the place to be warped to.
REACH = _BEFORE, _LANES - 1 - _BEFORE


def _weights(builder: Any, vector: ir.VectorType, t: Any) -> list[Any]:
    """Weights of the six pixels around a place, t from 0 to 1 above the third of them.

    The six polynomials are three pairs that are mirrored at t = 1/2. Even and odd part of each pair are polynomials of
    s = t (t - 1), the odd one times t - 1/2.
    """

    def of(value: float) -> ir.Constant:
        return ir.Constant(vector, [value] * vector.count)

    fma = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{vector.count}f32"
    )

    def polynomial(x: Any, *coefficients: float) -> Any:
        """The highest power first."""
        total = of(coefficients[0])
        for c in coefficients[1:]:
            total = builder.call(fma, [total, x, of(c)])
        return total

    s = builder.fmul(t, builder.fsub(t, of(1.0)))
    half = builder.fsub(t, of(0.5))
    even, odd = _PAIRS
    weights: list[Any] = [None] * _TAPS
    for n in range(_TAPS // 2):
        sum_of_pair, difference = polynomial(s, *even[n]), builder.fmul(half, polynomial(s, *odd[n]))
        weights[n] = builder.fsub(sum_of_pair, difference)
        weights[_TAPS - 1 - n] = builder.fadd(sum_of_pair, difference)
    return weights


def _pairs() -> tuple[list[list[float]], list[list[float]]]:
    """Even and odd part of the weights n = 0, 1, 2 and their mirror images, by powers of s, the highest first."""
    t = np.array([0.0, 0.2, 0.4])  # s is the same at 1 - t
    s = (t * (t - 1))[:, None] ** np.arange(2, -1, -1)
    even, odd = [], []
    for n in range(_TAPS // 2):
        distance = _BEFORE - n
        low, high = bspline(5, t + distance), bspline(5, 1 - t + distance)  # of n, and of its mirror image
        even.append(np.linalg.solve(s, (low + high) / 2).tolist())
        odd.append(np.linalg.solve(s, (high - low) / 2 / (t - 0.5)).tolist())
    return even, odd


_PAIRS = _pairs()


@intrinsic
def _weigh(typing, fractions, first, weights):  # type: ignore[no-untyped-def]
    """Weights of eight fractions of a pixel, those from `first` on, to the same columns of `weights`, shape (6, n)."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), _LANES)
        first = context.cast(builder, arguments[1], signature.args[1], types.intp)
        source, target = (context.make_array(signature.args[n])(context, builder, arguments[n]) for n in (0, 2))
        stride = builder.extract_value(target.strides, 0)
        t = builder.load(builder.bitcast(builder.gep(source.data, [first]), vector.as_pointer()), align=4)
        address = builder.ptrtoint(builder.gep(target.data, [first]), word)
        for j, weight in enumerate(_weights(builder, vector, t)):
            where = builder.add(address, builder.mul(stride, ir.Constant(word, j)))
            builder.store(weight, builder.inttoptr(where, vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(fractions, first, weights), generate


@intrinsic
def _eight(typing, image, place_of, first, along_y, along_x, total):  # type: ignore[no-untyped-def]
    """Sums over the neighbours of eight places, those from `first` on, to `total`; weights along y and along x."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word, index, vector = ir.IntType(64), ir.IntType(32), ir.VectorType(ir.FloatType(), _LANES)
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{_LANES}f32"
        )
        first = context.cast(builder, arguments[2], signature.args[2], types.intp)
        arrays = [context.make_array(signature.args[n])(context, builder, arguments[n]) for n in (0, 1, 3, 4, 5)]
        picture, places, wy, wx, out = arrays
        strides = [builder.extract_value(array.strides, 0) for array in (picture, wy, wx)]
        down, of_wy, of_wx = ([builder.mul(s, ir.Constant(word, j)) for j in range(_TAPS)] for s in strides)

        def address(array: Any, at: Any) -> Any:
            return builder.ptrtoint(builder.gep(array.data, [at]), word)

        def load(where: Any, of: Any) -> Any:
            return builder.load(builder.inttoptr(where, of.as_pointer()), align=4)

        sums = []
        for p in range(_LANES):
            at = builder.add(first, ir.Constant(word, p))
            corner = address(picture, builder.sext(load(address(places, at), index), word))
            weight, sum_of_rows = address(wy, at), ir.Constant(vector, None)
            for j in range(_TAPS):
                of_row = spread(builder, vector, load(builder.add(weight, of_wy[j]), ir.FloatType()))
                values = load(builder.add(corner, down[j]), vector)
                sum_of_rows = builder.call(fma, [of_row, values, sum_of_rows])
            sums.append(sum_of_rows)
        turned = turn(builder, sums)
        answer = ir.Constant(vector, None)
        for i in range(_TAPS):
            answer = builder.call(fma, [load(builder.add(address(wx, first), of_wx[i]), vector), turned[i], answer])
        builder.store(answer, builder.inttoptr(address(out, first), vector.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(image, place_of, first, along_y, along_x, total), generate


@njit(cache=True, nogil=True, error_model="numpy")
def warp_quintic(coefficients, spoilt, origin_y, origin_x, grid, inner, image, valid, edges):  # type: ignore[no-untyped-def]
    """Warp an image, given by the coefficients of its quintic spline.

    Parameters
    ----------
    coefficients : ndarray of float32, shape (h, w)
        Finite; C-contiguous, fewer than 2^31.
    spoilt : ndarray of uint8, shape (h, w)
        Not zero where nothing is known of the places between pixels (y, x) and (y + 1, x + 1); C-contiguous.
    origin_y, origin_x : int
        Coordinates of the first coefficient.
    grid : CoordinateGrid
        Source coordinates of the output pixels.
    inner : tuple of int
        (y0, y1, x0, x1), coordinates of source pixels: those outside are at an edge.
    image : ndarray of float32, shape (height, width)
        Filled: scaled by the relative area of the pixels; NaN where not valid. C-contiguous like the others.
    valid : ndarray of bool, shape (height, width)
        Filled: False where nothing is known, or fewer than `REACH` pixels of the source are left around the place.
    edges : ndarray of bool, shape (height, width)
        Filled: where one of the four source pixels around is at an edge.
    """
    h, w = coefficients.shape
    height, width = image.shape
    step, y0, x0 = grid.step, grid.y0, grid.x0
    nan = np.float32(np.nan)
    before, after = REACH
    low_x, high_x = np.float64(origin_x + before), np.float64(origin_x + w - after)
    low_y, high_y = np.float64(origin_y + before), np.float64(origin_y + h - after)
    inner_y0, inner_y1 = np.float64(inner[0]), np.float64(inner[1] - 1)
    inner_x0, inner_x1 = np.float64(inner[2]), np.float64(inner[3] - 1)
    flat, pixels_out, valid_out, edges_out = spoilt.reshape(-1), image.reshape(-1), valid.reshape(-1), edges.reshape(-1)
    corner_y, corner_x = np.int32(origin_y + before), np.int32(origin_x + before)
    pixel = before * w + before  # from a kernel's first pixel to that below the place
    spare = _COLUMNS + _LANES
    place_of = np.zeros(spare, np.int32)
    rest_x, rest_y = np.zeros(spare, np.float32), np.zeros(spare, np.float32)
    weights_y, weights_x = np.empty((_TAPS, spare), np.float32), np.empty((_TAPS, spare), np.float32)
    total = np.empty(spare, np.float32)
    x = 0
    while x < width:
        gx = (x0 + x) // step
        number = min(width, (gx + 1) * step - x0, x + _COLUMNS) - x
        start = x0 + x - gx * step
        for y in range(height):
            first_x, along_x, first_y, along_y, area, more_area = along_row(grid, y0 + y, gx)
            gy = (y0 + y) // step
            down_x, down_y = grid.x[gy + 1, gx] - grid.x[gy, gx], grid.y[gy + 1, gx] - grid.y[gy, gx]
            rows_ahead, columns_ahead = np.floor(_AHEAD / step * down_y), np.floor(_AHEAD / step * down_x)
            if abs(rows_ahead) < h and abs(columns_ahead) < w:  # and finite
                ahead = pixel + np.int64(rows_ahead) * w + np.int64(columns_ahead)
            else:
                ahead = pixel
            begin, end = between(first_x, along_x, start, number, low_x, high_x)
            begin_y, end_y = between(first_y, along_y, start, number, low_y, high_y)
            begin, end = max(begin, begin_y), min(end, end_y)  # of the pixels whose kernels are within the input
            if begin >= end:
                begin = end = number
            count, at_edge = end - begin, False
            first = np.float64(start + begin)
            for n in (first, first + count - 1):
                u, v = first_x + along_x * n, first_y + along_y * n
                at_edge |= not (inner_x0 <= u < inner_x1 and inner_y0 <= v < inner_y1)
            for k in range(count):  # vectorised
                n = first + k
                u, v = first_x + along_x * n, first_y + along_y * n
                whole_u, whole_v = np.floor(u), np.floor(v)
                down, along = np.int32(whole_v) - corner_y, np.int32(whole_u) - corner_x
                place_of[k] = down * np.int32(w) + along
                rest_x[k], rest_y[k] = np.float32(u - whole_u), np.float32(v - whole_v)
            for k in range(y % _EVERY, count, _EVERY):
                fetch_ahead(coefficients, place_of[np.uint64(k)] + ahead, 0)  # type: ignore[call-arg]
            for k in range(y % _EVERY_BYTE, count, _EVERY_BYTE):
                fetch_ahead(flat, place_of[np.uint64(k)] + ahead, 0)  # type: ignore[call-arg]
            out_ahead = (y + _OUT_AHEAD) * width + x
            for k in range(0, number, _LINE // 4):
                fetch_ahead(pixels_out, out_ahead + k, 1)  # type: ignore[call-arg]
            for k in range(0, number, _LINE):
                fetch_ahead(valid_out, out_ahead + k, 1)  # type: ignore[call-arg]
                fetch_ahead(edges_out, out_ahead + k, 1)
            row, left = np.uint64(y), np.uint64(x + begin)  # indices without a sign, which numba would test
            for k in range(count):
                valid[row, left + np.uint64(k)] = flat[np.uint64(place_of[np.uint64(k)] + pixel)] == 0
            for k in range(0, count, _LANES):
                _weigh(rest_y, k, weights_y)  # type: ignore[call-arg]
                _weigh(rest_x, k, weights_x)
            for k in range(0, count, _LANES):
                _eight(coefficients, place_of, k, weights_y, weights_x, total)  # type: ignore[call-arg]
            scale, more = np.float32(area + more_area * first), np.float32(more_area)
            for i in range(begin):
                image[y, x + i], valid[y, x + i], edges[y, x + i] = nan, False, False
            for i in range(end, number):
                image[y, x + i], valid[y, x + i], edges[y, x + i] = nan, False, False
            for k in range(count):  # vectorised
                n = np.uint64(k)
                light = abs(scale + more * np.float32(k)) * total[n]
                image[row, left + n] = light if valid[row, left + n] else nan
            for k in range(count):
                edges[row, left + np.uint64(k)] = False
            if at_edge:
                for k in range(count):
                    n = first + k
                    u, v = first_x + along_x * n, first_y + along_y * n
                    within = (u >= inner_x0) & (u < inner_x1) & (v >= inner_y0) & (v < inner_y1)
                    edges[row, left + np.uint64(k)] = not within
        x += number
