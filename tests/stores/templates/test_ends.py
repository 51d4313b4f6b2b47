"""Journals in columns say what their lines say, whoever wrote them and in whatever order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from zarr.storage import LocalStore, MemoryStore

from dcrflow.stores import journal as journal_module
from dcrflow.stores import journal_archive, journal_runs
from dcrflow.stores.journal import Journal, entries
from dcrflow.stores.templates.ends import journalled, lines_of
from dcrflow.stores.templates.records import last_records

ENDS = st.fixed_dictionaries(
    {
        "visit": st.sampled_from([0, 1, 2, -1, 10**30]),
        "detector": st.integers(0, 2),
        "status": st.sampled_from(["complete", "complete", "complete", "no-overlap", "failed", "odd"]),
        "coverage": st.sampled_from([1.0, 0.5, None]),
        "config_hash": st.sampled_from(["a", "a", "b"]),
        "inputs": st.sampled_from(["file:///coadds.zarr", "s3://key:secret@bucket/coadds"]),
        "error": st.sampled_from([None, None, {"type": "A", "message": "no"}]),
        "damage": st.sampled_from([None, None, ["a chunk"]]),
        "seconds": st.sampled_from([1.5, "long", None]),
    }
)
ASKED = st.dictionaries(
    st.sampled_from(["0", "1", "7", "-3", "x", "1" * 30]),
    st.one_of(st.lists(st.integers(-1, 4)), st.sampled_from([["a"], [None, 2], 5, [10**30, 1]])),
)
RUNS = st.lists(st.tuples(st.booleans(), ASKED, st.lists(ENDS, max_size=12)), max_size=3)
HASTE = st.sampled_from([0, 2, 10**9])  # objects of a journal whose lines are read as columns


def write(root: zarr.Group, runs: list[Any]) -> None:
    for archived, asked, ends in runs:
        with Journal(root) as journal:
            journal.add("requested", detector_visits=asked)
            for one in ends:
                journal.add("ended", **{k: v for k, v in one.items() if v is not None})
            journal._lines = 0  # so that it is archived here, or not
        if archived:
            journal_archive.archive(root, journal.run)


def said(root: zarr.Group) -> tuple[Any, ...]:
    found = journalled(root)
    records = dict(found.records) | {(r.visit, r.detector): r for r in found.complete.records()}
    assert len(records) == len(found.records) + len(found.complete)
    asked = set(zip(found.visit.tolist(), found.detector.tolist(), strict=True))
    assert found.left() == sorted(asked - records.keys())
    return records, asked


@settings(max_examples=40, deadline=None)
@given(RUNS, HASTE)
def test_columns_say_what_lines_say(runs: list[Any], least: int) -> None:
    root = zarr.create_group(MemoryStore())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal_module, "_SECONDS", 0.0)  # an object a line
        patch.setattr(journal_runs, "_LONG_OBJECTS", least)
        write(root, runs)
        records, requested = last_records(entries(root))
        fits = {which for which in requested if max(which) < 1 << 63}  # no ID of a table's row is larger
        assert said(root) == (records, fits)


def test_only_lines_that_say_more_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = zarr.create_group(LocalStore(tmp_path / "out.zarr"))
    plain = {"detector": 3, "status": "complete", "config_hash": "a", "inputs": "b", "coverage": 1.0, "seconds": 2.0}
    odd = {"status": "failed", "error": {"type": "A", "message": "no"}}
    number = journal_module.MANY
    with Journal(root) as journal:
        journal.add("requested", detector_visits={str(v): [3] for v in range(number + 5)})
        for v in range(number):
            journal.add("ended", visit=v, **plain | (odd if v == 17 else {}), written=7)
    parsed: list[str] = []
    parse = journal_archive.parsed_line
    monkeypatch.setattr(journal_archive, "parsed_line", lambda text: parsed.append(text) or parse(text))
    found = journalled(root)
    assert len(parsed) == 2, "what was asked for, and the failure"
    assert (len(found.complete), list(found.records)) == (number - 1, [(17, 3)])
    assert found.left() == [(v, 3) for v in range(number, number + 5)]
    assert found.complete.coverage() == (number - 1, number - 1.0, 1.0)
    assert found.complete.numbers("seconds").sum() == 2 * (number - 1)
    assert np.all(found.complete.numbers("written") == 7)
    assert len(found.complete.without([(18, 3), (18, 4)])) == number - 2


def test_an_end_without_a_detector(tmp_path: Path) -> None:
    """Somebody else's archive: what its lines say counts."""
    root = zarr.open_group(LocalStore(tmp_path), mode="w")
    write(root, [(True, {"1": [2]}, [{"visit": 1, "detector": 2, "status": "complete", "coverage": 1.0}])])
    (path,) = tmp_path.glob(".dcrflow/*.parquet")
    table = parquet.read_table(path)
    place = table.column_names.index("detector")
    parquet.write_table(table.set_column(place, "detector", pa.nulls(len(table), pa.int64())), path)
    found = journalled(root)
    assert len(found.complete) == 0
    assert [(r.visit, r.detector, r.status) for r in found.records.values()] == [(1, 2, "complete")]
    assert found.left() == []
    assert list(lines_of(root, [(1, 2)])) == []
