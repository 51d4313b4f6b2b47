"""What a run tells of itself; whatever fails there, the run goes on."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy_healpix import HEALPix
from scenes import IMAGE, TRACT, coadds, tan, visit
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.campaign.outcome import Progress
from dcrflow.geometry.box import Box
from dcrflow.live import reporter as module
from dcrflow.live import sky
from dcrflow.live.places import FINEST
from dcrflow.live.plugin import OPERATION
from dcrflow.live.reporter import Reporter, reporting
from dcrflow.live.subjects import Templates


class FakeClient:
    """Keeps what is told last; takes plugins."""

    def __init__(self, fails: bool = False) -> None:
        self.scheduler = SimpleNamespace(**{OPERATION: self})
        self.told: dict[str, Any] = {}
        self.messages: list[set[str]] = []
        self.fails, self.looked = fails, False
        self.cluster: object = None

    def register_plugin(self, plugin: Any) -> None:
        if self.fails:
            raise TypeError("no plugins here")

    def sync(self, operation: Any, run: str, callback_timeout: float, **what: Any) -> dict[str, Any]:
        assert operation is self
        self.messages.append(set(what))
        self.told |= {name: json.loads(v) if isinstance(v, bytes) else v for name, v in what.items()}
        gone = [{"event": "worker-gone", "message": "worker w is gone"}] if len(self.messages) == 1 else []
        return {"looked": self.looked, "gone": gone}


def told(rows: list[Any], *lines: dict[str, Any], store: Any = None) -> dict[str, Any]:
    client: Any = FakeClient()
    out = store or dcrflow.TemplateStore.create_or_open(MemoryStore())
    made: Any = SimpleNamespace(tracts={7: TRACT})
    with reporting(Reporter(client, "run", Templates(out, made, rows))) as live:
        for line in lines:
            live.line(line)
    told: dict[str, Any] = client.told
    return told


def test_the_map_of_a_few_and_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [visit(tan(ra=53 + 0.02 * i), visit=i) for i in range(7)]
    found = told(rows)["sky"]
    assert [row[:2] for row in found["footprints"]] == [[i, 3] for i in range(7)]
    assert [t["tract"] for t in found["tracts"]] == [7]
    monkeypatch.setattr(sky, "SINGLE", 3)
    found = told(rows)
    assert found["sky"]["footprints"] == []
    assert sum(sum(counts) for counts in found["state"]["sky"]["cells"]) == 7


def test_thumbnails_are_those_of_the_store() -> None:
    out = dcrflow.TemplateStore.create_or_open(MemoryStore())
    dcrflow.write_template(dcrflow.build_template(coadds(IMAGE), visit()), out)
    line = {"event": "ended", "visit": 12, "detector": 3, "status": "complete", "worker": "w", "steps": {"a": 2.0}}
    found = told([visit()], line, line | {"visit": 99}, store=out)
    thumbnails = found["state"]["templates"]
    assert [(t["visit"], t["detector"], t["band"]) for t in thumbnails] == [(12, 3, "g")]
    assert thumbnails[0]["image"].startswith("data:image/png;base64,")
    assert (found["summary"]["done"], found["made_by"]) == ({"complete": 2}, {"w": (2, 2.0)})


@pytest.mark.parametrize(("own", "read"), [(True, False), (False, True)])
def test_pictures_that_nobody_can_see_are_not_read(own: bool, read: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks, and the scheduler ends with the run or stays."""
    monkeypatch.setattr(module, "EVERY", 0.01)
    client: Any = FakeClient()
    client.cluster = object() if own else None
    made: Any = SimpleNamespace(tracts={7: TRACT})
    subject = Templates(dcrflow.TemplateStore.create_or_open(MemoryStore()), made, [visit()])
    wanted: list[Any] = []
    monkeypatch.setattr(subject, "pictures", lambda names: wanted.append(names) or {})
    with reporting(Reporter(client, "run", subject)) as live:
        until = time.monotonic() + 20
        while not client.messages and time.monotonic() < until:
            time.sleep(0.01)
        live.line({"event": "ended", "visit": 12, "detector": 3, "status": "complete"})
    assert bool(wanted) == read


