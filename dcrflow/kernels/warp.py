"""Resampling to other pixels: image, variance and mask in one pass.

Each interpolation is a table of weights by fraction of a pixel: cubic polynomials on 32 intervals (error below 1e-7),
so one loop does splines, Lanczos kernels and bilinear interpolation. A table of more steps with linear interpolation
needs less arithmetic, but fills half of the processor's cache, and a turned detector reads its rows in random order:
then the warp takes 1.5 times as long. The taps of a row fill one vector register; LLVM's vectoriser does not do that
with so few, so `_weighted_sums` writes it out.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.interpolation import Interpolation
from dcrflow.kernels.noise import VarianceFactor
from dcrflow.kernels.vectors import fetch_ahead, pick, row_address, spread
from dcrflow.kernels.warped_rows import along_row, between, is_outside

Float = NDArray[np.float64]

_INTERVALS = 32  # of a pixel, each with a polynomial of its own
_POWERS = 4  # coefficients of a polynomial
_COLUMNS = 128
_LINE = 64  # bytes of a line of the cache
_AHEAD = 16  # rows of the output for which source pixels are asked for before they are read


def _lanes(taps: int) -> int:
    """Length of the vector that holds a number of taps: the next power of two."""
    return 1 << (taps - 1).bit_length()


def reach(interpolation: Interpolation) -> int:
    """Pixels by which the compiled warp looks beyond the pixel's left or lower neighbour, on either side."""
    return _taps(interpolation) // 2 - 1


def _taps(interpolation: Interpolation) -> int:
    """Taps an axis of the image's and of the variance's weights, whichever has more."""
    return max(interpolation.support, interpolation.of_variance.support)


def weight_table(interpolation: Interpolation, factor: VarianceFactor | None = None) -> NDArray[np.float32]:
    """Weights of an interpolation's taps, and those of the variance, as polynomials of the fraction of a pixel.

    Parameters
    ----------
    interpolation : Interpolation
        One that has weights.
    factor : VarianceFactor, optional
        What the variance's weights add up to along either axis. Without it they are squared weights, which is right for
        independent pixels alone.

    Returns
    -------
    ndarray of float32, shape (2, 32, 4, 2, lanes)
        Along y and x, by interval: the coefficients of 1, t, t^2 and t^3 of the image's weights, then of the
        variance's, in a vector's lanes, zeros around them. t goes from 0 to 1 over the interval, in the upper half of a
        pixel from 1 to 0, so that a weight which is 0 on the next pixel is exactly 0 there.
    """
    taps = _taps(interpolation)
    places = np.linspace(0.0, 1.0, _POWERS)
    interval = np.arange(_INTERVALS)[:, None]
    fractions = (np.where(2 * interval < _INTERVALS, interval + places, interval + 1 - places) / _INTERVALS).ravel()
    weights = np.zeros((2, len(fractions), 2, _lanes(taps)))
    squared = interpolation.of_variance.weights(fractions) ** 2
    if factor is not None:
        squared = squared / squared.sum(axis=1, keepdims=True)
    for which, of_taps in enumerate((interpolation.weights(fractions), squared)):
        spare = (taps - of_taps.shape[1]) // 2
        weights[:, :, which, spare : taps - spare] = of_taps
    if factor is not None:
        for axis in (0, 1):
            weights[axis, :, 1] *= factor.at(axis, fractions)[:, None]
    through = np.linalg.inv(places[:, None] ** np.arange(_POWERS))  # from values at the places to coefficients
    by_interval = weights.reshape(2, _INTERVALS, _POWERS, -1)
    table = _aligned(np.asarray(through @ by_interval, np.float32).reshape(2, _INTERVALS, _POWERS, 2, -1))
    table[:, :, 0] = weights.reshape(table.shape)[:, :, 0]
    table.setflags(write=False)
    return table


def _aligned(table: NDArray[np.float32]) -> NDArray[np.float32]:
    """A copy that begins on a line of the cache: no vector of it lies on two, which would be read twice as slowly."""
    buffer = np.empty(table.nbytes + _LINE, np.uint8)
    start = -buffer.ctypes.data % _LINE
    found = buffer[start : start + table.nbytes].view(np.float32).reshape(table.shape)
    found[...] = table
    return found


