"""Where a template is written before it is one, and how it is switched in.

In a directory every writing has a place of its own, the folder of the lock's owner. There the files are written, read
again and synced; then one rename puts the folder where readers look, or exchanges it with the old one. A writer whose
lock was taken away has lost that folder with it, so its rename finds nothing. The old files are removed when the new
ones are on the disk.

In other stores there is no rename. Objects are written where they belong, the group's metadata with the status last.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import zarr
from zarr.buffer.cpu import Buffer
from zarr.storage import LocalStore

from dcrflow.compat.zarr_sync import sync
from dcrflow.stores import files
from dcrflow.stores.locks import FOLDER, Held, directory_of, displaced
from dcrflow.stores.templates.encoding import encoded_status
from dcrflow.stores.zarr.access import group_attributes

PARTIAL = ".partial"  # how files end that are not yet what they will be


def create_directory(path: Path, attributes: Mapping[str, Any]) -> None:
    """Create a store's directory with its root group, unless something is there.

    A directory in which only such a creation was cut off counts as empty.
    """
    if path.is_dir():
        with os.scandir(path) as entries:
            if not all(entry.name == FOLDER or entry.name.endswith(PARTIAL) for entry in entries):
                return
    elif os.path.lexists(path):
        return
    path.mkdir(parents=True, exist_ok=True)
    partial = path / f"zarr.{uuid4().hex}{PARTIAL}"
    for _, data in encoded_status(attributes):
        files.write_new_file(partial, data)
    files.sync(partial)
    os.rename(partial, path / "zarr.json")
    files.sync_all([path, path.parent])


class Place(Protocol):
    """Where a group is written."""

    def add(self, key: str, data: Any) -> None:
        """Write one of its files or objects; ``zarr.json`` last."""

    def switch(self) -> None:
        """Make it what readers find."""


@contextmanager
def place_for(root: zarr.Group, path: str, held: Held, synced: bool) -> Iterator[Place]:
    """A place to write the group at `path` of a store, whose lock one holds.

    Parameters
    ----------
    root : zarr.Group
        The store's root, writable.
    path : str
        ``visit/detector``.
    held : Held
        The lock.
    synced : bool
        Whether what is written must be on the disk before it is switched in.
    """
    if isinstance(root.store, LocalStore):
        yield FolderPlace(directory_of(root), path, held, synced)
    else:
        yield ObjectPlace(root, path)


def restore(root: zarr.Group, path: str, held: Held) -> None:
    """Put the group at `path` back that a writer had put aside who died before it was done (see `files.switch`)."""
    for taken in held.taken:
        target = directory_of(root) / path
        if (taken / "old").is_dir() and not os.path.lexists(target):
            os.rename(taken / "old", target)


class FolderPlace:
    """A place in a directory: a folder of the lock's."""

    def __init__(self, directory: Path, path: str, held: Held, synced: bool) -> None:
        assert held.place is not None
        self._place = held.place
        self._directory, self._held, self._synced = directory, held, synced
        self._new, self._old = held.place / "new", held.place / "old"
        self._target = directory / path
        self._folders: list[Path] = []
        self._files: list[Path] = []
        self._folder(self._new)

    def _folder(self, path: Path) -> None:
        """Create a folder of ours; never those above our place, which may have been taken away."""
        if path != self._new and path.parent not in self._folders:
            self._folder(path.parent)
        if path not in self._folders:
            with _displaced_if_absent(self._target):
                files.make_folder(path)
            self._folders.append(path)

    def add(self, key: str, data: Any) -> None:
        path = self._new / key
        self._folder(path.parent)
        with _displaced_if_absent(path):
            files.write_new_file(path, data)
            files.check_file(path, data)
        self._files.append(path)

    def switch(self) -> None:
        with _displaced_if_absent(self._target):
            if self._synced:
                files.sync_all([*self._files, *reversed(self._folders)])
            self._make_parent()
            self._held()
            replaced = files.switch(self._new, self._target, self._old)
            if self._synced:
                files.sync_all([self._target.parent, self._place] if replaced else [self._target.parent])

    def _make_parent(self) -> None:
        """The visit's folder."""
        if files.make_folder(self._target.parent) and self._synced:
            files.sync(self._directory)


@contextmanager
def _displaced_if_absent(target: Path) -> Iterator[None]:
    """What is said if our place is not there any more."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise displaced(f"of {target}") from None
        raise


class ObjectPlace:
    """A place in a store that is no directory: where readers look, without a status until all is there."""

    def __init__(self, root: zarr.Group, path: str) -> None:
        self._root, self._path = root, path
        if group_attributes(root, [path])[0]:
            root.require_group(path).attrs.put({})
        root.create_group(path, overwrite=True)

    def _key(self, name: str) -> str:
        return "/".join(part for part in (self._root.path, self._path, name) if part)

    def add(self, key: str, data: Any) -> None:
        sync(self._root.store.set(self._key(key), Buffer.from_bytes(bytes(data))))

    def switch(self) -> None:
        """Nothing is left to do."""
