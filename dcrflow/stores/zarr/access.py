"""Opening zarr stores of any kind: by path, by URL, or as zarr's own store objects."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pickle
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import zarr
from zarr.abc.store import Store
from zarr.buffer.cpu import buffer_prototype
from zarr.errors import ContainsArrayError, GroupNotFoundError, NodeTypeValidationError
from zarr.storage import LocalStore, StorePath, ZipStore

from dcrflow.base.addresses import redacted, redacted_text
from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.zarr.regular_files import RegularFiles
from dcrflow.stores.zarr.remote import dependable

_AT_ONCE = 64  # requests in flight while listing; object stores throttle those who ask for thousands


def location(store: Any) -> Any:
    """What zarr is given to open: a path or URL as text, a store object, or a path inside one."""
    if isinstance(store, zarr.Group):
        return location(store.store_path)
    if isinstance(store, StorePath) and not store.path:
        return location(store.store)
    if type(store) in (LocalStore, RegularFiles) and not store.read_only:
        return str(Path(store.root).absolute())
    if isinstance(store, os.PathLike) or (isinstance(store, str) and "://" not in store):
        return str(Path(store).absolute())
    if isinstance(store, str) and store.startswith("file://"):
        return str(Path(store.removeprefix("file://")).absolute())
    return store


def is_path(store: Any) -> bool:
    """Whether a `location` is a path of the local file system."""
    return isinstance(store, str) and "://" not in store


def url_of(store: Any) -> str:
    """A name for a `location`, for messages and provenance: without passwords and signatures, so not to open it."""
    if isinstance(store, str):
        return redacted(store)
    if isinstance(store, StorePath):
        return f"{url_of(store.store)}/{store.path}".rstrip("/")
    if isinstance(store, LocalStore):
        return str(Path(store.root).absolute())
    if isinstance(store, ZipStore) and store.path is not None:
        return f"zip://{Path(store.path).absolute()}"
    return redacted_text(" ".join(str(store).split()))


def words_of(error: BaseException) -> str:
    """An exception in one line: its type and its message; of a group, those of the first one."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = redacted_text(" ".join(str(error).split()))
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def remedy(error: BaseException) -> str:
    """How to mend a store that cannot be written, as the end of a message; empty if the cause is not known."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "; free space there, then run again with --retry-failed"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; give yourself permission to write there, then run again with --retry-failed"
    return ""


#: Where stores of a kind come from, for those who have none.
_HINTS = {"dcr-coadds": " (make them with dcrflow ingest, dcrflow coadd or coadds_from_arrays: see docs/data.md)"}


def open_root(
    store: Any, kind: str, version: int, error: type[Exception], mode: Literal["r", "r+"] = "r"
) -> zarr.Group:
    """Open the root group of one of dcrflow's stores.

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
    mode : {"r", "r+"}
        Read only, or also write.
    """
    url, hint = url_of(store), _HINTS.get(kind, "")
    if is_path(store) and not os.path.lexists(store):
        raise error(f"{url} does not exist; expected a zarr store of kind {kind!r}{hint}")
    if is_path(store) and os.path.isfile(store) and not zipfile.is_zipfile(store):
        raise error(f"{url} is a file; expected a zarr store of kind {kind!r}: a directory, or a zip file of one")
    try:
        if is_path(store) and os.path.isfile(store):
            store = ZipStore(store, mode="r")
        root = zarr.open_group(dependable(store, mode), mode=mode, zarr_format=3, use_consolidated=False)
        marks: Any = root.attrs.asdict().get("dcrflow")
    except (GroupNotFoundError, NodeTypeValidationError, ContainsArrayError, FileNotFoundError) as e:
        raise error(f"{url} is not a zarr (format 3) group; expected a store of kind {kind!r}{hint}") from e
    except Exception as e:
        raise error(f"cannot open {url}: {words_of(e)}; expected a store of kind {kind!r} that can be read") from e
    if not isinstance(marks, Mapping) or "kind" not in marks:
        raise error(
            f"{url} is a zarr group but none of dcrflow's: it has no attribute dcrflow; expected kind {kind!r}{hint}"
        )
    if marks["kind"] != kind:
        raise error(f"{url} is a dcrflow store of kind {marks['kind']!r}; expected kind {kind!r}")
    if not isinstance(marks.get("version"), int) or marks["version"] > version:
        raise error(
            f"{url} has layout version {marks.get('version')!r}; this dcrflow knows up to {version}: "
            "use a newer dcrflow"
        )
    return root


def keeps_only_zarr(store: Any) -> bool:
    """Whether a `location` is a session of icechunk, which takes zarr's own keys alone and changes by commits."""
    while isinstance(store, StorePath):
        store = store.store
    return isinstance(store, Store) and type(store).__module__.partition(".")[0] == "icechunk"


def refuse_unsendable(store: Any, error: type[Exception]) -> None:
    """Raise for a session of icechunk that cannot be sent to workers; others are sent as dask sends them."""
    if not keeps_only_zarr(store):
        return
    try:
        pickle.dumps(store)
    except Exception as e:
        raise error(
            f"{url_of(store)} cannot be sent to workers: {words_of(e)}; commit it, and give the store of a session "
            "that only reads: repository.readonly_session(...).store"
        ) from e


