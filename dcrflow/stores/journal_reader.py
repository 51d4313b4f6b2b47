"""Read the journals of a store that runs are writing: again and again, each time the lines that are new."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any

import zarr
from zarr.storage import LocalStore

from dcrflow.stores.journal_archive import ARCHIVE, archived_lines
from dcrflow.stores.journal_lines import LINES, blocks_of, names_in, parsed_line, run_of


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
        names = names_in(self._root)
        for name in (n for n in names if n.endswith(ARCHIVE)):
            yield from self._archived(name)
        for name in (n for n in names if n.endswith(LINES)):
            if not self._is_local and name in self._read:  # an object does not grow
                continue
            run = run_of(name)
            if f"{run}{ARCHIVE}" in self._read:  # read just now; these lines are about to be removed
                continue
            start = self._read.get(name, 0)
            with suppress(OSError):  # the run has ended since it was listed: the next look finds its archive
                for block in blocks_of(self._root, [name], start):
                    start += len(block)
                    self._read[name] = start
                    lines = block.split(b"\n")[:-1]
                    self._lines[run] += len(lines)
                    yield from ({**entry, "run": run} for line in lines if (entry := parsed_line(line)) is not None)

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
