"""Files of a patch that should be there and are not, or not yet: some object stores give what was written with delay.

A file that is not there reads as its variable's fill value, without an error. That a variable knows nothing of a place
where another one does is suspicious; only then is asked whether the file is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.stores.zarr.arrays import UNDECODABLE, chunk_rows, read_into

_PAUSES = (0.2, 0.4, 0.8)  # seconds until it is looked for again
_SAMPLES = 8  # of a file's pixels along each axis

Arrays = Mapping[str, zarr.AsyncArray[Any]]
Read = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class LostFile:
    """A chunk or shard of a variable: which pixels of which planes, and its key."""

    name: str
    box: Box
    planes: tuple[slice, ...]
    key: str


async def lost_files(arrays: Arrays, found: Read, bbox: Box, part: Box, box: Box, no_data: int) -> list[LostFile]:
    """The files under a part of a patch that are not there, although they should; those that appear late are read.

    Parameters
    ----------
    arrays, found : mapping
        Variables image, variance and mask, and what was read of them.
    bbox, part, box : Box
        All pixels of the patch, those of the part, and those of the arrays in `found`.
    no_data : int
        The flag of NO_DATA in the mask; 0 if it has none.
    """
    lost = list(_suspects(arrays, found, bbox, part, box, no_data))
    for pause in (0.0, *_PAUSES):  # one that is there now may not have been when it was read
        if not lost:
            break
        await asyncio.sleep(pause)
        for file in [f for f in lost if await _is_there(arrays, f)]:
            here = file.box.intersection(part)
            there, place = (*file.planes, *here.slices(bbox)), (*file.planes, *here.slices(box))
            try:
                await read_into(arrays[file.name], there, found[file.name][place])
            except UNDECODABLE:  # it is being written
                continue
            lost.remove(file)
    return lost


async def _is_there(arrays: Arrays, file: LostFile) -> bool:
    return await (arrays[file.name].store_path / file.key).exists()


def _suspects(arrays: Arrays, found: Read, bbox: Box, part: Box, box: Box, no_data: int) -> Iterator[LostFile]:
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
                        yield LostFile(name, file, planes, array.metadata.encode_chunk_key(place))


def _known(name: str, values: NDArray[Any], place: Box, box: Box, no_data: int) -> NDArray[np.bool_]:
    """Whether a variable says something of samples of a place, by plane."""
    rows, columns = (slice(s.start, s.stop, max(1, (s.stop - s.start) // _SAMPLES)) for s in place.slices(box))
    sample = values[..., rows, columns]
    known: NDArray[np.bool_] = (sample & no_data) == 0 if name == "mask" else np.isfinite(sample)
    return known
