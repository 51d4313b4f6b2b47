"""Read and write detector-visit tables: ECSV, Parquet, tables in memory, and headers of FITS exposures."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from astropy import units as u
from astropy.table import QTable, Table
from astropy.time import Time

from dcrflow.base.errors import DcrflowError, VisitTableError
from dcrflow.geometry import sphere
from dcrflow.model.visit import DetectorVisit
from dcrflow.stores.files import whole_file
from dcrflow.stores.visits.any_table import any_table
from dcrflow.stores.visits.exposures import exposure_files, id_in_name, read_exposure_rows
from dcrflow.stores.visits.kinds import is_long, may_be_long
from dcrflow.stores.visits.rows import REQUIRED, UNITS, detector_visit, integer_or
from dcrflow.stores.visits.summaries.from_table import SUMMARY_COLUMNS, is_summary_table, summary_table_rows

if TYPE_CHECKING:
    from dcrflow.stores.visits.long_table import LongTable, TableRow

#: Columns that are read; other columns are ignored.
KNOWN = frozenset((*REQUIRED, *UNITS, "physical_filter", "header_altitude", "image", "psf_fwhm"))
_WIDEST = 30.0  # degrees; largest distance of a detector's centre from the boresight


@dataclass(frozen=True)
class BadVisit:
    """A row that cannot be used.

    Parameters
    ----------
    visit, detector : int
        The data ID; -1 if it cannot be read.
    error : VisitTableError
        Why the row cannot be used.
    """

    visit: int
    detector: int
    error: VisitTableError


def read_visits(source: Any) -> Sequence[DetectorVisit]:
    """Read detector-visits.

    A Parquet file or a table in memory of 10,000 rows and more stays a table: a row becomes a `DetectorVisit`, and an
    unusable one an error, when it is asked for. What it lacks as a whole, and data IDs that occur twice, are errors at
    once.

    Parameters
    ----------
    source : str, path, astropy Table, pandas DataFrame, or sequence
        An ECSV or Parquet file with the columns of the interfaces page (units in the file are honoured); a table in
        memory; LSST's tables of detectors, ``visitSummary`` (FITS or Parquet) and ``visit_detector_table``; a
        directory or list of LSST-style FITS exposures, of which only the headers are read; or a list of
        `DetectorVisit`, returned unchanged.

    Raises
    ------
    VisitTableError
        If the source cannot be read, lacks a column, or has an unusable row; names the table, row, visit, detector and
        column, and what was expected.

    Examples
    --------
    >>> import dcrflow
    >>> visits = dcrflow.read_visits("survey/visits.ecsv")
    >>> visits[0].visit, visits[0].detector, visits[0].band
    (12, 3, 'g')
    """
    rows = read_visit_rows(source)
    if is_long(rows):
        return rows.converted_by(_strict)
    for row in rows:
        if isinstance(row, BadVisit):
            raise row.error
    return [row for row in rows if isinstance(row, DetectorVisit)]


def _strict(row: TableRow) -> DetectorVisit:
    found = visit_of(row)
    if isinstance(found, BadVisit):
        raise found.error
    return found


def visit_of(row: TableRow) -> DetectorVisit | BadVisit:
    """The detector-visit of a row of a long table."""
    return _checked(row.label, partial(dict, row.values), row.values)


def _long_table(source: Any) -> LongTable | None:
    if not may_be_long(source):
        return None
    from dcrflow.stores.visits.long_table import long_table

    return long_table(source, KNOWN, visit_of)


def read_visit_rows(source: Any) -> Sequence[DetectorVisit | BadVisit]:
    """Read detector-visits as `read_visits` does, but return a `BadVisit` for a row that cannot be used.

    Raises
    ------
    VisitTableError
        If the source as a whole cannot be used.
    """
    if is_long(source):
        return source.converted_by(visit_of)
    if isinstance(source, Iterable) and not isinstance(source, str | os.PathLike) and not hasattr(source, "columns"):
        source = list(source)
        if all(isinstance(v, DetectorVisit | BadVisit) for v in source):
            return cast("list[DetectorVisit | BadVisit]", source)
    files = exposure_files(source)
    if files is not None:
        labelled = [one for path in files for one in _of_exposure(path)]
        return _unique("these exposures", [row for _, row in labelled], [label for label, _ in labelled])
    long = _long_table(source)
    if long is not None and _has_directions(long.names):
        return long
    name, table = any_table(source, KNOWN | SUMMARY_COLUMNS)
    if is_summary_table(table.colnames):
        rows = summary_table_rows(name, table)
        labels = [f"row {i}" for i in range(len(rows))]
        return _unique(
            name, [_checked(f"{name}, {n}", partial(_given, r), r) for n, r in zip(labels, rows, strict=True)], labels
        )
    columns = {c: table[c] for c in table.colnames if c in KNOWN}
    missing = [c for c in REQUIRED if c not in columns]
    if missing:
        raise VisitTableError(
            f"{name} lacks the column {', '.join(missing)}; it has {', '.join(table.colnames) or 'none'}"
        )
    if not _has_directions(columns):
        raise VisitTableError(
            f"{name} needs the columns altitude and parallactic_angle, or mjd, longitude and latitude; "
            f"it has {', '.join(table.colnames)}"
        )
    values = {c: _values(name, c, column) for c, column in columns.items()}
    if "image" in values:
        folder = Path(source).parent if isinstance(source, str | os.PathLike) else Path()
        values["image"] = [_place(folder, v) for v in values["image"]]
    rows = [{c: v[i] for c, v in values.items()} for i in range(len(table))]
    labels = [f"row {i}" for i in range(len(rows))]
    return _unique(
        name, [_checked(f"{name}, {n}", partial(dict, r), r) for n, r in zip(labels, rows, strict=True)], labels
    )


def _has_directions(columns: Iterable[str]) -> bool:
    """Whether some columns tell the direction of the zenith."""
    there = set(columns)
    return {"altitude", "parallactic_angle"} <= there or {"mjd", "longitude", "latitude"} <= there


def _of_exposure(path: Path) -> list[tuple[str, DetectorVisit | BadVisit]]:
    """The detector-visits of one file; a `BadVisit` for what cannot be read."""
    try:
        rows = read_exposure_rows(path)
    except VisitTableError as error:

        def read(error: VisitTableError = error) -> Mapping[str, Any]:
            raise error

        return [(str(path), _checked(str(path), read, id_in_name(path)))]
    if len(rows) == 1 and "image" not in rows[0]:
        rows = [{**rows[0], "image": str(path.absolute())}]
    labels = [str(path)] if len(rows) == 1 else [f"{path}, detector {row['detector']}" for row in rows]
    return [(n, _checked(n, partial(_given, row), row)) for n, row in zip(labels, rows, strict=True)]


def _given(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row, unless its WCS is the error that says why there is none."""
    if isinstance(row.get("wcs"), VisitTableError):
        raise row["wcs"]
    return row


