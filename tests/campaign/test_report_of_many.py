"""The report of very many detector-visits shows some of them, and the numbers of all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zarr

import dcrflow
from dcrflow.campaign.html import campaign_facts, chosen
from dcrflow.campaign.html.page import page
from dcrflow.stores import journal as journal_module
from dcrflow.stores import journal_archive

NUMBER, SHOWN = 60, 10


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dcrflow.TemplateStore:
    """Sixty complete, one failed, one without overlap, three missing."""
    monkeypatch.setattr(journal_module, "MANY", NUMBER)
    monkeypatch.setattr(chosen, "MANY", NUMBER // 2)
    monkeypatch.setattr(chosen, "SHOWN", SHOWN)
    out = dcrflow.TemplateStore.create_or_open(tmp_path / "out.zarr")
    root = zarr.open_group(tmp_path / "out.zarr")
    with out.journal() as journal:
        journal.add("requested", detector_visits={str(v): [3] for v in range(NUMBER + 5)})
        for v in range(NUMBER):
            root.create_group(f"{v}/3", attributes={"status": "complete", "coverage": 1.0, "preview": "{}"})
            journal.add(
                "ended", visit=v, detector=3, status="complete", coverage=1.0, config_hash="a", inputs="b",
                seconds=2.0, steps={"warp_tract": 1.5}, patches={"7/0": 0.5}, written=9,
            )  # fmt: skip
        for v, status in ((NUMBER, "failed"), (NUMBER + 1, "no-overlap")):
            error = {"type": "OSError", "message": "a disk"}
            out.write_status(v, 3, status, {}, error=error)
            journal.add("ended", visit=v, detector=3, status=status, error=error)
        journal.add("finished")
    return out


def test_it_shows_some_and_counts_all(store: dcrflow.TemplateStore, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    parse = journal_archive.parsed_line
    monkeypatch.setattr(journal_archive, "parsed_line", lambda text: parsed.append(text) or parse(text))
    facts = campaign_facts(store)
    by_status: dict[str, list[Any]] = {}
    for row in facts["rows"]:
        by_status.setdefault(row["status"], []).append(row["visit"])
    assert {name: len(rows) for name, rows in by_status.items()} == {
        "complete": SHOWN, "failed": 1, "no-overlap": 1, "missing": 3,
    }  # fmt: skip
    assert by_status["complete"][:: SHOWN - 1] == [0, NUMBER - 1], "spread over the campaign"
    assert facts["summary"] == {
        "counts": {"complete": NUMBER, "no-overlap": 1, "failed": 1, "missing": 3},
        "damaged": 0, "visits": NUMBER + 5, "coverage": 1.0,
    }  # fmt: skip
    assert facts["rows"][0]["seconds"] == {"begin to end": 2.0, "warp_tract": 1.5}
    assert "Of 65 detector-visits, 15 are shown below" in facts["notes"][0]
    assert len(parsed) < NUMBER, "not every line was read"
    assert json.dumps(facts["summary"], separators=(",", ":")) in page(facts)


def test_its_timeline_counts_all(store: dcrflow.TemplateStore) -> None:
    (run,) = campaign_facts(store)["timelines"]
    assert run["done"] == {"complete": NUMBER, "no-overlap": 1, "failed": 1}
    assert run["state"] == "finished"
    assert sum(run["timeline"]["steps"]["warp_tract"]) == pytest.approx(1.5 * NUMBER, rel=0.1)


def test_a_campaign_that_has_just_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nearly all is missing, and what is complete is in no archive yet."""
    monkeypatch.setattr(chosen, "MANY", NUMBER // 2)
    monkeypatch.setattr(chosen, "SHOWN", SHOWN)
    out = dcrflow.TemplateStore.create_or_open(tmp_path / "out.zarr")
    root = zarr.open_group(tmp_path / "out.zarr")
    with out.journal() as journal:
        journal.add("requested", detector_visits={str(v): [3] for v in range(NUMBER)})
        for v in range(25):
            root.create_group(f"{v}/3", attributes={"status": "complete", "coverage": 1.0, "preview": "{}"})
            journal.add("ended", visit=v, detector=3, status="complete", coverage=1.0)
    facts = campaign_facts(out)
    assert facts["summary"]["counts"] == {"complete": 25, "no-overlap": 0, "failed": 0, "missing": NUMBER - 25}
    shown = [row["visit"] for row in facts["rows"] if row["status"] == "complete"]
    assert shown == list(range(0, 25, 3)), "spread over the campaign"
    assert sum(row["status"] == "missing" for row in facts["rows"]) == SHOWN
