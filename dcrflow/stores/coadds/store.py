"""The DCR-coadd store, for reading: subfilter coadds by tract, patch and band."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import numpy as np
import zarr
from numpy.typing import NDArray

from dcrflow.base.errors import CoaddStoreError
from dcrflow.base.masks import NO_DATA, named_bits, translate
from dcrflow.compat.zarr_sync import sync
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch, Tract, sketched
from dcrflow.model.pixels import PatchPixels
from dcrflow.stores.coadds.missing_chunks import lost_files
from dcrflow.stores.coadds.patch_info import Arrays, PatchInfo, open_patch, read_patch_info, read_tract
from dcrflow.stores.coadds.patch_psf import PatchPsf, read_patch_psf
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.zarr.access import list_names, location, open_root, url_of, words_of
from dcrflow.stores.zarr.arrays import UNDECODABLE, read_chunks, read_into, whole_chunks
from dcrflow.view.cards import card

__all__ = ["KIND", "VERSION", "DcrCoadds", "PatchInfo", "coadd_source", "open_coadds"]

_LOG = logging.getLogger(__name__)
_SKETCHED = 200  # patches of a tract that a sketch shows

KIND, VERSION = "dcr-coadds", 1


def open_coadds(store: DcrCoadds | Any) -> DcrCoadds:
    """Open a DCR-coadd store for reading.

    Parameters
    ----------
    store : str, path, zarr store, zarr.Group or DcrCoadds
        A directory, a zip file, a URL that fsspec knows, or any of zarr's store objects.

    Raises
    ------
    CoaddStoreError
        If there is no such store, or it is none of DCR coadds.

    Examples
    --------
    >>> import dcrflow
    >>> coadds = dcrflow.open_coadds("survey/coadds.zarr")
    >>> coadds.bands
    ('g',)
    """
    if isinstance(store, DcrCoadds):
        return store
    opened = DcrCoadds(location(store))
    opened._root  # noqa: B018, what it is not is said here
    return opened


def coadd_source(coadds: CoaddSource | Any) -> CoaddSource:
    """A source of coadds as it is; anything else, opened as a store."""
    return coadds if isinstance(coadds, CoaddSource) else open_coadds(coadds)


class DcrCoadds:
    """A DCR-coadd store, open for reading; cheap to open, safe to send to other threads and processes.

    What is read of tracts and patches is kept; the pixels are not. Files are first looked at when something is asked of
    it (`open_coadds` looks at once), not where it is unpickled: that may fail, and dask gives a worker up that cannot
    unpickle.

    Parameters
    ----------
    store : str or zarr store
        See `open_coadds`.
    url : str, optional
        What to call it, if not after where it is.
    """

    def __init__(self, store: Any, url: str | None = None) -> None:
        self._store = store
        self._url = url or url_of(store)
        self._opening = uuid4().hex
        self._tracts: dict[int, Tract] = {}
        self._patches: dict[tuple[int, int, str], tuple[Arrays, PatchInfo]] = {}

    @cached_property
    def _root(self) -> zarr.Group:
        return open_root(self._store, KIND, VERSION, CoaddStoreError)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._opening, self._store, self._url)

    def __repr__(self) -> str:
        return f"<DcrCoadds {self.url}: {len(self._names)} tracts, bands {' '.join(self.bands) or '(none)'}>"

    def _repr_html_(self) -> str:
        shapes, numbers = [], []
        for number, tract in self.tracts.items():
            there = list(self._names[number])
            numbers.append(f"{number} ({len(there)} of {len(tract.patches)} patches)")
            shapes += [
                sketched("patch", tract.wcs, tract.patch(p).bbox, f"tract {number} patch {p}")
                for p in there[:_SKETCHED]
                if p < len(tract.patches)
            ]
            shapes.append(sketched("tract", tract.wcs, tract.bbox, f"tract {number}"))
        more = f" and {len(numbers) - 8} more" if len(numbers) > 8 else ""
        rows = {"tracts": ", ".join(numbers[:8]) + more, "bands": ", ".join(self.bands), "skymap": self.skymap}
        return card(f"DCR coadds {self.url}", rows, shapes)

    def __dask_tokenize__(self) -> str:
        return self.digest

    @property
    def url(self) -> str:
        """Where it is."""
        return self._url

    @property
    def skymap(self) -> str:
        """Name of the skymap; empty if it has none."""
        return str(self._root.attrs.asdict().get("skymap", ""))

    @cached_property
    def digest(self) -> str:
        """A hash of where the store is, its tracts, and which patches it has in which bands; not of its pixels."""
        words = (self.url, self.skymap, list(self.tracts.values()), self._names)
        return blake2b(repr(words).encode(), digest_size=16).hexdigest()

    @cached_property
    def _names(self) -> dict[int, dict[int, tuple[str, ...]]]:
        """tract -> patch -> bands, from listing the store once."""
        try:
            tracts = _numbers(list_names(self._root, [""])[0])
            pairs = [
                (t, p)
                for t, names in zip(tracts, list_names(self._root, map(str, tracts)), strict=True)
                for p in _numbers(names)
            ]
            bands = list_names(self._root, [f"{t}/{p}" for t, p in pairs])
        except Exception as error:
            raise CoaddStoreError(f"cannot list the patches of {self.url}: {words_of(error)}") from error
        found: dict[int, dict[int, tuple[str, ...]]] = {tract: {} for tract in tracts}
        for (tract, patch), names in zip(pairs, bands, strict=True):
            found[tract][patch] = tuple(n for n in names if n != "zarr.json" and not n.startswith((".", "__")))
        return found

    @cached_property
    def tracts(self) -> Mapping[int, Tract]:
        """The tracts, by id.

        Raises
        ------
        CoaddStoreError
            If a tract's attributes are missing or unusable.
        """
        return MappingProxyType({number: self._tract(number) for number in self._names})

    def _tract(self, tract: int) -> Tract:
        if tract not in self._tracts:
            self._tracts[tract] = read_tract(self._root, tract, self.url)
        return self._tracts[tract]

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """All bands that any patch has."""
        return tuple(sorted({b for patches in self._names.values() for bands in patches.values() for b in bands}))

    def require_band(self, band: str) -> None:
        """Make sure that some patch has this band.

        Raises
        ------
        CoaddStoreError
            If none has; names the bands there are.
        """
        if band not in self.bands:
            raise CoaddStoreError(
                f"{self.url} has no coadds in band {band!r}; its bands are {', '.join(self.bands) or '(none)'}"
            )

    def patches(self, tract: int, band: str) -> tuple[Patch, ...]:
        """The patches of a tract that are there in a band, by id; their boxes as the skymap has them.

        Raises
        ------
        CoaddStoreError
            If the tract is not there, or has a patch that its geometry does not have.
        """
        geometry = self._tract(tract)
        try:
            return tuple(geometry.patch(p) for p, bands in self._names.get(tract, {}).items() if band in bands)
        except LookupError as error:
            raise CoaddStoreError(f"{self.url}: there is a patch too many: {error}") from None

    def info(self, tract: int, patch: int, band: str) -> PatchInfo:
        """What the store says of a patch; read once.

        Raises
        ------
        CoaddStoreError
            If the patch is not there or not laid out as it should be; says what is wrong where.
        """
        return self._patch(tract, patch, band)[1]

    def _patch(self, tract: int, patch: int, band: str) -> tuple[Arrays, PatchInfo]:
        key = (tract, patch, band)
        if key not in self._patches:
            self._patches[key] = read_patch_info(self._root, self.url, self._tract(tract), patch, band)
        return self._patches[key]

    def read(self, tract: int, patch: int, band: str, box: Box, planes: Mapping[str, int]) -> PatchPixels:
        """Read part of a patch: the chunks under it, each once, those of all three variables at the same time.

        Parameters
        ----------
        tract, patch : int
            The data ID.
        band : str
            Of the coadds.
        box : Box
            The part, absolute tract pixels, within the patch's bounding box.
        planes : mapping of str to int
            The bits that the mask shall have; all of the patch's planes must be in it.

        Returns
        -------
        PatchPixels
            The image is NaN where the mask says NO_DATA. A chunk that is damaged is NO_DATA, with a warning.

        Raises
        ------
        CoaddStoreError
            If a chunk cannot be had from where it is; names patch, variable and region.
        ValueError
            If the box reaches outside the patch, or `planes` lacks one of its planes.
        """
        return self.read_strips(tract, patch, band, box, [box], planes)

    def read_strips(
        self, tract: int, patch: int, band: str, box: Box, strips: Sequence[Box], planes: Mapping[str, int]
    ) -> PatchPixels:
        """As `read`, but only the chunks under some strips of the box; the other pixels are zero, and take no memory.

        All chunks are asked for at once, and decoded into place; one by one where that fails. A chunk whose checksum
        is wrong, or that is no longer what was compressed, is NO_DATA in all subfilters, and said in the result's
        ``damage``; so is one that is not there, nor a second later, if other variables have data there.
        """
        arrays, info = self._patch(tract, patch, band)
        where = f"{self.url}, tract {tract} patch {patch} band {band}"
        missing = sorted(set(info.planes) - set(planes))
        if missing:
            raise ValueError(f"{where}: no bit is given for its mask planes {', '.join(missing)}")
        parts = whole_chunks(strips, info.chunks, info.bbox, box)
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
                        line = f"tract {tract} patch {patch} band {band}: {name} at {chunk}: {words}"
                        damage.setdefault(line, []).append(chunk.intersection(part))
            except Exception as error:
                raise CoaddStoreError(
                    f"{where}: cannot read {name} at {part}: {words_of(error)}; "
                    "restore the store, or make the coadd again"
                ) from error

        async def every() -> None:
            await asyncio.gather(*(one(name, part) for name in found for part in parts))
            no_data = 1 << info.planes[NO_DATA] if NO_DATA in info.planes else 0
            for part in parts if not damage else ():
                for file in await lost_files(arrays, found, info.bbox, part, box, no_data):
                    line = (
                        f"tract {tract} patch {patch} band {band}: {file.name} at {file.box}: {file.key} is not there"
                    )
                    damage.setdefault(line, []).append(file.box.intersection(part))

        sync(every())
        for place in chain.from_iterable(damage.values()):
            found["mask"][(..., *place.slices(box))] = 0  # not what happens to lie there
        stray = 0
        for part in parts:
            here = found["mask"][(..., *part.slices(box))]
            stray |= int(np.bitwise_or.reduce(here, axis=None)) & ~named_bits(info.planes)
        image, variance, mask = (_stack(found[n], t) for n, t in (("image", "f4"), ("variance", "f4"), ("mask", "i4")))
        for part in parts:
            at = (..., *part.slices(box))
            moved = translate(mask[at], info.planes, planes)
            if moved.base is not mask:
                mask[at] = moved
            if NO_DATA in info.planes:
                gone = (moved & np.int32(1 << planes[NO_DATA])) != 0
                if gone.any():
                    image[at][np.broadcast_to(gone, image[at].shape)] = np.nan
        for line, places in damage.items():
            _LOG.warning("%s, %s: NO_DATA in its place; restore the store, or make the coadd again", self.url, line)
            for at in ((..., *place.slices(box)) for place in places):
                image[at] = variance[at] = np.nan
                mask[at] = 1 << planes[NO_DATA]
        said = set(damage)
        if stray:
            words = _of_stray_bits(stray, found["mask"].dtype)
            said.add(f"tract {tract} patch {patch} band {band}: mask: {words}")
        return PatchPixels(box, image, variance, mask, damage=frozenset(said))

    def read_psf(self, tract: int, patch: int, band: str) -> PatchPsf | None:
        """Read the PSF of a patch; None if the store has none.

        Raises
        ------
        CoaddStoreError
            If it cannot be read, or is not laid out as it should be.
        """
        if self.info(tract, patch, band).psf_shape is None:
            return None
        where = f"{self.url}, tract {tract} patch {patch} band {band}"
        return read_patch_psf(open_patch(self._root, tract, patch, band, where), where)


def _numbers(names: list[str]) -> list[int]:
    return sorted(int(n) for n in names if n.isdecimal())


def _of_stray_bits(bits: int, kind: np.dtype[Any]) -> str:
    found = ", ".join(str(n) for n in range(8 * kind.itemsize) if bits >> n & 1)
    return f"bits without a name in flag_meanings are set, and dropped: {found}"


def _stack(values: Any, dtype: str) -> NDArray[Any]:
    """Values as a C-contiguous, writeable array of `dtype` with a leading subfilter axis; a copy only if need be."""
    with np.errstate(over="ignore"):  # what no float32 can hold is infinite, and so no data
        array = np.require(values, dtype, ["C", "W"])
    return array if array.ndim == 3 else array[None]


_OPEN: dict[str, DcrCoadds] = {}
_KEEP = 8  # stores a process


def _reopen(opening: str, store: Any, url: str) -> DcrCoadds:
    """Unpickle: once a process for each time that a store was opened, so that its metadata is read once."""
    if opening not in _OPEN:
        _OPEN[opening] = DcrCoadds(store, url)
        _OPEN[opening]._opening = opening
        while len(_OPEN) > _KEEP:
            _OPEN.pop(next(iter(_OPEN)), None)
    return _OPEN[opening]
