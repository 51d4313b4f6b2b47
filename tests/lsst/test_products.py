"""What the task hands on is whole: PSF, WCS, filter, calibration and visit of a template and of coadds, in a Butler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

pytest.importorskip("lsst.pipe.base", reason="the extra lsst is not installed")
pytest.importorskip("lsst.images", reason="the extra lsst is not installed")

from lsst.daf.butler import Butler, DatasetType, StorageClassFactory
from lsst.images.serialization import read_archive, write_archive
from rubin import inputs_of
from scenes import IMAGE, TRACT, visit
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.base.errors import CoaddStoreError
from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.lsst import GetDcrTemplateTask
from dcrflow.lsst.butler import open_butler_coadds
from dcrflow.lsst.convert import arrays_of, box_of, lsst_box
from dcrflow.lsst.datasets import DcrCoadd, DcrTemplate
from dcrflow.lsst.node_psf import NodePsf
from dcrflow.lsst.repository import make_repository
from dcrflow.lsst.storage import CONFIG_PATH, STORAGE_CLASSES, prepare, register
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.coadds.writer import create_coadds

NODES = ([20.0, 150.0, 310.0], [20.0, 150.0, 310.0])


def gaussian(sigma: float) -> np.ndarray:
    y, x = np.mgrid[-10:11, -10:11]
    kernel = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    return kernel / kernel.sum()


@pytest.fixture(scope="module")
def survey() -> MemoryStore:
    """Coadds whose PSF grows with the patch, and within it."""
    store = MemoryStore()
    writer = create_coadds(store, "test")
    writer.write_tract(TRACT)
    for patch in TRACT.patches:
        where = (..., *patch.bbox.slices(TRACT.bbox))
        x, y = (patch.bbox.x0 + np.array(NODES[0]), patch.bbox.y0 + np.array(NODES[1]))
        kernels = np.stack([gaussian(1.5 + 0.3 * patch.patch + 0.1 * k) for k in range(3)])
        writer.write_patch(
            7, patch.patch, "g", image=IMAGE[where], variance=np.full(patch.bbox.shape, 4.0, np.float32),
            mask=np.zeros(patch.bbox.shape, np.int32), planes=STANDARD_PLANES, psf=kernels, psf_nodes=(x, y),
            subfilter_edges=((400.0, 450.0), (450.0, 500.0), (500.0, 550.0)), effective_wavelength=475.0,
            bandwidth=150.0, physical_filter="g_sim",
        )  # fmt: skip
    return store


@pytest.fixture(scope="module")
def own(survey: MemoryStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("products") / "repo"
    make_repository(str(root), survey, [visit(physical_filter="g_sim")])
    return root


@pytest.fixture(scope="module")
def made(own: Path) -> SimpleNamespace:
    """A template, and what it was made of."""
    butler = Butler.from_config(str(own), writeable=True, run="templates")
    inputs = inputs_of(butler, visit())
    task = GetDcrTemplateTask()
    found = task.getOverlappingExposures(inputs)
    data_id = {"instrument": "TestCam", "visit": 12, "detector": 3, "band": "g", "physical_filter": "g_sim"}
    detector = butler.get("calexp.detector", data_id, collections="calexps")
    result = task.run(
        found.coaddExposures, inputs["bbox"], inputs["wcs"], found.dataIds, dataId=data_id, detector=detector
    )
    dimensions = ("instrument", "visit", "detector")
    name = "dcrDiff_templateExp"
    butler.registry.registerDatasetType(DatasetType(name, dimensions, "DcrTemplate", universe=butler.dimensions))
    key = {k: data_id[k] for k in dimensions}
    butler.put(result.template, name, key)
    return SimpleNamespace(butler=butler, result=result, inputs=inputs, name=name, key=key, detector=detector)


def test_components(made: SimpleNamespace) -> None:
    """By the names that pipelines use, each as `butler get template.NAME` gives it."""

    def get(component: str) -> Any:
        return made.butler.get(f"{made.name}.{component}", made.key)

    assert get("filter") == {"band": "g", "physical": "g_sim"}
    assert get("photoCalib") == {"unit": "nJy", "calibrationMean": 1.0, "calibrationErr": 0.0, "isConstant": True}
    assert get("visitInfo") == get("obs_info") == made.inputs["visitInfo"]
    assert get("detector").id == made.detector.id
    assert box_of(get("bbox")) == box_of(made.inputs["bbox"]).grown(20)
    xy = {"x": np.array([0.0, 199.0]), "y": np.array([0.0, 179.0])}
    assert np.all(get("wcs").pixel_to_sky(**xy) == made.inputs["wcs"].pixel_to_sky(**xy))
    assert {(t.tract, t.patch) for t in get("coaddInputs")} == {(7, p) for p in range(4)}
    whole = made.butler.get(made.name, made.key)
    assert isinstance(whole, DcrTemplate)
    for name in ("image", "variance", "mask"):
        assert np.array_equal(getattr(arrays_of(whole), name), getattr(arrays_of(made.result.template), name)), name


def test_the_psf_varies_over_the_detector(made: SimpleNamespace, survey: MemoryStore) -> None:
    """As the template store has it: kernels at the same nodes, the same between them."""
    psf = made.butler.get(f"{made.name}.psf", made.key)
    assert isinstance(psf, NodePsf)
    template = dcrflow.build_template(survey, visit(), dcrflow.TemplateConfig(fill=0.0)).compute()
    peaks = []
    for x, y in ((3.0, 4.0), (100.0, 90.0), (195.0, 175.0)):
        kernel = psf.compute_kernel_image(x=x, y=y)
        expected = template.dcrflow.psf_at(x, y).values
        assert np.allclose(kernel.array, expected, atol=1e-5 * expected.max())
        assert kernel.array.sum() == pytest.approx(1.0)
        assert kernel.bbox == psf.kernel_bbox
        peaks.append(float(kernel.array.max()))
    assert max(peaks) > 1.2 * min(peaks)


def test_a_star_of_the_psf_is_where_it_should_be(made: SimpleNamespace) -> None:
    psf = made.result.template.psf
    x, y = 61.3, 80.8
    star = psf.compute_stellar_image(x=x, y=y)
    assert star.bbox == psf.compute_stellar_bbox(x=x, y=y)
    box = box_of(star.bbox)
    kernel = psf.compute_kernel_image(x=x, y=y).array
    offset = [float((k * np.arange(n)).sum() - n // 2) for k, n in
              ((kernel.sum(axis=1), len(kernel)), (kernel.sum(axis=0), kernel.shape[1]))]  # fmt: skip
    assert float(star.array.sum(axis=0) @ np.arange(box.x0, box.x1)) == pytest.approx(x + offset[1], abs=0.01)
    assert float(star.array.sum(axis=1) @ np.arange(box.y0, box.y1)) == pytest.approx(y + offset[0], abs=0.01)


def test_parts_and_copies_keep_what_they_are(made: SimpleNamespace) -> None:
    template = made.result.template
    part = template[lsst_box(box_of(template.bbox).grown(-30))]
    for one in (part, template.copy(), part.copy()):
        assert isinstance(one, DcrTemplate)
        assert one.psf == template.psf
        assert one.filter == template.filter
    coadd = made.butler.get("dcrCoadd", skymap="test", tract=7, patch=2, band="g", subfilter=1, collections="coadds")
    part = coadd[lsst_box(box_of(coadd.bbox).grown(-30))].copy()
    assert isinstance(part, DcrCoadd)
    assert (part.psf, part.filter) == (coadd.psf, {"band": "g", "physical": "g_sim"})


def test_a_file_of_its_own(made: SimpleNamespace, tmp_path: Path) -> None:
    """Outside a Butler, by lsst.images' reader."""
    write_archive(made.result.template, str(tmp_path / "template.fits"))
    found = read_archive(str(tmp_path / "template.fits"))
    assert isinstance(found, DcrTemplate)
    assert np.allclose(found.psf.nodes.kernels, made.result.template.psf.nodes.kernels, atol=1e-7)


