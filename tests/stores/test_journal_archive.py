"""A long journal becomes one Parquet file that says the same, and that later runs ask in place of the store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.buffer.cpu import Buffer
from zarr.storage import LocalStore, MemoryStore, WrapperStore

from dcrflow.compat.zarr_sync import sync
from dcrflow.stores import journal as journal_module
from dcrflow.stores import journal_reader
from dcrflow.stores.journal import Journal, entries, line_entries
from dcrflow.stores.journal_archive import ARCHIVE
from dcrflow.stores.journal_lines import key_of
from dcrflow.stores.journal_reader import JournalReader
from dcrflow.stores.journal_runs import LongRun, long_runs
from dcrflow.stores.templates.complete import complete_before, ranges_of

NUMBER = 40


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MANY", NUMBER)


@pytest.fixture(params=["directory", "objects"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> zarr.Group:
    return zarr.create_group(LocalStore(tmp_path / "out.zarr") if request.param == "directory" else MemoryStore())


def ended(visit: int, **more: Any) -> dict[str, Any]:
    return {
        "visit": visit, "detector": 3, "status": "complete", "config_hash": "a", "inputs": "b", "inputs_digest": "c",
        "coverage": 1.0, "band": "g", "made_from": [[7, 0], [7, 1]], **more,
    }  # fmt: skip


def write(root: zarr.Group, visits: list[dict[str, Any]]) -> str:
    with Journal(root) as journal:
        journal.add("requested", detector_visits={"1": [2]})
        for one in visits:
            journal.add("ended", **one)
    return journal.run


def ids(root: zarr.Group) -> list[tuple[Any, Any]]:
    """Visit and detector of each line that is in columns, None in lines that are no ends."""
    tables = [run.columns(("visit", "detector")) for run in long_runs(root)]
    return [(v, d) for t in tables for v, d in zip(t["visit"].to_pylist(), t["detector"].to_pylist(), strict=True)]


def test_the_lines_are_the_same(root: zarr.Group, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_SECONDS", 0.0)  # an object a line
    run = write(root, [ended(v) for v in range(NUMBER)])
    found = list(entries(root))
    assert [e.get("visit") for e in found] == [None, *range(NUMBER)]
    assert {e["run"] for e in found} == {run}
    assert [one.names for one in long_runs(root)] == [()], "archived"
    assert list(line_entries(root, [run])) == []
    assert [e.get("visit") for e in JournalReader(root).new()] == [None, *range(NUMBER)]


def test_lines_that_come_together_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_TOGETHER", 3600.0)
    root, writes = zarr.create_group(LocalStore(tmp_path / "out.zarr")), []
    write_lines = Journal._write
    monkeypatch.setattr(Journal, "_write", lambda self, text: writes.append(text) or write_lines(self, text))
    with Journal(root) as journal:
        journal.add("requested")
        with journal.together():
            for v in range(3):
                journal.add("ended", **ended(v))
            assert len(writes) == 1
        assert [e.get("visit") for e in entries(root)] == [None, 0, 1, 2]
        journal.add("finished")
        assert len(writes) == 3


def test_who_follows_a_run_gets_each_line_once(root: zarr.Group) -> None:
    reader = JournalReader(root)
    with Journal(root) as journal:
        for v in range(NUMBER // 2):
            journal.add("ended", **ended(v))
        journal.flush()
        first = [e["visit"] for e in reader.new()]
        for v in range(NUMBER // 2, NUMBER):
            journal.add("ended", **ended(v))
    assert first + [e["visit"] for e in reader.new()] == list(range(NUMBER))
    assert list(reader.new()) == []


def test_ids_of_bad_rows_fit_in_no_column(root: zarr.Group) -> None:
    write(root, [ended(10**30, status="failed"), ended(2**63 + 5, status="failed"), *map(ended, range(NUMBER))])
    assert [e.get("visit") for e in entries(root)] == [None, 10**30, 2**63 + 5, *range(NUMBER)]
    assert ids(root) == [(None, None)] * 3 + [(v, 3) for v in range(NUMBER)]


def test_rows_without_a_detector_are_the_end_of_nothing(root: zarr.Group) -> None:
    """A Parquet file of somebody else may have them: joined to whole numbers they would be other detectors."""
    write(root, [ended(5, detector=10**30), *map(ended, range(NUMBER))])
    assert ids(root) == [(None, None)] * 2 + [(v, 3) for v in range(NUMBER)]


def test_lines_that_a_crash_left_beside_their_archive_count_once(
    root: zarr.Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def kept(*_: Any) -> None:
        return None

    monkeypatch.setattr(type(root.store), "delete", kept)
    write(root, [ended(v) for v in range(NUMBER)])
    for found in (list(entries(root)), list(JournalReader(root).new())):
        assert [e.get("visit") for e in found] == [None, *range(NUMBER)]


def test_a_reader_that_listed_lines_just_before_they_went(root: zarr.Group, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = JournalReader(root)
    monkeypatch.setattr(journal_reader, "names_in", lambda _: ["20260101T000000-gone.jsonl"])
    assert list(reader.new()) == []


def test_short_journals_stay_lines(root: zarr.Group) -> None:
    write(root, [ended(v) for v in range(NUMBER // 2)])
    assert len(list(line_entries(root, []))) == NUMBER // 2 + 1
    assert long_runs(root) == []


class Counting(WrapperStore[MemoryStore]):
    """Counts what is asked of a store."""

    requests = 0

    async def get(self, *arguments: Any, **more: Any) -> Any:
        self.requests += 1
        return await self._store.get(*arguments, **more)

    async def exists(self, key: str) -> bool:
        self.requests += 1
        return await self._store.exists(key)


def test_a_finished_run_costs_requests_by_runs_not_by_templates() -> None:
    store = Counting(MemoryStore())
    root = zarr.create_group(store)
    write(root, [ended(v) for v in range(3000)])
    store.requests, looked_up = 0, []

    def now(patches: Any, band: str) -> str:
        looked_up.append((tuple(patches), band))
        return "c"

    visits = np.arange(3002)
    done = complete_before(root, visits, np.full(3002, 3), "a", "b", now)
    assert done.sum() == 3000
    assert ranges_of(~done) == [range(3000, 3002)]
    assert store.requests <= 3
    assert looked_up == [(((7, 0), (7, 1)), "g")], "patches are looked at once for all templates"


def test_what_is_unclear_is_looked_at(root: zarr.Group) -> None:
    odd = [
        ended(0, config_hash="other"), ended(1, inputs="other"), ended(2, inputs_digest="old"), ended(3, coverage=0.9),
        ended(4, status="failed", error={"type": "A"}), ended(5, damage=["a chunk"]), ended(6, made_from=[]), ended(7),
    ]  # fmt: skip
    write(root, odd + [ended(v) for v in range(10, 10 + NUMBER)])
    write(root, [ended(11, status="failed")])  # a later run, not archived
    visits = np.array([*range(8), 10, 11, 12])
    if isinstance(root.store, LocalStore):
        for visit in (*range(8), 10, 11):  # the template of 12 was deleted
            root.create_group(f"{visit}/3")
    done = complete_before(root, visits, np.full(len(visits), 3), "a", "b", lambda patches, band: "c")
    missing = isinstance(root.store, LocalStore)
    assert visits[done].tolist() == ([7, 10] if missing else [7, 10, 12])


def test_archives_of_too_few_lines_are_not_read_where_only_all_would_do(
    root: zarr.Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(root, [ended(v) for v in range(NUMBER)])
    write(root, [ended(v) for v in range(NUMBER, 2 * NUMBER)])
    runs = long_runs(root)
    assert [run.number() for run in runs] == [NUMBER + 1] * 2  # a line says what was asked for
    read: list[Any] = []
    columns = LongRun.columns
    monkeypatch.setattr(LongRun, "columns", lambda self, names: read.append(self) or columns(self, names))

    def now(patches: Any, band: str) -> str:
        return "c"

    for asked, times in ((2 * NUMBER + 3, 0), (2 * NUMBER, 2)):
        read.clear()
        complete_before(root, np.arange(asked), np.full(asked, 3), "a", "b", now, all_or_none=True)
        assert len(read) == times
    sync(root.store.set(key_of(root, f"{runs[0].run}{ARCHIVE}"), Buffer.from_bytes(b"PAR1 and no more")))
    assert runs[0].number() is None


def test_no_file_is_looked_at_where_only_all_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = zarr.open_group(tmp_path / "out.zarr")
    write(root, [ended(v) for v in range(NUMBER)])
    for visit in range(NUMBER):
        root.create_group(f"{visit}/3")
    looked: list[str] = []
    exists = os.path.exists
    monkeypatch.setattr("dcrflow.stores.templates.complete.os.path.exists", lambda p: looked.append(p) or exists(p))
    for asked, expected in ((NUMBER + 1, 0), (NUMBER, NUMBER)):
        visits, detectors = np.arange(asked), np.full(asked, 3)
        done = complete_before(root, visits, detectors, "a", "b", lambda patches, band: "c", all_or_none=True)
        assert (len(done), done.sum()) == (asked, expected)
        assert sum(path.endswith("/3/zarr.json") for path in looked) == expected
