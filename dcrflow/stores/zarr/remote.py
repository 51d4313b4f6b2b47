"""Object stores that answer "not found" for objects that exist.

zarr reads a missing chunk as its fill value, which means no data. An overloaded object store may answer 404 for an
object that it cannot deliver now, and pixels would be lost silently. So a key counts as missing only if it is not
listed either; any other request that meets a 404 is repeated. The clients (obstore, s3fs) repeat requests after
timeouts, 5xx and 429 themselves, except writes and deletions, which may have happened. These are repeated here: doing
them twice is harmless.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from zarr.abc.buffer import Buffer
from zarr.abc.store import ByteRequest, Store
from zarr.storage import FsspecStore, LocalStore, MemoryStore, StorePath, WrapperStore, ZipStore

from dcrflow.base.addresses import redacted_text
from dcrflow.stores.zarr.regular_files import RegularFiles

_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # seconds between the tries
_SOON = 0.1  # the longest of them for a store that refuses lists, where every key that is not there would cost them all
_ENOUGH = 30.0  # seconds; after these a request is not repeated, since the client has repeated it itself


class DependableStore(WrapperStore[Store]):
    """A store that checks a "not found" against its listing.

    Raises
    ------
    OSError
        If a key is listed but cannot be read, after 8 tries in 6 seconds.
    """

    _refuses_lists = False

    def __str__(self) -> str:
        return redacted_text(str(self._store))

    @property
    def wrapped(self) -> Store:
        """The store itself."""
        return self._store

    async def get(self, key: str, prototype: Any, byte_range: ByteRequest | None = None) -> Any:
        """As any store's; None only if the key is not listed."""
        for wait in (*_WAITS, None):
            found = await self._store.get(key, prototype, byte_range)
            listed = None if found is not None else await self._listed(key)
            if found is not None or listed is False:
                return found
            if wait is None or (self._refuses_lists and wait > _SOON):
                break
            await asyncio.sleep(wait)
        if listed is None:  # this store cannot list, and has said no each time
            return None
        raise OSError(
            f"{key} is listed in {self}, but {len(_WAITS) + 1} requests for it found nothing; try again later"
        )

    async def get_partial_values(self, prototype: Any, key_ranges: Any) -> list[Any]:
        """One `get` each."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    def get_ranges(self, *args: Any, **kwargs: Any) -> Any:
        """By `get`, as stores do that have no better way."""
        return Store.get_ranges(self, *args, **kwargs)

    async def exists(self, key: str) -> bool:
        """Whether the key is there, or listed."""
        return await self._store.exists(key) or bool(await self._listed(key))

    async def getsize(self, key: str) -> int:
        """Bytes of what a key holds."""
        return await patiently_awaited(lambda: self._store.getsize(key))

    async def set(self, key: str, value: Buffer) -> None:
        """As any store's."""
        await patiently_awaited(lambda: self._store.set(key, value))

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """As any store's."""
        await patiently_awaited(lambda: self._store.set_if_not_exists(key, value))

    async def delete(self, key: str) -> None:
        """Delete a key until it is no longer listed: for zarr it is not an error to delete a key that is "not
        found"."""
        for wait in (*_WAITS, 0.0):
            await patiently_awaited(lambda: self._store.delete(key))
            if not await self._listed(key):
                return
            await asyncio.sleep(wait)
        raise OSError(f"{key} of {self} is still listed after it was deleted {len(_WAITS) + 1} times; try again later")

    async def delete_dir(self, prefix: str) -> None:
        """Key by key."""
        await Store.delete_dir(self, prefix)

    async def is_empty(self, prefix: str) -> bool:
        """Whether nothing is listed there."""
        return await Store.is_empty(self, prefix)

    async def list(self) -> AsyncIterator[str]:
        """All keys."""
        for key in await patiently_awaited(lambda: _collected(self._store.list())):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """All keys that begin so."""
        for key in await patiently_awaited(lambda: _collected(self._store.list_prefix(prefix))):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """The names directly below."""
        for name in await patiently_awaited(lambda: _collected(self._store.list_dir(prefix))):
            yield name

    async def _listed(self, key: str) -> bool | None:
        """Whether a key is listed; None if the store cannot list."""
        folder, _, name = key.rpartition("/")
        try:
            return name in [found async for found in self.list_dir(folder)]
        except Exception as error:  # plain HTTP cannot list; each client raises its own error
            self._refuses_lists = refuses(error)
            return None


def dependable(store: Any, mode: Any = None) -> Any:
    """What zarr opens for a `location`: its "not found" checked if it is far away, and no text for a path.

    zarr takes text for a URL: of the path of a directory it drops newlines, and all after ``#`` or ``;``. With a mode,
    a directory is there, and only its regular files are read.
    """
    if isinstance(store, str) and "://" not in store:
        return Path(store) if mode is None else RegularFiles(Path(store), read_only=mode == "r")
    if type(store) is LocalStore:
        return RegularFiles(store.root, read_only=store.read_only)
    if isinstance(store, StorePath):
        return StorePath(dependable(store.store), store.path)
    if isinstance(store, str) and "://" in store and not store.startswith("memory://"):
        return DependableStore(FsspecStore.from_url(store, read_only=mode == "r"))
    here = LocalStore | MemoryStore | ZipStore | DependableStore
    if not isinstance(store, Store) or isinstance(store, here) or type(store).__module__.startswith("icechunk"):
        return store  # icechunk checks what it reads, and refuses to list what is not there
    return DependableStore(store)


async def _collected(found: AsyncIterator[str]) -> list[str]:
    return [key async for key in found]


async def patiently_awaited[T](request: Callable[[], Awaitable[T]]) -> T:
    """Make a request; repeat it after errors that may be temporary."""
    began = time.monotonic()
    for wait in _WAITS:
        try:
            return await request()
        except Exception as error:
            if not _may_pass(error) or time.monotonic() - began > _ENOUGH:
                raise
            await asyncio.sleep(wait)
    return await request()


def patiently[T](request: Callable[[], T]) -> T:
    """Make a request of a client that waits for the answer; repeat it as a `DependableStore` does.

    Raises
    ------
    Exception
        What the last request raised.
    """
    began = time.monotonic()
    for wait in _WAITS:
        try:
            return request()
        except Exception as error:
            if not _may_pass(error) or time.monotonic() - began > _ENOUGH:
                raise
            time.sleep(wait)
    return request()


def refuses(error: Exception) -> bool:
    """Whether an error says that a request is not allowed or not known, and will be so when it is repeated."""
    if isinstance(error, NotImplementedError | PermissionError | FileNotFoundError):
        return True
    if type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError", "NotSupportedError"):  # of obstore
        return True
    status = getattr(error, "status", None)  # of aiohttp
    return isinstance(status, int) and (status == 501 or (400 <= status < 500 and status not in (408, 425, 429)))


def _may_pass(error: Exception) -> bool:
    """Whether an error may be temporary: no answer came, or a 404 for a request that needs no object to exist.

    obstore raises classes of its own, and not the same one for a 404 in a listing. So they are recognised by their
    text.
    """
    if isinstance(error, OSError):
        return not isinstance(error, PermissionError | FileExistsError)
    return any(words in str(error) for words in ("404 Not Found", "HTTP error: "))
