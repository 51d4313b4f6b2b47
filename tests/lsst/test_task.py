"""`GetDcrTemplateTask`: every public name of the reference task, and what it is documented to do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lsst.pipe.base", reason="the extra lsst is not installed")
pytest.importorskip("lsst.images", reason="the extra lsst is not installed")

import astropy.units as u
from lsst.images import Image, MaskedImage
from lsst.pex.config import ConfigurableField, FieldValidationError
from lsst.pipe.base import InMemoryDatasetHandle, NoWorkFound, PipelineTask, PipelineTaskConfig, TaskMetadata
from rubin import inputs_of

from dcrflow.base.errors import DcrflowError, InconsistentCoaddsError, MissingSubfilterError
from dcrflow.lsst import GetDcrTemplateConfig, GetDcrTemplateConnections, GetDcrTemplateTask
from dcrflow.lsst.convert import arrays_of, box_of

WHOLE = [(p, s) for p in range(4) for s in range(3)]


@pytest.fixture
def task() -> GetDcrTemplateTask:
    return GetDcrTemplateTask()


@pytest.fixture(scope="module")
def made(butler: Any, scene: Any) -> SimpleNamespace:
    """The first detector-visit's template, and what led to it."""
    task = GetDcrTemplateTask()
    inputs = inputs_of(butler, scene[1][0])
    found = task.getOverlappingExposures(inputs)
    result = task.run(found.coaddExposures, inputs["bbox"], inputs["wcs"], found.dataIds)
    return SimpleNamespace(task=task, inputs=inputs, found=found, result=result)


def test_it_is_a_pipeline_task(task: GetDcrTemplateTask) -> None:
    assert isinstance(task, PipelineTask)
    assert task.canMultiprocess is True
    assert task.ConfigClass.ConnectionsClass is GetDcrTemplateConnections


def test_names(task: GetDcrTemplateTask) -> None:
    assert task.getName() == task.getFullName() == "getDcrTemplate"
    assert {name: ref() for name, ref in task.getTaskDict().items()} == {"getDcrTemplate": task}


def test_schemas_and_resources(task: GetDcrTemplateTask) -> None:
    assert task.getSchemaCatalogs() == task.getAllSchemaCatalogs() == {}
    assert task.getResourceConfig() is None


def test_metadata_and_timer(task: GetDcrTemplateTask) -> None:
    with task.timer("something"):
        pass
    assert isinstance(task.getFullMetadata(), TaskMetadata)
    assert "somethingStartCpuTime" in task.getFullMetadata()["getDcrTemplate"]
    task.emptyMetadata()
    assert "somethingStartCpuTime" not in task.getFullMetadata()["getDcrTemplate"]


def test_make_field_and_subtask() -> None:
    field = GetDcrTemplateTask.makeField("the template")
    assert isinstance(field, ConfigurableField)

    class ParentConfig(GetDcrTemplateConfig):
        getTemplate = GetDcrTemplateTask.makeField("the template")  # noqa: N815

    class Parent(GetDcrTemplateTask):
        ConfigClass = ParentConfig
        _DefaultName = "parent"

    parent = Parent()
    parent.makeSubtask("getTemplate")
    assert parent.getTemplate.getFullName() == "parent.getTemplate"
    assert set(parent.getTaskDict()) == {"parent", "parent.getTemplate"}
    assert parent.getAllSchemaCatalogs() == {}


