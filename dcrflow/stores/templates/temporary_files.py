"""What a writer that was killed leaves beside what it was writing: zarr's temporary files in a directory."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import zarr
from zarr.storage import LocalStore

_LEFTOVER = re.compile(r"\.[0-9a-f]{32}\.partial$")
_UNCHANGED = 2.0  # seconds; a writer that lives is done with such a file in milliseconds, or writes on


def remove_leftovers(root: zarr.Group, groups: Iterable[str]) -> int:
    """Remove temporary files that nobody is writing any more, right in some groups of a store in a directory.

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
    top = store.root / root.path
    seen = {path: mark for group in groups for path, mark in _leftovers(top / group)}
    if not seen:
        return 0
    time.sleep(_UNCHANGED)
    removed = 0
    for path, mark in seen.items():
        try:
            if _mark(os.stat(path)) == mark:
                os.unlink(path)
                removed += 1
        except OSError:  # it was somebody's, or nobody may
            continue
    return removed


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
