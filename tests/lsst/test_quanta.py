"""A quantum graph of two tasks on a dask cluster: a worker killed in the middle, a failure, a restart."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lsst.ctrl.mpexec", reason="the extra lsst is not installed")

from lsst.daf.butler import Butler
from processes import workers_of
from rubin import PROGRAMS, damaged_coadd, must, wait_until

from dcrflow.lsst.jobs import JobOrder, JobPlan, Needs
from dcrflow.lsst.quanta import QuantumGraphError, run_graph

HERE = Path(__file__).parent


def graph_of(*edges: tuple[str, str]) -> Any:
    """Quanta named by letters; the label of each is its letter."""
    networkx = pytest.importorskip("networkx")
    graph = networkx.DiGraph(edges)
    for name in graph:
        graph.nodes[name]["task_label"] = name
    return graph


EDGES = ("a", "c"), ("b", "c"), ("c", "d"), ("b", "e")


def test_order() -> None:
    """What depends on a failure is blocked, once; what is ready is begun depth first."""
    order = JobOrder(graph_of(*EDGES))
    number = {job.label: n for n, job in enumerate(order.jobs)}
    assert order.ready == [number["a"], number["b"]]
    order.succeed(number["b"])
    assert order.ready[0] == number["e"]
    assert number["c"] not in order.ready
    assert order.fail(number["a"]) == [number["c"], number["d"]]
    assert order.fail(number["a"]) == []
    assert number["c"] not in order.ready


def test_order_of_clusters() -> None:
    """Quanta of a job are in order whatever order they are given in; jobs depend on each other as their quanta do."""
    order = JobOrder(graph_of(*EDGES), JobPlan((("last", "cd", ("d", "c")),)))
    jobs = {job.label: (n, job) for n, job in enumerate(order.jobs)}
    number, cluster = jobs["cd"]
    assert cluster.quanta == ("c", "d")
    assert (order.parents["c"], order.parents["d"]) == ((), ("c",))
    assert len(order.jobs) == 4
    for label in "ab":
        assert number not in order.ready
        order.succeed(jobs[label][0])
    assert number in order.ready


@pytest.mark.parametrize(("quanta", "words"), [
    (("a", "x"), "job one has the quantum x, which is not in the graph"),
    (("b", "d"), "depend on each other in a circle"),
])  # fmt: skip
def test_clusters_that_cannot_be(quanta: tuple[str, ...], words: str) -> None:
    with pytest.raises(QuantumGraphError, match=words):
        JobOrder(graph_of(*EDGES), JobPlan((("one", "one", quanta),)))


def test_memory_grows_up_to_a_limit() -> None:
    needs = Needs(memory=1000, memory_multiplier=3.0, memory_max=4000)
    assert needs.more(1000) == 3000
    assert needs.more(3000) == needs.more(4000) == 4000
    assert Needs(memory=1000, memory_multiplier=0.5).more(1000) == 1000
    assert Needs().more(None) is None


def test_job_plans_are_kept(tmp_path: Path) -> None:
    plan = JobPlan((("j", "k", ("a", "b")),), {"k": Needs(3, (1, 2), 2048, 2.0, 9000)}, Needs(retries=7))
    plan.write(tmp_path / "jobs.json")
    assert JobPlan.read(tmp_path / "jobs.json", Needs(retries=7)) == plan
    (tmp_path / "jobs.json").write_text("{}")
    with pytest.raises(QuantumGraphError, match="cannot read the jobs in"):
        JobPlan.read(tmp_path / "jobs.json", Needs())


def test_what_is_no_graph(tmp_path: Path) -> None:
    with pytest.raises(QuantumGraphError, match="cannot prepare a run"):
        run_graph(str(tmp_path / "no.qg"), str(tmp_path), client=None)  # type: ignore[arg-type]


@pytest.mark.integration
def test_run_kill_fail_restart(repo: Path, butler: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real commands: two tasks, a worker killed in the middle, a failure, a restart, a retry, `butler`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))
    graph, state = tmp_path / "graph.qg", tmp_path / "state.json"
    must("pipetask", "qgraph", "-b", repo, "--output-run", "on-dask", "-i", "coadds,calexps",
         "-t", "dcrflow.lsst.GetDcrTemplateTask:getDcrTemplate", "-t", "template_stats.TemplateStatsTask:templateStats",
         "-d", "skymap = 'test'", "--qgraph-datastore-records", "-q", graph)  # fmt: skip
    run = [PROGRAMS / "dcrflow", "lsst", "run-graph", graph, "-b", repo, "--cluster", "local", "--state", state]
    with damaged_coadd(butler, 3, 1):
        words = [*map(str, run), "--workers", "2", "--retries", "0"]
        began = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: state.exists() and json.loads(state.read_text())["running"])
        workers = workers_of(began.pid)
        workers[-1].kill()
        said, errors = began.communicate()
    first = json.loads(state.read_text())
    assert (began.returncode, len(workers)) == (1, 2), errors
    assert (first["total"], first["done"]["failed"], first["done"]["blocked"], first["ended"]) == (6, 1, 1, "failed")
    assert "dashboard: http://" in said + errors
    assert "quanta" in said + errors
    failed = next(line for line in said.splitlines() if line.startswith("failed"))
    assert failed.startswith("failed getDcrTemplate instrument=TestCam, detector=3, visit=12: ")
    assert "tract 7 patch 3 band g subfilter 1" in failed
    assert "visit=13" not in failed
    assert _visits(repo, "dcrDiff_templateExp") == _visits(repo, "template_stats") == {13}, "brought home already"

    monkeypatch.setenv("TEMPLATE_STATS_FAIL_ONCE", str(tmp_path))
    again = must("dcrflow", *run[1:], "--workers", "1", "--retries", "1", "--no-aggregate")
    assert (tmp_path / "12").exists()
    assert f"2 complete, {first['done']['complete']} done before, 0 failed, 0 blocked of 6 quanta" in again
    assert json.loads(state.read_text())["ended"] == "complete"
    assert _visits(repo, "template_stats") == {13}
    must("butler", "aggregate-graph", graph, repo)
    assert _visits(repo, "dcrDiff_templateExp") == _visits(repo, "template_stats") == {12, 13}
    report = must("pipetask", "report", "--force-v2", repo, graph)
    for task, caveat in (("getDcrTemplate", "*N(1)"), ("templateStats", "*A(1)")):  # without work, without input
        row = next(line.split() for line in report.splitlines() if line.strip().startswith(f"{task} "))
        assert row[1:6] == ["0", "3", caveat, "0", "0"], report


def _visits(repo: Path, name: str) -> set[int]:
    home = Butler.from_config(str(repo))
    return {r.dataId["visit"] for r in home.query_datasets(name, collections="on-dask", explain=False)}
