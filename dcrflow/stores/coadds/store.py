"""The DCR-coadd store, for reading: subfilter coadds by tract, patch and band."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import blake2b
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import numpy as np
import zarr

from dcrflow.base.errors import CoaddStoreError
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch, Tract, sketched
from dcrflow.model.pixels import PatchPixels
from dcrflow.stores.coadds.chunks import read_parts, with_planes
from dcrflow.stores.coadds.contents import group_contents
from dcrflow.stores.coadds.kind import KIND, VERSION, refuse_unfinished
from dcrflow.stores.coadds.missing_chunks import Patience
from dcrflow.stores.coadds.patch_info import Arrays, PatchInfo, open_patch, read_patch_info, read_tract
from dcrflow.stores.coadds.patch_psf import PatchPsf, read_patch_psf
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.zarr.access import (
    is_broken_link,
    list_names,
    location,
    open_root,
    refuse_unsendable,
    url_of,
    words_of,
)
from dcrflow.stores.zarr.arrays import whole_chunks
from dcrflow.stores.zarr.checksums import digest_of_layout, digest_of_words, document_of
from dcrflow.view.cards import card

__all__ = ["DcrCoadds", "PatchInfo", "coadd_source", "open_coadds"]

_LOG = logging.getLogger(__name__)
_SKETCHED = 200  # patches of a tract that a sketch shows
#: Variables that `dcrflow.stores.coadds.writer` writes; others may be added.
_WRITTEN = (
    "image", "variance", "mask", "count", "x", "y", "subfilter", "subfilter_edges", "psf", "psf_node_x", "psf_node_y",
)  # fmt: skip

_WARNED: set[tuple[str, str]] = set()  # what was said already: many templates are made of the same chunk


def open_coadds(store: DcrCoadds | Any) -> DcrCoadds:
    """Open a DCR-coadd store for reading.

    Parameters
    ----------
    store : str, path, zarr store, zarr.Group or DcrCoadds
        A directory, a zip file, a URL that fsspec knows, or any of zarr's store objects.

    Raises
    ------
    CoaddStoreError
        If there is no such store, it is not a store of DCR coadds, or its writing was not finished.

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
    refuse_unfinished(opened._root)  # and raises if this is not such a store
    return opened


def _warn_once(words: str, url: str, line: str) -> None:
    if (url, line) not in _WARNED:
        _WARNED.add((url, line))
        _LOG.warning(words, url, line)


def coadd_source(coadds: CoaddSource | Any) -> CoaddSource:
    """Return a source of coadds unchanged; open anything else as a store."""
    return coadds if isinstance(coadds, CoaddSource) else open_coadds(coadds)