def _weighted_sums(taps: int) -> Any:
    """Make the sums over a pixel's ``taps * taps`` neighbours, of image and variance: a tuple of two float32.

    Called as ``sums(image, variance, y, x, table, jy, ty, jx, tx)``: of ``wy[j] * wx[i] * image[y + j, x + i]``, and
    of the variance alike, where wy and wx are the polynomials that begin at the table's rows jy and jx, at ty and tx.
    A vector register holds two rows of an image; the last steps are taken for image and variance together.
    """
    lanes = _lanes(taps)
    both = 2 * lanes

    @intrinsic
    def sums(typing, image, variance, y, x, table, jy, ty, jx, tx):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            word, index = ir.IntType(64), ir.IntType(32)
            single, double = ir.VectorType(ir.FloatType(), lanes), ir.VectorType(ir.FloatType(), both)
            nothing = ir.Constant(single, None)
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(double, [double] * 3), f"llvm.fma.v{both}f32"
            )
            flags = ir.VectorType(ir.IntType(1), lanes)
            masked_load = cgutils.get_or_insert_function(
                builder.module,
                ir.FunctionType(single, [single.as_pointer(), index, flags, single]),
                f"llvm.masked.load.v{lanes}f32.p0",
            )
            wanted = ir.Constant(flags, [i < taps for i in range(lanes)])

            def integer(n: int) -> Any:
                return context.cast(builder, arguments[n], signature.args[n], types.intp)

            def start(n: int, row: Any, column: Any) -> tuple[Any, Any]:
                """Address of an array's pixel, and from there to the next row."""
                array = context.make_array(signature.args[n])(context, builder, arguments[n])
                stride = builder.extract_value(array.strides, 0)
                bytes_along = builder.add(builder.mul(stride, row), builder.mul(ir.Constant(word, 4), column))
                return builder.add(builder.ptrtoint(array.data, word), bytes_along), stride

            def weights(row: Any, fraction: Any) -> Any:
                table, stride = context.make_array(signature.args[4])(context, builder, arguments[4]), 4 * both
                address = builder.add(builder.ptrtoint(table.data, word), builder.mul(ir.Constant(word, stride), row))
                everywhere, of_powers = spread(builder, double, fraction), []
                for _ in range(_POWERS):
                    of_powers.append(builder.load(builder.inttoptr(address, double.as_pointer()), align=4))
                    address = builder.add(address, ir.Constant(word, stride))
                total = of_powers.pop()
                while of_powers:
                    total = builder.call(fma, [total, everywhere, of_powers.pop()])
                return total

            def down(n: int, wy: Any) -> Any:
                """Sum over the rows, `lanes` columns."""
                address, stride = start(n, integer(2), integer(3))
                total = ir.Constant(double, None)
                for j in range(0, taps, 2):
                    rows = []
                    for _ in range(2):
                        where = builder.inttoptr(address, single.as_pointer())
                        rows.append(builder.call(masked_load, [where, ir.Constant(index, 4), wanted, nothing]))
                        address = builder.add(address, stride)
                    two = pick(builder, rows[0], rows[1], list(range(both)))
                    weight = pick(builder, wy, wy, [n * lanes + j] * lanes + [n * lanes + j + 1] * lanes)
                    total = builder.call(fma, [weight, two, total])
                return builder.fadd(
                    pick(builder, total, total, list(range(lanes))),
                    pick(builder, total, total, list(range(lanes, both))),
                )

            wy, wx = weights(integer(5), arguments[6]), weights(integer(7), arguments[8])
            total = builder.fmul(pick(builder, down(0, wy), down(1, wy), list(range(both))), wx)
            half = lanes // 2
            while half:  # fold the upper half of either onto the lower, down to one lane each
                total = builder.fadd(total, pick(builder, total, total, [min(i + half, both - 1) for i in range(both)]))
                half //= 2
            found = [builder.extract_element(total, ir.Constant(index, i)) for i in (0, lanes)]
            return context.make_tuple(builder, signature.return_type, found)

        of_pair = types.UniTuple(types.float32, 2)
        return of_pair(image, variance, y, x, table, jy, types.float32, jx, types.float32), generate

    return sums