@pytest.mark.parametrize("entry", [lambda p, s: (p, s), lambda p, s: {"patch": p, "subfilter": s}, lambda p, s: p])
def test_check_patch_list_accepts(task: GetDcrTemplateTask, entry: Any) -> None:
    task.checkPatchList({7: [entry(p, s) for p, s in WHOLE]})


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (WHOLE[:-1], "tract 7 patch 3 has 2 subfilter coadds (0, 1), expected 3"),
        ([(0, 0), (0, 1), (0, 1)], "expected 3 different ones; 1 is there twice"),
        ([0, 0], "tract 7 patch 0 has 2 subfilter coadds, expected 3"),
    ],
)
def test_check_patch_list_refuses(task: GetDcrTemplateTask, entries: list[Any], words: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        task.checkPatchList({7: entries})
    assert words in str(caught.value)
    assert isinstance(caught.value, MissingSubfilterError)


def test_get_overlapping_exposures(made: SimpleNamespace) -> None:
    """The second detector touches one patch of four; no pixel is read to find out."""
    assert [(d["tract"], d["patch"]) for d in made.found.dataIds] == [(7, 0), (7, 1), (7, 2), (7, 3)]
    assert [c.dataId for c in made.found.coaddExposures] == made.found.dataIds


def test_only_what_overlaps(butler: Any, scene: Any, task: GetDcrTemplateTask) -> None:
    found = task.getOverlappingExposures(inputs_of(butler, scene[1][1]))
    assert [d["patch"] for d in found.dataIds] == [0]


def test_no_overlap_is_no_work(butler: Any, scene: Any, task: GetDcrTemplateTask) -> None:
    with pytest.raises(NoWorkFound, match="no patch overlaps the detector"):
        task.getOverlappingExposures(inputs_of(butler, scene[1][2]))


def test_no_wcs_is_no_work(made: SimpleNamespace, task: GetDcrTemplateTask) -> None:
    with pytest.raises(NoWorkFound, match="no WCS"):
        task.getOverlappingExposures(made.inputs | {"wcs": None})
    with pytest.raises(NoWorkFound, match="no WCS"):
        task.run(made.found.coaddExposures, made.inputs["bbox"], None, made.found.dataIds)
    with pytest.raises(NoWorkFound, match="no coadds"):
        task.run([], made.inputs["bbox"], made.inputs["wcs"], [])


def test_a_subfilter_that_is_missing_or_twice(made: SimpleNamespace, task: GetDcrTemplateTask) -> None:
    refs = made.inputs["coaddExposureRefs"]
    with pytest.raises(RuntimeError, match=r"tract 7 patch 3 has 2 subfilter coadds \(0, 1\), expected 3"):
        task.getOverlappingExposures(made.inputs | {"coaddExposureRefs": refs[:-1]})
    with pytest.raises(RuntimeError, match="1 is there twice"):
        task.getOverlappingExposures(made.inputs | {"coaddExposureRefs": [*refs[:-1], refs[-2]]})


def test_get_dcr_model(made: SimpleNamespace) -> None:
    """Matched coadds with their own data IDs, of the patches asked for, on the patches' own pixels."""
    refs = made.inputs["coaddExposureRefs"]
    matched = made.task.getDcrModel({7: [(2, s) for s in range(3)]}, refs, made.inputs["visitInfo"])
    assert [(m.dataId["tract"], m.dataId["patch"]) for m in matched] == [(7, 2)]
    subfilters = [arrays_of(r.get()).image for r in refs if r.dataId["patch"] == 2]
    found = arrays_of(matched[0].maskedImage)
    assert box_of(matched[0].bbox) == found.box == box_of(refs[6].get(component="bbox"))
    inner = np.s_[40:-40, 40:-40]
    assert np.nansum(found.image[inner]) == pytest.approx(sum(s[inner].sum() for s in subfilters), rel=2e-2)
    assert np.nanmax(np.abs(found.image - sum(subfilters))[inner]) > 100  # light has moved


def test_run(made: SimpleNamespace) -> None:
    """The template is on the detector's pixels and border, on its projection, in nJy."""
    template = made.result.outputExposure
    assert made.result.template is template
    assert box_of(template.bbox) == box_of(made.inputs["bbox"]).grown(20)
    assert template.sky_projection is made.inputs["wcs"]
    assert str(template.unit) == "nJy"
    assert made.result.psf is None
    assert np.isfinite(template.image.array).all()
    metadata = made.task.getFullMetadata()["getDcrTemplate"]
    assert metadata["coverage"] == 1.0
    assert metadata.getArray("patches") == ["7,0", "7,1", "7,2", "7,3"]
    assert len(metadata.getArray("shiftY")) == len(metadata.getArray("shiftX")) == 3
    assert {"runEndCpuTime", "getOverlappingExposuresEndCpuTime"} <= set(metadata)


def test_run_takes_coadds_by_tract(made: SimpleNamespace) -> None:
    by_tract = made.task.run(
        {7: made.found.coaddExposures}, made.inputs["bbox"], made.inputs["wcs"], {7: made.found.dataIds}
    )
    assert np.array_equal(by_tract.template.image.array, made.result.template.image.array)


def test_run_takes_coadds_that_are_matched_already(made: SimpleNamespace) -> None:
    """Matched first and then warped, in two interpolations, comes to the same within what float32 and splines leave."""
    matched = [c.maskedImage for c in made.found.coaddExposures]
    before = [m.image.array.copy() for m in matched]
    other = made.task.run(matched, made.inputs["bbox"], made.inputs["wcs"], made.found.dataIds).template
    peak = np.nanmax(made.result.template.image.array)
    assert np.abs(other.image.array - made.result.template.image.array).max() < 1e-5 * peak
    assert all(np.array_equal(m.image.array, b, equal_nan=True) for m, b in zip(matched, before, strict=True))


def test_handles_in_memory(made: SimpleNamespace) -> None:
    """Coadds in memory make the same template, to the last bit."""
    handles = [InMemoryDatasetHandle(r.get(), storageClass="MaskedImageV2", dataId=r.dataId)
               for r in made.inputs["coaddExposureRefs"]]  # fmt: skip
    found = made.task.getOverlappingExposures(made.inputs | {"coaddExposureRefs": handles})
    other = made.task.run(found.coaddExposures, made.inputs["bbox"], made.inputs["wcs"], found.dataIds).template
    assert np.array_equal(other.image.array, made.result.template.image.array)
    assert np.array_equal(other.mask.array, made.result.template.mask.array)


def test_get_dcr_model_looks_at_the_handles(made: SimpleNamespace, task: GetDcrTemplateTask) -> None:
    """A list of patches alone says how many coadds there are; which those are, the handles say."""
    refs, info = made.inputs["coaddExposureRefs"], made.inputs["visitInfo"]
    patches = np.array([2, 2, 2])
    assert [m.dataId["patch"] for m in task.getDcrModel({7: patches}, refs, info)] == [2]
    twice = [r for r in refs if r.dataId["patch"] == 2 and r.dataId["subfilter"] != 2]
    with pytest.raises(RuntimeError, match=r"tract 7 patch 2 has 3 .* \(0, 1, 1\), .* 1 is there twice"):
        task.getDcrModel({7: patches}, [*twice, twice[-1]], info)
    with pytest.raises(RuntimeError, match="tract 7 patch 2 has 0 subfilter coadds, expected 3"):
        task.getDcrModel({7: patches}, [r for r in refs if r.dataId["patch"] != 2], info)


def test_run_changes_none_of_its_arguments(made: SimpleNamespace) -> None:
    """Neither what it is given nor what that refers to; and the same call gives the same again."""
    matched, ids = list(made.found.coaddExposures), list(made.found.dataIds)
    bbox, wcs = made.inputs["bbox"], made.inputs["wcs"]
    before = [repr(v) for v in (matched, ids, bbox)]
    places = wcs.pixel_to_sky(x=np.array([0.0, 199.0]), y=np.array([0.0, 179.0]))
    again = made.task.run(matched, bbox, wcs, ids)
    assert [repr(v) for v in (matched, ids, bbox)] == before
    assert (wcs.pixel_to_sky(x=np.array([0.0, 199.0]), y=np.array([0.0, 179.0])) == places).all()
    assert all(a is b for a, b in zip(matched, made.found.coaddExposures, strict=True))
    assert np.array_equal(again.template.image.array, made.result.template.image.array)


def test_coadds_of_another_band(made: SimpleNamespace, task: GetDcrTemplateTask) -> None:
    """The error names both bands, and the data ID is in its notes."""
    data_id = {"instrument": "TestCam", "visit": 12, "detector": 3, "band": "r"}
    with pytest.raises(
        InconsistentCoaddsError, match="the coadds are of band g, the detector-visit is of band r"
    ) as got:
        task.run(made.found.coaddExposures, made.inputs["bbox"], made.inputs["wcs"], made.found.dataIds, dataId=data_id)
    assert got.value.__notes__ == [f"data ID {data_id}"]
    refs = made.inputs["coaddExposureRefs"]
    other = InMemoryDatasetHandle(None, dataId={**refs[0].dataId.required, "band": "r"})
    with pytest.raises(InconsistentCoaddsError, match="coadds of one band are needed, found g, r"):
        task.getOverlappingExposures(made.inputs | {"coaddExposureRefs": [*refs, other]})


def test_two_bands_are_refused(made: SimpleNamespace) -> None:
    handles = [InMemoryDatasetHandle(None, dataId={**r.dataId.required, "band": "r"})
               for r in made.inputs["coaddExposureRefs"][:1]]  # fmt: skip
    matched = made.found.coaddExposures
    other = made.task._source([*made.inputs["coaddExposureRefs"], *handles])
    mixed = [type(matched[0])(other, 7, 0, band, matched[0].observation, matched[0].config) for band in "gr"]
    with pytest.raises(InconsistentCoaddsError, match="one band"):
        made.task.run(mixed, made.inputs["bbox"], made.inputs["wcs"], [{}, {}])


def _gone(inputs: dict[str, Any], butler: Any) -> dict[str, Any]:
    refs = list(inputs["coaddExposureRefs"])
    path = Path(butler.getURI(refs[-1].ref).ospath)
    path.rename(path.with_name("hidden"))
    return inputs


def _uncalibrated(inputs: dict[str, Any], _: Any) -> dict[str, Any]:
    refs = list(inputs["coaddExposureRefs"])
    found = refs[4].get()
    counts = MaskedImage(Image(found.image.array, bbox=found.bbox, unit=u.electron,
                               sky_projection=found.sky_projection), mask=found.mask)  # fmt: skip
    refs[4] = InMemoryDatasetHandle(counts, storageClass="MaskedImageV2", dataId=refs[4].dataId)
    return inputs | {"coaddExposureRefs": refs}


class _NoInverse:
    """A `lsst.afw.geom.SkyWcs` that maps to the sky and not back."""

    isFits = False  # noqa: N815

    def pixelToSkyArray(self, x: Any, y: Any, degrees: bool) -> Any:  # noqa: N802
        return x, y

    def skyToPixelArray(self, ra: Any, dec: Any, degrees: bool) -> Any:  # noqa: N802
        return ra + np.nan, dec


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_gone, "cannot read .* of tract 7 patch 3 band g subfilter 2: FileNotFoundError"),
        (_uncalibrated, "tract 7 patch 1 band g subfilter 1: pixels are in electron, expected a flux density"),
        (lambda i, _: i | {"coaddExposureRefs": [*i["coaddExposureRefs"], i["coaddExposureRefs"][0]]},
         "tract 7 patch 0 .* expected 3 different ones; 0 is there twice"),
        (lambda i, _: i | {"coaddExposureRefs": i["coaddExposureRefs"][1:]},
         r"tract 7 patch 0 has 2 subfilter coadds \(1, 2\), expected 3"),
        (lambda i, _: i | {"wcs": _NoInverse()}, "the detector's WCS cannot be used: the projection is nan pixels off"),
        (lambda i, _: i | {"band": "r"}, "the coadds are of band g, the detector-visit is of band r"),
    ],
)  # fmt: skip
def test_bad_input_names_data_id_and_reason(
    made: SimpleNamespace, task: GetDcrTemplateTask, butler: Any, spoil: Any, words: str
) -> None:
    """In a quantum: the reason is the message, which names the coadd; the detector-visit is in the notes."""
    inputs = spoil(dict(made.inputs), butler)
    data_id = {"instrument": "TestCam", "visit": 12, "detector": 3, "band": inputs.pop("band", "g")}
    refs = SimpleNamespace(dcrCoadds=[])
    inputs["dcrCoadds"] = inputs.pop("coaddExposureRefs")
    context = SimpleNamespace(get=lambda _: inputs, put=None, quantum=SimpleNamespace(dataId=data_id))
    try:
        with pytest.raises(DcrflowError, match=words) as caught:
            task.runQuantum(context, refs, None)
    finally:
        for hidden in Path(butler._datastore.root.ospath).rglob("hidden"):
            hidden.rename(butler.getURI(made.inputs["coaddExposureRefs"][-1].ref).ospath)
    assert caught.value.__notes__ == [f"data ID {data_id}"]


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("templateBorderSize", 4096, 4097), ("templateBorderSize", 0, -1), ("numSubfilters", 64, 65),
        ("numSubfilters", 1, 0), ("effectiveWavelength", 620.0, 100.0),
        ("bandwidth", 10.0, 0.0), ("highVarianceThreshold", 1.0, 0.9), ("highVarianceMaskFraction", 1.0, 1.5),
        ("dcr", "split", "magic"), ("rotation", "boresight", "magic"), ("combine", "mean", "magic"),
        ("transmission", "lsst2023-g", 3), ("fill", 0.5, "much"), ("tile", 64, 63), ("storage", "afw", "magic"),
        ("output", "DifferenceImage", "magic"), ("warp.warpingKernelName", "lanczos4", "magic"),
    ],
)  # fmt: skip
def test_every_field_is_validated(field: str, good: Any, bad: Any) -> None:
    """And kept, by way of the file that pipetask writes of it."""
    config = GetDcrTemplateConfig()
    *parents, name = field.split(".")
    owner = config.warp if parents else config
    with pytest.raises(FieldValidationError):
        setattr(owner, name, bad)
    setattr(owner, name, good)
    again = GetDcrTemplateConfig()
    again.loadFromString(config.saveToString())
    assert again.toDict() == config.toDict()
    assert again.warp.warpingKernelName == good if parents else getattr(again, name) == good


