"""Templates as `lsst.images.DifferenceImage`: through a Butler by pipetask, and as files."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from scenes import IMAGE, coadds, visit

pytest.importorskip("lsst.images", reason="the extra lsst is not installed")
pytest.importorskip("lsst.ctrl.mpexec", reason="the extra lsst is not installed")

from lsst.daf.butler import Butler
from lsst.images import DifferenceImage
from lsst.images.serialization import read_archive
from lsst.pex.config import FieldValidationError
from rubin import inputs_of, must

import dcrflow
from dcrflow.base.errors import VisitTableError
from dcrflow.cli import main
from dcrflow.lsst import GetDcrTemplateTask
from dcrflow.lsst.convert import arrays_of, box_of
from dcrflow.lsst.export import export
from dcrflow.stores.templates.store import TemplateStore

TASK = "dcrflow.lsst.GetDcrTemplateTask:getDcrTemplate"
SIGMA = 2.0


@pytest.mark.integration
def test_through_a_butler(repo: Path, butler: Any, tmp_path: Path) -> None:
    """The detector is the image's own, the coadds are those of the registry, the pixels those of a MaskedImage."""
    graph, out = tmp_path / "graph.qg", ["-b", repo, "--output-run", "differences"]
    choose = ["-c", "getDcrTemplate:output=DifferenceImage", "-c", "connections.coaddName=whole"]
    choose[-1] = "getDcrTemplate:connections.coaddName=whole"
    must("pipetask", "qgraph", *out, "-i", "coadds,calexps", "-t", TASK, *choose, "-d", "visit = 12", "-q", graph)
    must("pipetask", "run", *out, "-g", graph, "--register-dataset-types")
    data_id = {"instrument": "TestCam", "visit": 12, "detector": 3}
    reader = Butler.from_config(str(repo))
    found = reader.get("wholeDiff_templateExp", data_id, collections="differences")
    assert isinstance(found, DifferenceImage)
    assert (found.band, found.detector.id, found.obs_info.physical_filter) == ("g", 3, "g_sim")
    assert box_of(found.bbox) == box_of(reader.get("calexp.bbox", data_id, collections="calexps")).grown(20)
    refs = reader.query_datasets("dcrCoadd", collections="coadds")
    assert {t.dataset_id for t in found.templates} == {r.id for r in refs}
    assert {(t.skymap, t.tract, t.patch, t.dataset_run) for t in found.templates} == {
        ("test", 7, patch, "coadds") for patch in range(4)
    }
    areas = {t.patch: t.bounds.area for t in found.templates}
    assert sum(areas.values()) > 200 * 180  # patches overlap, and together cover the detector
    assert all(t.psf_shape_flag for t in found.templates), "these coadds have no PSF"
    assert np.isnan(found.psf.sigma)

    task = GetDcrTemplateTask()
    task.config.tile = 1024
    inputs = inputs_of(butler, visit(instrument="TestCam"))
    overlapping = task.getOverlappingExposures(inputs)
    plain = task.run(overlapping.coaddExposures, inputs["bbox"], inputs["wcs"], overlapping.dataIds).template
    for name in ("image", "variance", "mask"):
        assert np.array_equal(getattr(arrays_of(found), name), getattr(arrays_of(plain), name)), name


def test_a_nominal_detector_where_none_is_given(butler: Any) -> None:
    config = GetDcrTemplateTask.ConfigClass()
    config.output = "DifferenceImage"
    task, inputs = GetDcrTemplateTask(config=config), inputs_of(butler, visit(instrument="TestCam"))
    found = task.getOverlappingExposures(inputs)
    made = task.run(found.coaddExposures, inputs["bbox"], inputs["wcs"], found.dataIds).template
    assert type(made).__name__ == "DifferenceImage"
    assert made.detector is not None


def test_not_of_afw() -> None:
    config = GetDcrTemplateTask.ConfigClass()
    config.output, config.storage = "DifferenceImage", "afw"
    with pytest.raises(FieldValidationError, match="a DifferenceImage does not belong to the storage afw"):
        config.validate()


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three detector-visits, with a PSF that is a Gaussian."""
    path = tmp_path_factory.mktemp("templates") / "templates.zarr"
    y, x = np.mgrid[-12:13, -12:13]
    kernel = np.exp(-(x**2 + y**2) / (2 * SIGMA**2))
    kernels = np.stack([kernel / kernel.sum()] * 4).astype(np.float32)
    nodes = {"psf_node_x": [0.0, 199.0, 0.0, 199.0], "psf_node_y": [0.0, 0.0, 179.0, 179.0]}
    store = coadds(IMAGE)
    for number in (12, 13, 14):
        made = dcrflow.build_template(store, visit(visit=number, physical_filter="g_sim")).compute()
        with_psf = made.assign(psf=(("psf_node", "psf_y", "psf_x"), kernels))
        places = {name: ("psf_node", np.array(v), {"units": "pixel"}) for name, v in nodes.items()}
        dcrflow.write_template(with_psf.assign_coords(places), path)
    return path


def test_as_a_file(templates: Path, tmp_path: Path) -> None:
    assert export(templates, tmp_path, "lsst-difference", where="visit == 13") == 1
    found = read_archive(str(tmp_path / "template_13_3.fits"))
    template: xr.Dataset = TemplateStore.open(templates).read(13, 3).load()
    assert isinstance(found, DifferenceImage)
    for name in ("image", "variance", "mask"):
        assert np.array_equal(getattr(arrays_of(found), name), template[name].values, equal_nan=True), name
    assert (found.detector.instrument, found.detector.id, found.detector.visit) == ("TestCam", 3, 13)
    assert found.psf.sigma == pytest.approx(SIGMA, rel=1e-3)
    assert [t.patch for t in found.templates] == [0, 1, 2, 3]
    assert len({t.dataset_id for t in found.templates}) == 4
    assert found.templates[0].psf_shape_xx == pytest.approx(SIGMA**2, rel=1e-3)
    assert abs(found.templates[0].psf_shape_xy) < 1e-6


def test_which_are_exported(templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    def names(*words: object) -> list[str]:
        directory = tmp_path / str(len(list(tmp_path.iterdir())))
        monkeypatch.setattr(sys, "argv", ["dcrflow", "export", str(templates), str(directory), *map(str, words)])
        with pytest.raises(SystemExit):
            main()
        return sorted(p.name for p in directory.iterdir())

    assert names("--limit", 2) == ["template_12_3.fits", "template_13_3.fits"]
    assert names("--where", "visit > 12 and band == 'g'") == ["template_13_3.fits", "template_14_3.fits"]
    assert names("--where", "visit > 12", "--limit", 1) == ["template_13_3.fits"]
    with pytest.raises(VisitTableError, match="cannot select detector-visits by 'visit >'"):
        export(templates, tmp_path / "x", where="visit >")
    capfd.readouterr()
