"""A run that has nothing left to do is known before a cluster is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import IMAGE, coadds, tan, visit

import dcrflow
from dcrflow.campaign import nothing_left as module
from dcrflow.campaign.nothing_left import nothing_left
from dcrflow.campaign.outcome import Failure
from dcrflow.stores.templates.store import TemplateStore
from dcrflow.stores.visits.long_table import LongTable
from dcrflow.stores.visits.tables import BadVisit

CONFIG = dcrflow.TemplateConfig()
AWAY = [replace(visit(visit=v), wcs=tan(ra=120.0, dec=40.0)) for v in (1, 2)]


@pytest.fixture
def made(tmp_path: Path) -> tuple[Any, TemplateStore]:
    """Coadds, and a store where visit 1 has no overlap and visit 2 failed."""
    source = dcrflow.open_coadds(coadds(IMAGE, store=str(tmp_path / "coadds.zarr")))
    store = TemplateStore.create_or_open(tmp_path / "out.zarr")
    about = {"config_hash": CONFIG.digest, "inputs": source.url}
    store.write_status(1, AWAY[0].detector, "no-overlap", about)
    store.write_status(2, AWAY[1].detector, "failed", about, error={"type": "OSError", "message": "a disk"})
    return source, store


def test_what_ended_is_counted_as_a_run_would(made: tuple[Any, TemplateStore]) -> None:
    source, store = made
    result = nothing_left(source, AWAY[:1], store, CONFIG)
    assert result is not None
    assert (result.total, result.skipped, result.failures, result.ok) == (1, 1, (), True)
    result = nothing_left(source, AWAY, store, CONFIG)
    assert result is not None
    assert (result.total, result.skipped, result.ok) == (2, 1, False)
    assert result.failures == (Failure(2, AWAY[1].detector, "OSError", "a disk"),)


def test_work_is_left(made: tuple[Any, TemplateStore], monkeypatch: pytest.MonkeyPatch) -> None:
    source, store = made
    assert nothing_left(source, AWAY, store, CONFIG, retry_failed=True) is None
    assert nothing_left(source, [*AWAY, visit(visit=3)], store, CONFIG) is None
    assert nothing_left(source, [*AWAY, BadVisit(3, 4, dcrflow.VisitTableError("no"))], store, CONFIG) is None
    assert nothing_left(source, AWAY, store, dcrflow.TemplateConfig(border=7)) is None
    monkeypatch.setattr(module, "_PATIENCE", -1.0)
    assert nothing_left(source, AWAY, store, CONFIG) is None, "workers look at very many"


@pytest.mark.parametrize("left", [0, 1])
def test_long_tables_are_known_by_their_columns(
    made: tuple[Any, TemplateStore], monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    done = np.arange(5) >= left
    monkeypatch.setattr(module, "complete_before", lambda *_, all_or_none: done)
    rows = LongTable(None, lambda row: row, np.arange(5))  # type: ignore[arg-type]
    result = nothing_left(*made[:1], rows, made[1], CONFIG)
    assert (None if result is None else result.skipped) == (None if left else 5)
