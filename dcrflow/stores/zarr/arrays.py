"""How arrays are laid out in the stores that dcrflow writes: inner chunks in whole shards, with checksums."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from inspect import signature
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.buffer.cpu import NDBuffer
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from dcrflow.compat.zarr_pipeline import fused_pipeline
from dcrflow.geometry.box import Box
from dcrflow.stores.zarr.access import words_of
from dcrflow.stores.zarr.shards import write_shards

if TYPE_CHECKING:
    from astropy.io import fits

#: Errors of decoding a damaged chunk. Stores raise other errors for a chunk that cannot be read.
UNDECODABLE = (ValueError, RuntimeError, zlib.error)

CHUNK = 512  # pixels a side of an inner chunk: 1 MiB of float32
GAP = 1 << 16  # bytes; a smaller gap between two chunks of a shard is read, which is faster than two requests
COADD_CHUNK = 256  # pixels; with 512, a third more of a coadd would be read under a rotated detector


@dataclass(frozen=True)
class KeyEncoding:
    """How zarr forms the keys of chunks.

    Parameters
    ----------
    name, separator : str
        As zarr's metadata have them.
    """

    name: Literal["default", "v2"]
    separator: Literal["/", "."]

    def key(self, number: Sequence[str]) -> str:
        """The key of a chunk, after the variable's name and ``/``; `number` is its index along each axis, as text."""
        return self.separator.join(["c", *number] if self.name == "default" else number)

    def number(self, key: str) -> list[str] | None:
        """The index of a chunk along each axis; None if a key has another form."""
        found = key.split(self.separator)
        if self.name == "default" and found.pop(0) != "c":
            return None
        return found if found and all(n.isdecimal() for n in found) else None


#: Three ways that no key has in common, the first of them zarr's default.
KEYS = (KeyEncoding("default", "/"), KeyEncoding("default", "."), KeyEncoding("v2", "."))


def reading() -> AbstractContextManager[Any]:
    """While it lasts, arrays are opened as they are best read; what somebody configured is left alone.

    With zarr's newer codec pipeline (where zarr has it), which decodes a shard's chunks in one go: with a task of the
    event loop for each chunk, as by default, that takes half as long again. And without reading the chunks between two
    that are wanted, if they are next to each other in the shard but not in the patch: of a turned detector those are
    many. (zarrs 0.2.3 takes two thirds of the time, but checks no checksum when it reads part of a shard.)
    """
    chosen: dict[str, Any] = {"array.sharding_coalesce_max_gap_bytes": GAP}
    if fused_pipeline() is not None:
        chosen["codec_pipeline.path"] = fused_pipeline()
    known = {key: value for key, value in chosen.items() if _default(key) is not None}
    untouched = {key: value for key, value in known.items() if zarr.config.get(key) == _default(key)}
    settings: AbstractContextManager[Any] = zarr.config.set(untouched)
    return settings


def _default(key: str) -> Any:
    """The default of a zarr setting; None if zarr has no setting of that name."""
    found: Any = zarr.config.defaults[0]
    for word in key.split("."):
        found = found.get(word, {})
    return found or None


def without_fill(array: zarr.AsyncArray[Any]) -> zarr.AsyncArray[Any]:
    """A floating-point array in which a chunk that is lost is NaN, whatever its metadata say."""
    metadata: Any = replace(array.metadata, fill_value=array.dtype.type(np.nan))
    return zarr.AsyncArray(metadata, array.store_path)


async def read_into(array: zarr.AsyncArray[Any], selection: Any, out: NDArray[Any]) -> None:
    """Read part of an array (slices) into part of another; with no array in between if the pipeline is zarr's own."""
    if type(array.codec_pipeline).__module__.startswith("zarr."):
        await array.get_orthogonal_selection(selection, out=NDBuffer.from_ndarray_like(out))
    else:  # it may want contiguous arrays
        out[...] = await array.getitem(selection)


async def read_chunks(
    array: zarr.AsyncArray[Any], bbox: Box, part: Box, out: NDArray[Any], out_box: Box
) -> list[tuple[Box, str]]:
    """Read part of an array of images chunk by chunk; where one is damaged, it is passed over.

    Parameters
    ----------
    array : zarr.AsyncArray
        Last two dimensions y, x.
    bbox, part : Box
        All pixels of the array, and those to read.
    out : ndarray
        Where to, last two dimensions those of `out_box`.
    out_box : Box
        The pixels of `out`.

    Returns
    -------
    list of (Box, str)
        The chunks that are damaged, in any plane of the array, and in which way.
    """
    lost = []
    for row in chunk_rows([part], array.chunks, bbox).values():
        for x0 in range(row.x0, row.x1, array.chunks[-1]):
            chunk = Box(x0, row.y0, array.chunks[-1], row.height).intersection(bbox)
            here = chunk.intersection(part)
            for first in product(*(range(0, n, c) for n, c in zip(out.shape[:-2], array.chunks, strict=False))):
                planes = tuple(slice(n, n + c) for n, c in zip(first, array.chunks, strict=False))
                there, place = (*planes, *here.slices(bbox)), (*planes, *here.slices(out_box))
                try:
                    await read_into(array, there, out[place])
                except UNDECODABLE as error:
                    lost.append((chunk, words_of(error)))
    return lost


