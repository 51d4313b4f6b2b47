"""Coefficients of the quintic B-spline by recursion: the filter of `dcrflow.kernels.spline` in a third of its time.

Unser's recursion (1999, IEEE Signal Processing Magazine 16(6), 22), both poles at once. Down the columns it runs over
all pixels of a row at once; along the rows, over 16 rows at once, which a copy holds side by side. The recursion back
needs 24 pixels ahead, so an image is done strip by strip, and each strip is in the cache.

By its rounding, what it makes of a pixel depends on where the image begins. Templates must not depend on their tile:
they take the filter.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.vectors import copy_turned, row_address

_ROOT = np.sqrt(105.0)
_POLES = tuple((s + np.sqrt(s * s - 4)) / 2 for s in (_ROOT - 13, -_ROOT - 13))  # s = z + 1 / z: s^2 + 26 s + 64 = 0
_ONE, _TWO = np.float32(sum(_POLES)), np.float32(-np.prod(_POLES))  # of the last pixel, and the one before
_GAIN = np.float32((1 - _POLES[0]) * (1 - _POLES[1]))  # of each direction: a constant stays what it is

_AHEAD = 24  # pixels, beyond which the light is below 1e-8
_STRIP, _BLOCK = 96, 512  # rows and columns done at a time
_LANES = 8  # of a vector; rows and columns that are turned at a time
_BESIDE = 2 * _LANES  # rows that lie side by side


@intrinsic
def _recurse(typing, array, first, number, step):  # type: ignore[no-untyped-def]
    """The recursion down the first 16 columns of an array, in place: rows first, first + step, and so on."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), _BESIDE)
        fma = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fma.v{_BESIDE}f32"
        )
        first, number, step = (
            context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (1, 2, 3)
        )  # fmt: skip
        gain, one, two = (ir.Constant(vector, [float(v)] * _BESIDE) for v in (_GAIN, _ONE, _TWO))
        last, before = (cgutils.alloca_once_value(builder, ir.Constant(vector, None)) for _ in range(2))
        start, stride = row_address(
            context, builder, signature.args[0], arguments[0], first, ir.Constant(word, 0)
        )  # fmt: skip
        stride = builder.mul(stride, step)
        with cgutils.for_range(builder, number) as loop:
            where = builder.inttoptr(builder.add(start, builder.mul(loop.index, stride)), vector.as_pointer())
            a, b = builder.load(last), builder.load(before)
            value = builder.call(fma, [two, b, builder.fmul(gain, builder.load(where, align=4))])
            value = builder.call(fma, [one, a, value])
            builder.store(value, where, align=4)
            builder.store(a, before)
            builder.store(value, last)
        return context.get_dummy_value()

    return types.void(array, first, number, step), generate


@njit(cache=True, nogil=True, error_model="numpy")
def quintic_coefficients(image):  # type: ignore[no-untyped-def]
    """Turn pixels into coefficients of the quintic B-spline, in place; what is beyond the edges counts as 0.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
        Finite, contiguous along x.
    """
    height, width = image.shape
    beside = np.zeros((width + _LANES, _BESIDE), np.float32)
    rows = np.zeros((3, _BLOCK), np.float32)
    done = 0  # rows that are recursed along x, and downwards
    for top in range(0, height, _STRIP):
        bottom = min(top + _STRIP, height)
        ahead = min(bottom + _AHEAD, height)
        for y in range(done, ahead, _BESIDE):
            _along(image[y : min(y + _BESIDE, ahead)], beside)
        for left in range(0, width, _BLOCK):
            block = image[:, left : min(left + _BLOCK, width)]
            for y in range(done, ahead):
                _step(block[y], block[max(y - 1, 0)], block[max(y - 2, 0)], _ONE * (y > 0), _TWO * (y > 1), block[y])
            rows[:] = 0
            for y in range(ahead - 1, bottom - 1, -1):
                _step(block[y], rows[(y + 1) % 3], rows[(y + 2) % 3], _ONE, _TWO, rows[y % 3])
            below, lower = rows[bottom % 3], rows[(bottom + 1) % 3]
            for y in range(bottom - 1, top - 1, -1):
                _step(block[y], below, lower, _ONE, _TWO, block[y])
                below, lower = block[y], below
        done = ahead


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _step(pixels, last, before, one, two, out):  # type: ignore[no-untyped-def]
    """A step of the recursion, for a row of pixels at once."""
    for x in range(len(pixels)):
        out[x] = _GAIN * pixels[x] + (np.float32(two) * before[x] + np.float32(one) * last[x])


@njit(cache=True, nogil=True, error_model="numpy")
def _along(rows, beside):  # type: ignore[no-untyped-def]
    """The recursion along up to 16 rows, in place, there and back."""
    number, width = rows.shape
    whole = width // _LANES * _LANES if number == _BESIDE else 0  # columns that are turned in squares
    for x in range(0, whole, _LANES):
        for half in range(0, _BESIDE, _LANES):
            copy_turned(rows, half, x, beside, x, half)  # type: ignore[call-arg]
    for r in range(number):
        for x in range(whole, width):
            beside[x, r] = rows[r, x]
    _recurse(beside, 0, width, 1)  # type: ignore[call-arg]
    _recurse(beside, width - 1, width, -1)
    for x in range(0, whole, _LANES):
        for half in range(0, _BESIDE, _LANES):
            copy_turned(beside, x, half, rows, half, x)
    for r in range(number):
        for x in range(whole, width):
            rows[r, x] = beside[x, r]
