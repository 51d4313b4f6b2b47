"""Where a template is written before it is one, and how it is switched in.

In a directory every writing has a place of its own, the folder of the lock's owner. There the files are written, read
again and synced; then one rename puts the folder where readers look, or exchanges it with the old one. A writer whose
lock was taken away has lost that folder with it, so its rename finds nothing. The old files are removed when the new
ones are on the disk.

In other stores there is no rename (`dcrflow.stores.templates.objects`).

A template that replaces another one has other keys for its chunks, by turns in one of three ways that zarr knows. An
empty file has each of the old keys, so a plain reader of zarr that opened the old template gets an error, not pixels of
the new one.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import zarr
from zarr.storage import LocalStore

from dcrflow.stores import files
from dcrflow.stores.locks import FOLDER, Held, directory_of, displaced
from dcrflow.stores.own_folder import own_metadata
from dcrflow.stores.templates.encoding import encoded_status
from dcrflow.stores.templates.objects import ObjectPlace, following, keys_in, keys_replaced, others
from dcrflow.stores.zarr.arrays import KEYS, KeyEncoding

OWN = "journals, failures and locks of dcrflow"
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
    (path / FOLDER).mkdir(parents=True, exist_ok=True)
    for folder, content in ((path / FOLDER, own_metadata(OWN)), (path, _group(attributes))):
        _create_metadata(folder, content, folder)
        files.sync(folder)
    files.sync(path.parent)


def _group(attributes: Mapping[str, Any]) -> bytes:
    """Metadata of a group without arrays."""
    return b"".join(bytes(data) for _, data in encoded_status(attributes))


def _create_metadata(folder: Path, content: bytes, beside: Path) -> None:
    """Create a folder's ``zarr.json``, whole or not at all, by a file in a folder that nobody takes away."""
    partial = beside / f"zarr.{uuid4().hex}{PARTIAL}"
    files.write_new_file(partial, content)
    files.sync(partial)
    os.rename(partial, folder / "zarr.json")


class Place(Protocol):
    """Where a group is written."""

    #: How the keys of chunks are formed there.
    keys: KeyEncoding
    #: The same of the template that is there, or was before a status; None without one.
    before: KeyEncoding | None

    def add(self, key: str, data: Any) -> None:
        """Write one of its files or objects; ``zarr.json`` last."""

    def switch(self) -> None:
        """Make it what readers find."""


@contextmanager
def place_for(root: zarr.Group, path: str, held: Held, synced: bool, same: bool = False) -> Iterator[Place]:
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
    same : bool
        Whether it is what is there, which is damaged: then chunks keep their keys.
    """
    if isinstance(root.store, LocalStore):
        yield FolderPlace(directory_of(root), path, held, synced, same)
    else:
        yield ObjectPlace(root, path, held, _group({}), same)


def restore(root: zarr.Group, path: str, held: Held) -> None:
    """Put the group at `path` back that a writer had put aside who died before it was done (see `files.switch`)."""
    for taken in held.taken:
        target = directory_of(root) / path
        if (taken / "old").is_dir() and not os.path.lexists(target):
            os.rename(taken / "old", target)


def keys_of(folder: Path) -> KeyEncoding | None:
    """How the keys of chunks are formed in a template's folder; without variables, those that a status remembers."""
    for metadata in sorted(folder.glob("*/zarr.json")):
        try:
            return keys_in(json.loads(files.read_regular(metadata)))
        except (OSError, ValueError, RecursionError):
            return KEYS[0]
    try:
        return keys_replaced(json.loads(files.read_regular(folder / "zarr.json")))
    except (OSError, ValueError, RecursionError):
        return None


class FolderPlace:
    """A place in a directory: a folder of the lock's."""

    def __init__(self, directory: Path, path: str, held: Held, synced: bool, same: bool) -> None:
        assert held.place is not None
        self._place = held.place
        self._directory, self._held, self._synced = directory, held, synced
        self._new, self._old = held.place / "new", held.place / "old"
        self._target = directory / path
        self._folders: list[Path] = []
        self._files: list[Path] = []
        now = self.before = keys_of(self._target)
        self.keys = KEYS[0] if now is None else now if same else following(now)
        self._replaces = self.keys != KEYS[0] or (now is not None and not same)
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
        self._add(key, data)
        for other in others(key, self.keys) if self._replaces else ():
            self._add(other, b"")

    def _add(self, key: str, data: Any) -> None:
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
        """The visit's folder, a group."""
        folder = self._target.parent
        if files.make_folder(folder) and self._synced:
            files.sync(self._directory)
        if folder != self._directory and not (folder / "zarr.json").exists():
            _create_metadata(folder, _group({}), self._place)


@contextmanager
def _displaced_if_absent(target: Path) -> Iterator[None]:
    """What is said if our place is not there any more."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise displaced(f"of {target}") from None
        raise
