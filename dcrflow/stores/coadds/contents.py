"""What coadds contain, told from metadata and listings: changed pixels under an unchanged address are other coadds.

Nothing that has pixels is read, except in memory. In a directory the files' sizes and times of last change count, in a
zip file their checksums, in an object store the objects' ETags; the JSON documents count as they are.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from zlib import crc32

import zarr
from zarr.buffer.cpu import buffer_prototype
from zarr.storage import LocalStore, MemoryStore, ObjectStore, ZipStore

from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.zarr.remote import DependableStore, patiently, refuses


@runtime_checkable
class SourceWithContents(Protocol):
    """Coadds that can tell whether they have changed."""

    def contents(self, tract: int, patch: int, band: str) -> str:
        """A digest that is another once the patch's pixels or metadata are."""


def inputs_digest(coadds: object, patches: Iterable[tuple[int, int]], band: str) -> str:
    """A digest of what some patches contain; empty for coadds that cannot tell.

    Parameters
    ----------
    coadds : CoaddSource
        The source.
    patches : iterable of (int, int)
        Tract and patch.
    band : str
        Of the patches.
    """
    if not isinstance(coadds, SourceWithContents):
        return ""
    found = [(t, p, coadds.contents(t, p, band)) for t, p in sorted(patches)]
    return blake2b(repr((band, found)).encode(), digest_size=16).hexdigest()


def group_contents(root: zarr.Group, path: str) -> str:
    """A digest of what is below a path of a store, as far as can be told without reading pixels.

    Parameters
    ----------
    root : zarr.Group
        The store's root.
    path : str
        Of a group.
    """
    store: Any = root.store
    while isinstance(store, DependableStore):
        store = store.wrapped
    prefix = "/".join(part for part in (root.path, path) if part)
    if isinstance(store, LocalStore):
        facts = _of_files(Path(store.root) / prefix)
    elif isinstance(store, ZipStore):
        facts = _of_zip(Path(str(store.path)), prefix)
    elif isinstance(store, ObjectStore):
        facts = _of_objects(store.store, prefix)
    else:
        facts = _of_any(store, prefix)
    found = blake2b(digest_size=16)
    try:
        known = sorted(facts)
    except Exception as error:
        if not refuses(error):
            raise
        known = []  # plain web servers, and buckets whose users may only read, list nothing: their documents must do
    for fact in known:
        found.update(repr(fact).encode())
    documents = sync(_documents(root.store, prefix))
    for key, content in sorted(documents.items()):
        found.update(key.removeprefix(prefix).encode() + content)
    return found.hexdigest()


def _of_files(folder: Path) -> Iterator[tuple[Any, ...]]:
    """Name, size and time of last change of all files with pixels, wherever links lead and however chunks are named."""
    seen: set[tuple[int, int]] = set()

    def below(place: str, name: str) -> Iterator[tuple[Any, ...]]:
        try:
            about = os.stat(place)
            with os.scandir(place) as found:
                entries = sorted(found, key=lambda entry: entry.name)  # or what two links lead to has either's name
        except OSError:  # what reads it says what is wrong
            return
        if (about.st_dev, about.st_ino) in seen:  # a link leads back here
            return
        seen.add((about.st_dev, about.st_ino))
        for entry in entries:
            try:
                about = entry.stat()
            except OSError as error:
                yield name + entry.name, -1, error.errno or 0
                continue
            if stat.S_ISDIR(about.st_mode):
                yield from below(entry.path, f"{name}{entry.name}/")
            elif stat.S_ISREG(about.st_mode) and entry.name != "zarr.json":
                yield name + entry.name, about.st_size, about.st_mtime_ns

    yield from below(os.fspath(folder), "")


def _of_zip(file: Path, prefix: str) -> Iterator[tuple[Any, ...]]:
    with zipfile.ZipFile(file) as archive:
        for entry in archive.infolist():
            if entry.filename.startswith(f"{prefix}/"):
                yield entry.filename.removeprefix(prefix), entry.file_size, entry.CRC


def _of_objects(store: Any, prefix: str) -> Iterator[tuple[Any, ...]]:
    for about in patiently(lambda: list(chain.from_iterable(store.list(prefix)))):
        tag = about.get("e_tag") or str(about.get("last_modified"))
        yield about["path"].removeprefix(prefix), about["size"], tag


def _of_any(store: Any, prefix: str) -> Iterator[tuple[Any, ...]]:
    """Sizes, where the store tells them; in memory, checksums."""

    async def collect() -> list[tuple[Any, ...]]:
        facts: list[tuple[Any, ...]] = []
        async for key in store.list_prefix(f"{prefix}/"):
            if isinstance(store, MemoryStore):
                content = await store.get(key, buffer_prototype)
                facts.append((key.removeprefix(prefix), 0 if content is None else crc32(content.as_buffer_like())))
            else:
                facts.append((key.removeprefix(prefix), await store.getsize(key)))
        return facts

    yield from sync(collect())


async def _documents(store: Any, prefix: str) -> dict[str, bytes]:
    found = {}
    names = ("image", "variance", "mask", "psf", "x", "y", "subfilter_edges")
    for key in (f"{prefix}/zarr.json", *(f"{prefix}/{name}/zarr.json" for name in names)):
        content = await store.get(key, buffer_prototype)
        if content is not None:
            found[key] = content.to_bytes()
    return found
