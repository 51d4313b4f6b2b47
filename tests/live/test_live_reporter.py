"""What a run tells of itself; whatever fails there, the run goes on."""

from __future__ import annotations

import json
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
from dcrflow.geometry.box import Box
from dcrflow.live import reporter as module
from dcrflow.live import sky
from dcrflow.live.places import FINEST
from dcrflow.live.plugin import OPERATION
from dcrflow.live.reporter import Reporter, reporting


class FakeClient:
    """Keeps what is told; takes plugins."""

    def __init__(self, fails: bool = False) -> None:
        self.scheduler = SimpleNamespace(**{OPERATION: self})
        self.events: list[dict[str, Any]] = []
        self.messages = 0
        self.fails = fails

    def register_plugin(self, plugin: Any) -> None:
        if self.fails:
            raise TypeError("no plugins here")

    def sync(self, operation: Any, run: str, sent: float, events: bytes, callback_timeout: float) -> None:
        assert operation is self
        self.messages += 1
        self.events += json.loads(events)


def told(rows: list[Any], *lines: dict[str, Any], store: Any = None) -> list[dict[str, Any]]:
    client: Any = FakeClient()
    out = store or dcrflow.TemplateStore.create_or_open(MemoryStore())
    made: Any = SimpleNamespace(tracts={7: TRACT})
    with reporting(Reporter(client, "run", out, made, rows)) as live:
        for line in lines:
            live.line(line)
    return client.events


def test_the_map_of_a_few_and_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [visit(tan(ra=53 + 0.02 * i), visit=i) for i in range(7)]
    found = [e for e in told(rows) if e["event"] == "sky"]
    assert [row[:2] for e in found for row in e.get("footprints", ())] == [[i, 3] for i in range(7)]
    assert [t["tract"] for e in found for t in e.get("tracts", ())] == [7]
    monkeypatch.setattr(sky, "SINGLE", 3)
    found = [e for e in told(rows) if e["event"] == "sky"]
    assert not any("footprints" in e for e in found)
    assert sum(number for e in found for _, number, _ in e.get("cells", ())) == 7


def test_thumbnails_are_those_of_the_store() -> None:
    out = dcrflow.TemplateStore.create_or_open(MemoryStore())
    dcrflow.write_template(dcrflow.build_template(coadds(IMAGE), visit()), out)
    line = {"event": "ended", "visit": 12, "detector": 3, "status": "complete", "config_hash": "a"}
    events = told([visit()], line, line | {"visit": 99}, store=out)
    (thumbnails,) = (e["templates"] for e in events if e["event"] == "thumbnails")
    assert [(t["visit"], t["detector"], t["band"]) for t in thumbnails] == [(12, 3, "g")]
    assert thumbnails[0]["image"].startswith("data:image/png;base64,")
    assert "config_hash" not in next(e for e in events if e["event"] == "ended")  # the page has no use for it


def test_a_run_goes_on_whatever_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    out: Any = SimpleNamespace()  # no store at all
    nothing: Any = SimpleNamespace()
    for fails in (False, True):
        client: Any = FakeClient(fails)
        monkeypatch.setattr(client, "sync", lambda *a, **k: 1 / 0)
        with reporting(Reporter(client, "run", out, nothing, [visit(), 7, None], lambda event: 1 / 0)) as live:
            live.line({"event": "requested"})
            live.line({"event": "ended"})
    monkeypatch.setattr(module.threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no thread")))
    with reporting(Reporter(client, "run", out, nothing, [])):
        pass


def test_a_run_that_ends_with_an_error_says_so() -> None:
    client: Any = FakeClient()
    out = dcrflow.TemplateStore.create_or_open(MemoryStore())
    with pytest.raises(ZeroDivisionError), reporting(Reporter(client, "run", out, SimpleNamespace(), [])):  # type: ignore[arg-type]
        raise ZeroDivisionError
    assert client.events[-1]["event"] == "failed"


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
