"""Shards, as `write_array` writes them: read on a local disk, and written, without zarr's detours.

zarr makes an array of every chunk that it reads, copies it into one of the shard's part, and that into the result; what
it writes it copies as often. With what it does in Python for each chunk, this takes three times as long as the
compression itself. Here each chunk is decompressed in work space and goes to its place from there, or the other way
round; bits are put in order on that way (`dcrflow.kernels.bit_planes`). Only what `write_array` writes is read, and
only what is sound: `read_local` leaves everything else to zarr, and with it what is to be said of damage. What is
written is what zarr would write, to the byte.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import product
from typing import Any

import google_crc32c
import numcodecs.blosc
import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.buffer.cpu import Buffer
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec
from zarr.storage import LocalStore

from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.files import open_regular
from dcrflow.stores.zarr.regular_files import RegularFiles

_GAP = 1 << 16  # bytes between two chunks that are read with them
_NONE = (1 << 64) - 1  # offset of a chunk that was not written
_ENTRY, _CHECKSUM = 16, 4  # bytes: of a chunk in the index, of a checksum
# In the header of a chunk of blosc: version, flags, and bytes of an item, that it holds, of a block, that it takes.
_HEADER = struct.Struct("<BxBB3I")
_BIT_SHUFFLED, _ORDERS = 4, 7  # flags of blosc: this one, and all that say how bytes are ordered

Bytes = NDArray[np.uint8]

_CHUNKS, _INDEX = (BytesCodec, BloscCodec, Crc32cCodec), (BytesCodec, Crc32cCodec)


class _UnsoundError(Exception):
    """Something is not as `write_array` writes it."""


def read_local(array: zarr.AsyncArray[Any], there: tuple[slice, slice], out: NDArray[Any]) -> bool:
    """Read part of an array of images from a local disk, if it is laid out as `write_array` does it, and sound.

    Parameters
    ----------
    array : zarr.AsyncArray
        Last two dimensions y, x.
    there : tuple of slice
        The rows and columns to read, with a start and a stop; of every image.
    out : ndarray
        Filled; last two dimensions those of `there`, the others the array's. If not read, anything may be in it.

    Returns
    -------
    bool
        Whether it was read. If not, let zarr read it.
    """
    if not _is_readable(array, out):
        return False
    try:
        for plane in np.ndindex(out.shape[:-2]):
            _read_plane(array, plane, there, out[plane])
    except (OSError, ValueError, RuntimeError, _UnsoundError):
        return False
    return True


def _is_readable(array: zarr.AsyncArray[Any], out: NDArray[Any]) -> bool:
    """Whether an array is as `write_array` makes it, on a local disk, and nobody has chosen another codec pipeline."""
    return (
        type(array.store_path.store) in (LocalStore, RegularFiles)
        and type(array.codec_pipeline).__module__.startswith("zarr.")
        and _is_ours(array)
        and array.dtype == out.dtype
        and array.shape[:-2] == out.shape[:-2]
    )


def _is_ours(array: zarr.AsyncArray[Any]) -> bool:
    """Whether an array's shards are as `write_array` makes them."""
    found: Any = array.metadata
    if len(getattr(found, "codecs", ())) != 1 or type(found.codecs[0]) is not ShardingCodec:
        return False
    shard = found.codecs[0]
    return (
        (tuple(map(type, shard.codecs)), tuple(map(type, shard.index_codecs))) == (_CHUNKS, _INDEX)
        and all(_is_little(codecs[0]) for codecs in (shard.codecs, shard.index_codecs))
        and str(getattr(shard.index_location, "value", shard.index_location)) == "end"
        and array.shards is not None
        and set(array.shards[:-2]) <= {1}
    )


def _is_little(codec: Any) -> bool:
    return bool(getattr(codec.endian, "value", codec.endian) == "little")