def test_only_sums_are_sent_while_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY", 0.01)
    client: Any = FakeClient()
    made: Any = SimpleNamespace(tracts={7: TRACT})
    out = dcrflow.TemplateStore.create_or_open(MemoryStore())
    with reporting(Reporter(client, "run", Templates(out, made, [visit()]))):
        for client.looked in (False, True):
            already, until = len(client.messages), time.monotonic() + 20
            while len(client.messages) < already + 6 and time.monotonic() < until:
                time.sleep(0.01)
    assert {"summary"} in client.messages
    assert {"summary", "state", "made_by"} in client.messages
    assert sum("sky" in names for names in client.messages) <= 3  # only when it is another
    assert client.told["state"]["losses"][0]["message"] == "worker w is gone"


def test_a_run_goes_on_whatever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    out: Any = SimpleNamespace(url="")  # no store at all
    nothing: Any = SimpleNamespace()
    for fails in (False, True):
        client: Any = FakeClient(fails)
        monkeypatch.setattr(client, "sync", lambda *a, **k: 1 / 0)
        with reporting(
            Reporter(client, "run", Templates(out, nothing, [visit(), 7, None]), lambda event: 1 / 0)
        ) as live:
            live.line({"event": "requested"})
            live.line({"event": "ended"})
    monkeypatch.setattr(module.threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no thread")))
    with reporting(Reporter(client, "run", Templates(out, nothing, []))):
        pass


def test_a_run_that_ends_with_an_error_says_so() -> None:
    client: Any = FakeClient()
    out = dcrflow.TemplateStore.create_or_open(MemoryStore())
    made: Any = SimpleNamespace()
    with pytest.raises(ZeroDivisionError), reporting(Reporter(client, "run", Templates(out, made, []))):
        raise ZeroDivisionError
    assert client.told["state"]["state"] == client.told["summary"]["state"] == "failed"


def test_a_run_is_not_silent_while_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of coadds has no news for minutes, while it makes a patch."""
    now = "2026-11-27T20:00:00+00:00"
    monkeypatch.setattr(module, "_now", lambda: now)
    client: Any = FakeClient()
    out = dcrflow.TemplateStore.create_or_open(MemoryStore())
    with reporting(Reporter(client, "run", Templates(out, SimpleNamespace(), []))) as live:  # type: ignore[arg-type]
        live.progress(Progress(1, 0, 1, {}, 0.0, 0, 1))
        now = "2026-11-27T20:05:00+00:00"
    assert client.told["state"]["updated"] == "2026-11-27T20:05:00.000+00:00"


def test_cells_are_those_of_healpix() -> None:
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, 5000), np.rad2deg(np.arcsin(rng.uniform(-1, 1, 5000)))
    cells = sky.cells_at(ra, dec)
    order, found, numbers = sky.cell_counts(cells, 300)
    grid = HEALPix(nside=2**order, order="nested", frame="icrs")
    expected = np.unique(grid.skycoord_to_healpix(SkyCoord(ra * u.deg, dec * u.deg)), return_counts=True)
    np.testing.assert_array_equal(found, expected[0])
    np.testing.assert_array_equal(numbers, expected[1])
    assert len(found) <= 300 < len(sky.cell_counts(cells, 10**6)[1])
    np.testing.assert_array_equal(np.unique(cells >> 2 * (FINEST - order)), found)
    middle = sky.centres_of(order, found.tolist())
    np.testing.assert_array_equal(sky.cells_at(*middle) >> 2 * (FINEST - order), found)


def test_what_has_no_place_is_not_on_the_map() -> None:
    assert sky.cells_at(np.array([np.nan, 10.0, 10.0]), np.array([0.0, np.inf, 95.0])).tolist() == [-1] * 3
    order, found, _ = sky.cell_counts(np.array([-1, -1]))
    assert (order, len(found)) == (FINEST, 0)
    far = sky.corners_of(tan(), Box(0, 0, 10, 10))
    assert len(far) == 4
    assert np.isfinite(far).all()
