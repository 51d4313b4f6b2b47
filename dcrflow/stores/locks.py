"""One writer at a time for each template: locks kept in the output store itself.

A lock saves work: it keeps two writers from making the same template at once. It is not what prevents a mixture of two
templates. That is ensured by the way a finished template is moved into place (`dcrflow.stores.templates.places`).

In a directory, a lock is a folder ``.dcrflow/locks/NAME`` that contains one folder, named after the owner's token.

- To take the lock, a writer prepares such a folder and renames it to the lock's path. The system refuses the rename
  while the lock is not empty.
- To take over a stale lock, a writer renames the owner's folder. Only one of several writers can succeed, and whatever
  the old owner was writing there moves with the folder.

In other stores a lock is an object that is created only if it does not exist.

A writer that died leaves a stale lock. If the writer ran on this machine, the lock is stale when its process is gone.
Otherwise it is stale when a waiting writer sees no renewal for `LEASE` seconds. Clocks of different machines are never
compared.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import zarr
from zarr.buffer.cpu import Buffer, buffer_prototype
from zarr.storage import LocalStore

from dcrflow.base.errors import TemplateStoreError
from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.files import is_absent, read_regular, remove_if_empty, remove_tree, write_new_file

LEASE = 60.0  # seconds; a writer renews its lock before it writes each variable, which takes a few seconds at most
FOLDER = ".dcrflow"
_FIRST, _POLL = 0.005, 0.2  # shortest (first) and longest interval between checks of another writer's lock, seconds

_TORN = 2.0  # seconds to wait for an empty owner file: owners write it before they take the lock, so power was lost

_HELD: set[str] = set()  # tokens of the locks that this process holds
_HERE = threading.RLock()  # held while this process reads and changes an object lock


class Held(Protocol):
    """A lock that this process holds."""

    #: The owner's own folder, which is moved if the lock is taken over; None if the store is not a directory.
    place: Path | None
    #: Folders of earlier owners that this lock was taken over from; to be inspected and removed.
    taken: list[Path]

    def __call__(self) -> None:
        """Renew the lock; raises TemplateStoreError if another writer took it over."""


@contextmanager
def locked(root: zarr.Group, name: str, lease: float = LEASE) -> Iterator[Held]:
    """Hold the lock `name` of a store; wait while another writer holds it.

    Yields
    ------
    Held
        Call it to renew the lock; the call raises TemplateStoreError if another writer took the lock over.
    """
    lock: _FolderLock | _ObjectLock
    if isinstance(root.store, LocalStore):
        lock = _FolderLock(directory_of(root) / FOLDER, name, lease)
    else:
        lock = _ObjectLock(root, name, lease)
    _HELD.add(lock.token)
    try:
        lock.take()
        yield lock
    finally:
        _HELD.discard(lock.token)
        lock.give_back()


def directory_of(root: zarr.Group) -> Path:
    """The directory of a group in a `LocalStore`."""
    store = root.store
    assert isinstance(store, LocalStore)
    return Path(store.root) / root.path


class _FolderLock:
    """A lock in a directory."""

    def __init__(self, folder: Path, name: str, lease: float) -> None:
        self.token = uuid4().hex
        self.taken: list[Path] = []
        self._name, self._lease = name, lease
        self._locks, self._trash = folder / "locks", folder / "trash"
        self._path = self._locks / name
        self._spare = self._locks / f".{self.token}"
        self._count = 0
        self._own = self._path / self.token
        self.place: Path | None = self._own

    def __call__(self) -> None:
        self._count += 1
        try:
            with (self._own / "owner").open("r+b", buffering=0) as file:
                file.write(_signature(self.token, self._count))
        except OSError as error:
            if is_absent(error):
                raise displaced(f"{self._path}") from None
            raise

    def take(self) -> None:
        """Wait until it is ours."""
        seen, since, wait = None, time.monotonic(), _FIRST
        while not self._entered():
            found = self._look()
            if found != seen:
                seen, since = found, time.monotonic()
            lease = self._lease if found is None or found[1].strip() else min(_TORN, self._lease)
            if found is not None and (_is_dead(found[1]) or time.monotonic() - since > lease):
                self._take_away(found[0])
            else:
                time.sleep(wait)
                wait = min(1.5 * wait, _POLL)

    def _entered(self) -> bool:
        """Try to take the lock: rename the prepared folder to the lock's path, which must be free."""
        if not self._spare.is_dir():
            self._trash.mkdir(parents=True, exist_ok=True)
            (self._spare / self.token).mkdir(parents=True)
            write_new_file(self._spare / self.token / "owner", _signature(self.token, 0))
        try:
            os.rename(self._spare, self._path)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.ENOENT):
                return False
            raise
        return True

    def _look(self) -> tuple[str, bytes] | None:
        """Token and signature of the owner; None if the lock is free. In older versions a lock is a file (no token)."""
        try:
            names = os.listdir(self._path)
        except NotADirectoryError:
            with contextlib.suppress(OSError):
                return "", read_regular(self._path)
            return None
        except FileNotFoundError:
            return None
        if not names:
            return None
        try:
            return names[0], read_regular(self._path / names[0] / "owner")
        except OSError:
            return names[0], b""

    def _take_away(self, token: str) -> None:
        """Take the lock over from an owner; if several writers try, one succeeds."""
        there = self._trash / (token or self.token)
        try:
            if token:
                os.rename(self._path / token, there)
                self.taken.append(there)
            else:  # a file; a new lock is a folder and cannot be renamed onto a file, so this moves the old file only
                there.touch()
                os.rename(self._path, there)
                there.unlink(missing_ok=True)
        except OSError as error:
            if not token:
                there.unlink(missing_ok=True)
            if not is_absent(error):
                raise

    def give_back(self) -> None:
        """Release the lock if it is still ours, and remove our folder with its content."""
        there = self._trash / self.token
        try:
            os.rename(self._own, there)
        except OSError as error:
            if not is_absent(error):
                remove_tree(self._own)
        for path in (there, self._spare, *self.taken):
            remove_tree(path)
        remove_if_empty(self._path)