def _read_plane(
    array: zarr.AsyncArray[Any], plane: tuple[int, ...], there: tuple[slice, slice], out: NDArray[Any]
) -> None:
    store: Any = array.store_path.store
    shards: Any = array.shards
    chunks: Any = array.chunks
    shard, chunk = shards[-2:], chunks[-2:]
    y, x = there
    for number in product(*(range(s.start // n, -(-s.stop // n)) for s, n in zip(there, shard, strict=True))):
        top, left = (i * n for i, n in zip(number, shard, strict=True))
        inside = (
            slice(max(y.start, top) - top, min(y.stop, top + shard[0]) - top),
            slice(max(x.start, left) - left, min(x.stop, left + shard[1]) - left),
        )
        rows, columns = (
            slice(s.start + first - t.start, s.stop + first - t.start)
            for s, first, t in zip(inside, (top, left), there, strict=True)
        )
        path = store.root / array.store_path.path / array.metadata.encode_chunk_key((*plane, *number))
        with open_regular(path) as file:
            index = _index(file.fileno(), (shard[0] // chunk[0], shard[1] // chunk[1]))
            _read_shard(file.fileno(), index, chunk, inside, array.metadata.fill_value, out[rows, columns])


def _index(file: int, shape: tuple[int, int]) -> NDArray[np.uint64]:
    """Offset and number of bytes of each chunk of a shard, shape (*shape, 2)."""
    size = shape[0] * shape[1] * _ENTRY + _CHECKSUM
    end = os.fstat(file).st_size
    if end < size:
        raise _UnsoundError
    return _checked(_bytes_at(file, end - size, size)).view("<u8").reshape(*shape, 2)


def _read_shard(
    file: int,
    index: NDArray[np.uint64],
    chunk: tuple[int, int],
    inside: tuple[slice, slice],
    fill: Any,
    out: NDArray[Any],
) -> None:
    """Read some rows and columns of a shard's image."""
    # Numba takes long to import, and not all who import this module read pixels.
    from dcrflow.kernels.bit_planes import TOGETHER, unshuffle

    y, x = inside
    columns = range(x.start // chunk[1], -(-x.stop // chunk[1]))
    can_unshuffle = out.itemsize == 4 and out.strides[-1] == 4 and chunk[1] % TOGETHER == 0
    bits, unit = (out.view(np.uint32), 4 * TOGETHER) if can_unshuffle else (out, 0)
    size = chunk[0] * chunk[1] * out.itemsize
    space = np.empty(size + 4 * TOGETHER, np.uint8)
    planes, little = space[:size], space[size:].view(np.uint32).reshape(1, TOGETHER)
    decoded = planes.view(out.dtype).reshape(chunk)
    for j in range(y.start // chunk[0], -(-y.stop // chunk[0])):
        entries = index[j, columns.start : columns.stop].tolist()
        top, end_y = max(y.start - j * chunk[0], 0), min(y.stop - j * chunk[0], chunk[0])
        rows = slice(top + j * chunk[0] - y.start, end_y + j * chunk[0] - y.start)
        for i, data in zip(columns, _chunks(file, entries), strict=True):
            left, end_x = max(x.start - i * chunk[1], 0), min(x.stop - i * chunk[1], chunk[1])
            place = rows, slice(left + i * chunk[1] - x.start, end_x + i * chunk[1] - x.start)
            if data is None:
                out[place] = fill
            elif block := _decompress(_checked(data), planes, unit):
                unshuffle(planes, block, chunk[1], top, left, little, bits[place])
            else:
                out[place] = decoded[top:end_y, left:end_x]


def _chunks(file: int, entries: list[list[int]]) -> Iterator[Bytes | None]:
    """The bytes of some chunks, None for those that were not written; chunks that lie together are one read."""
    begin = end = 0
    block = np.empty(0, np.uint8)
    for number, (offset, size) in enumerate(entries):
        if offset == _NONE:
            yield None
            continue
        if not begin <= offset <= offset + size <= end:
            begin, end = offset, offset + size
            for following, length in entries[number + 1 :]:
                if following == _NONE:
                    continue
                if not end <= following <= end + _GAP:
                    break
                end = following + length
            block = _bytes_at(file, begin, end - begin)
        yield block[offset - begin : offset - begin + size]


def _bytes_at(file: int, offset: int, number: int) -> Bytes:
    if offset + number > os.fstat(file).st_size:
        raise _UnsoundError
    found = np.empty(number, np.uint8)
    if os.preadv(file, [found], offset) != number:
        raise _UnsoundError
    return found


def _checked(data: Bytes) -> Bytes:
    """What comes before a checksum that is right."""
    content = data[:-_CHECKSUM]
    if google_crc32c.value(content) != int.from_bytes(data[-_CHECKSUM:].tobytes(), "little"):
        raise _UnsoundError
    return content


def _decompress(data: Bytes, out: Bytes, unit: int) -> int:
    """Decompress a chunk, and leave its bits shuffled, in blocks of so many bytes; 0 if they are not.

    They are left so where items have four bytes and all blocks are multiples of `unit` bytes, which is not 0. The flag
    in the chunk's header that asks for more is taken away (README_CHUNK_FORMAT.rst of c-blosc).
    """
    if len(data) < _HEADER.size:
        raise _UnsoundError
    version, flags, item, held, block, size = _HEADER.unpack_from(data)
    if (held, size) != (out.nbytes, len(data)):
        raise _UnsoundError
    block = min(block, held)
    leave = (version, item, flags & _ORDERS) == (2, 4, _BIT_SHUFFLED) and unit and not (held % unit or block % unit)
    if leave:
        data[2] = flags & ~_BIT_SHUFFLED
    numcodecs.blosc.decompress(data, out)
    return block if leave else 0


def write_shards(array: zarr.AsyncArray[Any], values: NDArray[Any]) -> bool:
    """Write an array of images that `write_array` has created: a shard each, whole.

    Parameters
    ----------
    array : zarr.AsyncArray
        Nothing is in it yet.
    values : ndarray
        All of it.

    Returns
    -------
    bool
        Whether it was written. If not, let zarr write it: its shards are laid out in another way.
    """
    chunks, shards = array.chunks, array.shards
    if not _is_ours(array) or shards is None or any(n > s for n, s in zip(values.shape[-2:], shards[-2:], strict=True)):
        return False
    if array.dtype.kind not in "biuf":
        return False
    values = values.astype(array.dtype.newbyteorder("<"), copy=False)  # those of FITS files are big-endian
    for plane in np.ndindex(values.shape[:-2]):
        content = _shard(array, values[plane], (chunks[-2], chunks[-1]))
        if content is not None:
            key = array.metadata.encode_chunk_key((*plane, 0, 0))
            sync((array.store_path / key).set(Buffer.from_bytes(content)))
    return True


def _shard(array: zarr.AsyncArray[Any], values: NDArray[Any], chunk: tuple[int, int]) -> bytes | None:
    """A shard's content: chunks row by row, each with a checksum, then the index; None if no chunk is to be written."""
    found: Any = array.metadata
    codec, fill = found.codecs[0].codecs[1], array.dtype.type(found.fill_value)
    shape = tuple(-(-n // c) for n, c in zip(values.shape, chunk, strict=True))
    index = np.full((*shape, 2), _NONE, np.uint64)
    parts: list[bytes] = []
    space, end = np.empty(chunk, values.dtype), 0
    for j, i in np.ndindex(shape):
        part = values[j * chunk[0] : (j + 1) * chunk[0], i * chunk[1] : (i + 1) * chunk[1]]
        if _is_fill(part, fill):
            continue
        if part.shape != chunk:
            space[...] = fill
        space[: part.shape[0], : part.shape[1]] = part
        content = _compressed(space, codec)
        parts += [content, _checksum(content)]
        index[j, i] = end, len(content) + _CHECKSUM
        end += len(content) + _CHECKSUM
    entries = index.astype("<u8").tobytes()
    return b"".join([*parts, entries, _checksum(entries)]) if parts else None


def _is_fill(values: NDArray[Any], fill: Any) -> bool:
    """Whether all values are the fill value, so that they need not be written; -0.0 is not 0.0."""
    if values[0, 0] != fill and values[0, 0] == values[0, 0]:
        return False
    same = np.isnan(values) if fill != fill else (values == fill) & (np.signbit(values) == np.signbit(fill))
    return bool(same.all())


def _compressed(values: NDArray[Any], codec: BloscCodec) -> bytes:
    shuffle = ("noshuffle", "shuffle", "bitshuffle").index(str(getattr(codec.shuffle, "value", codec.shuffle)))
    name = str(getattr(codec.cname, "value", codec.cname)).encode()
    found: bytes = numcodecs.blosc.compress(values, name, codec.clevel, shuffle, codec.blocksize, codec.typesize)
    return found


def _checksum(content: bytes) -> bytes:
    return int(google_crc32c.value(content)).to_bytes(_CHECKSUM, "little")
