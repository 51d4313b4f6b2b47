"""One writer at a time for each template: locks kept in the output store itself.

A lock saves work: two writers do not make the same template at once. That a template is never a mixture of two does not
depend on it, but on how templates are switched in (`dcrflow.stores.templates.places`).

In a directory a lock is a folder, ``.dcrflow/locks/NAME``, with one folder in it, called by the owner's token. It is
taken by renaming a folder that is ready, which the system refuses while the lock is not empty, and a lock that was left
behind is taken away by renaming the owner's folder, which succeeds for one only, once, and takes along whatever the old
owner was writing there. In other stores a lock is an object that is created if it is not there.

A writer that died leaves its lock behind: on this machine its process is looked for; elsewhere a lock whose owner has
not renewed it while somebody watched for `LEASE` seconds counts as left behind. Nobody's clock is compared with anybody
else's.
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
from dcrflow.stores.files import is_absent, remove_if_empty, remove_tree, write_new_file

LEASE = 60.0  # seconds; a writer renews its lock before each variable, which takes seconds at most
FOLDER = ".dcrflow"
_FIRST, _POLL = 0.005, 0.2  # seconds between two looks at somebody else's lock: the first ones, and later

_TORN = 2.0  # seconds; an owner writes who it is before it has the lock: where that is empty, the power went

_HELD: set[str] = set()  # tokens of the locks that this process holds
_HERE = threading.RLock()  # taken while a lock that is an object is looked at and changed


class Held(Protocol):
    """A lock that one holds."""

    #: The owner's own folder, which goes with the lock if that is taken away; None if the store is no directory.
    place: Path | None
    #: Folders of owners that this lock was taken from, to be looked into and removed.
    taken: list[Path]

    def __call__(self) -> None:
        """Renew it; raises TemplateStoreError if it was taken away."""


@contextmanager
def locked(root: zarr.Group, name: str, lease: float = LEASE) -> Iterator[Held]:
    """Hold the lock `name` of a store; wait while somebody else does.

    Yields
    ------
    Held
        Called, it renews the lock; raises TemplateStoreError if it was taken away.
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
        """Try to rename a folder that is ready to the lock's place, which must be free."""
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
        """Whose it is: token, and what its owner says; None if it has become free. An older version's is a file."""
        try:
            names = os.listdir(self._path)
        except NotADirectoryError:
            with contextlib.suppress(OSError):
                return "", self._path.read_bytes()
            return None
        except FileNotFoundError:
            return None
        if not names:
            return None
        try:
            return names[0], (self._path / names[0] / "owner").read_bytes()
        except OSError:
            return names[0], b""

    def _take_away(self, token: str) -> None:
        """Take the lock away from an owner; of several who try, one does."""
        there = self._trash / (token or self.token)
        try:
            if token:
                os.rename(self._path / token, there)
                self.taken.append(there)
            else:  # a file; onto a file no folder can be renamed, which would be somebody else's new lock
                there.touch()
                os.rename(self._path, there)
                there.unlink(missing_ok=True)
        except OSError as error:
            if not token:
                there.unlink(missing_ok=True)
            if not is_absent(error):
                raise

    def give_back(self) -> None:
        """Leave it, if it is still ours, with all that is in our folder."""
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
    """A lock in a store that is no directory."""

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
        """Leave it, if it is still ours."""
        with _HERE:
            if self._mine(self._read()):
                sync(self._store.delete(self._key))


def displaced(what: str) -> TemplateStoreError:
    """The error of a writer whose lock was taken away."""
    return TemplateStoreError(f"the lock {what} was taken over by another writer; this one stops")


def is_left_behind(owner: Path) -> bool:
    """Whether a lock's file of a directory names a process of this machine that is gone."""
    try:
        return _is_dead(owner.read_bytes())
    except OSError:
        return False


def _signature(token: str, count: int) -> bytes:
    """Who holds a lock; always of the same length for one owner, for it is written over."""
    owner = {"token": token, "host": socket.gethostname(), "boot": _boot(), "pid": os.getpid(), "renewed": count}
    return json.dumps(owner).encode().ljust(256)


@lru_cache(maxsize=1)
def _boot() -> str:
    """Which start of this machine, and which of its namespaces of processes; empty where that cannot be told."""
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
            return True  # the machine was started anew since
        if boot[1:] and mine[1:] and boot[1:] != mine[1:]:
            return False  # of another container, whose processes cannot be seen
        if owner["pid"] == os.getpid():
            return owner["token"] not in _HELD
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, AttributeError, PermissionError, OverflowError, RecursionError):
        return False
    return False