class _ObjectLock:
    """A lock in a store that is not a directory."""

    def __init__(self, root: zarr.Group, name: str, lease: float) -> None:
        self.token = uuid4().hex
        self.place: Path | None = None
        self.taken: list[Path] = []
        self._store, self._lease = root.store, lease
        self._key = "/".join(part for part in (root.path, f"{FOLDER}/locks/{name}") if part)
        self._count = 0

    def _read(self) -> bytes | None:
        found = sync(self._store.get(self._key, prototype=buffer_prototype))
        return None if found is None else found.to_bytes()

    def _mine(self, found: bytes | None) -> bool:
        return found is not None and self.token.encode() in found

    def _content(self) -> Any:
        return Buffer.from_bytes(_signature(self.token, self._count))

    def __call__(self) -> None:
        with _HERE:
            if not self._mine(self._read()):
                raise displaced(self._key)
            self._count += 1
            sync(self._store.set(self._key, self._content()))

    def take(self) -> None:
        """Wait until it is ours."""
        seen, since, wait = None, time.monotonic(), _FIRST
        while True:
            with _HERE:
                sync(self._store.set_if_not_exists(self._key, self._content()))
                found = self._read()
                if self._mine(found):
                    return
                if found != seen:
                    seen, since = found, time.monotonic()
                left_behind = found is not None and (_is_dead(found) or time.monotonic() - since > self._lease)
                if left_behind and self._read() == found:
                    sync(self._store.delete(self._key))
                    continue
            time.sleep(wait)
            wait = min(1.5 * wait, _POLL)

    def give_back(self) -> None:
        """Release the lock if it is still ours."""
        with _HERE:
            if self._mine(self._read()):
                sync(self._store.delete(self._key))


def displaced(what: str) -> TemplateStoreError:
    """The error of a writer whose lock was taken over."""
    return TemplateStoreError(f"the lock {what} was taken over by another writer; this one stops")


def is_left_behind(owner: Path) -> bool:
    """Whether the owner file of a lock in a directory names a process of this machine that is gone."""
    try:
        return _is_dead(read_regular(owner))
    except OSError:
        return False


def _signature(token: str, count: int) -> bytes:
    """Who holds a lock; the length is the same at each renewal, because the text is overwritten in place."""
    owner = {"token": token, "host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "renewed": count}
    return json.dumps(owner).encode().ljust(256)


@lru_cache(maxsize=1)
def _boot() -> str:
    """Boot id and process namespace of this machine; empty if they cannot be read."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _is_dead(content: bytes) -> bool:
    """Whether a lock's owner was a process of this machine that is gone."""
    try:
        owner = json.loads(content)
        if owner["host"] != socket.gethostname():
            return False
        boot, mine = str(owner.get("boot", "")).split(" "), _boot().split(" ")
        if boot[0] and mine[0] and boot[0] != mine[0]:
            return True  # the machine was restarted since
        if boot[1:] and mine[1:] and boot[1:] != mine[1:]:
            return False  # another container, whose processes are not visible here
        if owner["pid"] == os.getpid():
            return owner["token"] not in _HELD
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, AttributeError, PermissionError, OverflowError, RecursionError):
        return False
    return False
