"""Campaigns beside each other on one output, a cluster that begins without workers, few file handles."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from hostile.survey import Place, write_survey

import dcrflow
from dcrflow.base.attributes import decoded
from dcrflow.campaign.verify import verify


@pytest.fixture
def place(tmp_path: Path) -> Place:
    found = Place(tmp_path)
    write_survey(found)
    return found


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    options = {"dashboard_address": ":0", "silence_logs": 50, "processes": False}
    with LocalCluster(n_workers=0, threads_per_worker=2, **options) as found:
        yield found


def test_several_configurations_at_once_on_one_output(place: Place, cluster: LocalCluster) -> None:
    """Each template is whole, and of one of the configurations."""
    cluster.scale(1)
    visits = dcrflow.read_visits(place.visits)

    def run(border: int) -> dcrflow.CampaignResult:
        with Client(cluster.scheduler_address, set_as_default=False) as client:
            config = dcrflow.TemplateConfig(border=border)
            return dcrflow.run_campaign(place.coadds, visits, place.out, client=client, config=config, progress=False)

    borders = (3, 5, 9)
    with ThreadPoolExecutor() as pool:
        results = list(pool.map(run, borders))
    assert [(len(r.failures), r.complete + r.skipped) for r in results] == [(0, 3)] * 3
    store = dcrflow.TemplateStore.open(place.out)
    assert [verdict.problems for verdict in verify(store)] == [()] * 3
    for visit in visits:
        template = store.read(visit.visit, visit.detector)
        border = decoded(template.attrs["config"])["border"]
        assert border in borders
        assert template["image"].shape == (visit.bbox.height + 2 * border, visit.bbox.width + 2 * border)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_cluster_that_grows_from_nothing_and_shrinks_to_it(place: Place, cluster: LocalCluster) -> None:
    visits = dcrflow.read_visits(place.visits)
    cluster.adapt(minimum=0, maximum=1, interval="100ms", wait_count=1)
    with Client(cluster, set_as_default=False) as client:
        for name in ("a.zarr", "b.zarr"):
            result = dcrflow.run_campaign(place.coadds, visits, place.directory / name, client=client, progress=False)
            assert (result.complete, result.failures) == (3, ())


def test_few_file_handles(place: Place) -> None:
    """Templates are made and read with 64 of them, also when all are open at once."""
    visits, before = dcrflow.read_visits(place.visits), resource.getrlimit(resource.RLIMIT_NOFILE)
    out = dcrflow.TemplateStore.create_or_open(place.out)
    coadds = dcrflow.open_coadds(place.coadds)
    open_now = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 64, before[1]))
    try:
        for visit in visits:
            dcrflow.write_template(dcrflow.build_template(coadds, visit), out)
        opened = [out.read(visit.visit, visit.detector) for visit in visits * 10]
        means = [float(template["image"].mean()) for template in opened]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert means[:3] * 10 == means
