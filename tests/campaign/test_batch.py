"""A batch of detector-visits on a worker: each is planned, made, written and reported by itself."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster
from distributed.protocol import dumps as dumps_by_msgpack
from distributed.protocol import loads as loads_by_msgpack
from scenes import IMAGE, coadds, tan, visit

import dcrflow
from dcrflow.campaign import batch, events, run_campaign
from dcrflow.campaign import run as run_module
from dcrflow.campaign.batch import Job, make_templates, record_of_event, stop_batches
from dcrflow.campaign.batch_size import MOST, TARGET, BatchSize
from dcrflow.campaign.in_flight import InFlight
from dcrflow.campaign.stopping import Stop
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore
from dcrflow.stores.visits.tables import BadVisit

STEPS = {"load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "write_template"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> dcrflow.stores.coadds.store.DcrCoadds:
    return dcrflow.open_coadds(coadds(IMAGE, store=str(tmp_path_factory.mktemp("survey") / "coadds.zarr")))


def job(store: Any, place: Path, **more: Any) -> Job:
    return Job("a run", store, TemplateStore.create_or_open(place / "out.zarr"), dcrflow.TemplateConfig(), **more)


def test_each_row_ends_by_itself(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_LONGEST", np.inf)  # the first compiles the kernels
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(events.Reporter, "__call__", lambda _, event, spans=None: told.append({**event, "got": spans}))
    away = replace(visit(visit=2), wcs=tan(ra=120.0, dec=40.0))
    rows = [visit(visit=1), away, BadVisit(3, 4, dcrflow.VisitTableError("row 2: no")), visit(visit=5)]
    work = job(store, tmp_path)
    ended = make_templates(work.packed(), rows, [10, 11, 12, 13])
    assert [(e["row"], e["visit"], e["state"]) for e in ended] == [
        (10, 1, "complete"), (11, 2, "no-overlap"), (12, 3, "failed"), (13, 5, "complete"),
    ]  # fmt: skip
    assert [e["state"] for e in told] == ["running", "complete", "running", "no-overlap", "running", "failed",
                                          "running", "complete"]  # fmt: skip
    assert set(ended[0]["steps"]) == STEPS
    assert {name for name, _, _ in told[1]["got"]} == STEPS
    assert all(begin <= end for _, begin, end in told[1]["got"])
    assert len(told[0]["sky"]) == 4
    assert "sky" not in told[4]
    assert ended[0]["bytes_written"] > 0 < ended[0]["bytes_read"]
    assert ended[2]["error"] == {"type": "VisitTableError", "message": "row 2: no"}
    for event in ended:
        assert record_of_event(event) == work.store.status(event["visit"], event["detector"])
    again = make_templates(work.packed(), rows[:2], [0, 1])
    assert [(e["state"], e["before"]) for e in again] == [("skipped", True), ("skipped", True)]


def test_what_raises_is_tried_again(store: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tries: Counter[str] = Counter()

    def make(*arguments: Any) -> Any:
        tries["made"] += 1
        if tries["made"] < 3:
            raise OSError("not now")
        return batch.make_one(*arguments)

    batch._unpacked.cache_clear()
    work = job(store, tmp_path, make=make, retries=2)
    assert batch._attempt(work, visit(visit=1)).status == "complete"
    assert tries["made"] == 3
    tries.clear()
    failed = batch._attempt(replace(work, retries=1), visit(visit=2))
    assert (failed.status, failed.error) == ("failed", {"type": "OSError", "message": "not now | in make"})
    assert "visit 2 detector 3 failed: OSError: not now" in caplog.text


def test_a_run_that_is_stopped_begins_no_more(store: Any, tmp_path: Path) -> None:
    work = replace(job(store, tmp_path), run="stopped before")
    asyncio.run(stop_batches(work.run))
    assert make_templates(work.packed(), [visit(visit=1)], [0]) == []


def test_a_long_batch_hands_rows_back(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_LONGEST", -1.0)
    work = job(store, tmp_path)
    assert [e["row"] for e in make_templates(work.packed(), [visit(visit=1), visit(visit=2)], [0, 1])] == [0]


def test_sizes_follow_what_is_measured() -> None:
    size = BatchSize()
    assert size.next(1000, 2) == 1, "nothing is known yet"
    for number in (1, 2, 4, 8):
        for _ in range(number):
            size.took(TARGET / 5)
        size.ended(number)
    assert size.next(1000, 2) == 5
    assert size.next(8, 2) == 2, "in the end all threads have work"
    assert size.next(1, 2) == 1
    fast = BatchSize()
    for number in (1, 2, 4, 8, 16, 32, 64, 128):
        fast.took(0.001)
        assert fast.next(10**6, 2) <= max(1, min(2 * fast._proven, MOST))
        fast.ended(number)
    assert fast.next(10**6, 2) == MOST
    none = BatchSize()
    none.took(0.0)
    none.ended(1)
    assert none.next(10**6, 2) == 2, "what takes no time at all has a time, too"


def test_spans_of_one_step_become_one_and_are_few() -> None:
    spans = [("load_patch", 0.0, 1.0), ("load_patch", 1.0, 2.0), ("warp_tract", 2.0, 3.0)]
    assert events.summed(spans) == [["load_patch", 0.0, 2.0], ["warp_tract", 2.0, 3.0]]
    many = [(name, float(i), i + 0.1 + i / 1000) for i in range(500) for name in ("a", "b")]
    assert len(events.summed(many)) == 64


class Instant:
    """Stands for planning and making: returns at once."""

    def __call__(self, coadds: Any, what: Any, last: Any) -> Any:
        if isinstance(last, TemplateStore):
            return TemplateRecord(what.visit, what.detector, "complete", 1.0, "a", "b", None)
        return what


def of_instants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "Job", lambda *a, **k: Job(*a, **k, plan=Instant(), make=Instant()))


def test_tasks_are_few_and_all_rows_end_once(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 rows: tasks become larger as the run goes, and no more rows are in flight than the window allows."""
    of_instants(monkeypatch)
    rows, in_flight = [visit(visit=v) for v in range(300)], []
    tasks: list[int] = []
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        plain = client.submit

        def submit(function: Any, task: Any, **how: Any) -> Any:
            _, (_, sent, _) = pickle.loads(task[1])
            tasks.append(len(sent))
            return plain(function, task, **how)

        monkeypatch.setattr(client, "submit", submit)
        result = run_campaign(
            store, rows, tmp_path / "out.zarr", client=client, progress=lambda p: in_flight.append(p.running)
        )
    assert (result.complete, result.total, result.ok) == (300, 300, True)
    assert sum(tasks) == 300
    assert tasks[0] == 1 < max(tasks) <= MOST
    assert len(tasks) < 300
    assert max(in_flight) <= 4 * MOST


