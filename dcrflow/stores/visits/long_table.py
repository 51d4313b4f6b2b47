"""Long tables: rows stay columns until they are needed.

A row as Python objects takes 15 KiB, and its WCS a third of a millisecond to parse. So a long table keeps its numbers
as columns and its texts in a temporary file. What is checked for all rows at once are the columns, units and data IDs.
A row is checked when it is used; a campaign writes a bad one down as failed, like those of short tables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
import pyarrow as pa
from astropy import units as u
from astropy.table import meta
from numpy.typing import NDArray
from pyarrow import parquet

from dcrflow.base.errors import VisitTableError, shortened
from dcrflow.model.visit import curve_order
from dcrflow.stores.visits.centres import centres
from dcrflow.stores.visits.kinds import PARQUET
from dcrflow.stores.visits.rows import REQUIRED, UNITS, integer_or
from dcrflow.stores.visits.texts import TextFile

LONG = 10_000  # rows from which a table is a long one
_TEXTS = ("wcs", "image")  # columns of texts of which nearly every row has another
_TOGETHER = 65_536  # rows that are read at a time

Batches = Callable[[Sequence[str]], Iterator[pa.RecordBatch]]


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row that was not looked at yet; small enough to be sent to a worker.

    Parameters
    ----------
    table : str
        Its name, for messages.
    number : int
        Of the row in the table.
    values : mapping
        By column, in the units of the table format; None for a missing value.
    """

    table: str
    number: int
    values: Mapping[str, Any]

    @property
    def visit(self) -> int:
        """The visit; -1 if it cannot be read."""
        return _id(self.values.get("visit"))

    @property
    def detector(self) -> int:
        """The detector; -1 if it cannot be read."""
        return _id(self.values.get("detector"))

    @property
    def label(self) -> str:
        """The table and row in words."""
        return f"{self.table}, row {self.number}"


def _id(value: Any) -> int:
    return max(integer_or(value, -1), -1)


@dataclass(frozen=True)
class _Source:
    """A table: its columns but the long texts, and how to read these."""

    name: str
    numbers: pa.Table
    texts: tuple[str, ...]
    batches: Batches
    folder: Path


@dataclass(frozen=True)
class _Loaded:
    """What was read of the long texts of some rows: the texts, and the places on the sky."""

    rows: NDArray[np.int64]  # increasing
    texts: Mapping[str, TextFile]
    ra: NDArray[np.float64]
    dec: NDArray[np.float64]

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self.rows, rows)


