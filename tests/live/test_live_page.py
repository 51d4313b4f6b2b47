"""A scheduler serves the page and its data; what breaks there stops nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import dask
import pytest
from distributed import Client, LocalCluster

from dcrflow.base.errors import ClusterError
from dcrflow.cluster.tls import read_certificates, write_certificates
from dcrflow.live import plugin
from dcrflow.live.follow import follow
from dcrflow.live.plugin import ANSWER, OPERATION, LivePage, page_link, serve_page
from dcrflow.live.state import CampaignState

RUN, BEGAN = "20261127T100000-abcdef01", "2026-11-27T10:00:00.000+00:00"
NASTY = "<script>alert(1)</script>"

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of distributed's sockets


@pytest.fixture
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as made,
    ):
        yield made


def address(client: Client) -> str:
    return f"http://127.0.0.1:{client.cluster.scheduler.http_server.port}"


def get(link: str) -> tuple[Any, str]:
    with urlopen(link, timeout=20) as answer:
        return answer.headers, answer.read().decode()


def tell(client: Client, *events: dict[str, Any], run: str = RUN) -> None:
    state = CampaignState(run)
    for event in events:
        state.take(event)
    shown = state.shown()
    del shown["workers"]
    texts = {"state": shown, "sky": state.places.outlines()}
    client.sync(
        getattr(client.scheduler, OPERATION), run=run, summary=state.summary(), made_by=state.made_by(),
        **{name: json.dumps(value).encode() for name, value in texts.items()},
    )  # fmt: skip


REQUESTED = {"event": "requested", "time": BEGAN, "store": NASTY, "total": 3}
FAILED = {
    "event": "ended", "time": BEGAN, "visit": 1, "detector": 2, "status": "failed",
    "error": {"type": "OSError", "message": NASTY},
}  # fmt: skip


def test_the_page_and_its_data(client: Client) -> None:
    assert serve_page(client)
    assert serve_page(client)  # once more, by another run
    base = address(client)
    headers, html = get(f"{base}/dcrflow")
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    for link in ("dcrflow/page.css", "dcrflow/page.js"):
        assert f'"{link}"' in html  # relative, so that a proxy may be in between
        get(f"{base}/{link}")
    assert json.loads(get(f"{base}/dcrflow/state.json")[1])["runs"] == []
    tell(client, REQUESTED, FAILED, {"event": "sky", "footprints": [[1, 2, [[1.0, 2.0]] * 4]]})
    state = json.loads(get(f"{base}/dcrflow/state.json?run={RUN}")[1])
    assert (state["store"], state["done"]["failed"], state["waiting"]) == (NASTY, 1, 2)
    assert state["failures"][0]["message"] == NASTY
    assert state["cluster"]["workers"] == 0
    sky = json.loads(get(f"{base}/dcrflow/sky.json?run={RUN}")[1])
    assert (len(sky["footprints"]), state["sky"]["footprints"], sky["version"]) == (1, "4", state["sky"]["version"])
    with pytest.raises(HTTPError, match="404"):
        get(f"{base}/dcrflow/plugin.py")
    assert '<a href="dcrflow">' in get(f"{base}/status")[1]  # in the bar on top of dask's own pages


def test_numbers_for_prometheus(client: Client) -> None:
    pytest.importorskip("prometheus_client", reason="needs the package prometheus-client")
    serve_page(client)
    steps = {"load_patch": 1.5, "warp_tract": 0.5}
    made = {"event": "ended", "time": BEGAN, "visit": 1, "detector": 3, "status": "complete", "steps": steps, "read": 7}
    tell(client, REQUESTED, FAILED, made)
    text = get(f"{address(client)}/metrics")[1]
    for line in (
        'dcrflow_detector_visits_total{status="failed"} 1.0', 'dcrflow_detector_visits_total{status="complete"} 1.0',
        'dcrflow_step_seconds_total{step="load_patch"} 1.5', 'dcrflow_bytes_total{direction="read"} 7.0',
        'dcrflow_campaign_detector_visits{state="waiting"} 1.0',
    ):  # fmt: skip
        assert line in text


def test_what_is_no_event_stops_nothing(client: Client) -> None:
    serve_page(client)
    operation = getattr(client.scheduler, OPERATION)
    tell(client, REQUESTED)
    for what in ({"summary": 7}, {"summary": {"done": {"complete": "x"}}}, {"summary": {}, "made_by": 3}):
        assert client.sync(operation, run=RUN, **what) == {}
    client.sync(operation, run=RUN, summary={}, state=b"no JSON", sky=b"[]")
    assert json.loads(get(f"{address(client)}/dcrflow/state.json")[1])["total"] == 3


def test_a_scheduler_that_cannot_serve_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refused(LivePage):
        def __reduce__(self) -> Any:
            raise TypeError("no")

    monkeypatch.setattr(plugin, "LivePage", Refused)
    assert not serve_page(client)


def test_old_campaigns_are_forgotten_and_their_numbers_kept(client: Client) -> None:
    serve_page(client)
    for number in range(12):
        tell(client, REQUESTED | {"total": number}, FAILED, {"event": "finished"}, run=f"run-{number}")
    (page,) = (p for p in client.cluster.scheduler.plugins.values() if isinstance(p, LivePage))
    assert [told.run for told in page.campaigns] == [f"run-{number}" for number in range(11, 3, -1)]
    assert page.past["done"] == {"failed": 4}
    for _ in range(2):  # each time all tell their sums
        for number in range(9):
            tell(client, REQUESTED, FAILED, run=f"running-{number}")
    assert [told.run for told in page.campaigns] == [f"running-{number}" for number in range(8, -1, -1)]
    assert page.past["done"] == {"failed": 12}, "nothing of a campaign that runs is counted twice"


def test_a_campaign_that_was_silent_is_counted_once(client: Client) -> None:
    serve_page(client)
    (page,) = (p for p in client.cluster.scheduler.plugins.values() if isinstance(p, LivePage))

    def counted() -> float:
        return page.past["done"]["failed"] + sum(told.numbers("done")["failed"] for told in page.campaigns)

    for number in range(10):
        tell(client, REQUESTED, FAILED, run=f"run-{number}")
        page.campaign(f"run-{number}").heard = float("-inf")
    assert page.campaign("run-0") is None
    assert (page.past["done"]["failed"], counted()) == (2, 10)
    for _ in range(2):
        tell(client, REQUESTED, FAILED, run="run-0")
    assert page.campaign("run-0").status == "running"
    assert counted() == 10


def test_what_the_scheduler_adds_and_asks_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_page(client)
    (page,) = (p for p in client.cluster.scheduler.plugins.values() if isinstance(p, LivePage))
    operation, ask = getattr(client.scheduler, OPERATION), getattr(client.scheduler, ANSWER)
    tell(client, REQUESTED)
    assert client.sync(operation, run=RUN, summary={}) == {"looked": False, "gone": []}
    assert json.loads(client.sync(ask, kind="state"))["state"] == "running"
    page.remove_worker(None, "tcp://1")
    answer = client.sync(operation, run=RUN, summary={})
    assert (answer["looked"], answer["gone"][0]["message"]) == (True, "worker tcp://1 is gone")
    assert client.sync(operation, run=RUN, summary={})["gone"] == []
    monkeypatch.setattr(plugin, "_FRESH", 0.0)
    monkeypatch.setattr(plugin, "_SILENT", -1.0)
    silent = json.loads(client.sync(ask, kind="state"))
    assert (silent["state"], silent["left"], silent["runs"][0]["state"]) == ("silent", None, "silent")
    assert silent["store"] == NASTY


def test_a_campaign_is_followed_from_its_scheduler(tmp_path: Path) -> None:
    """By the scheduler's address, without and with encryption, and by its file; also from a build of DCR coadds."""
    security = read_certificates(write_certificates(tmp_path / "tls"))
    tls = {f"distributed.comm.tls.{k}": str(tmp_path / "tls" / v) for k, v in
           {"ca-file": "ca.pem", "client.cert": "cert.pem", "client.key": "key.pem"}.items()}  # fmt: skip
    footprint = {"event": "sky", "footprints": [[7, 3, [[359.9, 2.0], [0.1, 2.0], [0.1, 2.2], [359.9, 2.2]]]]}
    asked = {"event": "requested", "time": BEGAN, "store": "coadds.zarr", "patches": [[7, 3], [7, 4]]}
    ended = {"event": "ended", "time": BEGAN, "tract": 7, "patch": 3, "status": "failed", "error": FAILED["error"]}
    for protocol, how in (("tcp", {}), ("tls", {"security": security})):
        with (
            LocalCluster(n_workers=0, processes=False, protocol=protocol, dashboard_address=None, **how) as cluster,
            Client(cluster) as client,
            dask.config.set(tls),
        ):
            client.write_scheduler_file(str(tmp_path / "scheduler.json"))
            with pytest.raises(ClusterError, match="has no campaigns of dcrflow"):
                next(follow(client.scheduler.address))
            serve_page(client)
            tell(client, asked, footprint, ended)
            for source in (client.scheduler.address, str(tmp_path / "scheduler.json")):
                looks = follow(source)
                seen = next(looks)
                looks.close()  # type: ignore[attr-defined]
                assert (seen.state["kind"], seen.state["total"], seen.state["done"]["failed"]) == ("coadds", 2, 1)
                assert [(f["tract"], f["patch"]) for f in seen.state["failures"]] == [(7, 3)]
                ((ra, dec, counts),) = seen.places
                assert (ra % 360, dec) == pytest.approx((0.0, 2.1), abs=1e-6)
                assert counts == [0, 0, 0, 0, 1, 0]
                assert seen.state["cluster"]["workers"] == 0


def test_where_the_page_is() -> None:
    assert page_link("http://127.0.0.1:8787/status") == "http://127.0.0.1:8787/dcrflow"
    assert page_link("https://hub.example.org/user/a/proxy/8787/status") == (
        "https://hub.example.org/user/a/proxy/8787/dcrflow"
    )
    assert page_link("") == ""
