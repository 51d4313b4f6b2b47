"""Convolution of a stack of images with small kernels, summed over the stack in one pass; and the same for masks.

The inner loop works on 3 rows by a few vector registers: it multiplies and adds for every tap while the sums stay in
registers, and each vector of pixels serves 3 rows of sums: most lie on two lines of the cache, and take longer to load
than to multiply. LLVM's own vectoriser does not find that form (it loads and stores the sums once per tap), so `_tile`
writes it out. Each pixel's products are added in the same order, each with one rounding, whatever block the pixel is
in. So its sum does not depend, to the last bit, on the block or on the width of the machine's vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.row_vectors import TOGETHER, some_set
from dcrflow.kernels.vectors import fetch_line, spread

_BYTES = ir.IntType(8).as_pointer()
_LANES = 16 if binding.get_host_cpu_features().get("avx512f") else 8  # of float32 in a vector register


def _tile(rows: int, vectors: int, lanes: int) -> Any:
    """Make the innermost loop: `rows` by ``vectors * lanes`` sums of products, kept in registers.

    Called as ``tile(source, taps, sy, sx, first, out, y, x, ahead)``: adds to (stores in, if `first`)
    ``out[y + r, x + c]`` the sum over j and i of ``taps[j, i] * source[sy + r - j, sx + c - i]``. The sum has the dtype
    of the source, and is added in the dtype of `out`. In float32, each row of taps is summed first, then the sums of
    the rows are added: half the rounding error of a single running sum. Source pixels so far ahead in memory are asked
    for.
    """

    @intrinsic
    def tile(typing, source, taps, sy, sx, first, out, y, x, ahead):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            word = ir.IntType(64)
            arrays = {n: context.make_array(signature.args[n])(context, builder, arguments[n]) for n in (0, 1, 5)}
            element = {n: context.get_data_type(signature.args[n].dtype) for n in (0, 1, 5)}
            of_source, of_out = (ir.VectorType(element[n], lanes) for n in (0, 5))
            size = {ir.FloatType(): 4, ir.DoubleType(): 8}
            bits = size[element[0]] * 8
            fma = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(of_source, [of_source] * 3), f"llvm.fma.v{lanes}f{bits}"
            )

            def number(value: int) -> ir.Constant:
                return ir.Constant(word, value)

            def integer(n: int) -> Any:
                return context.cast(builder, arguments[n], signature.args[n], types.intp)

            def address(n: int, row: Any, column: Any) -> Any:
                start = builder.ptrtoint(arrays[n].data, word)
                along_y = builder.mul(builder.extract_value(arrays[n].strides, 0), row)
                return builder.add(builder.add(start, along_y), builder.mul(number(size[element[n]]), column))

            def pointer(where: Any, of: Any, vector: int = 0) -> Any:
                width = size[of.element if isinstance(of, ir.VectorType) else of] * lanes
                return builder.inttoptr(builder.add(where, number(vector * width)), of.as_pointer())

            def load(where: Any, of: Any, vector: int = 0) -> Any:
                return builder.load(pointer(where, of, vector), align=4)

            def converted(value: Any, to: Any) -> Any:
                if value.type == to:
                    return value
                return builder.fpext(value, to) if to.element == ir.DoubleType() else builder.fptrunc(value, to)

            each = [(r, v) for r in range(rows) for v in range(vectors)]

            def variables() -> list[list[Any]]:
                return [[cgutils.alloca_once(builder, of_source) for _ in range(vectors)] for _ in range(rows)]

            sums = variables()
            of_row, by_rows = variables(), element[0] == ir.FloatType()
            sy, sx, y, x, ahead = (integer(n) for n in (2, 3, 6, 7, 8))
            height, width = (builder.extract_value(arrays[1].shape, n) for n in (0, 1))
            target = [address(5, builder.add(y, number(r)), x) for r in range(rows)]
            last, nothing, zero = builder.sub(height, number(1)), ir.Constant(of_source, None), number(0)

            for r in range(rows):
                start = address(0, builder.add(sy, number(r)), builder.add(sx, ahead))
                for offset in range(0, vectors * lanes * size[element[0]], 64):
                    fetch_line(builder, builder.inttoptr(builder.add(start, number(offset)), _BYTES))
            for r, v in each:
                builder.store(nothing, sums[r][v])
            with cgutils.for_range(builder, builder.add(last, number(rows))) as loop:
                # Source row sy + rows - 1 - t, for all rows of sums: row r takes the taps t - (rows - 1 - r). Where
                # there are none, the products are those of other taps, and left out.
                from_source = address(0, builder.sub(builder.add(sy, number(rows - 1)), loop.index), sx)
                from_taps, is_there = [], []
                for r in range(rows):
                    j = builder.sub(loop.index, number(rows - 1 - r))
                    is_there.append(builder.icmp_unsigned("<", j, height))
                    from_taps.append(address(1, builder.select(is_there[r], j, zero), zero))
                for r, v in each:
                    builder.store(nothing if by_rows else builder.load(sums[r][v]), of_row[r][v])
                with cgutils.for_range(builder, width) as column:
                    offset = builder.mul(column.index, number(size[element[0]]))
                    values = builder.sub(from_source, offset)
                    tap = []
                    for start in from_taps:
                        one = builder.inttoptr(builder.add(start, offset), element[1].as_pointer())
                        tap.append(spread(builder, of_source, builder.load(one)))
                    for v in range(vectors):
                        value = load(values, of_source, v)
                        for r in range(rows):
                            so_far = of_row[r][v]
                            builder.store(builder.call(fma, [tap[r], value, builder.load(so_far)]), so_far)
                flags = ir.VectorType(ir.IntType(1), lanes)
                for r in range(rows):
                    wanted = spread(builder, flags, is_there[r])
                    for v in range(vectors):
                        before, more = builder.load(sums[r][v]), builder.load(of_row[r][v])
                        more = builder.fadd(before, more) if by_rows else more
                        builder.store(builder.select(wanted, more, before), sums[r][v])
            starts = context.cast(builder, arguments[4], signature.args[4], types.boolean)
            with builder.if_else(starts) as (yes, no):
                with yes:
                    for r, v in each:
                        total = converted(builder.load(sums[r][v]), of_out)
                        builder.store(total, pointer(target[r], of_out, v), align=4)
                with no:
                    for r, v in each:
                        before = load(target[r], of_out, v)
                        more = converted(builder.load(sums[r][v]), of_out)
                        builder.store(builder.fadd(before, more), pointer(target[r], of_out, v), align=4)
            return context.get_dummy_value()

        return types.void(source, taps, sy, sx, first, out, y, x, ahead), generate

    return tile


def _convolver(rows: int, vectors: int, lanes: int) -> Callable[..., None]:
    """Compile `convolve_sum` for blocks of at least `rows` by ``vectors * lanes`` pixels."""
    tile, columns = _tile(rows, vectors, lanes), vectors * lanes

    def convolver(stack, kernels, y_low, x_low, y0, x0, out, ahead):  # type: ignore[no-untyped-def]
        height, width = out.shape
        for top in range(0, height, rows):
            y = min(top, height - rows)  # the last ones are moved back: some pixels are done twice
            for left in range(0, width, columns):
                x = min(left, width - columns)
                for k in range(len(stack)):
                    which = k if len(kernels) > 1 else 0
                    sy, sx = y0 + y - y_low[which], x0 + x - x_low[which]
                    tile(stack[k], kernels[which], sy, sx, k == 0, out, y, x, ahead)

    # Each needs a name of its own. Numba, and its cache on disk, tell functions apart by their name, their types and a
    # number that each process counts for itself: two functions of one name are mixed up in a cache that two processes
    # have filled.
    convolver.__qualname__ = f"convolve_{rows}_rows_{vectors}_vectors_of_{lanes}"
    compiled: Callable[..., None] = njit(nogil=True)(convolver)
    return compiled


_VECTORS = 4 if _LANES == 16 else 3  # by 3 rows; processors without AVX-512 have half as many registers
_WIDE, _SLIM = 4 * _LANES, 8
_wide, _slim, _pixel_by_pixel = _convolver(3, _VECTORS, _LANES), _convolver(1, 1, _SLIM), _convolver(1, 1, 1)


@njit(cache=True, nogil=True)
def convolve_sum(stack, kernels, y_low, x_low, y0, x0, out, ahead=0):  # type: ignore[no-untyped-def]
    """Sum over k of kernels[k] convolved with stack[k], on one block.

    A NaN in the stack makes NaN of the pixels whose kernel reaches it, and of no others.

    Parameters
    ----------
    stack : ndarray of float32 or float64, shape (n, height, width)
        The images; contiguous along x.
    kernels : ndarray of the stack's dtype, shape (m, ky, kx), m = n, or 1 for the same kernel for all
        The taps, C-contiguous.
    y_low, x_low : ndarray of int64, shape (m,)
        Offset of the first tap of each kernel.
    y0, x0 : int
        Pixel of the stack that output pixel (0, 0) lies on. For each tap, y0 - y_low - j and x0 - x_low - i must lie in
        the stack for the whole block.
    out : ndarray of float32 or float64, shape (block_height, block_width)
        Filled. If it is float64 and the stack float32, the products of one image are summed in float32, and the images
        are added in float64: within 1e-7 of the largest product of all in float64, at half the cost.
    ahead : int
        Pixels of the stack that lie so far ahead of these in memory are asked for: those of the next block.
    """
    height, width = out.shape
    if height >= 3 and width >= _WIDE:
        _wide(stack, kernels, y_low, x_low, y0, x0, out, ahead)
    elif width >= _SLIM:
        _slim(stack, kernels, y_low, x_low, y0, x0, out, ahead)
    else:
        _pixel_by_pixel(stack, kernels, y_low, x_low, y0, x0, out, ahead)


@njit(cache=True, nogil=True)
def or_shifted(stack, planes, light, y0, x0, out, ahead=0):  # type: ignore[no-untyped-def]
    """OR of masks over all whole-pixel shifts of their light; zero where none of them is set.

    Parameters
    ----------
    stack : ndarray of int32, shape (n, height, width)
        The masks; contiguous along x.
    planes : int32
        The mask planes that matter.
    light : LightRange
        Mask pixel q marks the pixels q + low to q + high, along y and x.
    y0, x0 : int
        Pixel of the stack that output pixel (0, 0) lies on; shifts from outside the stack are passed over.
    out : ndarray of int32, shape (block_height, block_width)
        Filled.
    ahead : int
        As of `convolve_sum`.
    """
    n, h, w = stack.shape
    height, width = out.shape
    row = np.empty(width, np.int32)
    out[:] = 0
    for k in range(n):
        y_low, y_high, x_low, x_high = light.y_low[k], light.y_high[k], light.x_low[k], light.x_high[k]
        for sy in range(max(0, y0 - y_high), min(h, y0 + height - y_low)):
            first, last = max(0, x0 - x_high), min(w, x0 + width - x_low)
            number = last - first
            if number >= TOGETHER and not some_set(stack[k], sy, first, number, ahead, planes):  # type: ignore[call-arg]
                continue
            row[:] = 0
            for d in range(x_low, x_high + 1):
                first = max(0, d - x0)
                last = min(width, w + d - x0)
                for x in range(first, last):
                    row[x] |= stack[k, sy, x0 + x - d] & planes
            for d in range(y_low, y_high + 1):
                y = sy + d - y0
                if 0 <= y < height:
                    for x in range(width):
                        out[y, x] |= row[x]
