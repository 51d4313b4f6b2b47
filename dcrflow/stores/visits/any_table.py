"""Read any kind of table, from memory or a file, as an astropy table; integers stay exact."""

from __future__ import annotations

import os
import warnings
from collections.abc import Container
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.table import MaskedColumn, Table
from astropy.utils.exceptions import AstropyWarning

from dcrflow.base.errors import VisitTableError
from dcrflow.stores.visits.kinds import PARQUET, is_data_frame

if TYPE_CHECKING:
    import pandas as pd


def any_table(source: Any, wanted: Container[str]) -> tuple[str, Table]:
    """Read a table; returns its name, for messages, and the table.

    Parameters
    ----------
    source : str, path, astropy Table, pandas DataFrame or pyarrow Table
        A str or path names an ECSV or Parquet file.
    wanted : container of str
        Columns that are needed. Other columns may be skipped, whatever they contain.

    Raises
    ------
    VisitTableError
        If the table cannot be read.
    """
    if isinstance(source, Table):
        return "the table", source
    try:
        if is_data_frame(source):
            return "the data frame", _of_pandas(source, wanted)
        if hasattr(source, "to_pylist") and hasattr(source, "column_names"):  # pyarrow's
            return "the table", _of_arrow(source, wanted)
    except Exception as error:  # the libraries raise many classes
        raise VisitTableError(f"cannot read the table: {_said(error)}") from error
    if not isinstance(source, str | os.PathLike):
        raise VisitTableError(
            f"no detector-visits can be read from {type(source).__name__}: {str(source)[:80]}; expected the path of a "
            "table (ECSV or Parquet), a table in memory, or FITS exposures"
        )
    path = Path(source)
    if "://" in str(source):
        raise VisitTableError(f"{source} is a URL; a detector-visit table is read from a file: download it first")
    if not path.exists():
        raise VisitTableError(
            f"{path} does not exist; expected a detector-visit table (ECSV or Parquet) or FITS exposures"
        )
    try:
        if path.suffix.lower() in PARQUET:
            return str(path), _read_parquet(path, wanted)
        return str(path), Table.read(path, format="ascii.ecsv")
    except Exception as error:
        raise VisitTableError(f"cannot read {path} as a detector-visit table: {_said(error)}") from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _of_pandas(frame: pd.DataFrame, wanted: Container[str]) -> Table:
    """Convert column by column: pandas and numpy would convert nullable integers to floating point."""
    from pandas.api import extensions

    table = Table()
    for name in frame.columns:
        if name not in wanted:
            continue
        values = frame[name]
        kind = values.dtype
        if isinstance(kind, extensions.ExtensionDtype) and kind.kind in "iufbO":
            table[name] = _of_objects(values.astype(object).where(values.notna(), None).tolist())
        else:
            table[name] = Table.from_pandas(frame[[name]])[name]
    return table


def _of_arrow(found: Any, wanted: Container[str]) -> Table:
    return Table({n: _of_objects(found[n].to_pylist()) for n in found.column_names if n in wanted})


def _of_objects(values: list[Any]) -> MaskedColumn:
    """A masked column from Python values; None marks a missing value."""
    made = np.empty(len(values), object)
    made[:] = values
    return MaskedColumn(made, mask=[v is None for v in values])


def _read_parquet(path: Path, wanted: Container[str]) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    about = parquet.read_metadata(path)
    rows, size = about.num_rows, path.stat().st_size
    if rows > size:  # run-length encoding can hide 10^11 equal rows in a kilobyte; detector-visits all differ
        raise ValueError(f"it says that it has {rows} rows, in {size} bytes")
    names = [field.name for field in parquet.read_schema(path) if field.name in wanted]
    found = parquet.read_table(path, columns=names, page_checksum_verification=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No table::len", AstropyWarning)  # in files that astropy did not write
            table = Table.read(path, format="parquet", include_names=names)  # with units, if astropy wrote it
    except Exception:
        return _of_arrow(found, wanted)
    for name in names:
        if found[name].null_count and pa.types.is_integer(found[name].type):  # astropy makes floats of them
            table[name] = _of_objects(found[name].to_pylist())
    return table
