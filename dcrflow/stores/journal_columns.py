"""What the JSON lines of a journal say of the ends of detector-visits, in columns.

pyarrow parses most lines, five times as fast as Python. A block with a line that is damaged, or that has a value of
another type than expected, is parsed line by line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dcrflow.base.attributes import is_number

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_ID = 1 << 63  # what a column of int64 does not hold

#: What an end says, as far as it is in columns: null in other lines. ``made_from`` and ``trouble`` are JSON; of the
#: latter, only that it is not null matters: there were errors or damage.
COLUMNS = {
    "visit": "int64", "detector": "int64", "status": "string", "config_hash": "string", "inputs": "string",
    "inputs_digest": "string", "band": "string", "coverage": "float64", "made_from": "string", "trouble": "string",
    "seconds": "float64", "written": "int64", "time": "string",
}  # fmt: skip
REPEATED = ("status", "config_hash", "inputs", "inputs_digest", "band", "made_from")  # texts that are kept once
_TEXTS = ("status", "config_hash", "inputs", "inputs_digest", "band", "time")


def schema(*more: str) -> pa.Schema:
    """The schema of `COLUMNS`, after further columns of text."""
    import pyarrow as pa

    types = dict.fromkeys(more, "string") | COLUMNS
    return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in types.items()])


def schema_of(columns: Sequence[str]) -> pa.Schema:
    """The schema of some of `COLUMNS` in memory, where texts that are repeated are kept once."""
    import pyarrow as pa

    types = {c: pa.type_for_alias(COLUMNS[c]) for c in columns}
    types |= {c: pa.dictionary(pa.int32(), pa.string()) for c in columns if c in REPEATED}
    return pa.schema(list(types.items()))


def columns_of(text: bytes, columns: Sequence[str] = tuple(COLUMNS)) -> pa.Table:
    """Return what whole lines say, shape (number of lines,): a row for each line, in their order.

    Parameters
    ----------
    text : bytes
        Lines, each with its end.
    columns : sequence of str
        Which of `COLUMNS`.
    """
    import pyarrow as pa

    number = text.count(b"\n")
    try:
        found = _parsed(text, columns) if text.count(b"}\n{") == number - 1 else None  # at least one object a line
        if found is not None and found.num_rows == number:
            return found
    except (ValueError, OverflowError, pa.ArrowException):  # a block of more than 2 GiB, too
        pass
    rows = [_facts(line) for line in text.split(b"\n")[:number]]
    return pa.Table.from_pylist(rows, schema=schema()).select(list(columns))


def _parsed(text: bytes, columns: Sequence[str]) -> pa.Table:
    """The same by pyarrow, which takes no notice of lines: a row for each object."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import json as arrow_json

    text.decode()  # pyarrow does not look whether texts are UTF-8
    kinds = {c: pa.type_for_alias(COLUMNS[c]) for c in columns if c not in ("made_from", "trouble")}
    kinds |= {"event": pa.string(), "visit": pa.int64(), "detector": pa.int64()}
    kinds |= {"made_from": pa.list_(pa.list_(pa.int64()))} if "made_from" in columns else {}
    kinds |= {"error": pa.struct([]), "damage": pa.list_(pa.string())} if "trouble" in columns else {}
    found = arrow_json.read_json(
        pa.BufferReader(text),
        read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=arrow_json.ParseOptions(
            explicit_schema=pa.schema(list(kinds.items())), unexpected_field_behavior="ignore"
        ),
    )
    ends = pc.and_(pc.equal(found["event"], "ended"), pc.and_(found["visit"].is_valid(), found["detector"].is_valid()))
    return pa.table(
        [pc.if_else(ends, _column(found, c), pa.scalar(None, pa.type_for_alias(COLUMNS[c]))) for c in columns],
        names=list(columns),
    )


def _column(found: pa.Table, name: str) -> Any:
    """One of `COLUMNS` of what pyarrow parsed."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if name == "trouble":
        damaged = pc.greater(pc.list_value_length(found["damage"]), 0).fill_null(False)
        return pc.if_else(pc.or_(found["error"].is_valid(), damaged), "true", pa.scalar(None, pa.string()))
    if name == "made_from":
        return pa.chunked_array([[json.dumps(pairs or []) for pairs in found[name].to_pylist()]], pa.string())
    if name == "seconds":
        fits = pc.less(pc.abs(found[name]), float(_MOST_ID))
        return pc.if_else(fits, found[name], pa.scalar(None, pa.float64()))
    return found[name].fill_null("") if name in _TEXTS else found[name]


def _facts(line: bytes) -> dict[str, Any]:
    """The columns of a line."""
    try:
        entry = json.loads(line.decode(errors="replace"))
        if not isinstance(entry, dict) or entry.get("event") != "ended":
            return {}
        trouble = any(entry.get(name) for name in ("error", "damage"))
        coverage: Any = entry.get("coverage")
        visit, detector = int(entry["visit"]), int(entry["detector"])
        if max(abs(visit), abs(detector)) >= _MOST_ID:  # of a bad row
            return {}
        return {
            "visit": visit, "detector": detector,
            **{name: str(entry.get(name, "")) for name in _TEXTS},
            "coverage": float(coverage) if is_number(coverage) else None,  # as of a record: the rest of the line counts
            "made_from": json.dumps(entry.get("made_from", [])), "trouble": "true" if trouble else None,
            "seconds": _number(entry.get("seconds")), "written": _number(entry.get("written"), int),
        }  # fmt: skip
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return {}


def _number(value: Any, kind: Any = float) -> Any:
    """A number for a column; null for anything else."""
    return kind(value) if is_number(value) and math.isfinite(value) and abs(value) < _MOST_ID else None


def patches_of(made_from: str) -> Sequence[tuple[int, int]]:
    """Tract and patch of each patch, of a value of the column ``made_from``."""
    return [(int(tract), int(patch)) for tract, patch in json.loads(made_from)]


def concatenated(tables: Iterable[pa.Table], columns: Sequence[str]) -> pa.Table:
    """Tables of some `COLUMNS` as one, in which texts that are repeated are kept once."""
    import pyarrow as pa

    wanted = schema_of(columns)
    found = [
        pa.table([t[c].dictionary_encode() if c in REPEATED else t[c] for c in columns], schema=wanted) for t in tables
    ]
    return pa.concat_tables(found).unify_dictionaries() if found else wanted.empty_table()
