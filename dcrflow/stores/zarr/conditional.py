"""Objects that are written only if nobody else wrote them meanwhile.

S3, through obstore or s3fs, checks the condition itself (``If-None-Match``, ``If-Match``). So does every store that
obstore supports, except directories. A store in memory is guarded by a lock of the process. Of other stores the object
is read again right before it is written: then two writers within milliseconds of each other are not told apart.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from zarr.abc.store import Store
from zarr.buffer.cpu import Buffer, buffer_prototype
from zarr.storage import FsspecStore, WrapperStore

from dcrflow.stores.zarr.remote import patiently_awaited

_GUARD = threading.Lock()
_PAUSE = 0.01  # seconds
_WAITS = (0.05, 0.2, 0.8, 3.2)  # seconds between the tries


async def look(store: Store, key: str) -> tuple[int | None, Any]:
    """Bytes of an object, and a tag for `replace`; (None, None) if it is not there."""
    for wait in (*_WAITS, None):
        found: tuple[int | None, Any] = await patiently_awaited(lambda: _look(_innermost(store), key))
        if found[0] is not None or wait is None or not await store.exists(key):
            break
        await asyncio.sleep(wait)  # an overloaded store says so of objects that are there
    return found


async def read_tagged(store: Store, key: str) -> tuple[bytes | None, Any]:
    """An object's content, and a tag for `replace`; (None, None) if it is not there."""
    _, tag = await look(store, key)
    found = await store.get(key, buffer_prototype)  # if it is newer than its tag, replacing it is refused
    return None if found is None else found.to_bytes(), tag


async def replace(store: Store, key: str, data: bytes, tag: Any) -> bool:
    """Write an object if it is what it was when `tag` was read, or was not there and still is not; whether it was.

    If it has this content already, it was: an answer may have been lost, and the request made again.
    """
    if await patiently_awaited(lambda: _put(_innermost(store), key, data, tag)):
        return True
    found = await store.get(key, buffer_prototype)
    return found is not None and found.to_bytes() == data


def _innermost(store: Any) -> Any:
    while isinstance(store, WrapperStore) and hasattr(store, "wrapped"):
        store = store.wrapped
    return store


def _is_obstore(store: Any) -> bool:
    return type(store).__name__ == "ObjectStore" and type(store.store).__name__ != "LocalStore"


def _is_s3fs(store: Any) -> bool:
    return isinstance(store, FsspecStore) and type(store.fs).__module__.partition(".")[0] == "s3fs"


def _path(store: FsspecStore, key: str) -> str:
    return f"{store.path}/{key}".strip("/")


async def _look(store: Any, key: str) -> tuple[int | None, Any]:
    if _is_obstore(store):
        import obstore

        try:
            about = await obstore.head_async(store.store, key)
        except FileNotFoundError:
            return None, None
        return int(about["size"]), {n: about[n] for n in ("e_tag", "version") if about.get(n) is not None}
    if _is_s3fs(store):
        from dcrflow.compat.s3fs_conditions import look as look_there

        return await look_there(store.fs, _path(store, key))
    found = await store.get(key, buffer_prototype)
    return (None, None) if found is None else (len(found), found.to_bytes())


async def _put(store: Any, key: str, data: bytes, tag: Any) -> bool:
    if _is_obstore(store):
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            await obstore.put_async(store.store, key, data, mode="create" if tag is None else tag)
        except (AlreadyExistsError, PreconditionError):
            return False
        return True
    if _is_s3fs(store):
        from dcrflow.compat.s3fs_conditions import put

        return await put(store.fs, _path(store, key), data, tag)
    while not _GUARD.acquire(blocking=False):  # threads of this process have an event loop each
        await asyncio.sleep(_PAUSE)
    try:
        found = await store.get(key, buffer_prototype)
        if (None if found is None else found.to_bytes()) != tag:
            return False
        await store.set(key, Buffer.from_bytes(data))
        return True
    finally:
        _GUARD.release()