def _place(folder: Path, image: object) -> str:
    """The full path or URL of an image; paths in a table are relative to the table's folder."""
    text = "" if image is None else str(image)
    return text if not text or "://" in text else str((folder / text).absolute())


def _checked(where: str, read: Callable[[], Mapping[str, Any]], named: Mapping[str, Any]) -> DetectorVisit | BadVisit:
    """Convert one row to a detector-visit; `named` gives the data ID if the row cannot be read."""
    row: Mapping[str, Any] = named
    try:
        row = read()
        return _pointed(detector_visit(row))
    except Exception as error:  # whatever a row has, the others can be used
        known = {k: n for k in ("visit", "detector") if (n := integer_or(row.get(k), -1)) != -1}
        label = f" ({' '.join(f'{k} {n}' for k, n in known.items())})" if known else ""
        kind = "" if isinstance(error, DcrflowError | ValueError | ArithmeticError) else f"{type(error).__name__}: "
        wrapped = VisitTableError(f"{where}{label}: {kind}{' '.join(str(error).split())}")
        return BadVisit(known.get("visit", -1), known.get("detector", -1), wrapped)


def _pointed(visit: DetectorVisit) -> DetectorVisit:
    """Return the detector-visit after a check that its WCS is near the boresight."""
    box, seen = visit.bbox, visit.observation
    middle = visit.wcs.pixel_to_sky(box.x0 + box.width / 2, box.y0 + box.height / 2)
    off = float(sphere.separation(seen.ra, seen.dec, *middle))
    if off > _WIDEST:  # NaN outside the projection; planning reports that
        raise ValueError(
            f"the wcs puts the detector {off:.1f} deg from the boresight (ra, dec), expected at most {_WIDEST}; "
            "one of them is wrong"
        )
    return visit


def _unique(name: str, rows: list[DetectorVisit | BadVisit], labels: Sequence[str]) -> list[DetectorVisit | BadVisit]:
    seen: dict[tuple[int, int], str] = {}
    for label, row in zip(labels, rows, strict=True):
        key = row.visit, row.detector
        if key in seen and min(key) >= 0:
            raise VisitTableError(
                f"{name}: {seen[key]} and {label} are both visit {row.visit} detector {row.detector}; keep one of them"
            )
        seen.setdefault(key, label)
    return rows


def _values(name: str, column: str, values: Any) -> list[Any]:
    """A column's values in the unit of the table format; None for masked values and NaN."""
    if column == "mjd" and isinstance(values, Time):
        values = values.tai.mjd
    if getattr(values, "ndim", 1) != 1:
        raise VisitTableError(
            f"{name}: column {column} has an array of shape {values.shape[1:]} in each row, expected one value"
        )
    masked = np.broadcast_to(np.asarray(getattr(values, "mask", False)), (len(values),))
    values = np.ma.getdata(getattr(values, "unmasked", values))
    unit, wanted = getattr(values, "unit", None), UNITS.get(column)
    if wanted is not None and unit not in (None, wanted, u.dimensionless_unscaled):
        try:
            values = u.Quantity(values).to_value(wanted, equivalencies=u.temperature())
        except (TypeError, ValueError) as error:  # a unit of another dimension, or an unknown unit
            raise VisitTableError(f"{name}: column {column} has unit {unit}, expected {wanted}") from error
    data = [_plain(v) for v in getattr(values, "value", values)]
    return [
        None if m or v is None or (isinstance(v, float) and math.isnan(v)) else v
        for v, m in zip(data, masked, strict=True)
    ]


