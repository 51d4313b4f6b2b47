"""Reading chunks of a patch: all at once, with damaged and missing chunks as NO_DATA."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import chain
from operator import or_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import CoaddStoreError
from dcrflow.base.masks import NO_DATA, flag_of, named_bits, translate
from dcrflow.compat.zarr_sync import sync
from dcrflow.geometry.box import Box
from dcrflow.model.pixels import PatchPixels
from dcrflow.stores.coadds.missing_chunks import Patience, missing_chunks
from dcrflow.stores.coadds.patch_info import Arrays, PatchInfo
from dcrflow.stores.zarr.access import words_of
from dcrflow.stores.zarr.arrays import UNDECODABLE, read_chunks, read_into
from dcrflow.stores.zarr.shards import read_local

Damage = Mapping[str, Sequence[Box]]  # description of what could not be read, to its pixels


def read_parts(
    arrays: Arrays, info: PatchInfo, parts: Sequence[Box], box: Box, where: str, label: str, patience: Patience
) -> tuple[dict[str, NDArray[Any]], Damage]:
    """Read image, variance and mask of some parts of a box.

    Parameters
    ----------
    arrays : mapping of str to zarr.AsyncArray
        The patch's variables.
    info : PatchInfo
        Its metadata.
    parts : sequence of Box
        Whole chunks, tract pixels, within `box`.
    box : Box
        The pixels of the arrays to return.
    where, label : str
        The patch's name in errors, and in descriptions of damage.
    patience : Patience
        Of the store, with chunks that are missing.

    Returns
    -------
    found : dict of str to ndarray
        The variables on `box`; zero outside the parts.
    damage : mapping of str to sequence of Box
        Chunks that are damaged or missing.

    Raises
    ------
    CoaddStoreError
        If a chunk cannot be read from the store.
    """
    new = np.empty if sum(part.area for part in parts) == box.area else np.zeros
    found = {n: new((*arrays[n].shape[:-2], *box.shape), arrays[n].dtype) for n in ("image", "variance", "mask")}
    damage: dict[str, list[Box]] = {}

    async def one(name: str, part: Box) -> None:
        there, place = part.slices(info.bbox), part.slices(box)
        try:
            try:
                await read_into(arrays[name], (..., *there), found[name][(..., *place)])
            except UNDECODABLE:
                for chunk, words in await read_chunks(arrays[name], info.bbox, part, found[name], box):
                    damage.setdefault(f"{label}: {name} at {chunk}: {words}", []).append(chunk.intersection(part))
        except Exception as error:
            raise CoaddStoreError(
                f"{where}: cannot read {name} at {part}: {words_of(error)}; restore the store, or make the coadd again"
            ) from error

    def is_read(name: str, part: Box) -> bool:
        return read_local(arrays[name], part.slices(info.bbox), found[name][(..., *part.slices(box))])

    left = [(name, part) for name in found for part in parts if not is_read(name, part)]

    async def every() -> None:
        await asyncio.gather(*(one(name, part) for name, part in left))
        no_data = flag_of(info.planes[NO_DATA], found["mask"].dtype) if NO_DATA in info.planes else 0
        for part in parts if not damage else ():
            for file in await missing_chunks(arrays, found, info.bbox, part, box, no_data, patience):
                line = f"{label}: {file.name} at {file.box}: chunk {file.key} is missing"
                damage.setdefault(line, []).append(file.box.intersection(part))

    if left:  # what was read without zarr was there
        sync(every())
    return found, damage


def with_planes(
    found: Mapping[str, NDArray[Any]],
    info: PatchInfo,
    parts: Sequence[Box],
    box: Box,
    planes: Mapping[str, int],
    damage: Damage,
) -> tuple[PatchPixels, int]:
    """The pixels that were read, mask planes at the bits of `planes`, NO_DATA where there is damage.

    Parameters as `read_parts`.

    Returns
    -------
    pixels : PatchPixels
        The image is NaN where the mask says NO_DATA.
    stray : int
        Bits that are set in the mask but have no name; they are dropped.
    """
    for place in chain.from_iterable(damage.values()):
        found["mask"][(..., *place.slices(box))] = 0  # memory was not initialised there
    every = (1 << 8 * found["mask"].itemsize) - 1  # bits of a signed type, which may be negative
    set_in = [int(np.bitwise_or.reduce(found["mask"][(..., *p.slices(box))], axis=None)) & every for p in parts]
    stray = reduce(or_, set_in, 0) & ~named_bits(info.planes)
    image, variance, mask = (_stack(found[n], t) for n, t in (("image", "f4"), ("variance", "f4"), ("mask", "i4")))
    raw = mask if max(info.planes.values(), default=0) < 32 else found["mask"].reshape(mask.shape)
    in_place = raw is mask and not stray and all(planes.get(name) == bit for name, bit in info.planes.items())
    for part, bits in zip(parts, set_in, strict=True):
        at = (..., *part.slices(box))
        if not in_place:
            mask[at] = translate(raw[at], info.planes, planes)
        if NO_DATA in info.planes and bits >> info.planes[NO_DATA] & 1:
            no_data = (mask[at] & flag_of(planes[NO_DATA])) != 0
            image[at][np.broadcast_to(no_data, image[at].shape)] = np.nan
    for place in chain.from_iterable(damage.values()):
        at = (..., *place.slices(box))
        image[at] = variance[at] = np.nan
        mask[at] = 1 << planes[NO_DATA]
    return PatchPixels(box, image, variance, mask, damage=frozenset(damage)), stray


def _stack(values: Any, dtype: str) -> NDArray[Any]:
    """Values as a C-contiguous, writeable array of `dtype` with a leading subfilter axis; a copy only if needed."""
    with np.errstate(over="ignore"):  # numbers too large for float32 become infinite, and so NO_DATA
        array = np.require(values, dtype, ["C", "W"])
    return array if array.ndim == 3 else array[None]
