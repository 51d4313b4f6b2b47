"""The state of a campaign follows from the events that are told of it, and does not grow with the campaign."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrflow.live.places import FINEST, STATES, Places
from dcrflow.live.state import FAILURES, THUMBNAILS, CampaignState
from dcrflow.live.timeline import BINS, Timeline

BEGAN = 1_800_000_000.0


def at(seconds: float) -> str:
    return datetime.fromtimestamp(BEGAN + seconds, UTC).isoformat(timespec="milliseconds")


def ended(visit: int, seconds: float, status: str = "complete", **more: Any) -> Mapping[str, Any]:
    return {"event": "ended", "time": at(seconds), "visit": visit, "detector": 0, "status": status, **more}


def begun(total: int = 10) -> CampaignState:
    state = CampaignState("run")
    state.take({"event": "requested", "time": at(0), "store": "out.zarr", "total": total})
    return state


def test_counts_rates_and_time_left() -> None:
    state = begun(total=10)
    state.take({"event": "progress", "time": at(0), "total": 10, "skipped": 2, "done": {}, "worker_losses": 1})
    state.take({"event": "begun", "rows": [[1, 0, None], [2, 0, None], [3, 0, None]]})
    state.take(ended(1, 90.0))
    state.take(ended(2, 100.0, "failed", error={"type": "OSError", "message": "disk"}))
    state.take(ended(4, 119.0, damage=["a chunk"], read=100, written=10))
    shown = state.shown(BEGAN + 120.0)
    assert (shown["total"], shown["skipped"], shown["running"], shown["waiting"]) == (10, 2, 1, 4)
    assert shown["done"] == {"complete": 2, "no-overlap": 0, "failed": 1}
    assert (shown["damaged"], shown["worker_losses"], shown["bytes"]) == (1, 1, {"read": 100, "written": 10})
    assert shown["rate"] == {"last_minute": 3.0, "overall": 1.5}
    assert shown["left"] == pytest.approx(60 * 5 / 3)
    assert shown["elapsed"] == 120.0
    (failure,) = shown["failures"]
    assert (failure["visit"], failure["kind"], failure["message"]) == (2, "OSError", "disk")


def test_a_client_that_says_nothing_is_told_from_a_run_that_is_over() -> None:
    state = begun()
    assert state.shown(BEGAN + 5)["state"] == "running"
    silent = state.shown(BEGAN + 60)
    assert (silent["state"], silent["left"]) == ("silent", None)
    state.take({"event": "finished", "time": at(7)})
    over = state.shown(BEGAN + 1000)
    assert (over["state"], over["elapsed"], over["left"]) == ("finished", 7.0, None)


def test_times_by_step_patch_and_worker() -> None:
    state = begun()
    for visit, seconds in enumerate((1.0, 1.0, 4.0)):
        steps = {"load_patch": seconds / 4, "warp_tract": 3 * seconds / 4}
        state.take(ended(visit, 1.0, steps=steps, patches={"7/1": seconds, "7/2": 0.1}, worker=f"tcp://{visit // 2}"))
    shown = state.shown()
    assert shown["steps"] == {"load_patch": 1.5, "warp_tract": 4.5}
    assert [bin_["templates"] for bin_ in shown["work"]] == [2, 1]
    for bin_, seconds in zip(shown["work"], (1.0, 4.0), strict=True):
        assert bin_["from"] < seconds < bin_["to"]
        assert sum(bin_["steps"].values()) == pytest.approx(seconds * bin_["templates"])
    assert shown["patches"] == [
        {"patch": "7/1", "reads": 3, "seconds": 2.0}, {"patch": "7/2", "reads": 3, "seconds": 0.1},
    ]  # fmt: skip
    assert [(w["address"], w["templates"]) for w in shown["workers"]] == [("tcp://1", 1), ("tcp://0", 2)]


def test_a_build_of_coadds_has_patches() -> None:
    state = CampaignState("run")
    state.take({"event": "requested", "time": at(0), "band": "r", "patches": [[7, 1], [7, 2], [7, 3]]})
    state.take({"event": "sky", "footprints": [[7, n, []] for n in (1, 2, 3)]})
    state.take({"event": "begun", "rows": [[7, 1, None], [7, 2, None]]})
    where = {"event": "ended", "time": at(9), "tract": 7, "band": "r"}
    state.take({**where, "patch": 1, "status": "complete", "seconds": 8.5})
    state.take({**where, "patch": 2, "status": "failed", "error": {"type": "E", "message": "no"}, "seconds": 2.0})
    state.take({"event": "lost", "tract": 7, "patch": 2, "message": "gone"})
    state.take({"event": "steps", "steps": {"warp_visit": 3.0, "solve_patch": 1.0}})
    picture = {"tract": 7, "patch": 1, "band": "r", "coverage": 1.0, "image": "data:image/png;base64,AAAA"}
    state.take({"event": "thumbnails", "templates": [picture]})
    shown = state.shown()
    assert shown["templates"] == [picture]
    assert (shown["kind"], shown["total"], shown["running"], shown["waiting"]) == ("coadds", 3, 0, 1)
    assert shown["sky"]["footprints"] == f"{STATES.index('complete')}{STATES.index('failed')}0"
    assert [(f["tract"], f["patch"], f["kind"]) for f in shown["failures"]] == [(7, 2, "E")]
    assert shown["losses"][0] | {"time": ""} == {"tract": 7, "patch": 2, "message": "gone", "time": ""}
    assert shown["steps"] == {"warp_visit": 3.0, "solve_patch": 1.0}
    assert [(p["patch"], p["seconds"]) for p in shown["patches"]] == [("7/1", 8.5), ("7/2", 2.0)]


def test_its_size_does_not_grow_with_the_campaign() -> None:
    state = begun(total=10**6)
    state.take({"event": "sky", "order": 3, "cells": [[cell, 100, []] for cell in range(768)]})
    sizes = []
    for visit in range(12_000):
        cell = visit % 768 << 2 * (FINEST - 3)
        error = {"type": "E", "message": f"m {visit % 7}"}
        state.take({"event": "begun", "rows": [[visit, 0, cell]]})
        state.take(
            ended(visit, visit / 10, "failed", error=error, cell=cell, worker=f"w{visit}", patches={str(visit): 0.1},
                  steps={"warp_tract": 0.1})
        )  # fmt: skip
        picture = {"visit": visit, "detector": 0, "image": "data:image/png;base64,AAAA"}
        state.take({"event": "thumbnails", "templates": [picture]})
        if visit % 3_000 == 2_999:
            sizes.append(len(json.dumps(state.shown())))
    assert sizes[-1] < 1.1 * sizes[0]
    assert len(state.shown()["failures"]) == FAILURES
    assert len(state.shown()["templates"]) == THUMBNAILS
    assert len(state.shown()["timeline"]["complete"]) <= BINS
    assert sum(sys.getsizeof(v) for v in vars(state).values()) < 100_000


def test_text_is_one_line_and_short() -> None:
    state = begun()
    state.take(ended(1, 1.0, "failed", error={"type": "<script>", "message": "a\n\x1b[31mb" + "x" * 10_000}))
    (failure,) = state.shown()["failures"]
    assert failure["kind"] == "<script>"  # the page shows it as text
    assert failure["message"].startswith("a \\x1b[31mb")
    assert len(failure["message"]) < 3000


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["requested", "progress", "workers", "begun", "before", "ended", "lost", "finished", "sky",
                         "thumbnails", "x"])  # fmt: skip
keys = st.sampled_from(["time", "visit", "detector", "status", "steps", "patches", "error", "damage", "rows", "cell",
                        "total", "done", "detector_visits", "workers", "worker", "read", "order", "cells", "tracts",
                        "footprints", "templates"])  # fmt: skip


@given(st.lists(st.tuples(names, st.dictionaries(keys, junk, max_size=5)), max_size=6))
def test_a_journal_that_anybody_may_have_written(events: list[tuple[str, dict[str, Any]]]) -> None:
    state = CampaignState("run")
    for name, event in events:
        state.take({**event, "event": name})
    json.dumps([state.shown(), state.places.outlines()], allow_nan=False)


@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.sampled_from(["complete", "failed"])), min_size=1, max_size=50),
    st.floats(1, 1e6),
)
def test_a_timeline_keeps_every_count(ends: list[tuple[float, str]], span: float) -> None:
    line = Timeline(BEGAN)
    for when, status in ends:
        line.add(BEGAN + when, status, {"warp_tract": 1.0})
    shown = line.shown()
    assert len(shown["complete"]) <= BINS
    assert sum(shown["complete"]) + sum(shown["failed"]) == len(ends)
    assert sum(shown["steps"]["warp_tract"]) == pytest.approx(len(ends))
    last = BEGAN + max(when for when, _ in ends)
    exact = sum(when + BEGAN > last - span for when, _ in ends)
    near = sum(abs(when + BEGAN - (last - span)) <= 2 * line.width for when, _ in ends)
    assert abs(line.recent(last, span) - exact) <= near + 1e-6


def test_workers_stay_as_many_until_they_change() -> None:
    line = Timeline(BEGAN)
    line.workers(BEGAN, 2)
    line.workers(BEGAN + 3, 1)
    line.add(BEGAN + 5, "complete")
    assert line.shown()["workers"] == [2, 2, 2, 1, 1, 1]


def test_places_one_by_one() -> None:
    places = Places()
    places.change((1, 0), None, "waiting", "running")  # told before the map is there
    places.footprints([[1, 0, []], [2, 0, []], [3, 0, []]])
    places.change((2, 0), None, "waiting", "damaged")
    places.change((9, 9), None, "waiting", "failed")  # a row without a place
    assert places.shown()["footprints"] == f"{STATES.index('running')}{STATES.index('damaged')}0"


def test_places_in_cells() -> None:
    places = Places()
    fine = [5 << 2 * (FINEST - 2), (5 << 2 * (FINEST - 2)) + 1, 6 << 2 * (FINEST - 2)]
    places.change((1, 0), fine[0], "waiting", "running")
    places.cells(2, [[5, 2, []], [6, 1, []]])
    places.change((1, 0), fine[0], "running", "complete")
    places.change((2, 0), fine[1], "waiting", "failed")
    places.change((3, 0), None, "waiting", "failed")
    assert places.shown()["cells"] == [[0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0]]
    assert places.counts() == (2, {5: [0, 0, 1, 0, 1, 0], 6: [1, 0, 0, 0, 0, 0]})