def _plain(value: Any) -> Any:
    """An element of a table as a plain Python value."""
    value = value.item() if hasattr(value, "item") else value
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def write_visits(visits: Iterable[DetectorVisit], path: str | Path) -> None:
    """Write detector-visits as a table; the path's suffix selects ECSV or Parquet.

    Raises
    ------
    VisitTableError
        If the suffix is another, the path cannot be written, or a WCS has no FITS cards.

    Examples
    --------
    >>> import dcrflow
    >>> visits = dcrflow.read_visits("survey/visits.ecsv")
    >>> dcrflow.write_visits(visits, "copy.parquet")
    >>> dcrflow.read_visits("copy.parquet") == visits
    True
    """
    path = Path(path)
    visits = list(visits)
    for visit in visits:
        if not visit.wcs.cards:
            what = "has lookup tables" if visit.wcs.tables else "is no FITS WCS"
            raise VisitTableError(
                f"cannot write {visit.label} to {path}: its WCS {what}, and a table keeps FITS cards alone; give those"
            )
    rows = [_row(v, path.parent) for v in visits]
    text = {"instrument", "band", "wcs", "physical_filter", "image"}
    names = ["instrument", "visit", "detector", "band", "physical_filter", *_ORDER]
    names += ["image"] if any(v.image for v in visits) else []
    names += [n for n in ("psf_fwhm", "zero_point") if any(getattr(v, n) is not None for v in visits)]
    table = QTable()
    for name in names:
        values = [row[name] for row in rows]
        if name in text:
            table[name] = np.array(values, dtype=np.str_) if values else np.array([], dtype="U1")
        elif name in ("visit", "detector"):
            table[name] = np.array(values, np.int64)
        elif name in ("x0", "y0", "width", "height"):
            table[name] = u.Quantity(np.array(values, np.int64), u.pix, dtype=np.int64)
        else:
            numbers = np.array([math.nan if v is None else v for v in values], np.float64)
            table[name] = u.Quantity(numbers, UNITS[name])
    try:
        if path.suffix.lower() not in (".ecsv", ".parquet", ".pq"):
            raise VisitTableError(f"{path}: a detector-visit table is written as .ecsv or .parquet")
        with whole_file(path) as partial:
            if path.suffix.lower() == ".ecsv":
                table.write(partial, format="ascii.ecsv", overwrite=True)
            else:
                _write_parquet(Table(table), partial)
    except OSError as error:
        raise VisitTableError(f"cannot write {path}: {error}") from error


def _write_parquet(table: Table, path: Path) -> None:
    """Write a table as astropy does, with checksums, which it leaves out: with them a flipped bit is no other WCS."""
    from pyarrow import parquet

    table.write(path, format="parquet", overwrite=True)
    parquet.write_table(parquet.read_table(path), path, write_page_checksum=True)


_ORDER = (
    "x0", "y0", "width", "height", "wcs", "ra", "dec", "mjd", "altitude", "parallactic_angle", "rotation_angle",
    "latitude", "height_m", "temperature", "pressure", "humidity",
)  # fmt: skip


def _row(visit: DetectorVisit, folder: Path) -> dict[str, Any]:
    observed = visit.observation
    weather = {n: math.nan if n in observed.weather.assumed else getattr(observed.weather, n)
               for n in ("temperature", "pressure", "humidity")}  # fmt: skip
    return {
        "instrument": visit.instrument,
        "visit": visit.visit,
        "detector": visit.detector,
        "band": visit.band,
        "physical_filter": visit.physical_filter,
        "x0": visit.bbox.x0,
        "y0": visit.bbox.y0,
        "width": visit.bbox.width,
        "height": visit.bbox.height,
        "wcs": visit.wcs.cards,
        "ra": observed.ra,
        "dec": observed.dec,
        "mjd": visit.mjd,
        "altitude": observed.altitude,
        "parallactic_angle": observed.parallactic_angle,
        "rotation_angle": observed.rotation_angle,
        "latitude": observed.latitude,
        "height_m": observed.height,
        **weather,
        "image": _relative(visit.image, folder),
        "psf_fwhm": visit.psf_fwhm,
        "zero_point": visit.zero_point,
    }


def _relative(image: str, folder: Path) -> str:
    """A path to write in the table: relative if the image is below the table's folder, so both can be moved."""
    if not image or "://" in image:
        return image
    path, within = Path(image).absolute(), folder.absolute()
    return str(path.relative_to(within)) if path.is_relative_to(within) else str(path)
