"""Chunks of a patch that are missing, or not visible yet: some object stores show new objects with a delay.

zarr reads a missing chunk as its variable's fill value, without an error. So a chunk is suspected where one variable
has no data and another one has. Only then is the store asked whether the chunk's file exists.
"""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from time import monotonic
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.stores.zarr.arrays import UNDECODABLE, chunk_rows, read_into

_PAUSE, _PATIENCE = 0.2, 1.4  # seconds between looks for a missing file, and from the first of a store to the last
_SAMPLES = 8  # pixels of a chunk that are looked at along each axis

Arrays = Mapping[str, zarr.AsyncArray[Any]]
Read = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class MissingChunk:
    """A chunk or shard of a variable: its pixels, its subfilters, and its key."""

    name: str
    box: Box
    planes: tuple[slice, ...]
    key: str


@dataclass
class Patience:
    """How long missing chunks of a store are waited for, counted from the first.

    Programs that leave empty chunks out would otherwise cost a wait for each part that is read.
    """

    until: float | None = None

    def is_over(self) -> bool:
        """Whether it has been waited long enough; the first to ask begins to wait."""
        if self.until is None:
            self.until = monotonic() + _PATIENCE
        return monotonic() >= self.until


async def missing_chunks(
    arrays: Arrays, found: Read, bbox: Box, part: Box, box: Box, no_data: int, patience: Patience
) -> list[MissingChunk]:
    """Find the chunks under a part of a patch that are missing; read those that appear while this waits.

    Parameters
    ----------
    arrays, found : mapping
        Variables image, variance and mask, and what was read of them.
    bbox, part, box : Box
        All pixels of the patch, the pixels of the part, and those of the arrays in `found`.
    no_data : int
        The flag of NO_DATA in the mask; 0 if it has none.
    patience : Patience
        Of the store.
    """
    missing = list(_suspects(arrays, found, bbox, part, box, no_data))
    last = False
    while missing and not last:  # a chunk may have appeared since it was read
        last = patience.is_over()
        for file in [f for f in missing if await _exists(arrays, f)]:
            here = file.box.intersection(part)
            there, place = (*file.planes, *here.slices(bbox)), (*file.planes, *here.slices(box))
            try:
                await read_into(arrays[file.name], there, found[file.name][place])
            except UNDECODABLE:  # it is still being written
                continue
            missing.remove(file)
        if missing and not last:
            await sleep(_PAUSE)
    return missing


async def _exists(arrays: Arrays, file: MissingChunk) -> bool:
    return await (arrays[file.name].store_path / file.key).exists()


def _suspects(arrays: Arrays, found: Read, bbox: Box, part: Box, box: Box, no_data: int) -> Iterator[MissingChunk]:
    for name, array in arrays.items():
        if name not in found:
            continue
        step = array.shards or array.chunks
        for number, row in chunk_rows([part], step, bbox).items():
            for x0 in range(row.x0, row.x1, step[-1]):
                file = Box(x0, row.y0, step[-1], row.height).intersection(bbox)
                known = {n: _known(n, found[n], file.intersection(part), box, no_data) for n in found}
                if not any(known[other].any() for other in known if other != name):
                    continue
                for first in product(*(range(0, n, c) for n, c in zip(array.shape[:-2], step, strict=False))):
                    planes = tuple(slice(n, n + c) for n, c in zip(first, step, strict=False))
                    if not known[name][planes].any():
                        place = (
                            *(n // c for n, c in zip(first, step, strict=False)),
                            number,
                            (x0 - bbox.x0) // step[-1],
                        )
                        yield MissingChunk(name, file, planes, array.metadata.encode_chunk_key(place))


def _known(name: str, values: NDArray[Any], place: Box, box: Box, no_data: int) -> NDArray[np.bool_]:
    """Whether a variable has data at samples of a region, by subfilter."""
    rows, columns = (slice(s.start, s.stop, max(1, (s.stop - s.start) // _SAMPLES)) for s in place.slices(box))
    sample = values[..., rows, columns]
    known: NDArray[np.bool_] = (sample & no_data) == 0 if name == "mask" else np.isfinite(sample)
    return known
