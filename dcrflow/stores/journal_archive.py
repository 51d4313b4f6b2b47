"""Long journals as Parquet: a tenth of the bytes, one object a run, and columns that are read without the rest.

A run of many detector-visits leaves ``.dcrflow/<run>.parquet`` in the place of its JSON lines. The column ``line`` has
these lines as they were; `COLUMNS` have what later runs ask of the ends of detector-visits.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from itertools import batched, chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from zarr.abc.store import SuffixByteRequest
from zarr.buffer.cpu import Buffer, buffer_prototype
from zarr.storage import LocalStore

from dcrflow.base.attributes import is_number
from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.files import open_regular

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

FOLDER, LINES, ARCHIVE = ".dcrflow", ".jsonl", ".parquet"
_TOGETHER = 20_000  # lines of a row group
_END = 1 << 20  # bytes of an object in which Parquet's description of it stands, for up to some 10^7 lines
_MOST_ID = 1 << 63  # what a column of int64 does not hold

#: What an end says, as far as it is in columns: null in other lines. ``made_from`` and ``trouble`` are JSON; of the
#: latter, only that it is not null matters: there were errors or damage.
COLUMNS = {
    "visit": "int64", "detector": "int64", "status": "string", "config_hash": "string", "inputs": "string",
    "inputs_digest": "string", "band": "string", "coverage": "float64", "made_from": "string", "trouble": "string",
    "seconds": "float64", "written": "int64", "time": "string",
}  # fmt: skip
_SINCE = ("seconds", "written", "time")  # columns that archives of earlier versions lack
_REPEATED = ("status", "config_hash", "inputs", "inputs_digest", "band", "made_from")  # texts that are kept once


def _schema(*more: str) -> pa.Schema:
    import pyarrow as pa

    types = dict.fromkeys(more, "string") | COLUMNS
    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in types.items()])


def archive(root: zarr.Group, run: str) -> None:
    """Put the lines of a run that has ended into one Parquet file, and remove the JSON lines."""
    names = [name for name in names_in(root) if name.startswith(run) and name.endswith(LINES)]
    lines = chain.from_iterable(_lines_of(root, name) for name in names)
    key = key_of(root, f"{run}{ARCHIVE}")
    if isinstance(root.store, LocalStore):
        path = Path(root.store.root) / key
        partial = path.with_name(f".{run}.partial")
        try:
            _write(partial, lines)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder) / "lines", lines)
            sync(root.store.set(key, Buffer.from_bytes((Path(folder) / "lines").read_bytes())))
    for name in names:
        sync(root.store.delete(key_of(root, name)))


def _write(path: Path, lines: Iterator[bytes]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema("line")
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for some in batched(lines, _TOGETHER):
            texts = [line.decode(errors="replace") for line in some]
            rows = [{"line": text, **_facts(text)} for text in texts]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _facts(line: str) -> dict[str, Any]:
    """The columns of a line."""
    try:
        entry = json.loads(line)
        if not isinstance(entry, dict) or entry.get("event") != "ended":
            return {}
        trouble = [entry[name] for name in ("error", "damage") if entry.get(name)]
        coverage = entry.get("coverage")
        visit, detector = int(entry["visit"]), int(entry["detector"])
        if max(abs(visit), abs(detector)) >= _MOST_ID:  # of a bad row
            return {}
        return {
            "visit": visit, "detector": detector,
            **{name: str(entry.get(name, "")) for name in ("status", "config_hash", "inputs", "inputs_digest", "band")},
            "coverage": None if coverage is None else float(coverage),
            "made_from": json.dumps(entry.get("made_from", [])), "trouble": json.dumps(trouble) if trouble else None,
            "seconds": _number(entry.get("seconds")), "written": _number(entry.get("written"), int),
            "time": str(entry.get("time", "")),
        }  # fmt: skip
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return {}


def _number(value: Any, kind: Any = float) -> Any:
    """A number for a column; null for anything else."""
    return kind(value) if is_number(value) and math.isfinite(value) and abs(value) < _MOST_ID else None


def names_in(root: zarr.Group) -> list[str]:
    """Names of the files in the journals' folder."""

    async def collect() -> list[str]:
        return sorted([name async for name in root.store.list_dir(key_of(root, "").rstrip("/"))])

    return sync(collect())


def archived_lines(root: zarr.Group, name: str) -> Iterator[str]:
    """The JSON lines in an archive, in order; none if it is damaged, or somebody else's Parquet file."""
    import pyarrow as pa

    try:
        file = _opened(root, name)
        kind = file.schema_arrow.field("line").type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return
        for batch in file.iter_batches(_TOGETHER, columns=["line"]):
            yield from (line for line in batch.column(0).to_pylist() if line is not None)
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):
        return


