"""A quantum graph of two tasks on a dask cluster: a worker killed in the middle, a failure, a restart."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lsst.ctrl.mpexec", reason="the extra lsst is not installed")

from lsst.daf.butler import Butler
from rubin import must

from dcrflow.cluster import connect
from dcrflow.lsst.quanta import GraphProgress, QuantumGraphError, _Order, run_graph

HERE = Path(__file__).parent


def test_order() -> None:
    """What depends on a failure is blocked, once; what is ready is begun depth first."""
    networkx = pytest.importorskip("networkx")
    order = _Order(networkx.DiGraph([("a", "c"), ("b", "c"), ("c", "d"), ("b", "e")]))
    assert order.ready == ["a", "b"]
    order.succeed("b")
    assert order.ready[0] == "e"
    assert "c" not in order.ready
    assert order.fail("a") == 2
    assert order.fail("a") == 0
    assert "c" not in order.ready


def test_what_is_no_graph(tmp_path: Path) -> None:
    with pytest.raises(QuantumGraphError, match="cannot prepare a run"):
        run_graph(str(tmp_path / "no.qg"), str(tmp_path), client=None)  # type: ignore[arg-type]


@pytest.mark.integration
def test_run_kill_fail_restart(repo: Path, butler: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.syspath_prepend(HERE)
    graph = str(tmp_path / "graph.qg")
    must("pipetask", "qgraph", "-b", repo, "--output-run", "on-dask", "-i", "coadds,calexps",
         "-t", "dcrflow.lsst.GetDcrTemplateTask:getDcrTemplate", "-t", "template_stats.TemplateStatsTask:templateStats",
         "-d", "skymap = 'test'", "--qgraph-datastore-records", "-q", graph)  # fmt: skip
    coadd = butler.query_datasets("dcrCoadd", collections="coadds", where="skymap='test' AND patch=3 AND subfilter=1")[
        0
    ]
    damaged = Path(butler.getURI(coadd).ospath)
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:2000])
    with connect("local", workers=2) as client:
        client.run(sys.path.insert, 0, str(HERE))
        pids = list(client.run(os.getpid).values())
        killed = []

        def kill_one(state: GraphProgress) -> None:
            if state.running and not killed:
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])

        first = run_graph(graph, str(repo), client=client, retries=0, progress=kill_one)
        assert (killed, first.total, len(first.failures), first.blocked) == (pids[:1], 6, 1, 1)
        assert first.failures[0].task == "getDcrTemplate"
        assert "visit=12" in first.failures[0].data_id
        assert "tract 7 patch 3 band g subfilter 1" in first.failures[0].message
        damaged.write_bytes(whole)
        second = run_graph(graph, str(repo), client=client)
    assert second.ok
    assert (second.skipped, second.complete) == (first.complete, 2)
    home = Butler.from_config(str(repo))
    for name in ("dcrDiff_templateExp", "template_stats"):
        assert {r.dataId["visit"] for r in home.query_datasets(name, collections="on-dask")} == {12, 13}
