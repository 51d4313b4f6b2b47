"""The files of JSON lines of a journal: their names, and their contents block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.buffer.cpu import buffer_prototype
from zarr.storage import LocalStore

from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.files import open_regular
from dcrflow.stores.journal_columns import columns_of, concatenated

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER, LINES = ".dcrflow", ".jsonl"
_BLOCK = 4 << 20  # bytes of a file that are in memory at a time, at least


def key_of(root: zarr.Group, name: str) -> str:
    """The key of a file in the journals' folder."""
    return "/".join(part for part in (root.path, FOLDER, name) if part)


def names_in(root: zarr.Group) -> list[str]:
    """Names of the files in the journals' folder."""

    async def collect() -> list[str]:
        return sorted([name async for name in root.store.list_dir(key_of(root, "").rstrip("/"))])

    return sync(collect())


def run_of(name: str) -> str:
    """The run of a file of lines, of which an object store has several."""
    return "-".join(name.removesuffix(LINES).split("-")[:2])


def parsed_line(line: bytes | str | None) -> dict[str, Any] | None:
    """A line as an object; None if it is damaged. Bytes that are no UTF-8 are replaced, as in an archive."""
    try:
        entry = json.loads(line.decode(errors="replace") if isinstance(line, bytes) else line or "")
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def blocks_of(root: zarr.Group, names: Sequence[str], start: int = 0) -> Iterator[bytes]:
    """The whole lines in some files, in their order, many at a time; a line cut short by a crash is left out.

    Of a file in a directory, `start` bytes are left out.

    Raises
    ------
    OSError
        If a file is gone, or is no regular file.
    """
    if not isinstance(root.store, LocalStore):
        yield from _joined(root, names)
        return
    for name in names:
        with open_regular(Path(root.store.root) / key_of(root, name)) as file:
            file.seek(start)
            begun = list[bytes]()  # a line may be longer than a block
            while text := file.read(_BLOCK):
                end = text.rfind(b"\n") + 1
                if end:
                    yield b"".join([*begun, text[:end]])
                    begun.clear()
                begun.append(text[end:])


def _joined(root: zarr.Group, names: Sequence[str]) -> Iterator[bytes]:
    """The same of objects, each of which has few lines."""
    some, size = list[bytes](), 0
    for name in names:
        content = sync(root.store.get(key_of(root, name), prototype=buffer_prototype))
        if content is None:
            raise FileNotFoundError(name)
        text = content.to_bytes()
        some.append(text[: text.rfind(b"\n") + 1])
        size += len(text)
        if size >= _BLOCK:
            yield b"".join(some)
            some, size = [], 0
    yield b"".join(some)


def num_lines(root: zarr.Group, names: Sequence[str]) -> int:
    """The number of lines in some files."""
    return sum(block.count(b"\n") for block in blocks_of(root, names))


def columns_in(root: zarr.Group, names: Sequence[str], columns: Sequence[str]) -> pa.Table:
    """Some of `dcrflow.stores.journal_columns.COLUMNS` of all lines in some files, in order."""
    return concatenated((columns_of(block, columns) for block in blocks_of(root, names)), columns)


def entries_in(root: zarr.Group, names: Sequence[str], wanted: Any) -> Iterator[dict[str, Any]]:
    """The lines of some files where an array is True, as objects; those beyond the array's end are left out."""
    start, left = 0, np.flatnonzero(wanted)
    for block in blocks_of(root, names) if len(left) else ():
        lines = block.split(b"\n")[:-1]
        here = left[(left >= start) & (left < start + len(lines))] - start
        start += len(lines)
        yield from (entry for place in here if (entry := parsed_line(lines[place])) is not None)
