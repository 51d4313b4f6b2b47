"""Coadds whose pixels are kept for a while: neighbouring detector-visits, made one after the other, read the same."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch, Tract
from dcrflow.model.pixels import PatchPixels
from dcrflow.stores.coadds.contents import SourceWithContents
from dcrflow.stores.coadds.patch_info import PatchInfo
from dcrflow.stores.coadds.patch_psf import PatchPsf
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.zarr.arrays import whole_chunks

_Key = tuple[int, int, str, tuple[tuple[str, int], ...]]


@dataclass(frozen=True)
class _Kept:
    """Pixels that were read."""

    key: _Key
    pixels: PatchPixels

    @property
    def size(self) -> int:
        return sum(a.nbytes for a in (self.pixels.image, self.pixels.variance, self.pixels.mask))


class SharedCoadds:
    """A source that keeps the pixels it read last, and reads only what it does not have.

    It is meant for reads of rows of chunks, as `dcrflow.steps.chunk_rows` makes them: whole chunks are read, and what
    is kept serves a read of the same rows of pixels, also where that begins or ends elsewhere along the rows. Results
    are the same as without it, and must not be written to. Pixels with damage are not kept.

    Parameters
    ----------
    source : CoaddSource
        Reads what is not kept.
    most : int
        Bytes to keep; the pixels that were used last.
    """

    def __init__(self, source: CoaddSource, most: int) -> None:
        self._source, self._most = source, most
        self._kept: OrderedDict[int, _Kept] = OrderedDict()
        self._bytes = self._number = 0
        self._lock = threading.Lock()
        self.concurrent_reads = source.concurrent_reads

    @property
    def url(self) -> str:
        """That of the source."""
        return self._source.url

    @property
    def digest(self) -> str:
        """That of the source."""
        return self._source.digest

    @property
    def tracts(self) -> Mapping[int, Tract]:
        """Those of the source."""
        return self._source.tracts

    def require_band(self, band: str) -> None:
        """Make sure that some patch has this band."""
        self._source.require_band(band)

    def patches(self, tract: int, band: str) -> tuple[Patch, ...]:
        """Those of the source."""
        return self._source.patches(tract, band)

    def info(self, tract: int, patch: int, band: str) -> PatchInfo:
        """That of the source."""
        return self._source.info(tract, patch, band)

    def contents(self, tract: int, patch: int, band: str) -> str:
        """What the source says of a patch's contents; empty where it cannot tell."""
        return self._source.contents(tract, patch, band) if isinstance(self._source, SourceWithContents) else ""

    def read_psf(self, tract: int, patch: int, band: str) -> PatchPsf | None:
        """That of the source."""
        return self._source.read_psf(tract, patch, band)

    def read(self, tract: int, patch: int, band: str, box: Box, planes: Mapping[str, int]) -> PatchPixels:
        """Part of a patch, as the source reads it; what is kept is not read again."""
        key = (tract, patch, band, tuple(sorted(planes.items())))
        info = self.info(tract, patch, band)
        (whole,) = whole_chunks([box], info.chunks, info.bbox, info.bbox)
        found = self._read(key, whole, planes)
        if found.damage:  # what is beside the box is not to be told of
            return self._source.read(tract, patch, band, box, planes)
        return found.part(box)

    def _read(self, key: _Key, box: Box, planes: Mapping[str, int]) -> PatchPixels:
        tract, patch, band, _ = key
        near = self._nearest(key, box)
        if near is None:
            found = self._source.read(tract, patch, band, box, planes)
            self._keep(_Kept(key, found))
            return found
        common = near.box.intersection(box)
        if common == box:
            return near.part(box)
        sides = [Box.from_bounds(box.x0, box.y0, common.x0, box.y1), Box.from_bounds(common.x1, box.y0, box.x1, box.y1)]
        parts = [near.part(common)]
        parts += [self._source.read(tract, patch, band, side, planes) for side in sides if not side.is_empty]
        found = _joined(box, parts)
        self._keep(_Kept(key, found))
        return found

    def _nearest(self, key: _Key, box: Box) -> PatchPixels | None:
        """Of what is kept of the same rows of pixels, the one that has most of the box; None if none has any."""
        with self._lock:
            usable = [
                (kept.pixels.box.intersection(box).area, number)
                for number, kept in self._kept.items()
                if kept.key == key and kept.pixels.box.y0 <= box.y0 and kept.pixels.box.y1 >= box.y1
            ]
            most, number = max(usable, default=(0, -1))
            if not most:
                return None
            self._kept.move_to_end(number)
            return self._kept[number].pixels

    def _keep(self, new: _Kept) -> None:
        """Keep pixels in place of those that are part of them; the oldest go where there are too many."""
        if new.pixels.damage or new.size > self._most:
            return
        with self._lock:
            for number, kept in list(self._kept.items()):
                if kept.key == new.key and kept.pixels.box.intersection(new.pixels.box) == kept.pixels.box:
                    self._drop(number)
            self._kept[self._number] = new
            self._number += 1
            self._bytes += new.size
            while self._bytes > self._most:
                self._drop(next(iter(self._kept)))

    def _drop(self, number: int) -> None:
        self._bytes -= self._kept.pop(number).size


def _joined(box: Box, parts: list[PatchPixels]) -> PatchPixels:
    """Parts next to each other as one."""
    image, variance, mask = (
        np.empty((*getattr(parts[0], name).shape[:-2], *box.shape), getattr(parts[0], name).dtype)
        for name in ("image", "variance", "mask")
    )
    for part in parts:
        at = (..., *part.box.slices(box))
        image[at], variance[at], mask[at] = part.image, part.variance, part.mask
    damage = frozenset[str]().union(*(part.damage for part in parts))
    return PatchPixels(box, image, variance, mask, damage=damage)
