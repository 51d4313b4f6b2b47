"""Read the journals of a store that runs are writing: again and again, each time the lines that are new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import zarr
from zarr.buffer.cpu import buffer_prototype
from zarr.storage import LocalStore

from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.files import open_regular
from dcrflow.stores.journal_archive import ARCHIVE, archived_lines
from dcrflow.stores.journal_lines import LINES, key_of, names_in, parsed_line, run_of


class JournalReader:
    """Reads the lines of all runs of a store.

    Parameters
    ----------
    root : zarr.Group
        Root group of the store.
    """

    def __init__(self, root: zarr.Group) -> None:
        self._root = root
        self._is_local = isinstance(root.store, LocalStore)
        self._lines: Counter[str] = Counter()  # of each run that were read
        self._read: dict[str, int] = {}  # bytes of each file or object that were read, whole lines only

    def new(self) -> Iterator[Mapping[str, Any]]:
        """The lines since the last call, in the order of each run, each with its ``run``."""
        for name in names_in(self._root):
            if name.endswith(ARCHIVE):
                yield from self._archived(name)
        for name in self._names():
            if not self._is_local and name in self._read:  # an object does not grow
                continue
            run = run_of(name)
            if f"{run}{ARCHIVE}" in self._read:  # read just now; these lines are about to be removed
                continue
            text = self._rest(name)
            whole = text[: text.rfind(b"\n") + 1]
            self._read[name] = self._read.get(name, 0) + len(whole)
            for line in whole.splitlines():
                entry = parsed_line(line)
                if entry is not None:
                    yield {**entry, "run": run}
            self._lines[run] += len(whole.splitlines())

    def _archived(self, name: str) -> Iterator[Mapping[str, Any]]:
        """The lines of a run that has ended, but for those that were read while it went on."""
        run = name.removesuffix(ARCHIVE)
        if name in self._read:
            return
        self._read[name] = 1
        for line in islice(archived_lines(self._root, name), self._lines[run], None):
            entry = parsed_line(line)
            if entry is not None:
                yield {**entry, "run": run}

    def _names(self) -> list[str]:
        return [name for name in names_in(self._root) if name.endswith(LINES)]

    def _rest(self, name: str) -> bytes:
        store = self._root.store
        if isinstance(store, LocalStore):
            try:
                with open_regular(Path(store.root) / key_of(self._root, name)) as file:
                    file.seek(self._read.get(name, 0))
                    return file.read()
            except OSError:  # the run has ended since it was listed: the next look finds its archive
                return b""
        found = sync(store.get(key_of(self._root, name), prototype=buffer_prototype))
        return b"" if found is None else found.to_bytes()
