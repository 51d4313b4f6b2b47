"""Opening zarr stores of any kind: by path, by URL, or as zarr's own store objects."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.errors import ContainsArrayError, GroupNotFoundError, NodeTypeValidationError
from zarr.storage import LocalStore, MemoryStore, ZipStore

CHUNK = 512  # pixels a side of an inner chunk: 1 MiB of float32


def codecs() -> list[Any]:
    """How chunks are compressed: bit-shuffled lz4, the fastest to read of those that gain at all, then a checksum."""
    return [BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()]


def location(store: Any) -> Any:
    """What zarr is given to open: a path or URL as text, or the store object itself."""
    if isinstance(store, zarr.Group):
        return store.store
    if isinstance(store, os.PathLike):
        return str(Path(store).absolute())
    if isinstance(store, str) and "://" not in store:
        return str(Path(store).absolute())
    return store


def url_of(store: Any) -> str:
    """A name for a store, for messages and provenance."""
    if isinstance(store, str):
        return store
    if isinstance(store, LocalStore):
        return str(Path(store.root).absolute())
    if isinstance(store, ZipStore):
        return f"zip://{Path(store.path).absolute()}"
    if isinstance(store, MemoryStore):
        return f"memory://{id(store._store_dict):x}"
    return str(store)


def open_root(store: Any, kind: str, version: int, error: type[Exception]) -> zarr.Group:
    """Open the root group of one of dcrflow's stores for reading.

    Parameters
    ----------
    store : str or zarr store
        From `location`.
    kind : str
        What it must be: ``dcr-coadds`` or ``templates``.
    version : int
        Newest layout that this program knows.
    error : type
        Raised, with one line that says what was found, if it is not such a store.
    """
    url = url_of(store)
    plain = isinstance(store, str) and "://" not in store
    if plain and not os.path.lexists(store):
        raise error(f"{url} does not exist; expected a zarr store of kind {kind!r}")
    try:
        if plain and store.endswith(".zip"):
            store = ZipStore(store, mode="r")
        root = zarr.open_group(store, mode="r", zarr_format=3)
        marks = root.attrs.asdict().get("dcrflow")
    except (
        GroupNotFoundError,
        NodeTypeValidationError,
        ContainsArrayError,
        FileNotFoundError,
        NotADirectoryError,
    ) as e:
        raise error(f"{url} is not a zarr (format 3) group; expected a store of kind {kind!r}") from e
    except Exception as e:
        raise error(f"cannot open {url}: {type(e).__name__}: {' '.join(str(e).split())}") from e
    if not isinstance(marks, Mapping) or "kind" not in marks:
        raise error(f"{url} is a zarr group but none of dcrflow's: it has no attribute dcrflow; expected kind {kind!r}")
    if marks["kind"] != kind:
        raise error(f"{url} is a dcrflow store of kind {marks['kind']!r}; expected kind {kind!r}")
    if not isinstance(marks.get("version"), int) or marks["version"] > version:
        raise error(
            f"{url} has layout version {marks.get('version')!r}; this dcrflow knows up to {version}: use a newer dcrflow"
        )
    return root


def attribute(group: zarr.Group, where: str, name: str, kinds: type | tuple[type, ...], error: type[Exception]) -> Any:
    """A group's attribute, or an error that names it, what was found and what was expected."""
    attributes = group.attrs.asdict()
    if name not in attributes:
        raise error(f"{where} has no attribute {name!r}")
    value = attributes[name]
    if not isinstance(value, kinds) or isinstance(value, bool):
        expected = "/".join(k.__name__ for k in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise error(f"{where}: attribute {name!r} is {value!r}, expected {expected}")
    return value


def is_store(store: object) -> bool:
    """Whether this is one of zarr's own store objects."""
    return isinstance(store, Store)