def archived_ends(root: zarr.Group) -> pa.Table:
    """`COLUMNS` of the ends of detector-visits in all archives."""
    import pyarrow as pa

    found = [archived_columns(root, name, tuple(COLUMNS)) for _, name in archives_in(root)]
    if not found:
        return _schema().empty_table()
    return pa.concat_tables([_with_ids(table) for table in found])


def _with_ids(table: pa.Table) -> pa.Table:
    """The rows that have a visit and a detector."""
    table = table.filter(table["visit"].is_valid())
    return table.filter(table["detector"].is_valid())


def num_archived(root: zarr.Group) -> int | None:
    """The number of lines in all archives, as their ends say; None where an end says nothing."""
    import pyarrow as pa
    from pyarrow import parquet

    total = 0
    for _, name in archives_in(root):
        try:
            total += parquet.read_metadata(_end_of(root, name)).num_rows
        except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):
            return None
    return total


def archives_in(root: zarr.Group) -> list[tuple[str, str]]:
    """Run and name of each archive."""
    return [(name.removesuffix(ARCHIVE), name) for name in names_in(root) if name.endswith(ARCHIVE)]


def archived_columns(root: zarr.Group, name: str, columns: Sequence[str]) -> pa.Table:
    """Some of `COLUMNS` of all lines in an archive, in order; without rows if it is damaged."""
    import pyarrow as pa

    types = {c: pa.type_for_alias(COLUMNS[c]) for c in columns}
    types |= {c: pa.dictionary(pa.int32(), pa.string()) for c in columns if c in _REPEATED}
    schema = pa.schema(list(types.items()))
    try:
        file = _opened(root, name, _REPEATED)
        there = file.schema_arrow.names
        table = file.read(columns=[c for c in columns if c in there or c not in _SINCE])
        for column in columns:
            if column not in there:
                table = table.append_column(column, pa.nulls(len(table), types[column]))
        return table.select(list(columns)).cast(schema)
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):
        return schema.empty_table()


def archived_entries(root: zarr.Group, name: str, wanted: Any) -> Iterator[dict[str, Any]]:
    """The lines of an archive where an array is True, as objects."""
    import pyarrow as pa

    if not wanted.any():
        return
    start = 0
    try:
        for batch in _opened(root, name).iter_batches(_TOGETHER, columns=["line"]):
            here = batch.column(0).filter(pa.array(wanted[start : start + len(batch)]))
            start += len(batch)
            for line in here.to_pylist():
                try:
                    entry = json.loads(line)
                except (TypeError, ValueError, RecursionError):
                    continue
                if isinstance(entry, dict):
                    yield entry
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):
        return


def _opened(root: zarr.Group, name: str, repeated: Sequence[str] = ()) -> parquet.ParquetFile:
    import pyarrow as pa
    from pyarrow import parquet

    if isinstance(root.store, LocalStore):
        path = Path(root.store.root) / key_of(root, name)
        open_regular(path).close()
        return parquet.ParquetFile(path, read_dictionary=list(repeated))
    content = sync(root.store.get(key_of(root, name), prototype=buffer_prototype))
    text = b"" if content is None else content.to_bytes()
    return parquet.ParquetFile(pa.BufferReader(text), read_dictionary=list(repeated))


def _end_of(root: zarr.Group, name: str) -> Any:
    """Where the number of lines stands: the archive, or of an object its last part."""
    import pyarrow as pa

    if isinstance(root.store, LocalStore):
        path = Path(root.store.root) / key_of(root, name)
        open_regular(path).close()
        return path
    part = SuffixByteRequest(_END)
    content = sync(root.store.get(key_of(root, name), prototype=buffer_prototype, byte_range=part))
    return pa.BufferReader(b"" if content is None else content.to_bytes())


def _lines_of(root: zarr.Group, name: str) -> Iterator[bytes]:
    if isinstance(root.store, LocalStore):
        with open_regular(Path(root.store.root) / key_of(root, name)) as file:
            yield from (line.rstrip(b"\n") for line in file)
        return
    content = sync(root.store.get(key_of(root, name), prototype=buffer_prototype))
    yield from (b"" if content is None else content.to_bytes()).splitlines()


def key_of(root: zarr.Group, name: str) -> str:
    """The key of a file in the journals' folder."""
    return "/".join(part for part in (root.path, FOLDER, name) if part)


def patches_of(made_from: str) -> Sequence[tuple[int, int]]:
    """Tract and patch of each patch, of a value of the column ``made_from``."""
    return [(int(tract), int(patch)) for tract, patch in json.loads(made_from)]
