"""What a writer that was killed leaves in a directory: temporary files, its lock, and what it was writing."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import zarr
from zarr.storage import LocalStore

from dcrflow.stores.files import remove_if_empty, remove_tree
from dcrflow.stores.locks import FOLDER, directory_of, is_left_behind

_LEFTOVER = re.compile(r"\.[0-9a-f]{32}\.partial$")
_PUT_BACK = 3600.0  # seconds; a writer that puts an old template back does so at once
_UNCHANGED = 2.0  # seconds; a writer that lives is done with such a file in milliseconds, or writes on


def remove_leftovers(root: zarr.Group, groups: Iterable[str]) -> int:
    """Remove what is no longer written: locks of dead processes, and temporary files in some groups.

    Parameters
    ----------
    root : zarr.Group
        The store's root; if it is elsewhere, nothing is done.
    groups : iterable of str
        Paths within it; what is below them is not looked into.

    Returns
    -------
    int
        How many were removed.
    """
    store = root.store
    if not isinstance(store, LocalStore):
        return 0
    top = directory_of(root)
    removed = _remove_places(top / FOLDER)
    seen = {path: mark for group in groups for path, mark in _leftovers(top / group)}
    if not seen:
        return removed
    time.sleep(_UNCHANGED)
    for path, mark in seen.items():
        try:
            if _mark(os.stat(path)) == mark:
                os.unlink(path)
                removed += 1
        except OSError:  # in use by another process, or not permitted
            continue
    return removed


def _remove_places(folder: Path) -> int:
    """Remove places that were taken away or given back, and those of writers that died.

    A place whose writer died between two renames keeps an old template: it is left for the next writer of it.
    """
    locks, trash = folder / "locks", folder / "trash"
    removed = 0
    for lock in _folders(locks):
        for place in _folders(lock):
            if is_left_behind(place / "owner") and not (place / "old").exists():
                with suppress(OSError):
                    os.rename(place, trash / place.name)
        remove_if_empty(lock)
    for path in _folders(trash):
        if not _is_recent(path / "old"):
            remove_tree(path)
            removed += 1
    return removed


def _is_recent(path: Path) -> bool:
    """Whether somebody may be about to put it back where it was."""
    try:
        return time.time() - path.stat().st_ctime < _PUT_BACK
    except OSError:
        return False


def _folders(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:  # not there
        return []


def _leftovers(directory: Path) -> Iterator[tuple[str, tuple[int, int, int]]]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if _LEFTOVER.search(entry.name):
                    yield entry.path, _mark(entry.stat(follow_symlinks=False))
    except OSError:  # not there, or gone meanwhile
        return


def _mark(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