def is_occupied(store: Any) -> bool:
    """Whether anything is at a `location` already: a file, a directory that is not empty, a group, any key."""
    if is_path(store):
        if not os.path.isdir(store):
            return os.path.lexists(store)
        with os.scandir(store) as entries:
            return any(True for _ in entries)
    store = dependable(store)
    if isinstance(store, StorePath):
        return not sync(store.is_empty())
    if isinstance(store, Store):
        return not sync(store.is_empty(""))
    try:
        zarr.open_group(store, mode="r", use_consolidated=False)
    except (FileNotFoundError, GroupNotFoundError):
        return False
    return True


def refuse_zip(store: Any, error: type[Exception]) -> None:
    """Raise for a zip file given by path: nothing in it can be replaced, and one process alone can write it."""
    if is_path(store) and store.lower().endswith(".zip"):
        raise error(f"{store}: a zip file cannot be written in place; write a directory and zip that when it is done")


def attribute(group: Any, where: str, name: str, kinds: type | tuple[type, ...], error: type[Exception]) -> Any:
    """A group's attribute, or an error that names it, what was found and what was expected."""
    attributes: Mapping[str, Any] = dict(group.attrs)
    expected = " or ".join(k.__name__ for k in (kinds if isinstance(kinds, tuple) else (kinds,)))
    if name not in attributes:
        raise error(f"{where} has no attribute {name!r}, expected {expected}; write it again, or add the attribute")
    value = attributes[name]
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise error(f"{where}: attribute {name!r} is {value!r}, expected {expected}")
    return value


def list_names(root: zarr.Group, paths: Iterable[str]) -> list[list[str]]:
    """Names directly below each of some paths of a store, relative to its root group, sorted; many at a time."""

    async def one(path: str, gate: asyncio.Semaphore) -> list[str]:
        async with gate:
            return sorted([name.strip("/") async for name in root.store.list_dir(_key(root, path))])

    async def collect(those: Sequence[str]) -> list[list[str]]:
        gate = asyncio.Semaphore(_AT_ONCE)
        return await asyncio.gather(*(one(path, gate) for path in those))

    wanted = list(paths)
    try:
        found = sync(collect(wanted))
        if all(found) or isinstance(root.store, LocalStore) or "zarr.json" in sync(collect([""]))[0]:
            return found
    except Exception:
        known = _consolidated(root)
        if known is None:
            raise
    else:
        known = _consolidated(root)
    if known is None:  # a web server that shows no directories: not even what the group was opened by is listed
        raise OSError(
            "this store cannot be listed, and has no consolidated metadata: write them with zarr.consolidate_metadata"
        )
    return [_below(known, path) for path in wanted]


def is_broken_link(root: zarr.Group, path: str) -> bool:
    """Whether a path below a store's root group is a link that leads to nothing, such as a disk that is not mounted."""
    if not isinstance(root.store, LocalStore):
        return False
    folder = Path(root.store.root) / _key(root, path)
    return os.path.islink(folder) and not os.path.exists(folder)


def _consolidated(root: zarr.Group) -> set[str] | None:
    """Paths of all groups and arrays of a store, from its consolidated metadata; None if it has none."""
    content = sync(root.store.get(_key(root, "zarr.json"), prototype=buffer_prototype))
    if content is None:
        return None
    try:
        about = json.loads(content.to_bytes())["consolidated_metadata"]["metadata"]
        return {str(path).strip("/") for path in about}
    except (LookupError, TypeError, ValueError, RecursionError):
        return None


def _below(known: Iterable[str], path: str) -> list[str]:
    """The names directly below a path."""
    prefix = f"{path.strip('/')}/" if path.strip("/") else ""
    return sorted({p.removeprefix(prefix).partition("/")[0] for p in known if p.startswith(prefix) and p != prefix})


def group_attributes(root: zarr.Group, paths: Iterable[str]) -> list[dict[str, Any] | None]:
    """Attributes of groups at some paths, relative to a store's root group: one small read each, many at a time.

    None where there is no group, or a group whose metadata is incomplete.
    """

    async def one(path: str, gate: asyncio.Semaphore) -> dict[str, Any] | None:
        try:
            async with gate:
                found = await root.store.get(_key(root, f"{path}/zarr.json"), prototype=buffer_prototype)
            if found is None:
                return None
            metadata = json.loads(found.to_bytes())
        except (ValueError, RecursionError):
            return None
        if not isinstance(metadata, dict) or metadata.get("node_type") != "group":
            return None
        attributes = metadata.get("attributes")
        return dict(attributes) if isinstance(attributes, dict) else {}

    async def collect() -> list[dict[str, Any] | None]:
        gate = asyncio.Semaphore(_AT_ONCE)
        return await asyncio.gather(*(one(path, gate) for path in paths))

    return sync(collect())


def _key(root: zarr.Group, path: str) -> str:
    return "/".join(part for part in (root.path, path.strip("/")) if part)