def test_no_field_is_forgotten() -> None:
    """Each of `TemplateConfig` is one of the task's, but for what a single detector-visit in one process has not."""
    config = GetDcrTemplateConfig()
    ours = {"dcr", "rotation", "combine", "transmission", "fill", "tile", "storage", "output"}
    reference = {"templateBorderSize", "warp", "numSubfilters", "effectiveWavelength", "bandwidth", "coaddPsf",
                 "highVarianceThreshold", "highVarianceMaskFraction", "varianceBackground", "doScaleVariance",
                 "doCorrectVariancePlateScale", "scaleVariance", "requireCoaddAtGraphBuild",
                 "output_image_type"}  # fmt: skip
    stock = set(PipelineTaskConfig._fields) | {"connections"}
    assert set(config.toDict()) - stock == ours | reference
    made = config.template_config()
    assert made.model_fields_set == set(type(made).model_fields) - {"granularity", "band", "sync", "precision"}


def test_config_is_validated() -> None:
    config = GetDcrTemplateConfig()
    with pytest.raises(FieldValidationError):
        config.numSubfilters = 0
    with pytest.raises(FieldValidationError):
        config.dcr = "magic"
    with pytest.raises(FieldValidationError):
        config.warp.warpingKernelName = "magic"
    config.effectiveWavelength = 476.31
    with pytest.raises(FieldValidationError, match="set both or none"):
        config.validate()
    config.bandwidth = 147.0
    config.validate()
    assert config.template_config().effective_wavelength == 476.31


