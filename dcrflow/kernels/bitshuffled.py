"""Decompression of chunks of four-byte numbers that blosc has bit-shuffled and compressed by lz4, into their place.

A chunk is laid out as the formats say (c-blosc, README_CHUNK_FORMAT.rst; lz4, lz4_Block_format.md; Masui et al. 2015,
A compression scheme for radio data in high performance computing, sect. 3.2, on bit-shuffling): blocks, each of four
parts, one for each byte of the numbers; a part holds eight planes, one for each bit of that byte. The library that
Python has undoes the shuffling with vectors of 16 bytes and in several passes, the last of them into an array of its
own. Here 32 planes of 32 bytes each become 256 numbers while they are in registers.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from dcrflow.compat.numba_cache import njit
from dcrflow.kernels.vectors import pick, turn

_HEADER = 16  # bytes
_OURS = 2, 1, 0x24, 4  # versions of the format and of lz4 in it; bit-shuffled, by lz4, in parts; bytes of a number
_COPIED = 32  # bytes that are copied at once; nearly as many may be written beyond the end
_FAR = 512  # bytes

#: Numbers that are put together at once; a row of a chunk must be a multiple of it.
TOGETHER = 256

#: Bytes of the work space beyond those of a block.
SPARE = 64


@intrinsic
def _copy(typing, target, t, source, s):  # type: ignore[no-untyped-def]
    """Copy `_COPIED` bytes."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = ir.VectorType(ir.IntType(8), _COPIED).as_pointer()
        places = []
        for n in (0, 2):
            data = context.make_array(signature.args[n])(context, builder, arguments[n]).data
            at = context.cast(builder, arguments[n + 1], signature.args[n + 1], types.intp)
            places.append(builder.bitcast(builder.gep(data, [at]), pointer))
        builder.store(builder.load(places[1], align=1), places[0], align=1)
        return context.get_dummy_value()

    return types.void(target, t, source, s), generate


