"""The journal of an output store: one JSON line per event, in the order of a run.

It is a log to read and search. It also lets `dcrflow status` report without opening every template. A local store has
one file per run, ``.dcrflow/<run>.jsonl``, that grows. Objects cannot grow, so an object store has one object per batch
of lines. When a run of many lines ends, `dcrflow.stores.journal_archive` makes one Parquet file of them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import zarr
from zarr.buffer.cpu import Buffer, buffer_prototype
from zarr.storage import LocalStore

from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.journal_archive import ARCHIVE, archive, archived_lines
from dcrflow.stores.journal_lines import LINES, key_of, names_in, parsed_line, run_of
from dcrflow.stores.zarr.access import url_of, words_of

_PROGRESS = ".progress.json"
MANY = 10_000  # lines of a run that are archived as Parquet when it ends
_BATCH, _SECONDS = 500, 5.0  # lines, and seconds, after which an object store gets an object
_compact = json.JSONEncoder(separators=(",", ":")).encode
_TOGETHER = 0.2  # seconds that lines wait for others that are about to come, in a directory


class Journal:
    """The lines of one run. Use it as a context manager, so that all lines are written at the end.

    Parameters
    ----------
    root : zarr.Group
        Root group of the store; writable.
    """

    def __init__(self, root: zarr.Group) -> None:
        started = datetime.fromtimestamp(time.time(), UTC).strftime("%Y%m%dT%H%M%S")
        self.run = f"{started}-{uuid4().hex[:8]}"
        self._root = root
        self._waiting: list[str] = []
        self._flushed = time.monotonic()
        self._batches = self._lines = 0
        self._held = False
        self.write_error: Exception | None = None  #: why the last write failed; None if it did not
        self.listeners: list[Callable[[Mapping[str, Any]], None]] = []  #: each gets every line that is added

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        if self.write_error is None and self._lines >= MANY:
            with contextlib.suppress(Exception):  # then the lines stay lines
                archive(self._root, self.run)
        if self.write_error is not None:
            warnings.warn(
                f"{len(self._waiting)} lines of the journal could not be written to {url_of(self._root.store_path)}: "
                f"{words_of(self.write_error)}; the templates are as they are: `dcrflow status --scan` looks at each",
                stacklevel=2,
            )

    def add(self, event: str, **entry: Any) -> None:
        """Add a line with the event, its time (UTC) and further entries."""
        line = {
            "time": datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds"),
            "event": event,
            **entry,
        }
        for listener in self.listeners:
            listener(line)
        self._lines += 1
        self._waiting.append(_compact(line))
        longest = (_TOGETHER if self._held else 0.0) if isinstance(self._root.store, LocalStore) else _SECONDS
        if len(self._waiting) >= _BATCH or time.monotonic() - self._flushed >= longest:
            self.flush()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write lines that are added shortly after each other together, the last ones at the end of the block."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if isinstance(self._root.store, LocalStore):
                self.flush()

    def write_progress(self, progress: Mapping[str, Any]) -> None:
        """Replace what is known of the progress of this run; see `progress_of`. If that fails, nothing happens."""
        text = json.dumps(progress, separators=(",", ":")).encode()
        store, key = self._root.store, key_of(self._root, f"{self.run}{_PROGRESS}")
        try:
            if isinstance(store, LocalStore):
                path = Path(store.root) / key
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_name(f".{uuid4().hex}.partial")
                try:
                    partial.write_bytes(text)
                    partial.replace(path)
                finally:
                    partial.unlink(missing_ok=True)
            else:
                sync(store.set(key, Buffer.from_bytes(text)))
        except Exception:  # a full disk, say, or what a client of an object store raises: the templates matter more
            return

    def flush(self) -> None:
        """Write the waiting lines. If that fails (a full disk), they wait for the next call, and the run continues."""
        if not self._waiting:
            return
        self._flushed = time.monotonic()
        try:
            self._write(("\n".join(self._waiting) + "\n").encode())
        except Exception as error:  # clients of object stores have classes of their own
            self.write_error = error
            return
        self.write_error = None
        self._waiting.clear()

    def _write(self, text: bytes) -> None:
        store = self._root.store
        if not isinstance(store, LocalStore):
            key = key_of(self._root, f"{self.run}-{self._batches:06d}{LINES}")
            sync(store.set(key, Buffer.from_bytes(text)))
            self._batches += 1
            return
        path = Path(store.root) / key_of(self._root, f"{self.run}{LINES}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            before = file.tell()
            try:
                written = file.write(text)
                if written < len(text):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            except OSError:
                file.truncate(before)  # all these lines will be written again, so remove what was written of them
                raise


def entries(root: zarr.Group) -> Iterator[Mapping[str, Any]]:
    """All lines in order, each with its ``run``; a line cut short by a crash is skipped.

    Runs are not sorted by time, since clocks of different machines may differ.
    """
    archived = [name.removesuffix(ARCHIVE) for name in names_in(root) if name.endswith(ARCHIVE)]
    for run in archived:
        yield from _entries(run, archived_lines(root, f"{run}{ARCHIVE}"))
    yield from line_entries(root, archived)


def line_entries(root: zarr.Group, without: Collection[str]) -> Iterator[Mapping[str, Any]]:
    """The same of all runs but some; a crash may have left lines beside an archive."""
    names = [name for name in names_in(root) if name.endswith(LINES) and run_of(name) not in without]
    for name, text in _texts(root, names):
        yield from _entries(run_of(name), text.split(b"\n"))


def _entries(run: str, lines: Iterable[bytes | str]) -> Iterator[Mapping[str, Any]]:
    for line in lines:
        entry = parsed_line(line)
        if entry is not None:
            yield {**entry, "run": run}


def progress_of(root: zarr.Group) -> list[Mapping[str, Any]]:
    """The last progress of each run (see `Journal.write_progress`), with its ``run``; damaged files are skipped."""
    names = [name for name in names_in(root) if name.endswith(_PROGRESS)]
    found = [(name.removesuffix(_PROGRESS), parsed_line(text)) for name, text in _texts(root, names)]
    return [{**entry, "run": run} for run, entry in found if entry is not None]


def _texts(root: zarr.Group, names: Sequence[str]) -> list[tuple[str, bytes]]:
    """The names and the contents of those of some files of the journals' folder that are there."""

    async def texts() -> list[tuple[str, bytes]]:
        found = [(name, await one(key_of(root, name))) for name in names]
        return [(name, content.to_bytes()) for name, content in found if content is not None]

    async def one(key: str) -> Any:
        try:
            return await root.store.get(key, prototype=buffer_prototype)
        except ValueError:  # no regular file
            return None

    return sync(texts())
