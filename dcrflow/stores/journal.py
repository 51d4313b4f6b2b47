"""The journal of an output store: one JSON line for each thing that happened, in the order of a run.

It is a log to read and search, and the summary that a status is made from without opening every template. A local store
keeps one growing file a run, ``.dcrflow/<run>.jsonl``; an object store, where nothing grows, one object for each batch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import zarr
from zarr.buffer.cpu import Buffer, buffer_prototype
from zarr.core.sync import sync
from zarr.storage import LocalStore

FOLDER = ".dcrflow"
_BATCH, _SECONDS = 500, 5.0  # an object store gets an object when so many lines are waiting, or for so long


class Journal:
    """One run's lines; use it as a context, so that nothing is left waiting.

    Parameters
    ----------
    root : zarr.Group
        Of the store, writable.
    """

    def __init__(self, root: zarr.Group) -> None:
        started = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        self.run = f"{started}-{uuid4().hex[:8]}"
        self._root = root
        self._waiting: list[str] = []
        self._flushed = time.monotonic()
        self._batches = 0

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def add(self, event: str, **entry: Any) -> None:
        """Write one line down: what happened, when (UTC), and whatever else there is to say."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **entry}
        self._waiting.append(json.dumps(line, separators=(",", ":")))
        local = isinstance(self._root.store, LocalStore)
        if local or len(self._waiting) >= _BATCH or time.monotonic() - self._flushed > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Get the waiting lines into the store."""
        if not self._waiting:
            return
        text = "\n".join(self._waiting) + "\n"
        store = self._root.store
        if isinstance(store, LocalStore):
            path = Path(store.root) / _key(self._root, f"{self.run}.jsonl")
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
        else:
            key = _key(self._root, f"{self.run}-{self._batches:06d}.jsonl")
            sync(store.set(key, Buffer.from_bytes(text.encode())))
            self._batches += 1
        self._waiting.clear()
        self._flushed = time.monotonic()


def entries(root: zarr.Group) -> Iterator[Mapping[str, Any]]:
    """All lines, run by run in the order in which they began; a line cut short by a crash is passed over."""

    async def texts() -> list[bytes]:
        folder = _key(root, "")
        names = sorted([n async for n in root.store.list_dir(folder.rstrip("/")) if n.endswith(".jsonl")])
        found = [await root.store.get(f"{folder.rstrip('/')}/{n}", prototype=buffer_prototype) for n in names]
        return [f.to_bytes() for f in found if f is not None]

    for text in sync(texts()):
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry


def _key(root: zarr.Group, name: str) -> str:
    return "/".join(part for part in (root.path, FOLDER, name) if part)
