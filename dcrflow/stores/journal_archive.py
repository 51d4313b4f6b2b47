"""Long journals as Parquet: a tenth of the bytes, one object a run, and columns that are read without the rest.

A run of many detector-visits leaves ``.dcrflow/<run>.parquet`` in the place of its JSON lines. The column ``line`` has
these lines as they were; `COLUMNS` have what later runs ask of the ends of detector-visits.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.abc.store import SuffixByteRequest
from zarr.buffer.cpu import Buffer, buffer_prototype
from zarr.storage import LocalStore

from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.files import open_regular
from dcrflow.stores.journal_columns import REPEATED, columns_of, schema, schema_of
from dcrflow.stores.journal_lines import LINES, blocks_of, key_of, names_in, parsed_line

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

ARCHIVE = ".parquet"
_TOGETHER = 20_000  # lines of a row group
_END = 1 << 20  # bytes of an object in which Parquet's description of it stands, for up to some 10^7 lines
_SINCE = ("seconds", "written", "time")  # columns that archives of earlier versions lack


def archive(root: zarr.Group, run: str) -> None:
    """Put the lines of a run that has ended into one Parquet file, and remove the JSON lines."""
    names = [name for name in names_in(root) if name.startswith(run) and name.endswith(LINES)]
    blocks = blocks_of(root, names)
    key = key_of(root, f"{run}{ARCHIVE}")
    if isinstance(root.store, LocalStore):
        path = Path(root.store.root) / key
        partial = path.with_name(f".{run}.partial")
        try:
            _write(partial, blocks)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    else:
        with tempfile.TemporaryDirectory() as folder:
            _write(Path(folder) / "lines", blocks)
            sync(root.store.set(key, Buffer.from_bytes((Path(folder) / "lines").read_bytes())))
    for name in names:
        sync(root.store.delete(key_of(root, name)))


def _write(path: Path, blocks: Iterator[bytes]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetWriter(path, schema("line"), compression="zstd") as writer:
        for block in blocks:
            lines = pa.array([line.decode(errors="replace") for line in block.split(b"\n")[:-1]], pa.string())
            table = columns_of(block).add_column(0, "line", lines)
            writer.write_table(table, row_group_size=_TOGETHER)


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


def num_archived(root: zarr.Group, name: str) -> int | None:
    """The number of lines in an archive, as its end says; None where that says nothing."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        return int(parquet.read_metadata(_end_of(root, name)).num_rows)
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):
        return None


def archived_columns(root: zarr.Group, name: str, columns: Sequence[str]) -> pa.Table:
    """Some of `COLUMNS` of all lines in an archive, in order; without rows if it is damaged."""
    import pyarrow as pa

    wanted = schema_of(columns)
    try:
        file = _opened(root, name, REPEATED)
        there = file.schema_arrow.names
        table = file.read(columns=[c for c in columns if c in there or c not in _SINCE])
        for column in columns:
            if column not in there:
                table = table.append_column(column, pa.nulls(len(table), wanted.field(column).type))
        return table.select(list(columns)).cast(wanted)
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException):
        return wanted.empty_table()


def archived_entries(root: zarr.Group, name: str, wanted: Any) -> Iterator[dict[str, Any]]:
    """The lines of an archive where an array is True, as objects; those beyond the array's end are left out."""
    import pyarrow as pa

    start, left = 0, np.flatnonzero(wanted)
    try:
        for batch in _opened(root, name).iter_batches(_TOGETHER, columns=["line"]) if len(left) else ():
            here = left[(left >= start) & (left < start + len(batch))] - start
            start += len(batch)
            for line in batch.column(0).take(pa.array(here)).to_pylist():
                entry = parsed_line(line)
                if entry is not None:
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
