"""The pipelines under deploy/rubin, built by pipetask: dcrflow's task takes the place of LSST's under its label.

The pipelines that they import are LSST's and want its stack. Here a pipeline with the same label, the same environment
variable and the same contract stands in for each; its tasks are of the packages on PyPI and of these tests.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("lsst.ctrl.mpexec", reason="the extra lsst is not installed")

from lsst.pipe.base import Pipeline
from rubin import must

from dcrflow.lsst import GetDcrTemplateTask

DEPLOY = Path(__file__).parents[2] / "deploy" / "rubin"

UPSTREAM = """\
description: what stands in for LSST's pipeline
tasks:
  buildTemplate:
    class: template_stats.TemplateStatsTask
    config:
      connections.template: what_dcrflow_replaces
  subtractImages:
    class: template_stats.TemplateStatsTask
    config:
      connections.template: template_detector
      connections.stats: difference_stats
subsets:
  diffim:
    subset: [buildTemplate, subtractImages]
    description: As upstream has it.
contracts:
  - contract: buildTemplate.connections.ConnectionsClass(config=buildTemplate).template.name ==
              subtractImages.connections.ConnectionsClass(config=subtractImages).template.name
    msg: "buildTemplate.template != subtractImages.template"
"""


@pytest.fixture
def upstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, name in (("AP_PIPE_DIR", "ApPipe"), ("DRP_PIPE_DIR", "DRP")):
        place = tmp_path / variable / "pipelines" / "LSSTCam" / f"{name}.yaml"
        place.parent.mkdir(parents=True)
        place.write_text(UPSTREAM)
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


@pytest.mark.parametrize(
    ("name", "image"), [("ApPipe", "preliminary_visit_image"), ("DRP", "visit_image")]
)  # fmt: skip
def test_dcrflow_under_the_label(upstream: None, name: str, image: str) -> None:
    """In place of LSST's task, with its connections; contracts hold; what else the pipeline has stays."""
    pipeline = Pipeline.from_uri(str(DEPLOY / f"{name}.yaml"))
    assert set(pipeline.subsets["diffim"]) == {"buildTemplate", "subtractImages"}
    graph = pipeline.to_graph()
    assert set(graph.tasks) == {"buildTemplate", "subtractImages"}
    node = graph.tasks["buildTemplate"]
    assert node.task_class is GetDcrTemplateTask
    datasets = {name: edge.parent_dataset_type_name for name, edge in node.inputs.items()}
    assert datasets == {
        "bbox": image, "wcs": image, "visitInfo": image, "skyMap": "skyMap", "dcrCoadds": "dcrCoadd",
    }  # fmt: skip
    assert {e.component for n, e in node.inputs.items() if n in ("bbox", "wcs", "visitInfo")} == {
        "bbox", "wcs", "visitInfo",
    }  # fmt: skip
    assert node.outputs["template"].parent_dataset_type_name == "template_detector"
    assert node.outputs["template"].storage_class_name == "ExposureF"


def test_a_broken_contract_is_named(upstream: None, tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text(
        f"description: x\nimports:\n  - location: {DEPLOY / 'DRP.yaml'}\ntasks:\n  buildTemplate:\n"
        "    class: dcrflow.lsst.GetDcrTemplateTask\n    config:\n      connections.template: another\n"
    )
    with pytest.raises(Exception, match=r"buildTemplate\.template != subtractImages\.template"):
        Pipeline.from_uri(str(path)).to_graph()


@pytest.mark.integration
def test_build_and_qgraph(upstream: None, repo: Path, tmp_path: Path) -> None:
    """By the real commands; the quantum graph on lsst.images' classes, which packages on PyPI have."""
    shown = must("pipetask", "build", "-p", DEPLOY / "ApPipe.yaml", "--show", "pipeline")
    assert "class: dcrflow.lsst.GetDcrTemplateTask" in shown or "dcrflow.lsst.task.GetDcrTemplateTask" in shown
    said = must("pipetask", "qgraph", "-b", repo, "--output-run", "by-deploy", "-i", "coadds,calexps",
                "-p", DEPLOY / "images.yaml", "-d", "skymap = 'test'", "-q", tmp_path / "graph.qg")  # fmt: skip
    assert "3 quanta" in said
