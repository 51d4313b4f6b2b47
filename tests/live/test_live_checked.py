"""Whatever events say, a browser can read the page's data, a terminal can show them, and they stay small."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from dcrflow.base.errors import ClusterError
from dcrflow.cli.show_live import LiveView, drawn
from dcrflow.live import checked, follow
from dcrflow.live.follow import Seen
from dcrflow.live.notebook import widget_html
from dcrflow.live.state import CampaignState

BEGAN, LATER = "2026-01-01T00:00:00+00:00", "2026-01-01T00:01:00+00:00"
NAN, MANY = float("nan"), 10**400


def ended(**more: Any) -> dict[str, Any]:
    return {"event": "ended", "time": LATER, "visit": 1, "detector": 2, "status": "complete", **more}


def sky(**more: Any) -> dict[str, Any]:
    return {"event": "sky", **more}


ODD: dict[str, list[dict[str, Any]]] = {
    "400 digits in progress": [
        {"event": "progress", "time": LATER, "total": MANY, "skipped": MANY, "running": MANY, "done": {"failed": MANY}},
        ended(),
    ],
    "400 digits of bytes": [ended(read=MANY, written=MANY)],
    "seconds near the largest float": 3 * [ended(steps={"a": 1.7e308}, patches={"7/0": 1.7e308}, worker="w")],
    "the smallest number of seconds": [ended(steps={"a": 5e-324})],
    "a year beyond calendars": [ended(time="9999-12-31T23:59:59-23:59"), ended(time="0001-01-01T00:00:00")],
    "corners that are no numbers": [sky(footprints=[[1, 2, [[NAN, 1], [2, 3]]], [1, 3, "<b>"]])],
    "data IDs that are lists": [sky(footprints=[[[1], 2, []]]), {"event": "begun", "rows": [[[1], 2, 3]]}],
    "cells that are words": [sky(order=3, cells=[["a", "b", None], [[1], 2, None], [1, NAN, [[NAN, NAN]]]])],
    "an order of a million": [sky(order=10**6, cells=[[1, 2, None]]), ended(cell=5)],
    "a negative order": [sky(order=-5, cells=[[1, 2, None]]), ended(cell=5)],
    "cells out of range": [sky(order=3, cells=[[1, 2, None], [10**9, 2, None]]), ended(cell=-1), ended(cell=10**300)],
    "a state that nobody knows": [
        {"event": "before", "rows": [[1, 2, 3, "odd"], [1, 2, 3, ["odd"]]]}, sky(order=3, cells=[[1, 2, None]])
    ],
    "a tract that is markup": [sky(tracts=[{"tract": "<b>", "corners": [[NAN, 1]]}, {"corners": 7}])],
    "pictures that are no pictures": [
        {"event": "thumbnails", "templates": [
            {"visit": 1, "detector": 2, "coverage": NAN, "image": "https://example.org/a.png"},
            {"visit": 1, "detector": 2, "image": "data:image/png;base64," + "A" * 10**6}, 7]}
    ],
    "a status that is a list": [ended(status=["complete"]), ended(status={"a": 1})],
    "messages of a million letters": [ended(status="failed", error={"type": "E" * 10**6, "message": "m" * 10**6})],
    "20,000 names of steps": [
        ended(steps={f"step {i}": 1.0 for i in range(j, j + 100)}) for j in range(0, 20_000, 100)
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_what_is_told_can_be_shown(name: str) -> None:
    state = CampaignState("run")
    state.take({"event": "requested", "time": BEGAN, "store": "out.zarr", "total": 3})
    for event in ODD[name]:
        state.take(event)
    text = json.dumps([state.shown(), state.places.outlines()], allow_nan=False)
    assert len(text) < 50_000
    Console(file=io.StringIO()).print(drawn(Seen(state.shown(), follow._cells(state))))
    assert "<b>" not in widget_html(state.shown(), "").replace("<b>out.zarr</b>", "")
    assert state.shown()["templates"] == []


def test_data_ids_that_browsers_would_round_are_text() -> None:
    state = CampaignState("run")
    largest = 2**63 - 1
    state.take(sky(footprints=[[largest, 3, []]]))
    state.take(ended(visit=largest, detector=3, status="failed", error={"type": "E", "message": "m"}))
    state.take(ended(visit=-1, detector=-1, status="failed", error={"type": "E", "message": "m"}))
    without_id, failure = state.shown()["failures"]
    assert (failure["visit"], failure["detector"]) == (str(largest), 3)
    assert (without_id["visit"], without_id["detector"]) == (None, None)
    assert state.places.outlines()["footprints"] == [[str(largest), 3, []]]
    assert state.places.shown()["footprints"] == "4"


def test_what_is_known_to_be_running_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcrflow.live.state._RUNNING", 10)
    state = CampaignState("run")
    state.take({"event": "begun", "rows": [[visit, 0, None] for visit in range(50)]})
    assert state.shown()["running"] == 10


def test_a_page_of_somebody_else() -> None:
    with LiveView() as view, pytest.raises(ClusterError, match="no page of this version of dcrflow"):
        view.update(Seen({"run": "a", "store": "b"}))
    assert follow._printable({"a\n": ["\x1b[2J", 1]}) == {"a": ["\\x1b[2J", 1]}


def test_thumbnails_keep_what_is_needed() -> None:
    found = checked.thumbnail({"visit": 1, "detector": 2, "image": "data:image/png;base64,AA", "more": "x"})
    assert found is not None
    assert set(found) == {"visit", "detector", "band", "coverage", "image"}