def _exchanged(builder: Any, planes: list[Any]) -> list[Any]:
    """Eight planes of one bit of each number as eight vectors of bytes: the n-th has those of every n-th of eight."""
    long, words = planes[0].type, ir.VectorType(ir.IntType(64), planes[0].type.count // 8)
    rows = [builder.bitcast(plane, words) for plane in planes]

    def of(byte: int) -> ir.Constant:
        return ir.Constant(words, [byte * 0x0101010101010101] * words.count)

    for distance, low in ((4, 0x0F), (2, 0x33), (1, 0x55)):
        shift = ir.Constant(words, [distance] * words.count)
        for n in range(8):
            if n & distance:
                continue
            a, b = rows[n], rows[n + distance]
            rows[n] = builder.or_(
                builder.and_(a, of(low)), builder.and_(builder.shl(b, shift), of(low << distance & 0xFF))
            )
            rows[n + distance] = builder.or_(
                builder.and_(builder.lshr(a, shift), of(low)), builder.and_(b, of(low << distance & 0xFF))
            )
    return [builder.bitcast(row, long) for row in rows]


def _interleaved(builder: Any, low: Any, high: Any) -> list[Any]:
    """Elements of two vectors in turn, as elements twice as wide; within either half of a register."""
    count = low.type.count
    half, quarter = count // 2, count // 4
    wide = ir.VectorType(ir.IntType(2 * low.type.element.width), half)
    found = []
    for first in (0, quarter):
        here = [range(start, start + quarter) for start in (first, half + first)]
        which = list(chain.from_iterable((n, count + n) for n in chain(*here)))
        found.append(builder.bitcast(pick(builder, low, high, which), wide))
    return found


@intrinsic
def _put_together(typing, planes, first, bytes_of_plane, out, y, x):  # type: ignore[no-untyped-def]
    """Write 256 numbers to ``out[y, x]`` and on, of which bit n is in 32 bytes from ``first + n * bytes_of_plane``."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word, vector = ir.IntType(64), ir.VectorType(ir.IntType(8), TOGETHER // 8)
        numbers = ir.VectorType(ir.IntType(32), 8)
        first, pitch, y, x = (context.cast(builder, arguments[n], signature.args[n], types.intp) for n in (1, 2, 4, 5))
        source, target = (context.make_array(signature.args[n])(context, builder, arguments[n]) for n in (0, 3))
        of_bytes = []
        for byte in range(4):
            loaded = []
            for bit in range(8 * byte, 8 * byte + 8):
                at = builder.add(first, builder.mul(pitch, ir.Constant(word, bit)))
                loaded.append(
                    builder.load(builder.bitcast(builder.gep(source.data, [at]), vector.as_pointer()), align=1)
                )
            of_bytes.append(_exchanged(builder, loaded))
        rows: list[list[Any]] = []  # for each of eight numbers side by side, those of every eighth
        for n in range(8):
            a, b, c, d = (vectors[n] for vectors in of_bytes)
            pairs = zip(_interleaved(builder, a, b), _interleaved(builder, c, d), strict=True)
            rows.append(list(chain.from_iterable(_interleaved(builder, low, high) for low, high in pairs)))
        row = builder.add(builder.ptrtoint(target.data, word), builder.mul(builder.extract_value(target.strides, 0), y))
        start = builder.add(row, builder.mul(x, ir.Constant(word, 4)))
        for part in range(4):
            for n, eight in enumerate(turn(builder, [vectors[part] for vectors in rows])):
                group = 4 * part + n % 4 + 16 * (n // 4)
                where = builder.add(start, ir.Constant(word, 32 * group))
                builder.store(eight, builder.inttoptr(where, numbers.as_pointer()), align=4)
        return context.get_dummy_value()

    return types.void(planes, first, bytes_of_plane, out, y, x), generate


@njit(cache=True, nogil=True)
def _integer(data, at):  # type: ignore[no-untyped-def]
    """Four bytes, the lowest first, as an integer."""
    return (
        np.int64(data[at])
        | np.int64(data[at + 1]) << 8
        | np.int64(data[at + 2]) << 16
        | np.int64(data[at + 3]) << 24
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _length(data, at, end):  # type: ignore[no-untyped-def]
    """What further bytes add to a length of 15, and where they end; -1 if there is no end of them."""
    total = np.int64(0)
    while at < end:
        value = np.int64(data[at])
        at += 1
        total += value
        if value != 255:
            return total, at
    return np.int64(-1), at


@njit(cache=True, nogil=True)
def _decompressed(data, at, end, out, first, size):  # type: ignore[no-untyped-def]
    """Undo lz4: ``data[at:end]`` to `size` bytes of `out` from `first` on; whether it is sound.

    Up to `SPARE` bytes of `out` beyond these are overwritten.
    """
    to, last, spare = first, first + size, len(data) - _COPIED
    while at < end:
        token = np.int64(data[at])
        at += 1
        length = token >> 4
        if length == 15:
            more, at = _length(data, at, end)
            if more < 0:
                return False
            length += more
        if length > end - at or length > last - to:
            return False
        n = np.int64(0)
        while n < length and at + n <= spare:
            _copy(out, to + n, data, at + n)  # type: ignore[call-arg]
            n += _COPIED
        while n < length:
            out[to + n] = data[at + n]
            n += 1
        at, to = at + length, to + length
        if at == end:
            return to == last
        if end - at < 2:
            return False
        distance = np.int64(data[at]) | np.int64(data[at + 1]) << 8
        at += 2
        length = (token & 15) + 4
        if length == 19:
            more, at = _length(data, at, end)
            if more < 0:
                return False
            length += more
        if distance == 0 or distance > to - first or length > last - to:
            return False
        n = np.int64(0)
        while distance < _COPIED and n < length and n < _COPIED:  # the pattern, until it is as long as what is copied
            out[to + n] = out[to + n - distance]
            n += 1
        if distance < _COPIED:
            distance *= -(-_COPIED // distance)
        while n < length:
            if 2 * distance <= n and distance < _FAR:  # it repeats itself; what was just written is slow to read
                distance *= 2
            _copy(out, to + n, out, to + n - distance)  # type: ignore[call-arg]
            n += _COPIED
        to += length
    return False


@njit(cache=True, nogil=True)
def decompress_into(data, space, out):  # type: ignore[no-untyped-def]
    """Decompress a chunk into its place.

    Parameters
    ----------
    data : ndarray of uint8, shape (n,)
        The chunk as it is stored, all of it.
    space : ndarray of uint8, shape (m,)
        Work space, at least `SPARE` bytes more than `out` has.
    out : ndarray of uint32, shape (height, width)
        Filled; contiguous along x. If the chunk is not decompressed, anything may be in it.

    Returns
    -------
    bool
        Whether it was decompressed. If not, it is laid out in another way, or damaged.
    """
    height, width = out.shape
    size = height * width * 4
    if len(data) < _HEADER or (data[0], data[1], data[2], data[3]) != _OURS or width % TOGETHER:
        return False
    block = _integer(data, 8)
    if _integer(data, 4) != size or _integer(data, 12) != len(data) or block <= 0:
        return False
    if size % block or block % (4 * TOGETHER) or len(space) < block + SPARE or len(data) < _HEADER + size // block * 4:
        return False
    part, pitch = block // 4, block // 32
    number = 0  # of numbers before
    for b in range(size // block):
        at = _integer(data, _HEADER + 4 * b)
        for p in range(4):
            if at < _HEADER or at > len(data) - 4:
                return False
            length = _integer(data, at)
            at += 4
            if length <= 0 or length > len(data) - at:
                return False
            if length == part:
                space[p * part : (p + 1) * part] = data[at : at + length]
            elif not _decompressed(data, at, at + length, space, p * part, part):
                return False
            at += length
        for first in range(0, pitch, TOGETHER // 8):
            _put_together(space, first, pitch, out, number // width, number % width)  # type: ignore[call-arg]
            number += TOGETHER
    return True