def test_only_the_row_that_breaks_its_task_fails(store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever raises outside of the code that writes failures down, the other rows of the task are made."""
    of_instants(monkeypatch)
    made = batch._made

    def broken(job: Job, row: Any) -> Any:
        if row.visit == 17:
            raise RuntimeError("unforeseen")
        return made(job, row)

    monkeypatch.setattr(batch, "_made", broken)
    monkeypatch.setattr(BatchSize, "next", lambda *_: 10)
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        rows = [visit(visit=v) for v in range(40)]
        result = run_campaign(store, rows, tmp_path / "out.zarr", client=client, progress=False)
    assert [(f.visit, f.kind) for f in result.failures] == [(17, "RuntimeError")]
    assert (result.complete, result.stopped) == (39, "")


def test_a_stopped_run_waits_for_no_worker_that_is_not_there(store: Any, tmp_path: Path) -> None:
    stop = Stop()
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        result = run_campaign(
            store, [visit(visit=np.int64(v)) for v in range(3)], tmp_path / "out.zarr", client=client, stop=stop,
            progress=lambda now: stop.set() if now.running else None,
        )  # fmt: skip
    assert (result.stopped, result.complete, result.failures, result.worker_losses) == ("interrupted", 0, (), 0)


def test_a_worker_that_joins_a_stopped_run_begins_nothing(store: Any, tmp_path: Path) -> None:
    told: list[set[str]] = []

    class Cluster:
        def run(self, function: Any, run: str, workers: list[str], **how: Any) -> None:
            told.append(set(workers))

    flight = InFlight(Cluster(), job(store, tmp_path), [visit()], None, 3)  # type: ignore[arg-type]
    for there in ({"a"}, {"a"}, {"a", "b"}, set[str](), {"c"}):
        flight.stop(there)
    assert told == [{"a"}, {"b"}, {"c"}]


def test_events_reach_the_client_whatever_a_table_has() -> None:
    """msgpack refuses integers over 64 bits and text that is no UTF-8; a worker that sends such a thing hangs."""
    told = [
        {"row": 0, "visit": 10**30, "detector": -1, "state": "running"},
        {"row": 0, "visit": 10**30, "detector": -1, "state": "failed", "error": {"message": "\ud800 \x00"}},
    ]
    frames = dumps_by_msgpack(events.message("a", told))
    assert events.events_of((0.0, loads_by_msgpack(frames) | {"worker": "w"})) == [{"worker": "w", **e} for e in told]


@pytest.mark.parametrize(
    "content",
    [
        "text", None, 7, {}, {"worker": "w"}, {"worker": "w", "events": 7}, {"worker": "w", "events": "no JSON"},
        {"worker": "w", "events": "[" * 100_000}, {"worker": "w", "events": "[7, {}, [1]]"},
        {"worker": "w", "events": '[{"row": [1], "visit": 1, "detector": 1, "state": "running"}]'},
        {"worker": "w", "events": '[{"row": 1, "visit": 1, "detector": 1, "state": ["running"]}]'},
    ],
)  # fmt: skip
def test_what_other_clients_send_under_the_topic_is_no_event(content: Any) -> None:
    assert events.events_of((0.0, content)) == []


def test_what_is_of_another_kind_in_an_event_is_left_out() -> None:
    """Another client could else end a campaign: seconds are summed, errors are shown, made_from is unpacked."""
    which = {"row": 0, "visit": 1, "detector": 2, "state": "complete", "worker": "w"}
    odd = {
        "seconds": ["a"], "error": [1], "made_from": [[1], "x"], "damage": 7, "coverage": {}, "steps": {"warp": "x"},
        "patches": [1], "spans": [["a", "b", 1]], "inputs": 3, "band": [], "time": "now", "bytes_read": -1, "again": 1,
    }  # fmt: skip
    heard = {"worker": "w", "events": json.dumps([{**which, **odd}, {**which, "row": True}])}
    assert events.events_of((0.0, heard)) == [which]
    record_of_event(events.events_of((0.0, heard))[0])
