"""The task under `pipetask`, as real commands on a real repository; and the same from dcrflow's own command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lsst.ctrl.mpexec", reason="the extra lsst is not installed")

from lsst.daf.butler import Butler
from rubin import command, damaged_coadd, must

from dcrflow.base.attributes import objects
from dcrflow.lsst.convert import arrays_of
from dcrflow.stores.templates.store import TemplateStore

pytestmark = pytest.mark.integration

TASK = "dcrflow.lsst.GetDcrTemplateTask:getDcrTemplate"


def test_run_fail_extend_report(repo: Path, butler: Any, tmp_path: Path) -> None:
    """One quantum is made, one has no work, one fails and is made by --extend-run; all as `dcrflow run` makes them."""
    graph, out = tmp_path / "graph.qg", ["-b", repo, "--output-run", "templates"]
    made = must("pipetask", "qgraph", *out, "-i", "coadds,calexps", "-t", TASK, "-c", "getDcrTemplate:tile=128",
                "-d", "skymap = 'test'", "-q", graph)  # fmt: skip
    assert "3 quanta" in made

    run = ["pipetask", "run", *out, "-g", graph, "--register-dataset-types"]
    with damaged_coadd(butler, 3, 2):
        failed = command(*run, "-j", "2", "--start-method", "forkserver")  # a process each; the second time all in one
    assert failed.returncode != 0
    assert "tract 7 patch 3 band g subfilter 2" in failed.stderr
    assert "data ID {'instrument': 'TestCam', 'detector': 3, 'visit': 12}" in failed.stderr
    assert _templates(repo) == {13}

    refused = command("dcrflow", "lsst", "run-graph", graph, "-b", repo, "--workers", 1)
    assert refused.returncode == 2
    assert "save it with `pipetask qgraph --qgraph-datastore-records`" in refused.stderr

    again = must(*run, "--extend-run", "--skip-existing", "--clobber-outputs")
    assert _templates(repo) == {12, 13}
    assert "Executed 3 quanta successfully, 0 failed" in again
    report = must("pipetask", "report", "--force-v2", repo, graph)
    row = next(line.split() for line in report.splitlines() if line.strip().startswith("getDcrTemplate"))
    assert row[1:6] == ["0", "3", "*N(1)", "0", "0"], report  # unknown, successful, without work, blocked, failed

    place = f"butler:{repo}?collections="
    store = tmp_path / "templates.zarr"
    options = ["--workers", 1, "--set", "fill=0", "--set", "precision=null"]  # in one tile, where the task made four
    must("dcrflow", "run", f"{place}coadds", f"{place}calexps", store, *options)
    templates = TemplateStore.open(store)
    reader = Butler.from_config(str(repo))
    for visit, detector in ((12, 3), (13, 1)):
        theirs = templates.read(visit, detector)
        data_id = {"instrument": "TestCam", "visit": visit, "detector": detector}
        ours = arrays_of(reader.get("dcrDiff_templateExp", data_id, collections="templates"))
        for name in ("image", "variance", "mask"):
            assert np.array_equal(getattr(ours, name), theirs[name].values), name
        noted = reader.get("getDcrTemplate_metadata", data_id, collections="templates")["getDcrTemplate"]
        assert noted["coverage"] == theirs.attrs["coverage"]
        assert noted.getArray("patches") == [f"{t},{p}" for t, p in objects(theirs.attrs)["patches"]]
        shifts = list(zip(noted.getArray("shiftY"), noted.getArray("shiftX"), strict=True))
        assert shifts == [tuple(s) for s in objects(theirs.attrs)["dcr"]["shift"]]
        assert {"runEndCpuTime", "tilesEndCpuTime", "getExposuresEndCpuTime"} <= set(noted)
    assert templates.status(14, 2).status == "no-overlap"


def _templates(repo: Path) -> set[int]:
    found = Butler.from_config(str(repo)).query_datasets("dcrDiff_templateExp", collections="templates", explain=False)
    return {ref.dataId["visit"] for ref in found}