class DcrCoadds:
    """A DCR-coadd store, open for reading. It is cheap to open, and can be sent to other threads and processes.

    Metadata of tracts and patches is read once and kept; pixels are not kept. Unpickling a store touches no files,
    since that may fail, and dask gives up a worker that cannot unpickle: files are read when they are first needed.
    `open_coadds` reads at once.

    Parameters
    ----------
    store : str or zarr store
        See `open_coadds`.
    url : str, optional
        Its name in messages; by default its place.
    """

    concurrent_reads = True

    def __init__(self, store: Any, url: str | None = None) -> None:
        self._store = store
        self._url = url or url_of(store)
        self._opening = uuid4().hex
        self._patience = Patience()
        self._tracts: dict[int, Tract] = {}
        self._patches: dict[tuple[int, int, str], tuple[Arrays, PatchInfo]] = {}
        self._contents: dict[tuple[int, int, str], str] = {}

    @cached_property
    def _root(self) -> zarr.Group:
        return open_root(self._store, KIND, VERSION, CoaddStoreError)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._opening, self._store, self._url)

    def refuse_unsendable(self) -> None:
        """Raise CoaddStoreError if other processes cannot be given this store."""
        refuse_unsendable(self._store, CoaddStoreError)

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
        """The store's place."""
        return self._url

    @property
    def skymap(self) -> str:
        """Name of the skymap; empty if it has none."""
        return str(self._root.attrs.asdict().get("skymap", ""))

    @cached_property
    def digest(self) -> str:
        """A hash of the store's place, its tracts, and which patches it has in which bands; not of its pixels."""
        words = (self.url, self.skymap, list(self.tracts.values()), self._names)
        return blake2b(repr(words).encode(), digest_size=16).hexdigest()

    @cached_property
    def _names(self) -> dict[int, dict[int, tuple[str, ...]]]:
        """Tract to patch to bands, from listing the store once."""
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
        every = sorted({name for names in bands for name in _bands(names)})
        found: dict[int, dict[int, tuple[str, ...]]] = {tract: {} for tract in tracts}
        for (tract, patch), names in zip(pairs, bands, strict=True):
            lost = not names and is_broken_link(self._root, f"{tract}/{patch}")  # what needs it fails, and says so
            found[tract][patch] = tuple(every if lost else _bands(names))
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
            If none has; the message names the bands that there are.
        """
        if band not in self.bands:
            raise CoaddStoreError(
                f"{self.url} has no coadds in band {band!r}; its bands are {', '.join(self.bands) or '(none)'}"
            )

    def patches(self, tract: int, band: str) -> tuple[Patch, ...]:
        """The patches that a tract has in a band, in the order of their ids, with their boxes from the skymap.

        Raises
        ------
        CoaddStoreError
            If the tract is not there, or has a patch that its geometry does not have.
        """
        geometry = self._tract(tract)
        try:
            return tuple(geometry.patch(p) for p, bands in self._names.get(tract, {}).items() if band in bands)
        except LookupError as error:
            raise CoaddStoreError(f"{self.url}: unexpected patch: {error}") from None

    def info(self, tract: int, patch: int, band: str) -> PatchInfo:
        """Metadata of a patch; read once.

        Raises
        ------
        CoaddStoreError
            If the patch is not in the store, or its layout is wrong.
        """
        return self._patch(tract, patch, band)[1]

    def contents(self, tract: int, patch: int, band: str) -> str:
        """A digest that is another once the patch's pixels or metadata are; looked up once, see `forget_contents`."""
        key = (tract, patch, band)
        if key not in self._contents:
            try:
                self._contents[key] = group_contents(self._root, f"{tract}/{patch}/{band}")
            except Exception as error:
                where = f"{self.url}, tract {tract} patch {patch} band {band}"
                raise CoaddStoreError(f"{where}: cannot list what it contains: {words_of(error)}") from error
        return self._contents[key]

    def forget_contents(self) -> None:
        """Look at what the patches contain again, from now on."""
        self._contents.clear()

    def _patch(self, tract: int, patch: int, band: str) -> tuple[Arrays, PatchInfo]:
        key = (tract, patch, band)
        if key not in self._patches:
            self._patches[key] = read_patch_info(self._root, self.url, self._tract(tract), patch, band)
        return self._patches[key]

    def read(self, tract: int, patch: int, band: str, box: Box, planes: Mapping[str, int]) -> PatchPixels:
        """Read part of a patch: each chunk under it once, all three variables at the same time.

        Parameters
        ----------
        tract, patch : int
            The data ID.
        band : str
            Of the coadds.
        box : Box
            The part, absolute tract pixels, within the patch's bounding box.
        planes : mapping of str to int
            The bits of the mask to return; it must have all of the patch's planes.

        Returns
        -------
        PatchPixels
            The image is NaN where the mask says NO_DATA. A chunk that is damaged is NO_DATA, with a warning.

        Raises
        ------
        CoaddStoreError
            If a chunk cannot be read from the store; names patch, variable and region.
        ValueError
            If the box reaches outside the patch, or `planes` lacks one of its planes.
        """
        return self.read_strips(tract, patch, band, box, [box], planes)

    def read_strips(
        self, tract: int, patch: int, band: str, box: Box, strips: Sequence[Box], planes: Mapping[str, int]
    ) -> PatchPixels:
        """Read the chunks under some strips of a box, as `read` does; other pixels are zero, and take no memory.

        All chunks are requested at once and decoded into place; one by one where that fails. A chunk whose checksum is
        wrong or that cannot be decoded is NO_DATA in all subfilters, and is named in the result's ``damage``. So is a
        chunk that is missing, and still is a second later, if other variables have data there.
        """
        arrays, info = self._patch(tract, patch, band)
        label = f"tract {tract} patch {patch} band {band}"
        missing = sorted(set(info.planes) - set(planes))
        if missing:
            raise ValueError(f"{self.url}, {label}: no bit is given for its mask planes {', '.join(missing)}")
        parts = whole_chunks(strips, info.chunks, info.bbox, box)
        found, damage = read_parts(arrays, info, parts, box, f"{self.url}, {label}", label, self._patience)
        for line in damage:
            _warn_once("%s, %s: NO_DATA in its place; restore the store, or make the coadd again", self.url, line)
        pixels, stray = with_planes(found, info, parts, box, planes, damage)
        if not stray:
            return pixels
        words = _of_stray_bits(stray, found["mask"].dtype)
        return replace(pixels, damage=pixels.damage | {f"{label}: mask: {words}"})

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

    def changed_metadata(self, tract: int, patch: int, band: str) -> tuple[str, ...]:
        """What of a patch's metadata is not as dcrflow wrote it: ``attributes``, ``layout``, both or nothing.

        Attributes are the group's and its variables'; the layout is all else: shapes, dimensions, codecs. Nothing of a
        store without such checksums.
        """
        path = f"{tract}/{patch}/{band}"
        about = document_of(self._root, path).get("attributes", {})
        own = {name: document_of(self._root, f"{path}/{name}") for name in _WRITTEN}
        documents = {name: document for name, document in own.items() if document}
        said = {name: document.get("attributes", {}) for name, document in documents.items()}
        found = {"attributes": digest_of_words(about, said), "layout": digest_of_layout(documents)}
        known = [name for name in found if f"{name}_crc32" in about]
        return tuple(name for name in found if known and about.get(f"{name}_crc32") != found[name])


def _bands(names: Iterable[str]) -> list[str]:
    return [n for n in names if n != "zarr.json" and not n.startswith((".", "__"))]


def _numbers(names: list[str]) -> list[int]:
    return sorted(int(n) for n in names if n.isdecimal())


def _of_stray_bits(bits: int, kind: np.dtype[Any]) -> str:
    found = ", ".join(str(n) for n in range(8 * kind.itemsize) if bits >> n & 1)
    return f"dropped bits that are set but have no name in flag_meanings: {found}"


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
