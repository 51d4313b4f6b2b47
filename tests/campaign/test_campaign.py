"""Campaigns on a real local cluster: finish, skip, fail alone, resume."""

import dataclasses
import time
from io import StringIO

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster
from rich.console import Console
from scenes import IMAGE, TRACT, coadds, tan, visit

import dcrflow
from dcrflow.base.errors import CoaddStoreError, ConfigError, VisitTableError
from dcrflow.campaign import Progress, run_campaign
from dcrflow.campaign.status import campaign_status
from dcrflow.cli import show_campaign
from dcrflow.steps.dataset import rounded
from dcrflow.stores.visits.tables import BadVisit

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def client():
    with dcrflow.connect("local", workers=2, dashboard=0) as client:
        yield client


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> str:
    return str(coadds(IMAGE, store=str(tmp_path_factory.mktemp("survey") / "coadds.zarr")))


def visits(number: int = 6) -> list[dcrflow.DetectorVisit]:
    return [visit(visit=1 + i // 2, detector=i % 2, altitude=40.0 + i) for i in range(number)]


@pytest.mark.parametrize(
    ("config", "error", "words"),
    [
        ({"transmission": "no/such.dat"}, ConfigError, r"no/such\.dat: .*No such file"),
        ({"transmission": "not-a-filter"}, ConfigError, "not-a-filter"),
        ({"band": "z"}, CoaddStoreError, "no coadds in band 'z'"),
    ],
)
def test_what_fails_for_all_is_refused_before_it_begins(
    client, store: str, tmp_path, config: dict, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        run_campaign(store, visits(), tmp_path / "out.zarr", dcrflow.TemplateConfig(**config), client=client)
    assert not (tmp_path / "out.zarr").exists()


def test_campaign(client, store: str, tmp_path) -> None:
    states: list[Progress] = []
    out = tmp_path / "out.zarr"
    result = run_campaign(store, visits(), out, client=client, window=2, progress=states.append)
    assert (result.complete, result.failures, result.ok) == (6, (), True)
    assert max(s.running for s in states) == 2
    assert states[-1].done == {"complete": 6}
    expected = rounded(dcrflow.build_template(store, visits()[3]).compute())
    found = xr.open_zarr(out, group="2/1", consolidated=False)
    for name in ("image", "variance", "mask"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert found.attrs["status"] == "complete"
    took = dcrflow.TemplateStore.open(out).timings()
    assert len(took) == 6
    for one in took.values():
        assert {"load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "write_template"} == set(one["steps"])
        assert one["steps"]["load_patch"] == pytest.approx(sum(one["patches"].values()), abs=1e-3)
    again = run_campaign(store, visits(), out, client=client)
    assert (again.skipped, again.complete) == (6, 0)
    other = run_campaign(store, visits(2), out, dcrflow.TemplateConfig(border=3), client=client)
    assert (other.skipped, other.complete) == (0, 2)  # another configuration is another template
    anew = run_campaign(store, visits(2), out, dcrflow.TemplateConfig(border=3), client=client, overwrite=True)
    assert anew.complete == 2


def test_it_says_that_it_waits_for_workers(store: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that it has got some, as soon as something has ended."""
    monkeypatch.setattr(show_campaign, "console", Console(file=(said := StringIO()), width=120, force_terminal=True))
    states: list[Progress] = []
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address=":0") as cluster,
        Client(cluster) as waiting,
        show_campaign.CampaignDisplay(waiting) as display,
    ):

        def look(state: Progress) -> None:
            states.append(state)
            display.update(state)
            if state.running and not state.workers:
                time.sleep(0.5)  # the bar is drawn ten times a second
                cluster.scale(1)

        assert run_campaign(store, visits(2), tmp_path / "out.zarr", client=waiting, progress=look).ok
    assert {s.workers for s in states} == {0, 1}
    assert states[-1].workers == 1
    assert "waiting for workers" in said.getvalue()


def test_one_failure_fails_alone(client, store: str, tmp_path) -> None:
    away = dataclasses.replace(visits()[0], visit=90, wcs=tan(ra=120.0, dec=40.0))
    bad = BadVisit(91, 2, VisitTableError("row 3: altitude is missing"))
    nine = run_campaign(store, [*visits(2), away, bad], tmp_path / "out.zarr", client=client)
    assert (nine.complete, nine.no_overlap, len(nine.failures), nine.ok) == (2, 1, 1, False)
    assert nine.failures[0].message == "row 3: altitude is missing"
    status = campaign_status(tmp_path / "out.zarr")
    counts = {s: status.count(s) for s in ("complete", "no-overlap", "failed", "missing")}
    assert counts == {"complete": 2, "no-overlap": 1, "failed": 1, "missing": 0}
    reasons = {r.status: r.error for r in status.records}
    assert reasons["no-overlap"]["type"] == "NoOverlapError"
    assert reasons["failed"]["type"] == "VisitTableError"
    again = run_campaign(store, [*visits(2), away], tmp_path / "out.zarr", client=client)
    assert (again.skipped, again.complete, again.no_overlap) == (3, 0, 0)


def test_a_worker_error_is_written_down_and_can_be_retried(client, store: str, tmp_path) -> None:
    """A chunk that cannot be had fails the templates over it, with the reason; mended, they are made."""
    import shutil
    from pathlib import Path

    broken = tmp_path / "coadds.zarr"
    shutil.copytree(store, broken)
    shard = next(p for p in (Path(broken) / "7/3/g/image/c").rglob("*") if p.is_file())
    whole = shard.read_bytes()
    shard.unlink()
    shard.symlink_to("x" * 300)  # a name too long to be opened
    out = tmp_path / "out.zarr"
    failed = run_campaign(str(broken), visits(1), out, client=client, retries=0)
    assert not failed.ok
    assert failed.failures[0].kind == "CoaddStoreError"
    assert "tract 7 patch 3 band g" in failed.failures[0].message
    assert "visit 1 detector 0" in failed.failures[0].message
    assert "\n" not in failed.failures[0].message
    logs = str(client.get_worker_logs())
    assert "visit 1 detector 0" in logs
    assert "load_patch" in logs
    skipped = run_campaign(str(broken), visits(1), out, client=client)
    assert (skipped.complete, len(skipped.failures)) == (0, 1)
    shard.unlink()
    shard.write_bytes(whole[: len(whole) // 2] + b"\x00" + whole[len(whole) // 2 + 1 :])
    damaged = run_campaign(str(broken), visits(1), out, client=client, retry_failed=True)
    assert (damaged.complete, damaged.damaged) == (1, 1), "what decodes is delivered, and the rest said"
    shard.write_bytes(whole)
    mended = run_campaign(str(broken), visits(1), out, client=client, overwrite=True)
    assert (mended.complete, mended.damaged, mended.ok) == (1, 0, True)


def test_nothing_can_be_done(client, store: str, tmp_path) -> None:
    with pytest.raises(CoaddStoreError, match="does not exist"):
        run_campaign(tmp_path / "no.zarr", visits(), tmp_path / "out.zarr", client=client)
    with pytest.raises(ConfigError):
        dcrflow.TemplateConfig.make({"num_subfilters": 0})
    with pytest.raises(dcrflow.ClusterError, match="unknown cluster 'mars'"), dcrflow.connect("mars"):
        pass
    no_answer = pytest.raises(dcrflow.ClusterError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:1")
    with no_answer, dcrflow.connect("tcp://127.0.0.1:1"):
        pass


def test_only_loopback_listens(client) -> None:
    assert "127.0.0.1" in client.scheduler.address
    assert all("127.0.0.1" in address for address in client.nthreads())


def test_task_names_on_the_scheduler(client, store: str, tmp_path) -> None:
    """The names are read where the dashboard reads them: from what the scheduler was given."""
    from dask.utils import key_split

    run_campaign(store, visits(1), tmp_path / "out.zarr", client=client)

    def prefixes(dask_scheduler) -> set[str]:  # type: ignore[no-untyped-def]
        return set(dask_scheduler.task_prefixes)

    found = {key_split(name) for name in client.run_on_scheduler(prefixes)}
    assert {"load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "write_template"} <= found
    assert TRACT.tract == 7


def test_prometheus_knows_the_steps(client, store: str, tmp_path) -> None:
    """The scheduler's own metrics, next to the dashboard, count tasks by step."""
    from urllib.request import urlopen

    run_campaign(store, visits(1), tmp_path / "out.zarr", client=client)
    with urlopen(client.dashboard_link.replace("/status", "/metrics"), timeout=30) as answer:
        metrics = answer.read().decode()
    for step in ("load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "write_template"):
        assert f'task_prefix_name="{step}"' in metrics


def test_without_a_client_the_current_one_is_taken(client, store: str, tmp_path) -> None:
    assert run_campaign(store, visits(1), tmp_path / "out.zarr").complete == 1


def test_without_any_client_it_says_how_to_get_one(store: str, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Client:
        raise ValueError("no clients found")

    monkeypatch.setattr(Client, "current", none)
    with pytest.raises(dcrflow.ClusterError, match=r"no dask client is open.*dcrflow\.connect"):
        run_campaign(store, visits(1), tmp_path / "out.zarr")
    assert not (tmp_path / "out.zarr").exists()
