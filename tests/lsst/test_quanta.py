"""A quantum graph of two tasks on a dask cluster: a worker killed in the middle, a failure, a restart."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

pytest.importorskip("lsst.ctrl.mpexec", reason="the extra lsst is not installed")

from lsst.daf.butler import Butler
from processes import workers_of
from rubin import PROGRAMS, damaged_coadd, must, wait_until

from dcrflow.lsst import quanta
from dcrflow.lsst.execution import JobError, Outcome
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


class Done:
    """A future that has ended."""

    def __init__(self, outcomes: Any) -> None:
        self._ended, self.status = outcomes, "error" if isinstance(outcomes, Exception) else "finished"

    def result(self) -> Any:
        return self._ended

    exception = result

    def release(self) -> None:
        pass

    def add_done_callback(self, call: Any) -> None:
        call(self)


class Workers:
    """A client whose workers have some memory, MB; `ends` says how a job ends on them, by label and attempt."""

    def __init__(self, memory: int, ends: Any) -> None:
        self.memory, self.ends = memory, ends

    def nthreads(self) -> dict[str, int]:
        return {"one": 1}

    def scheduler_info(self, n_workers: int) -> Any:
        return {"workers": {"one": {"memory_limit": self.memory * 1_000_000}}}

    def submit(self, call: Any, graph: str, repo: str, ids: list[str], parents: Any, *, key: str, pure: bool) -> Done:
        return Done(self.ends(key.split("-")[0], self.memory, ids))


def run_of(monkeypatch: pytest.MonkeyPatch, client: Workers, plan: JobPlan, larger: Any = None, **more: Any) -> Any:
    """Run a graph of a -> b, c; no stack of LSST, no cluster."""
    networkx = pytest.importorskip("networkx")
    names = {label: UUID(int=n) for n, label in enumerate("abc")}
    graph = networkx.DiGraph([(names["a"], names["b"])])
    graph.add_node(names["c"])
    for label, name in names.items():
        graph.nodes[name].update(task_label=label, data_id=SimpleNamespace(required={"visit": label}))
    monkeypatch.setattr(quanta, "_prepare", lambda *_: JobOrder(graph, plan))
    last: list[Any] = []
    result = run_graph("g", "r", client=client, plan=plan, larger=larger, aggregate=False,  # type: ignore[arg-type]
                       progress=last.append, **more)  # fmt: skip
    return result, last[-1]


def test_retries_memory_and_exit_statuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that is killed goes to larger workers; one that fails in a final way is not tried again."""
    attempts: Counter[str] = Counter()

    def ends(label: str, memory: int, ids: list[str]) -> Any:
        attempts[label] += 1
        if label == "a" and memory < 3000:
            return JobError("no memory", (Outcome(ids[0], "failed", "MemoryError", 137),))
        if label == "c":
            return JobError("wrong", (Outcome(ids[0], "failed", "OSError: wrong", 1),))
        return (Outcome(ids[0], "complete"),)

    made: list[Workers] = []

    def larger(memory: int) -> Any:
        made.append(Workers(memory, ends))
        return made[-1]

    client = Workers(1000, ends)
    plan = JobPlan(needs={"a": Needs(retries=3, memory=800), "c": Needs(retries=3, final_codes=(1,))})
    result, state = run_of(monkeypatch, client, plan, larger)
    assert [w.memory for w in made] == [2000, 4000]
    assert attempts == {"a": 3, "b": 1, "c": 1}
    assert state.exit_codes == {"a": [137, 137], "b": [], "c": [1]}
    assert (result.complete, result.blocked, [f.message for f in result.failures]) == (2, 0, ["OSError: wrong"])
    assert not result.ok
    alone, _ = run_of(monkeypatch, Workers(1000, ends), plan, lambda _: None)
    assert (alone.blocked, sorted(f.task for f in alone.failures)) == (1, ["a", "c"]), "there is no larger worker"


def test_a_lost_worker_and_the_program_of_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lost = type("KilledWorker", (Exception,), {})("four workers died")
    left = iter([lost, None, None, None])

    def ends(label: str, memory: int, ids: list[str]) -> Any:
        return next(left) or (Outcome(ids[0], "complete"),)

    program = tmp_path / "end"
    program.write_text(f"#!/bin/sh\necho $1 $2 > {tmp_path}/said\nexit $(cat {tmp_path}/status)\n")
    program.chmod(0o755)
    (tmp_path / "status").write_text("0")
    result, state = run_of(monkeypatch, Workers(1000, ends), JobPlan(), final=str(program))
    assert result.ok
    assert (tmp_path / "said").read_text() == "g r\n"
    assert (sorted(map(tuple, state.exit_codes.values())), state.labels["finalJob"]["complete"]) == (
        [(), (), (), (137,)],
        1,
    )
    (tmp_path / "status").write_text("3")
    left = iter([None] * 3)
    result, state = run_of(monkeypatch, Workers(1000, ends), JobPlan(), final=str(program))
    assert (result.ok, result.final, state.ended, state.exit_codes["finalJob"]) == (False, str(program), "failed", [3])


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