def codecs() -> list[Any]:
    """How chunks are compressed: bit-shuffled lz4, then a checksum.

    Of zstd and of lz4 and zstd with either shuffle it reads fastest and shrinks float32 noise most (to 88 % of an
    image, 60 % of a variance, nothing of a mask), bar zstd 3 with bit-shuffling, which is its equal.

    Without shuffling, masks in which little is set are read in an eighth of the time. But flags with ragged outlines
    over 30 % of the pixels then take 2.7 times the bytes, and bad columns 8 times.
    """
    return [BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()]


def write_array(
    group: zarr.Group,
    name: str,
    dims: tuple[str, ...],
    values: NDArray[Any],
    *,
    fill: Any = 0,
    chunk: int = CHUNK,
    attributes: Mapping[str, Any] | None = None,
    keys: KeyEncoding = KEYS[0],
) -> zarr.Array[Any]:
    """Create a variable and write it; returns it.

    Parameters
    ----------
    group : zarr.Group
        Where to.
    name : str
        Of the variable.
    dims : tuple of str
        Names of its dimensions. One that ends in y, x is an image or a stack of them: a shard each, which is written
        whole and once, with inner chunks. Any other is one chunk.
    values : ndarray
        All of it.
    fill : scalar
        What a lost chunk reads as.
    chunk : int
        Pixels a side of an inner chunk.
    attributes : mapping, optional
        Of the variable.
    keys : KeyEncoding
        How the keys of its chunks are formed.
    """
    chunks: tuple[int, ...] = tuple(max(1, n) for n in values.shape)
    how: dict[str, Any] = {"compressors": codecs()}
    if dims[-2:] == ("y", "x"):
        each = (1,) * (values.ndim - 2)
        inner = tuple(max(1, min(chunk, n)) for n in values.shape[-2:])
        chunks = each + tuple(-(-n // c) * c for n, c in zip(values.shape[-2:], inner, strict=True))
        how = {"serializer": _shard(each + inner), "compressors": None}
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        fill_value=fill,
        attributes=dict(attributes or {}),
        dimension_names=dims,
        chunk_key_encoding={"name": keys.name, "separator": keys.separator},
        **how,
    )
    if dims[-2:] != ("y", "x") or not write_shards(array.async_array, values):
        array[...] = values
    return array


def _shard(inner: tuple[int, ...]) -> ShardingCodec:
    """How shards of images are written: row by row of inner chunks, so that what lies side by side is one request.

    (By default zarr writes them along a Morton curve, pieces of which are next to each other on file and not in the
    image.)
    """
    known = signature(ShardingCodec).parameters
    order: dict[str, Any] = {"subchunk_write_order": "lexicographic"} if "subchunk_write_order" in known else {}
    return ShardingCodec(chunk_shape=inner, codecs=[BytesCodec(), *codecs()], **order)


def whole_chunks(strips: Sequence[Box], chunks: Sequence[int], bbox: Box, within: Box) -> list[Box]:
    """The boxes to read so that every chunk under some strips is read, whole, and once.

    Parameters
    ----------
    strips : sequence of Box
        What is wanted.
    chunks : sequence of int
        Pixels of a chunk, last along y and x.
    bbox : Box
        The array's pixels; chunks are counted from its first.
    within : Box
        Where the boxes must stay, within `bbox`.
    """
    found: list[Box] = []
    for row in chunk_rows(strips, chunks, bbox).values():
        box = row.intersection(within)
        if found and (found[-1].x0, found[-1].x1, found[-1].y1) == (box.x0, box.x1, box.y0):
            box = found.pop().union(box)
        found.append(box)
    return [box for box in found if not box.is_empty]


def chunk_rows(strips: Sequence[Box], chunks: Sequence[int], bbox: Box) -> dict[int, Box]:
    """What some strips lie on of each row of chunks, whole chunks of it; by number of the row, in order.

    Parameters as `whole_chunks`.
    """
    height, width = chunks[-2:]
    columns: dict[int, tuple[int, int]] = {}
    for strip in strips:
        x0, x1 = ((strip.x0 - bbox.x0) // width * width, -(-(strip.x1 - bbox.x0) // width) * width)
        for row in range((strip.y0 - bbox.y0) // height, -(-(strip.y1 - bbox.y0) // height)):
            before = columns.get(row, (x0, x1))
            columns[row] = min(x0, before[0]), max(x1, before[1])
    boxes = {row: Box.from_bounds(x0, row * height, x1, (row + 1) * height) for row, (x0, x1) in columns.items()}
    return {row: boxes[row].moved(bbox.x0, bbox.y0) for row in sorted(boxes)}


def header_cards(header: fits.Header) -> dict[str, Any]:
    """A WCS as the stores keep it: FITS keyword to value."""
    return {card.keyword: card.value for card in header.cards if card.keyword}