class LongTable(Sequence[Any]):
    """The rows of a long table. Each row is converted when it is asked for.

    Parameters
    ----------
    source : _Source
        The table; see `long_table`.
    convert : callable
        From a `TableRow` to what the sequence has.
    chosen : ndarray of int64
        Numbers of the rows that are meant, in their order.
    """

    def __init__(self, source: _Source, convert: Callable[[TableRow], Any], chosen: NDArray[np.int64]) -> None:
        self._source, self._convert, self._chosen = source, convert, chosen
        self._loaded: _Loaded | None = None

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> LongTable: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        (row,) = self.raw([range(len(self))[index]])
        return self._convert(row)

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), 1000):
            for row in self.raw(range(start, min(start + 1000, len(self)))):
                yield self._convert(row)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} detector-visits of {self._source.name}>"

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [*self._source.numbers.column_names, *self._source.texts]

    def converted_by(self, convert: Callable[[TableRow], Any]) -> LongTable:
        """The same rows, converted in another way."""
        return self._like(self._chosen, convert)

    def take(self, places: NDArray[np.int64]) -> LongTable:
        """Some of the rows, by their places in this sequence."""
        return self._like(self._chosen[places], self._convert)

    def _like(self, chosen: NDArray[np.int64], convert: Callable[[TableRow], Any]) -> LongTable:
        made = LongTable(self._source, convert, chosen)
        made._loaded = self._loaded
        return made

    def raw(self, places: Sequence[int]) -> list[TableRow]:
        """Some rows as they are in the table, by their places."""
        source, loaded = self._source, self._load()
        chosen = self._chosen[np.asarray(places, np.int64)]
        some = source.numbers.take(pa.array(chosen))
        columns = {name: some[name].to_pylist() for name in some.column_names}
        columns |= {name: texts.rows(loaded.places(chosen)) for name, texts in loaded.texts.items()}
        return [
            TableRow(source.name, int(row), {n: _plain(n, values[i], source.folder) for n, values in columns.items()})
            for i, row in enumerate(chosen)
        ]

    def column(self, name: str) -> NDArray[Any] | None:
        """A column of these rows as an array, for conditions: NaN or an empty text for a missing value.

        None if there is no such column, or integers are missing in it.
        """
        if name not in self._source.numbers.column_names:
            return None
        column = self._source.numbers[name].take(pa.array(self._chosen))
        if pa.types.is_dictionary(column.type):
            texts: NDArray[Any] = column.cast(pa.string()).fill_null("").to_numpy().astype(np.str_)
            return texts
        if column.null_count and not pa.types.is_floating(column.type):
            return None
        found: NDArray[Any] = column.to_numpy()
        return found

    def data_ids(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Visit and detector of all rows; -1 where a row has none."""
        visit, detector = (_ids(self._source.numbers[name])[self._chosen] for name in ("visit", "detector"))
        return visit, detector

    def positions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """RA and Dec of the detectors' middles, degrees, to a pixel or so; the boresight's if a WCS does not tell."""
        loaded = self._load()
        places = loaded.places(self._chosen)
        return loaded.ra[places], loaded.dec[places]

    def in_sky_order(self) -> LongTable:
        """The rows in an order in which neighbours on the sky follow each other."""
        return self.take(curve_order(*self.positions()))

    def _load(self) -> _Loaded:
        """Read the long texts of the rows that are meant, once."""
        if self._loaded is None:
            source = self._source
            try:
                self._loaded = _loaded(source, np.sort(self._chosen))
            except (OSError, ValueError, pa.ArrowException) as error:  # damaged, removed, or no space for the texts
                raise VisitTableError(
                    f"{source.name}: cannot copy its column {' and '.join(source.texts)} to a temporary file: "
                    f"{type(error).__name__}: {shortened(' '.join(str(error).split()))}"
                ) from error
        return self._loaded


def _loaded(source: _Source, rows: NDArray[np.int64]) -> _Loaded:
    wanted = np.zeros(source.numbers.num_rows, np.bool_)
    wanted[rows] = True
    middles = [(_floats(source.numbers[a]) + _floats(source.numbers[b]) / 2)[rows]
               for a, b in (("x0", "width"), ("y0", "height"))]  # fmt: skip
    pointing = [_floats(source.numbers[name])[rows] for name in ("ra", "dec")]
    found: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    texts = {name: TextFile() for name in source.texts}
    start = at = 0
    for batch in source.batches(source.texts):
        keep = batch.filter(pa.array(wanted[start : start + batch.num_rows]))
        here = slice(at, at + keep.num_rows)
        for name, file in texts.items():
            file.add(keep[name])
        found.append(centres(keep["wcs"], *(m[here] for m in middles), *(p[here] for p in pointing)))
        start, at = start + batch.num_rows, here.stop
    ra, dec = (np.concatenate([np.zeros(0), *(f[i] for f in found)]) for i in (0, 1))
    return _Loaded(rows, texts, ra, dec)


def long_table(table: Any, wanted: frozenset[str], convert: Callable[[TableRow], Any]) -> LongTable | None:
    """A long table, from a Parquet file, a pyarrow Table or a pandas DataFrame; None for any other source, one that
    Arrow cannot read, and columns that are neither numbers nor texts.

    Parameters
    ----------
    table : str, path, pyarrow.Table or pandas.DataFrame
        The table.
    wanted : frozenset of str
        Columns that are read.
    convert : callable
        From a `TableRow` to what the sequence has.

    Raises
    ------
    VisitTableError
        If two rows have the same data ID.
    """
    try:
        opened = _opened(table, wanted)
        if opened is None:
            return None
        name, schema, folder, batches = opened
        plain = [n for n in schema.names if n in wanted and n not in _TEXTS]
        texts = tuple(n for n in _TEXTS if n in schema.names)
        if not set(REQUIRED) <= set(schema.names) or not _is_plain(schema, (*plain, *texts)):
            return None
        units = _units(schema)
        read = pa.Table.from_batches(batches(plain), pa.schema([schema.field(n) for n in plain]))
        read.validate(full=True)
    except (OSError, ValueError, TypeError, LookupError, ArithmeticError, pa.ArrowException):
        return None  # `any_table` reads it, or says what is wrong
    columns = {n: _in_one(_converted(name, n, read[n], units.get(n))) for n in plain}
    found = LongTable(
        _Source(name, pa.table(columns), texts, batches, folder), convert, np.arange(read.num_rows, dtype=np.int64)
    )
    _refuse_twins(name, *found.data_ids())
    return found


def _opened(table: Any, wanted: frozenset[str]) -> tuple[str, pa.Schema, Path, Batches] | None:
    """Name, schema, folder and reader of a table; None if it is short, or of another kind."""
    if isinstance(table, pd.DataFrame):
        if len(table) < LONG:
            return None
        names = [n for n in table.columns if n in wanted]
        table, name = pa.Table.from_pandas(table[names], preserve_index=False), "the data frame"
    elif isinstance(table, pa.Table):
        name = "the table"
    elif isinstance(table, str | os.PathLike) and Path(table).suffix.lower() in PARQUET:
        return _opened_file(Path(table))
    else:
        return None
    if table.num_rows < LONG:
        return None

    def batches(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        return iter(table.select(list(names)).to_batches(max_chunksize=_TOGETHER))

    return name, table.schema, Path(), batches


def _opened_file(path: Path) -> tuple[str, pa.Schema, Path, Batches] | None:
    file = parquet.ParquetFile(path, page_checksum_verification=True)
    if not LONG <= file.metadata.num_rows <= path.stat().st_size:  # run-length encoding can hide 10^11 equal rows
        return None

    def batches(names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        again = parquet.ParquetFile(path, page_checksum_verification=True)
        found: Iterator[pa.RecordBatch] = again.iter_batches(_TOGETHER, columns=list(names))
        return found

    return str(path), file.schema_arrow, path.parent, batches


def _is_plain(schema: pa.Schema, names: Sequence[str]) -> bool:
    """Whether all columns are of numbers or texts, not one of several that make up an object, as times are."""
    kinds = [schema.field(n).type for n in names]
    types = pa.types
    return all(
        types.is_integer(k) or types.is_floating(k) or types.is_string(k) or types.is_large_string(k) for k in kinds
    )


def _units(schema: pa.Schema) -> Mapping[str, u.UnitBase]:
    """Units of the columns, if astropy wrote the file."""
    text = (schema.metadata or {}).get(b"table_meta_yaml")
    if text is None:
        return {}
    header = meta.get_header_from_yaml(text.decode().split("\n"))
    return {c["name"]: u.Unit(c["unit"], parse_strict="silent") for c in header["datatype"] if c.get("unit")}


def _converted(table: str, name: str, column: pa.ChunkedArray, unit: u.UnitBase | None) -> Any:
    """A column in the unit of the table format; texts that repeat are kept once."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return column.cast(pa.string()).dictionary_encode()
    wanted = UNITS.get(name)
    if wanted is None or unit in (None, wanted, u.dimensionless_unscaled):
        return column
    try:
        return pa.array(u.Quantity(_floats(column), unit).to_value(wanted, equivalencies=u.temperature()))
    except (TypeError, ValueError) as error:
        raise VisitTableError(f"{table}: column {name} has unit {unit}, expected {wanted}") from error


def _in_one(column: Any) -> Any:
    """The same column without chunks: to take some rows of many chunks takes as long as to look at all chunks."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    if pa.types.is_dictionary(column.type):
        return np.full(len(column), np.nan)
    found: NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    return found


def _ids(column: pa.ChunkedArray) -> NDArray[np.int64]:
    if not pa.types.is_integer(column.type):
        return np.array([_id(v) for v in column.to_pylist()], np.int64)
    found: NDArray[np.int64] = column.cast(pa.int64(), safe=False).fill_null(-1).to_numpy()
    return found


def _refuse_twins(name: str, visit: NDArray[np.int64], detector: NDArray[np.int64]) -> None:
    order = np.lexsort((detector, visit))
    same = (np.diff(visit[order]) == 0) & (np.diff(detector[order]) == 0)
    same &= (visit[order][1:] >= 0) & (detector[order][1:] >= 0)
    if same.any():
        place = min(np.flatnonzero(same), key=lambda place: order[place + 1])  # as rows are compared one by one
        one, other = order[place], order[place + 1]
        raise VisitTableError(
            f"{name}: row {one} and row {other} are both visit {visit[one]} detector {detector[one]}; keep one of them"
        )


def _plain(name: str, value: Any, folder: Path) -> Any:
    """A value of a row; None where it is missing."""
    if isinstance(value, float) and np.isnan(value):
        return None
    if name == "image":
        text = "" if value is None else str(value)
        return text if not text or "://" in text else str((folder / text).absolute())
    return value
