"""Numbers of four bytes from their bits, as bit-shuffled chunks of images have them.

Bit 0 of all numbers of a block comes first, then bit 1, and so on. The library that decompresses chunks makes all bits
of all numbers, which are then copied to their place. Here most bits are not looked at (of rounded pixels, and of flags,
half of the bytes are zero everywhere), and what is wanted of a chunk is made where it belongs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.vectors import row_address

#: Numbers that are made together: rows and blocks are as long, or several times as long.
TOGETHER = 64

_LOOKED_AT = np.uint64(512)  # words at a time


@intrinsic
def _address(typing, array, y, x):  # type: ignore[no-untyped-def]
    """Where a pixel of an array of numbers of 32 bits is."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        row, column = (context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (1, 2))
        return row_address(context, builder, signature.args[0], arguments[0], row, column)[0]

    return types.int64(array, y, x), generate


@intrinsic
def _make_together(typing, planes, at, apart, first, address):  # type: ignore[no-untyped-def]
    """Make `TOGETHER` numbers of 32 bits at an address, all bytes from number `first` on, a constant.

    For each bit, as many as are made are together in `planes`; those of the next bit are `apart` bytes further on.
    """
    if not isinstance(first, types.IntegerLiteral):
        return None

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word, half, small = ir.IntType(64), ir.IntType(32), ir.IntType(8)
        of_bytes, of_bits = ir.VectorType(small, TOGETHER), ir.VectorType(ir.IntType(1), TOGETHER)
        wide = ir.VectorType(half, TOGETHER)
        source = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        there, step = (context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (1, 2))
        there = builder.add(there, builder.mul(step, ir.Constant(word, 8 * first.literal_value)))
        found: Any = ir.Constant(wide, [0] * TOGETHER)
        for byte in range(first.literal_value, 4):
            made: Any = ir.Constant(of_bytes, [0] * TOGETHER)
            for bit in range(8):
                place = builder.bitcast(builder.gep(source, [there]), word.as_pointer())
                is_set = builder.bitcast(builder.load(place, align=1), of_bits)
                value = ir.Constant(of_bytes, [1 << bit] * TOGETHER)
                made = builder.or_(made, builder.select(is_set, value, ir.Constant(of_bytes, [0] * TOGETHER)))
                there = builder.add(there, step)
            moved = builder.shl(builder.zext(made, wide), ir.Constant(wide, [8 * byte] * TOGETHER))
            found = builder.or_(found, moved)
        builder.store(found, builder.inttoptr(arguments[4], wide.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(planes, at, apart, first, types.int64), generate


@njit(cache=True, nogil=True)
def _is_zero(words, first, number):  # type: ignore[no-untyped-def]
    """Whether so many words are zero."""
    for start in range(np.uint64(0), number, _LOOKED_AT):
        found = np.uint64(0)
        for k in range(min(_LOOKED_AT, number - start)):
            found |= words[first + start + np.uint64(k)]
        if found:
            return False
    return True


@njit(cache=True, nogil=True)
def _make_numbers(planes, first, width, y0, x0, space, out):  # type: ignore[no-untyped-def]
    """Make the wanted numbers of a block from its bits, `planes`.

    Parameters as `unshuffle`; `first` is the number of the block's first pixel in the chunk.
    """
    height, across = out.shape
    count = len(planes) // 4
    apart = count // 8
    words, half = planes.view(np.uint64), np.uint64(2 * apart)
    from_third = _is_zero(words, np.uint64(0), half)
    only_zero = from_third and _is_zero(words, half, half)
    for y in range(max(first // width, y0), min((first + count + width - 1) // width, y0 + height)):
        begin, end = max(first - y * width, x0), min(first + count - y * width, x0 + across)
        if begin < end and only_zero:
            out[y - y0, begin - x0 : end - x0] = 0
            continue
        for x in range(begin // TOGETHER * TOGETHER, end, TOGETHER):
            is_whole = begin <= x and x + TOGETHER <= end
            to = _address(out, y - y0, x - x0) if is_whole else _address(space, 0, 0)  # type: ignore[call-arg,var-annotated]
            at = (y * width + x - first) // 8
            if from_third:
                _make_together(planes, at, apart, 2, to)  # type: ignore[call-arg]
            else:
                _make_together(planes, at, apart, 0, to)  # type: ignore[call-arg]
            if not is_whole:
                for k in range(max(begin, x), min(end, x + TOGETHER)):
                    out[y - y0, k - x0] = space[0, k - x]


@njit(cache=True, nogil=True)
def unshuffle(planes, block, width, y0, x0, space, out):  # type: ignore[no-untyped-def]
    """Make part of a chunk's numbers from their bits.

    Parameters
    ----------
    planes : ndarray of uint8, one-dimensional
        The bits of the whole chunk, block by block; the first is where a word of 64 bits may begin.
    block : int
        Bytes of a block; the last may be shorter. Both, and the chunk, are multiples of ``4 * TOGETHER``.
    width : int
        Pixels of a row of the chunk; a multiple of `TOGETHER`.
    y0, x0 : int
        The first row and column that are wanted.
    space : ndarray of uint32, shape (1, TOGETHER)
        Overwritten.
    out : ndarray of uint32, two-dimensional
        Filled with the wanted pixels, contiguous along the rows; within the chunk.
    """
    for start in range(0, len(planes), block):
        end = min(start + block, len(planes))
        if start // 4 < (y0 + out.shape[0]) * width and end // 4 > y0 * width:
            _make_numbers(planes[start:end], start // 4, width, y0, x0, space, out)
