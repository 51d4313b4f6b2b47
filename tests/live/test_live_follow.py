"""A campaign is followed from its journals and from a page, and drawn in a terminal and in a notebook."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.campaign.outcome import Progress
from dcrflow.cli.show_live import drawn, sky_grid
from dcrflow.live import follow as follow_module
from dcrflow.live import notebook
from dcrflow.live.follow import Seen, follow
from dcrflow.live.places import FINEST, STATES
from dcrflow.live.state import CampaignState
from dcrflow.live.words import duration, rate, size
from dcrflow.stores.journal_reader import JournalReader

NASTY = "<script>alert(1)</script> [red]x[/]"


def store(where: Any = None) -> dcrflow.TemplateStore:
    return dcrflow.TemplateStore.create_or_open(MemoryStore() if where is None else where)


def write_run(out: dcrflow.TemplateStore, *, over: bool = True) -> None:
    cell = 5 << 2 * FINEST
    with out.journal() as journal:
        journal.add("requested", detector_visits={"1": [0, 1], "2": [0]})
        journal.add("sky", order=FINEST, cells=[[cell, 2, None], [cell + 1, 1, None]])
        journal.add("ended", visit=1, detector=0, status="complete", steps={"load_patch": 1.0}, cell=cell)
        journal.add(
            "ended", visit=1, detector=1, status="failed", error={"type": "OSError", "message": NASTY}, cell=cell
        )
        if over:
            journal.add("finished")


def test_from_the_journals() -> None:
    out = store()
    write_run(out)
    (seen,) = follow(out, 0.0)
    state = seen.state
    assert (state["state"], state["total"], state["waiting"]) == ("finished", 3, 1)
    assert state["done"] == {"complete": 1, "no-overlap": 0, "failed": 1}
    assert sorted(numbers for _, _, numbers in seen.places) == [[0, 0, 1, 0, 1, 0], [1, 0, 0, 0, 0, 0]]
    assert json.loads(json.dumps(state)) == state


def test_how_far_a_long_journal_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_module, "_TELL", 2)
    out, told = store(), list[int]()
    write_run(out)
    next(follow(out, 0.0, told.append))
    assert told == [2, 4]


def test_what_an_earlier_run_made_is_done_before(tmp_path: Any) -> None:
    out = store(str(tmp_path / "out.zarr"))
    write_run(out)
    time.sleep(0.01)
    cell = 5 << 2 * FINEST
    with out.journal() as journal:
        journal.add("requested", detector_visits={"1": [0, 1], "2": [0]})
        journal.add("sky", order=FINEST, cells=[[cell, 2, None], [cell + 1, 1, None]])
        journal.write_progress(
            {"state": "running", "updated": time.time(), "total": 3, "skipped": 1, "running": 2, "done": {}}
        )
        looks = follow(out, 0.0)
        seen = next(looks)
        assert (seen.state["skipped"], seen.state["running"], seen.state["waiting"]) == (1, 2, 0)
        assert sorted(numbers for _, _, numbers in seen.places) == [[1, 0, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0]]
        journal.add("ended", visit=1, detector=1, status="complete", cell=cell)
        journal.add("finished")
        assert next(looks).state["state"] == "finished"


def test_without_a_run() -> None:
    with pytest.raises(dcrflow.errors.TemplateStoreError, match="no journal of a run yet"):
        next(follow(store(), 0.0))


def test_an_address_where_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_module, "_PATIENCE", 0.3)
    with pytest.raises(dcrflow.errors.DcrflowError, match="no dask scheduler answers"):
        next(follow("tcp://127.0.0.1:9"))


def test_where_neither_a_dashboard_nor_a_store_is() -> None:
    with pytest.raises(dcrflow.errors.ClusterError, match="no dashboard with a page of dcrflow answers there"):
        next(follow("http://127.0.0.1:9"))


def test_a_run_that_died_is_over(tmp_path: Any) -> None:
    out = store(str(tmp_path / "out.zarr"))
    write_run(out, over=False)
    (path,) = (tmp_path / "out.zarr/.dcrflow").glob("*.jsonl")
    beat = {"state": "running", "host": "elsewhere", "pid": 1, "began": 1.79e9, "updated": 1.79e9, "total": 3}
    path.with_suffix(".progress.json").write_text(json.dumps(beat))
    (seen,) = follow(out, 0.0)
    assert seen.state["state"] == "failed"


def test_a_journal_is_read_once(tmp_path: Any) -> None:
    """Lines that grow are read as they come; half a line waits for its rest."""
    out = store(str(tmp_path / "out.zarr"))
    reader: JournalReader = out.journal_reader()
    assert list(reader.new()) == []
    with out.journal() as journal:
        journal.add("requested", detector_visits={})
        assert [line["event"] for line in reader.new()] == ["requested"]
        (path,) = (tmp_path / "out.zarr/.dcrflow").glob("*.jsonl")
        with path.open("a") as file:
            file.write('{"event": "en')
        assert list(reader.new()) == []
        with path.open("a") as file:
            file.write('ded"}\nno json\n[]\n')
        (line,) = reader.new()
        assert (line["event"], line["run"]) == ("ended", journal.run)


def state_of(*events: Mapping[str, Any]) -> dict[str, Any]:
    state = CampaignState("run")
    when = "2026-11-27T10:00:00.000+00:00"
    for event in ({"event": "requested", "store": NASTY, "total": 4}, *events):
        state.take({"time": when, **event})
    return state.shown()


FAILED = {"event": "ended", "visit": 7, "detector": 8, "status": "failed", "error": {"type": "E", "message": NASTY}}


def test_in_a_terminal() -> None:
    file = StringIO()
    console = Console(file=file, width=80, color_system=None)
    console.print(drawn(Seen(state_of(FAILED), [(10.0, 0.0, [1, 0, 0, 0, 0, 0]), (12.0, 0.0, [0, 0, 0, 0, 2, 0])])))
    text = file.getvalue()
    assert "1 of 4 done" in text
    assert "1 failed" in text
    assert "F" in text.splitlines()[5]
    assert " ".join(NASTY.split()) in " ".join(text.split())  # as text, not as colours
    assert max(map(len, text.splitlines())) <= 80
    console.print(drawn(Seen({"runs": []})))


def test_a_coarse_map() -> None:
    def at(ra: float, dec: float, state: str) -> tuple[float, float, list[int]]:
        return ra, dec, [int(name == state) for name in STATES]

    lines = sky_grid([at(359.0, 1.0, "complete"), at(1.0, 1.0, "failed"), at(1.0, -1.0, "waiting")], 3, 5)
    assert [line.plain for line in lines] == ["  F   c", "       ", "  .    "]  # north up, east left, across RA = 0
    assert [line.plain.strip() for line in sky_grid([at(5.0, 5.0, "waiting"), at(5.0, 5.0, "failed")])] == ["F"]
    assert sky_grid([]) == []


def test_the_widget_shows_text_as_text() -> None:
    html = notebook.widget_html(state_of(FAILED), 'http://a/"><b>')
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert 'href="http://a/&quot;&gt;&lt;b&gt;"' in html
    assert "visit 7 detector 8" in html
    assert "1/4 templates" in html


def test_where_a_run_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = SimpleNamespace(dashboard_link="http://127.0.0.1:8787/status")
    progress = Progress(4, 0, 1, {"complete": 1}, 1.0, 0, 1)
    said: list[Any] = []
    with notebook.shown(client, said.append) as (tell, events):
        tell(progress)
    assert (said, events) == ([progress], None)

    monkeypatch.setattr(sys, "stderr", StringIO())
    with notebook.shown(client, None) as (tell, events):  # a script whose output goes elsewhere
        tell(progress)
    assert (sys.stderr.getvalue(), events) == ("", None)  # type: ignore[attr-defined]

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with notebook.shown(client, None) as (tell, events):
        assert events is not None
        events(FAILED)
        tell(progress)
    assert sys.stderr.getvalue().splitlines()[-1].strip().startswith("2/4 templates")  # type: ignore[attr-defined]


def test_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    handle = SimpleNamespace(update=lambda html: shown.append(html.data))

    def display(html: Any, display_id: bool) -> Any:
        shown.append(html.data)
        return handle

    pytest.importorskip("IPython", reason="needs IPython")
    import IPython
    import IPython.display

    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=object()))
    monkeypatch.setattr(IPython.display, "display", display)
    client: Any = SimpleNamespace(dashboard_link="http://127.0.0.1:8787/status")
    with notebook.shown(client, None) as (tell, events):
        assert events is not None
        events(FAILED)
        tell(Progress(4, 0, 1, {"failed": 1}, 1.0, 0, 1))
    assert 'href="http://127.0.0.1:8787/dcrflow"' in shown[0]
    assert "href" not in shown[-1]  # the scheduler may be gone when the notebook is read
    assert "1/4 templates" in shown[-1]


def test_numbers_in_words() -> None:
    assert [duration(s) for s in (None, 5, 65, 3700, 200_000)] == ["?", "5 s", "1 min 5 s", "1 h 1 min", "2 d 7 h"]
    assert [rate(r) for r in (0.0, 0.123, 3.2, 123.4)] == ["0", "0.12", "3.2", "123"]
    assert [size(n) for n in (0, 999, 1500, 3.2e10, 1e16)] == ["0 B", "999 B", "1.5 kB", "32 GB", "10 PB"]


def test_as_a_table() -> None:
    out = store()
    with out.journal() as journal:
        journal.add("requested", detector_visits={"1": [0, 1, 2]})
        journal.add("ended", visit=1, detector=0, status="complete", coverage=0.5, seconds=2.0, damage=["a chunk"])
        journal.add("ended", visit=1, detector=1, status="failed", error={"type": "OSError", "message": NASTY})
    table = dcrflow.campaign_status(out)
    assert table.status.tolist() == ["complete", "failed", "missing"]
    assert table[["visit", "detector"]].to_numpy().tolist() == [[1, 0], [1, 1], [1, 2]]
    assert table.loc[0, ["coverage", "seconds", "damage"]].tolist() == [0.5, 2.0, 1]
    assert (table.error[1], table.message[1]) == ("OSError", NASTY)
    assert table.message[2] == ""
    assert len(dcrflow.campaign_status(store())) == 0