def test_coadds_in_a_butler_keep_their_psf(own: Path, survey: MemoryStore) -> None:
    source, stored = open_butler_coadds(f"butler:{own}?collections=coadds"), open_coadds(survey)
    for patch in (0, 3):
        ours, theirs = source.read_psf(7, patch, "g"), stored.read_psf(7, patch, "g")
        assert ours is not None
        assert theirs is not None
        assert np.allclose(ours.kernels, theirs.kernels, atol=1e-7)
        assert np.array_equal(ours.x, theirs.x)
        assert source.info(7, patch, "g").psf_shape == (3, 21, 21)
    reader = Butler.from_config(str(own), collections="coadds")
    data_id = {"skymap": "test", "tract": 7, "patch": 1, "band": "g", "subfilter": 0}
    assert isinstance(reader.get("dcrCoadd.psf", data_id), NodePsf)
    assert reader.get("dcrCoadd.filter", data_id) == {"band": "g", "physical": "g_sim"}
    assert reader.get("dcrCoadd.photoCalib", data_id)["unit"] == "nJy"


def test_who_has_not_imported_dcrflow_reads_it(own: Path, made: SimpleNamespace) -> None:
    """The repository says what the classes are."""
    program = (
        f"from lsst.daf.butler import Butler; b = Butler.from_config({str(own)!r}, collections='templates'); "
        f"print(type(b.get('{made.name}.psf', {made.key!r})).__name__, b.get('{made.name}.filter', {made.key!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["NodePsf", "{'band':", "'g',", "'physical':", "'g_sim'}"], done.stderr


def test_a_repository_that_knows_nothing_of_dcrflow(made: SimpleNamespace, tmp_path: Path) -> None:
    """Keeps its datasets all the same, for processes that have imported it; `prepare` tells the others, once."""
    Butler.makeRepo(str(tmp_path))
    before = yaml.safe_load((tmp_path / "butler.yaml").read_text())
    butler = Butler.from_config(str(tmp_path), writeable=True, run="x")
    butler.registry.registerDatasetType(DatasetType("t", (), "DcrTemplate", universe=butler.dimensions))
    butler.put(made.result.template, "t")
    assert isinstance(butler.get("t.psf"), NodePsf)
    assert prepare(str(tmp_path))
    assert not prepare(str(tmp_path))
    after = yaml.safe_load((tmp_path / "butler.yaml").read_text())
    assert set(after["storageClasses"]) == set(STORAGE_CLASSES)
    assert {k: after[k] for k in before if k != "datastore"} == {k: v for k, v in before.items() if k != "datastore"}
    assert isinstance(Butler.from_config(str(tmp_path), collections="x").get("t.psf"), NodePsf)
    register()
    assert StorageClassFactory().getStorageClass("DcrTemplate").pytype is DcrTemplate
    with pytest.raises(CoaddStoreError, match=f"set DAF_BUTLER_CONFIG_PATH={CONFIG_PATH} instead"):
        prepare(str(tmp_path / "nowhere"))