@intrinsic
def _around(typing, mask, row, column):  # type: ignore[no-untyped-def]
    """The OR of four neighbours of a mask of int32, of which (row, column) is the first; two are loaded at once."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word, bits = ir.IntType(64), ir.IntType(32)
        row, column = (context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (1, 2))
        address, stride = row_address(context, builder, signature.args[0], arguments[0], row, column)
        pairs = [
            builder.load(builder.inttoptr(where, word.as_pointer()), align=4)
            for where in (address, builder.add(address, stride))
        ]
        both = builder.or_(*pairs)
        return builder.or_(builder.trunc(both, bits), builder.trunc(builder.lshr(both, ir.Constant(word, 32)), bits))

    return types.int32(mask, row, column), generate


def warp_kernel(interpolation: Interpolation) -> Callable[..., Any]:
    """Compile the warp for an interpolation.

    The compiled function is called as ``warp(source, origin_y, origin_x, grid, table, no_data, out)``:

    source : MaskedImage
        Arrays of float32, float32, int32, shape (h, w); the image is pixels, or spline coefficients, and finite.
    origin_y, origin_x : int
        Coordinates of the source's first pixel. (They are subtracted from whole pixels, not from coordinates, so that a
        place between pixels does not depend, to the last bit, on where the arrays begin.)
    grid : CoordinateGrid
        Source coordinates of the output pixels.
    table : ndarray of float32, shape (2, 32, 4, 2, lanes)
        `weight_table` of the interpolation.
    no_data : int
        Value of the NO_DATA mask plane. An output pixel is without data where one of the four source pixels around it
        has this bit, or where its kernel leaves the source.
    out : MaskedImage
        Arrays of float32, float32, int32, shape (height, width). Filled; image and variance scaled by the
        relative area of the pixels, and its square. The mask is the OR over the four source pixels around each output
        pixel.
    part : tuple of (int, int, int, int, float, float), optional
        Fill part of `out` alone: first row and column, height and width of the rectangle that the grid is for; and the
        smallest source row, and the one from which on pixels are left as they are, for a source of which this is a
        band. A pixel whose place is not finite belongs to the band without an end.

    It returns how many of the filled pixels have no weight: image not finite, or variance not finite and positive.
    """
    return _compiled(_taps(interpolation))


@lru_cache(maxsize=8)
def _compiled(taps: int) -> Callable[..., Any]:
    """`_warp` for kernels of so many taps.

    A function of its own name, with what differs among its globals: numba finds in its cache what has the same name and
    the same closure, and an intrinsic in a closure is another in each process.
    """
    own = {"_sums": _weighted_sums(taps), "_margin": taps // 2 - 1}
    function = FunctionType(_warp.__code__, globals() | own, f"warp_{taps}_taps", _warp.__defaults__)
    function.__qualname__ = function.__name__
    compiled: Callable[..., Any] = njit(cache=True, nogil=True, error_model="numpy")(function)
    return compiled


@njit(cache=True, nogil=True, error_model="numpy")
def _ahead(grid, gy, gx):  # type: ignore[no-untyped-def]
    """By how many source pixels along y and x `_AHEAD` rows go on in a cell of a grid; and a step along its rows.

    Pixels so far apart lie on every row of the source that the row crosses, and not twice as often on a line of the
    cache. The rows of a turned detector cross the memory's pages, where the processor fetches nothing by itself: it
    would wait for every line. The map may be anything beside the data, so the numbers are kept small.
    """
    down_y, down_x = grid.y[gy + 1, gx] - grid.y[gy, gx], grid.x[gy + 1, gx] - grid.x[gy, gx]
    slope = abs(grid.y[gy, gx + 1] - grid.y[gy, gx]) / grid.step
    every = 8 if slope < 0.125 else max(1, int(1 / slope)) if slope < np.inf else 8
    if not abs(down_y) + abs(down_x) < 100 * grid.step:
        return 0, 0, every
    return int(_AHEAD * down_y / grid.step), int(_AHEAD * down_x / grid.step), every


_sums: Any = None  # of `_compiled`
_margin = 0  # pixels by which a kernel reaches beyond the pixel's left or lower neighbour


def _warp(source, origin_y, origin_x, grid, table, no_data, out, part=None):  # type: ignore[no-untyped-def]
    image, variance, mask = source.image, source.variance, source.mask
    out_image, out_variance, out_mask = out.image, out.variance, out.mask
    step, y0, x0 = grid.step, grid.y0, grid.x0
    last, half, rows = np.float64(_INTERVALS - 1), np.float64(_INTERVALS / 2), _INTERVALS * _POWERS
    table = table.reshape((2 * rows, 2, table.shape[4]))  # those along x after those along y
    h, w = image.shape
    pitches = image.strides[0] // 4, variance.strides[0] // 4, mask.strides[0] // 4  # pixels from row to row
    if part is None:
        top, left, low_row, high_row = 0, 0, -np.inf, np.inf
        height, width = out_image.shape
    else:
        top, left, height, width, low_row, high_row = part
    nan = np.float32(np.nan)
    without_weight = 0
    low_x, high_x = np.float64(origin_x + _margin), np.float64(origin_x + w - _margin - 1)
    low_y, high_y = np.float64(origin_y + _margin), np.float64(origin_y + h - _margin - 1)
    column_of, row_of = np.empty(_COLUMNS, np.int32), np.empty(_COLUMNS, np.int32)
    step_x, step_y = np.empty(_COLUMNS, np.int32), np.empty(_COLUMNS, np.int32)
    rest_x, rest_y = np.empty(_COLUMNS, np.float32), np.empty(_COLUMNS, np.float32)
    scale = np.empty(_COLUMNS, np.float32)
    x = 0
    while x < width:  # columns of a grid cell's width at most, narrow enough that their input stays in the cache
        gx = (x0 + x) // step
        number = min(width, (gx + 1) * step - x0, x + _COLUMNS) - x
        start = x0 + x - gx * step
        ahead_y, ahead_x, every = _ahead(grid, (y0 + height // 2) // step, gx)
        cell_end = 0
        for y in range(height):
            if y >= cell_end:  # in another cell of the grid
                gy = (y0 + y) // step
                is_empty, cell_end = is_outside(grid, gy, gx, low_row, high_row), (gy + 1) * step - y0
            if is_empty:
                continue
            first_x, along_x, first_y, along_y, area, more_area = along_row(grid, y0 + y, gx)
            # Coordinates are linear along the row, so pixels that have something in common lie side by side.
            if not np.isfinite(first_y + along_y * (start + number)):
                own, own_end = 0, number if high_row == np.inf else 0
            else:
                own, own_end = between(first_y, along_y, start, number, low_row, high_row)
            if own == own_end:
                continue
            begin, end = between(first_x, along_x, start, number, low_x, high_x)
            begin_y, end_y = between(first_y, along_y, start, number, low_y, high_y)
            begin, end = max(begin, begin_y, own), min(end, end_y, own_end)  # those whose kernels are within the input
            if begin >= end:
                begin = end = own_end
            first = np.float64(start + begin)
            for k in range(end - begin):  # vectorised
                i = np.uint64(begin + k)
                n = first + k
                u, v = first_x + along_x * n, first_y + along_y * n
                whole_u, whole_v = np.floor(u), np.floor(v)
                column_of[i] = np.int32(np.int32(whole_u) - origin_x)
                row_of[i] = np.int32(np.int32(whole_v) - origin_y)
                u, v = (u - whole_u) * _INTERVALS, (v - whole_v) * _INTERVALS
                whole_u, whole_v = min(np.floor(u), last), min(np.floor(v), last)  # just below 0 it is 1 of the pixel
                step_x[i], step_y[i] = (
                    np.int32(np.int32(whole_u) * _POWERS + rows),
                    np.int32(np.int32(whole_v) * _POWERS),
                )
                u, v = u - whole_u, v - whole_v
                rest_x[i] = np.float32(u if whole_u < half else 1 - u)
                rest_y[i] = np.float32(v if whole_v < half else 1 - v)
                scale[i] = np.float32(abs(area + more_area * n))
            image_row, variance_row = out_image[top + y, left + x :], out_variance[top + y, left + x :]
            mask_row = out_mask[top + y, left + x :]
            image_row[own:begin] = image_row[end:own_end] = nan
            variance_row[own:begin] = variance_row[end:own_end] = nan
            mask_row[own:begin] = mask_row[end:own_end] = no_data
            for k in range(0, end - begin, every):
                i = np.uint64(begin + k)
                row, column = np.int64(row_of[i]) + ahead_y, np.int64(column_of[i]) + ahead_x
                fetch_ahead(image, row * pitches[0] + column, 0)  # type: ignore[call-arg]
                fetch_ahead(variance, row * pitches[1] + column, 0)
                fetch_ahead(mask, row * pitches[2] + column, 0)
            for k in range(end - begin):
                i = np.uint64(begin + k)
                column, row = np.int64(column_of[i]), np.int64(row_of[i])
                bits = _around(mask, row, column)  # type: ignore[call-arg,var-annotated]
                mask_row[i] = bits
                if bits & no_data:
                    image_row[i] = nan
                    variance_row[i] = nan
                    continue
                total, spread = _sums(
                    image, variance, row - _margin, column - _margin, table,
                    step_y[i], rest_y[i], step_x[i], rest_x[i],
                )  # fmt: skip
                image_row[i] = scale[i] * total
                variance_row[i] = scale[i] * scale[i] * spread
            for k in range(own_end - own):
                i = np.uint64(own + k)
                good = np.isfinite(image_row[i]) & (variance_row[i] > 0) & (variance_row[i] < np.inf)
                without_weight += not good
        x += number
    return without_weight
