"""Keys of tasks: told by what a task makes, and never used twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dask.utils import key_split
from distributed import Client, LocalCluster
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.campaign import run as run_module
from dcrflow.campaign import run_campaign, task_keys
from dcrflow.campaign.batch import Job
from dcrflow.campaign.batch_size import BatchSize
from dcrflow.campaign.in_flight import InFlight
from dcrflow.campaign.task_keys import TaskKeys
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore


@pytest.fixture
def job(tmp_path: Path) -> Job:
    store = dcrflow.open_coadds(coadds(IMAGE))
    return Job("a run", store, TemplateStore.create_or_open(tmp_path / "out.zarr"), dcrflow.TemplateConfig())


def new_process() -> None:
    task_keys._runs.clear()


def test_the_same_inputs_have_the_same_keys(job: Job) -> None:
    rows = {0: visit(visit=1), 1: visit(visit=2)}
    keys = []
    for run in ("a run", "another"):
        new_process()
        keys.append(TaskKeys(replace(job, run=run)).key(rows))
    new_process()
    keys.append(TaskKeys(job).key({place: replace(row, visit=np.int64(row.visit)) for place, row in rows.items()}))
    assert len(set(keys)) == 1
    assert key_split(keys[0]) == "make_templates"


def test_other_inputs_have_other_keys(job: Job, tmp_path: Path) -> None:
    rows = {0: visit(visit=1), 1: visit(visit=2)}
    elsewhere = TemplateStore.create_or_open(tmp_path / "other.zarr")
    jobs = [
        job, replace(job, store=elsewhere), replace(job, overwrite=True),
        replace(job, config=dcrflow.TemplateConfig(border=7)),
    ]  # fmt: skip
    others = [rows, {0: visit(visit=1)}, {0: visit(visit=1), 2: visit(visit=2)}, {0: visit(visit=1), 1: visit(visit=3)}]
    found = []
    for work, some in [*((j, rows) for j in jobs), *((job, r) for r in others[1:])]:
        new_process()
        found.append(TaskKeys(work).key(some))
    assert len(set(found)) == len(found)


def test_rows_that_come_back_get_another_key(job: Job) -> None:
    new_process()
    keys, rows = TaskKeys(job), {0: visit(visit=1), 1: visit(visit=2)}
    found = [keys.key(rows), keys.key(rows), keys.key({1: rows[1]}), keys.key(rows)]
    assert [key.rpartition("-")[2] for key in found] == ["0", "1", "2", "3"]
    keys.forget([0, 1])
    assert not keys._sent, "what has ended is not remembered"


class _Client:
    """Takes tasks and never makes one."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def submit(self, *_: Any, key: str, **how: Any) -> Any:
        self.keys.append(key)
        return type("Future", (), {"add_done_callback": lambda self, call: None})()

    def cancel(self, futures: Any) -> None:
        return None


def test_a_window_of_tasks(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run sends depends on its rows alone, and a task that nobody makes is sent again under another key."""
    monkeypatch.setattr(BatchSize, "next", lambda *_: 2)
    sent = []
    for _ in range(2):
        new_process()
        client = _Client()
        flight = InFlight(client, job, [visit(visit=v) for v in range(4)], None, 3)  # type: ignore[arg-type]
        flight.fill(1)
        flight.stop([])
        flight._stopped = False
        flight.fill(1)
        sent.append(client.keys)
    assert sent[0] == sent[1]
    assert len(set(sent[0])) == len(sent[0]) == 4


_MADE: list[int] = []


def _make(coadds: Any, what: Any, last: Any) -> Any:
    """Stands for planning and making."""
    if not isinstance(last, TemplateStore):
        return what
    _MADE.append(what.visit)
    return TemplateRecord(what.visit, what.detector, "complete", 1.0, "a", "b", None)


def test_a_second_run_is_not_given_what_the_first_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dask answers a known key with what it has."""
    _MADE.clear()
    monkeypatch.setattr(run_module, "Job", lambda *a, **k: Job(*a, **k, plan=_make, make=_make))
    kept: list[Any] = []
    store = dcrflow.open_coadds(coadds(IMAGE, store=str(tmp_path / "coadds.zarr")))
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        submit = client.submit
        monkeypatch.setattr(client, "submit", lambda *a, **how: kept.append(submit(*a, **how)) or kept[-1])
        for _ in range(2):
            run_campaign(store, [visit(visit=1)], tmp_path / "out.zarr", client=client, overwrite=True, progress=False)
    assert _MADE == [1, 1]
    assert len({future.key for future in kept}) == 2
