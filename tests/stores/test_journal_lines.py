"""The lines of a run that goes on, or has died, say in columns what they say one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import LocalStore, MemoryStore

from dcrflow.stores import journal as journal_module
from dcrflow.stores import journal_archive, journal_columns, journal_lines, journal_runs
from dcrflow.stores.journal import Journal
from dcrflow.stores.journal_columns import COLUMNS, columns_of
from dcrflow.stores.journal_reader import JournalReader
from dcrflow.stores.journal_runs import long_runs
from dcrflow.stores.templates.complete import complete_before
from dcrflow.stores.templates.ends import journalled

NUMBER = 40
TEXTS = st.text(max_size=5)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), TEXTS, st.lists(st.integers()))
LIKELY = st.fixed_dictionaries(
    {"event": st.sampled_from(["ended", "ended", "requested"]), "visit": st.integers(0, 9), "detector": st.just(3)},
    optional={
        "status": TEXTS, "time": TEXTS, "coverage": st.sampled_from([1, 0.5, None]), "written": st.integers(0, 2**62),
        "seconds": st.floats(), "made_from": st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9))),
        "error": st.sampled_from([None, {"type": "A", "message": "no"}]), "damage": st.lists(TEXTS, max_size=2),
    },
)  # fmt: skip
ODD = st.dictionaries(st.sampled_from(["event", "error", "damage", *COLUMNS]), VALUES).map(
    lambda d: {"event": "ended"} | d
)
LINES = st.one_of(
    LIKELY.map(lambda d: json.dumps(d).encode()), LIKELY.map(lambda d: json.dumps(d, ensure_ascii=False).encode()),
    ODD.map(lambda d: json.dumps(d).encode()), st.binary(max_size=9).map(lambda b: b.replace(b"\n", b"")),
    st.just(b'{"visit": 1}{"visit": 2}'), st.just(b'{"event": "ended", "visit": 1, "detec'),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.lists(LIKELY.map(lambda d: json.dumps(d).encode()), max_size=6), st.lists(LINES, max_size=6)))
def test_blocks_say_what_lines_say(lines: list[bytes]) -> None:
    found = columns_of(b"".join(line + b"\n" for line in lines)).to_pylist()
    said = [dict.fromkeys(COLUMNS) | journal_columns._facts(line) for line in lines]
    for row in (*found, *said):
        row["made_from"] = None if row["visit"] is None else json.loads(row["made_from"]) or []
        row["status"] = row["status"] or ""
    np.testing.assert_equal(found, said)  # NaN is itself


def test_a_block_of_plain_lines_is_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_columns, "_facts", None)
    line = b'{"event": "ended", "visit": %d, "detector": 3, "error": %s, "damage": %s, "more": [1, {"a": 2}]}\n'
    block = line % (7, b"null", b"null") + line % (8, b'{"type": "A"}', b"[]") + line % (9, b"null", b'["a chunk"]')
    found = columns_of(b'{"event": "requested", "detector_visits": {"7": [3]}}\n' + block, ("visit", "trouble"))
    assert found.to_pydict() == {"visit": [None, 7, 8, 9], "trouble": [None, None, "true", "true"]}


def test_two_objects_on_a_line_do_not_stand_for_two_lines() -> None:
    text = b'{"event": "ended", "visit": 1, "detector": 2}{"event": "ended", "visit": 3, "detector": 4}\n\r\n'
    assert columns_of(text, ("visit",)).to_pydict() == {"visit": [None, None]}


@pytest.fixture(params=["directory", "objects"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> zarr.Group:
    monkeypatch.setattr(journal_runs, "_LONG", 100 * NUMBER)
    monkeypatch.setattr(journal_runs, "_LONG_OBJECTS", NUMBER)
    monkeypatch.setattr(journal_module, "_SECONDS", 0.0)  # an object a line
    monkeypatch.setattr(journal_lines, "_BLOCK", 300)  # two lines or three
    return zarr.create_group(LocalStore(tmp_path / "out.zarr") if request.param == "directory" else MemoryStore())


def begun(root: zarr.Group) -> Journal:
    """The journal of a run that goes on."""
    journal = Journal(root)
    journal.add("requested", detector_visits={"1": list(range(NUMBER + 5))})
    for d in range(NUMBER):
        plain = {"config_hash": "a", "inputs": "b", "inputs_digest": "c", "band": "g", "made_from": [[7, 0]]}
        told: dict[str, Any] = {"status": "failed", "error": {"type": "A"}} if d == 17 else {"status": "complete"}
        journal.add("ended", visit=1, detector=d, coverage=1.0, **plain, **told)
    journal.flush()
    return journal


def test_a_run_that_goes_on_is_read_as_columns(root: zarr.Group, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(root)
    parsed: list[Any] = []
    parse = journal_lines.parsed_line
    monkeypatch.setattr(journal_lines, "parsed_line", lambda line: parsed.append(line) or parse(line))
    found = journalled(root)
    assert len(parsed) == 2, "what was asked for, and the failure"
    assert (len(found.complete), list(found.records)) == (NUMBER - 1, [(1, 17)])
    assert found.left() == [(1, d) for d in range(NUMBER, NUMBER + 5)]


def test_a_run_that_ends_while_it_is_read(root: zarr.Group) -> None:
    journal = begun(root)
    (run,) = long_runs(root)
    assert run.number() == NUMBER + 1
    visits = run.columns(("visit",))
    journal.add("ended", visit=1, detector=NUMBER)
    journal_archive.archive(root, journal.run)
    wanted = np.zeros(NUMBER + 1, np.bool_)
    wanted[[0, 18]] = True
    assert [entry["event"] for entry in run.entries(wanted)] == ["requested", "ended"]
    assert run.columns(("visit",)).to_pylist() == [*visits.to_pylist(), {"visit": 1}]
    assert run.number() == NUMBER + 2


def test_what_a_run_that_died_has_made_is_not_looked_up(root: zarr.Group) -> None:
    begun(root)
    detectors = np.arange(NUMBER + 5)
    if isinstance(root.store, LocalStore):
        for detector in detectors[:-1]:
            root.create_group(f"1/{detector}")
    done = complete_before(root, np.ones(NUMBER + 5, np.int64), detectors, "a", "b", lambda patches, band: "c")
    assert detectors[~done].tolist() == [17, *range(NUMBER, NUMBER + 5)]


@pytest.mark.parametrize("coverage", [b'"most"', b"1" * 400, b"[]", b"true"])
@pytest.mark.parametrize("long", [False, True])
def test_two_runs_of_which_one_says_an_odd_coverage(
    coverage: bytes, long: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the two say differs, so that neither counts: the template is looked up."""
    monkeypatch.setattr(journal_runs, "_LONG", 1 if long else 1 << 20)
    root = zarr.create_group(LocalStore(tmp_path / "out.zarr"))
    (tmp_path / "out.zarr/.dcrflow").mkdir()
    for day, said in ((1, b"1.0"), (2, coverage)):
        line = b'{"event": "ended", "visit": 1, "detector": 2, "status": "complete", "coverage": %b}\n' % said
        (tmp_path / f"out.zarr/.dcrflow/2025010{day}T000000-aaaaaaaa.jsonl").write_bytes(line)
    found = journalled(root)
    assert (len(found.complete), found.records) == (0, {})


@pytest.mark.parametrize("odd", [b"\xff", b"\r"])
def test_odd_bytes_say_the_same_in_short_and_long_journals(
    odd: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = b'{"event": "ended",%b "visit": 1, "detector": 2, "status": "complete", "band": "%b", "coverage": 1.0}\n'
    text = line % ((odd, b"g") if odd.isspace() else (b"", odd))
    root = zarr.create_group(LocalStore(tmp_path / "out.zarr"))
    (tmp_path / "out.zarr/.dcrflow").mkdir()
    (tmp_path / "out.zarr/.dcrflow/20250101T000000-aaaaaaaa.jsonl").write_bytes(text)
    assert list(journalled(root).records) == [(1, 2)]
    monkeypatch.setattr(journal_runs, "_LONG", 1)
    found = journalled(root)
    assert list(zip(found.complete.visit, found.complete.detector, strict=True)) == [(1, 2)]
    assert [entry["detector"] for entry in JournalReader(root).new()] == [2]
    (run,) = long_runs(root)
    journal_archive.archive(root, run.run)
    found = journalled(root)
    assert list(zip(found.complete.visit, found.complete.detector, strict=True)) == [(1, 2)]