def test_connections() -> None:
    config = GetDcrTemplateConfig()
    config.connections.coaddName, config.connections.warpTypeSuffix = "good", "PsfMatched"
    suffixed = GetDcrTemplateConnections(config=config)
    assert suffixed.template.name == "goodDiff_templateExpPsfMatched"
    assert suffixed.coaddExposureRefs.name == "dcrCoaddPsfMatched"
    assert not hasattr(suffixed, "skyMap")
    assert suffixed.coaddExposureRefs.deferLoad
    assert suffixed.coaddExposureRefs.multiple
    names = {"coaddName": "dcr", "warpTypeSuffix": "", "fakesType": "fakes_"}
    config = GetDcrTemplateConfig()
    config.connections.fakesType = names["fakesType"]
    stock = GetDcrTemplateConnections(config=config)
    assert stock.template.name == "fakes_dcrDiff_templateExp"
    assert stock.coaddExposureRefs.name == "fakes_dcrCoadd"
    assert stock.wcs.name == "fakes_calexp.sky_projection"
    config.storage = "afw"
    afw = GetDcrTemplateConnections(config=config)
    assert (afw.wcs.name, afw.wcs.storageClass) == ("fakes_calexp.wcs", "Wcs")
    assert {c.storageClass for c in (afw.template, afw.coaddExposureRefs)} == {"ExposureF"}
    assert (afw.skyMap.name, afw.skyMap.storageClass, set(afw.skyMap.dimensions)) == ("skyMap", "SkyMap", {"skymap"})
    assert (afw.bbox.storageClass, afw.visitInfo.storageClass) == ("Box2I", "VisitInfo")
