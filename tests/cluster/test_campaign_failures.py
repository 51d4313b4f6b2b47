"""Machines that fail and code that fails are told apart; a status is quick; when to stop."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import IMAGE, coadds, tan, visit
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.campaign import batch, run_campaign, stopping
from dcrflow.campaign import run as run_module
from dcrflow.campaign.status import campaign_status
from dcrflow.model.visit import sky_order
from dcrflow.stores.templates.store import TemplateStore
from dcrflow.stores.visits.tables import BadVisit


@pytest.fixture(scope="module")
def store() -> dcrflow.stores.coadds.store.DcrCoadds:
    return dcrflow.open_coadds(coadds(IMAGE))


def _die(*_: object) -> None:
    os._exit(9)


def _grow(*_: object) -> None:
    import time

    hoard = []
    while True:
        hoard.append(np.ones(2**22))
        time.sleep(0.02)


@dataclass
class Deadly:
    """Makes templates, but of visit 2 does something else."""

    work: Callable[..., object]

    def __call__(self, coadds: Any, plan: Any, store: TemplateStore) -> Any:
        return self.work() if plan.visit.visit == 2 else batch.make_one(coadds, plan, store)


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize(("work", "kind"), [(_die, "WorkersLost"), (_grow, "OutOfMemory")])
def test_what_killed_the_workers_is_named(
    store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, work: Any, kind: str
) -> None:
    """A template whose workers die is begun again so often and no more; it fails alone, with the reason."""
    monkeypatch.setattr(run_module, "Job", partial(batch.Job, make=Deadly(work)))
    on_disk = coadds(IMAGE, store=str(tmp_path / "coadds.zarr"))
    with dcrflow.connect("local", workers=2, memory="700MiB", dashboard=0) as client:
        client.run_on_scheduler(lambda dask_scheduler: setattr(dask_scheduler, "allowed_failures", 0))
        rows = [visit(visit=v) for v in (1, 2, 3)]
        result = run_campaign(on_disk, rows, tmp_path / "out.zarr", client=client, worker_retries=1, window=1)
    assert result.complete == 2
    assert result.worker_losses == 2
    (failure,) = result.failures
    assert (failure.visit, failure.kind) == (2, kind)
    assert "(begun 2 times)" in failure.message
    assert "KilledWorker" not in failure.message
    (journal,) = (tmp_path / "out.zarr" / ".dcrflow").glob("*.jsonl")
    events = [json.loads(line)["event"] for line in journal.read_text().splitlines()]
    assert events.count("lost") == result.worker_losses
    assert sorted(set(events)) == ["ended", "finished", "lost", "requested", "sky", "workers"]


def test_a_status_is_read_from_the_journals() -> None:
    """Of 100,000 detector-visits none is opened but those whose end is in no journal."""
    store = TemplateStore.create_or_open(MemoryStore())
    with store.journal() as journal:
        journal.add("requested", detector_visits={str(v): list(range(100)) for v in range(1000)})
        for v in range(1000):
            for d in range(100):
                if (v, d) != (3, 4):
                    journal.add(
                        "ended", visit=v, detector=d, status="complete", coverage=1.0, config_hash="a", inputs="b"
                    )
    looked_up: list[tuple[int, int]] = []
    plain = store.records_of

    def records_of(data_ids: Any) -> Any:
        wanted = list(data_ids)
        looked_up.extend(wanted)
        return plain(wanted)

    store.records_of = records_of  # type: ignore[method-assign]
    found = campaign_status(store)
    assert (found.count("complete"), found.missing) == (99_999, ((3, 4),))
    assert looked_up == [(3, 4)]


def test_what_no_journal_knows_is_found() -> None:
    """A template that a worker finished after its run had been killed."""
    store = TemplateStore.create_or_open(MemoryStore())
    with store.journal() as journal:
        journal.add("requested", detector_visits={"1": [2, 3]})
    store.write_status(1, 2, "failed", {"config_hash": "a", "inputs": "b"}, {"type": "A", "message": "b"})
    found = campaign_status(store)
    assert (found.count("failed"), found.missing) == (1, ((1, 3),))


def test_when_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    stop = stopping.Stop(300.0)
    assert stop.reason == ""
    now[0] += 205  # 95 s left; the first is taken to need 60, and half as much again
    assert stop.reason == ""
    assert stop.deadline is not None
    stop.deadline.took(70.0)  # so this would need 105
    assert stop.reason == "walltime"
    stop.set()
    assert stop.reason == "interrupted"
    assert stopping.Stop().reason == ""


def test_neighbours_on_the_sky_follow_each_other() -> None:
    """Of two fields far apart, listed in turn, each comes in one piece, and what is no detector-visit first."""
    near = [visit(tan(ra=10.0 + 0.1 * i, dec=-30.0), visit=i) for i in range(4)]
    far = [visit(tan(ra=200.0 + 0.1 * i, dec=40.0), visit=10 + i) for i in range(4)]
    bad = BadVisit(-1, -1, dcrflow.VisitTableError("row 3: no"))
    mixed = [row for pair in zip(near, far, strict=True) for row in pair]
    ordered = sky_order([*mixed, bad])
    assert ordered[0] is bad
    fields = [row.visit // 10 for row in ordered[1:]]
    assert sorted(fields) in (fields, fields[::-1])
    assert sorted(row.visit for row in ordered[1:]) == sorted(row.visit for row in mixed)
