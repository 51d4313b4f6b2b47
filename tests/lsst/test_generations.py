"""The task as either generation of its callers calls it: the documented page's forms, and those of July 2026."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lsst.pipe.base", reason="the extra lsst is not installed")
pytest.importorskip("lsst.images", reason="the extra lsst is not installed")

import astropy.units as u
from lsst.images import Image, MaskedImage
from lsst.pex.config import FieldValidationError
from lsst.pipe.base import InMemoryDatasetHandle, NoWorkFound
from rubin import put_by

from dcrflow.base.errors import ConfigError, InconsistentCoaddsError
from dcrflow.lsst import GetDcrTemplateConfig, GetDcrTemplateConnections, GetDcrTemplateTask
from dcrflow.lsst.convert import arrays_of, box_of
from dcrflow.lsst.datasets import DcrTemplate


@pytest.fixture(scope="module")
def page(inputs: dict[str, Any]) -> SimpleNamespace:
    """The template by the page's forms, as the runQuantum of that time calls them: ``run(**inputs)`` with all."""
    task, given = GetDcrTemplateTask(), dict(inputs)
    given["dcrCoadds"] = given.pop("coaddExposureRefs")
    results = task.getOverlappingExposures(given)
    given["coaddExposures"], given["dataIds"] = results.coaddExposures, results.dataIds
    given["physical_filter"] = "g_sim"
    return SimpleNamespace(results=results, made=task.run(**given))


def test_the_page_has_lists(page: SimpleNamespace) -> None:
    assert isinstance(page.results.coaddExposures, list)
    assert [d["patch"] for d in page.results.dataIds] == [0, 1, 2, 3]
    assert page.made.outputExposure is page.made.template


def test_the_later_form_has_dicts_and_makes_the_same(inputs: dict[str, Any], page: SimpleNamespace) -> None:
    """``getExposures`` and keyword-only ``run``, called as upstream's runQuantum does: the same pixels."""
    task = GetDcrTemplateTask()
    handles, bbox, wcs = inputs["coaddExposureRefs"], inputs["bbox"], inputs["wcs"]
    results = task.getExposures(handles, bbox, None, wcs, inputs["visitInfo"])
    assert {t: [d["patch"] for d in ids] for t, ids in results.dataIds.items()} == {7: [0, 1, 2, 3]}
    assert [type(results.coaddExposures), list(results.coaddExposures)] == [dict, [7]]
    before = box_of(bbox)
    outputs = task.run(
        coaddExposureHandles=results.coaddExposures, bbox=bbox, wcs=wcs, dataIds=results.dataIds,
        physical_filter="g_sim", visit=12,
    )  # fmt: skip
    assert box_of(bbox) == before
    for name in ("image", "variance", "mask"):
        assert np.array_equal(getattr(outputs.template, name).array, getattr(page.made.template, name).array), name
    assert isinstance(outputs.template, DcrTemplate)
    assert (outputs.template.detector.visit, outputs.template.filter) == (12, {"band": "g", "physical": "g_sim"})


def test_a_matched_coadd_is_a_handle(page: SimpleNamespace) -> None:
    """As upstream's are: with a data ID, the whole, a part, and components."""
    coadd = page.results.coaddExposures[0]
    whole, bbox = coadd.get(), coadd.get(component="bbox")
    assert np.array_equal(whole.image.array, coadd.maskedImage.image.array, equal_nan=True)
    assert coadd.get(parameters={"bbox": bbox}).bbox == bbox
    assert coadd.get(component="photoCalib") == u.nJy
    with pytest.raises(KeyError, match="no component 'colour'"):
        coadd.get(component="colour")


def test_a_quantum(inputs: dict[str, Any], page: SimpleNamespace) -> None:
    """`runQuantum` on what the connections give; the bounding box may come from the detector."""

    class Plain(GetDcrTemplateTask):
        def _make(self, order: Any) -> Any:
            return order

    order, _ = put_by(Plain(config=GetDcrTemplateConfig()), inputs)
    assert (order.box, order.visit, order.detector) == (box_of(inputs["bbox"]), 12, 3)
    assert (order.physical_filter, order.instrument) == ("g_sim", "TestCam")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "coaddExposures or as coaddExposureHandles"),
        ({"coaddExposures": [], "coaddExposureHandles": {}}, "one of the two"),
        ({"coaddExposures": []}, "missing its argument bbox"),
        ({"coaddExposureHandles": {}, "bbox": 1}, "missing its argument dataIds"),
    ],
)
def test_arguments_that_do_not_fit(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        GetDcrTemplateTask().run(**arguments)


def test_coadds_under_no_name() -> None:
    with pytest.raises(KeyError, match="none of dcrCoadds, coaddExposures, coaddExposureRefs; found bbox"):
        GetDcrTemplateTask().getOverlappingExposures({"bbox": None})


def test_mixed_bands_and_calibrations_are_runtime_errors(inputs: dict[str, Any]) -> None:
    task, handles = GetDcrTemplateTask(), list(inputs["coaddExposureRefs"])
    other = InMemoryDatasetHandle(None, dataId={**handles[0].dataId.required, "band": "r"})
    rest = (inputs["bbox"], None, inputs["wcs"], inputs["visitInfo"])
    with pytest.raises(RuntimeError, match="coadds of one band are needed, found g, r"):
        task.getExposures([*handles, other], *rest)
    with pytest.raises(RuntimeError, match="coadds of one band are needed, found g, i"):
        task._checkInputs({1: [{"band": "g"}], 2: [{"band": "i"}]}, {})
    found = handles[4].get()
    micro = MaskedImage(
        Image(found.image.array / 1000, bbox=found.bbox, unit=u.uJy, sky_projection=found.sky_projection),
        mask=found.mask,
    )
    handles[4] = InMemoryDatasetHandle(micro, storageClass="MaskedImageV2", dataId=handles[4].dataId)
    results = task.getExposures(handles, *rest)
    with pytest.raises(RuntimeError, match=r"differently: .* subfilter 0 by nJy, .* subfilter 1 by uJy") as caught:
        task.run(coaddExposureHandles=results.coaddExposures, bbox=rest[0], wcs=rest[2], dataIds=results.dataIds)
    assert isinstance(caught.value, InconsistentCoaddsError)


def test_no_pixel_covered_is_no_work(inputs: dict[str, Any]) -> None:
    """The patches overlap the detector, and none of them has a pixel with data."""
    handles = []
    for handle in inputs["coaddExposureRefs"]:
        found = handle.get()
        empty = Image(np.full_like(found.image.array, np.nan), bbox=found.bbox, unit=u.nJy,
                      sky_projection=found.sky_projection)  # fmt: skip
        coadd = MaskedImage(empty, mask=found.mask)
        handles.append(InMemoryDatasetHandle(coadd, storageClass="MaskedImageV2", dataId=handle.dataId))
    task = GetDcrTemplateTask()
    found = task.getOverlappingExposures(inputs | {"coaddExposureRefs": handles})
    with pytest.raises(NoWorkFound, match="no pixel of the detector is covered"):
        task.run(found.coaddExposures, inputs["bbox"], inputs["wcs"], found.dataIds)


def test_hooks(inputs: dict[str, Any], scene: Any) -> None:
    """A derived class decides what is flagged, and what it takes; the base class's hook flags as dcrflow does."""
    seen: list[Any] = []

    class Mine(GetDcrTemplateTask):
        def checkHighVariance(self, template: Any) -> None:  # noqa: N802
            seen.append(template.mask.get("HIGH_VARIANCE").any())
            super().checkHighVariance(template)

        @staticmethod
        def _checkInputs(dataIds: Any, coaddExposures: Any) -> Any:  # noqa: N802, N803
            seen.append(len(coaddExposures[0]))
            return GetDcrTemplateTask._checkInputs(dataIds, coaddExposures)

    config = GetDcrTemplateConfig()
    config.highVarianceThreshold = 1.0
    mine, plain = Mine(config=config), GetDcrTemplateTask(config=config)
    found = plain.getOverlappingExposures(inputs)
    arguments = (found.coaddExposures, inputs["bbox"], inputs["wcs"], found.dataIds)
    ours, theirs = (arrays_of(t.run(*arguments).template) for t in (mine, plain))
    assert seen == [4, False]
    flagged = (theirs.mask >> theirs.planes["HIGH_VARIANCE"]) & 1
    assert 0 < flagged.mean() < 1
    assert np.array_equal(ours.mask, theirs.mask)


@pytest.mark.parametrize("name", ["dcrCoadds", "coaddExposures", "coaddExposureRefs"])
def test_each_name_of_the_coadds(name: str) -> None:
    """Sets the one connection; contracts read it by any of them."""
    config = GetDcrTemplateConfig()
    setattr(config.connections, name, "my_coadd")
    config.validate()
    made = GetDcrTemplateConnections(config=config)
    assert {c for c in made.inputs if made.allConnections[c].name == "my_coadd"} == {"dcrCoadds"}
    assert made.coaddExposures.name == made.coaddExposureRefs.name == made.dcrCoadds.name == "my_coadd"


def test_two_names_of_one_connection_are_refused() -> None:
    config = GetDcrTemplateConfig()
    config.connections.dcrCoadds, config.connections.coaddExposureRefs = "a", "b"
    with pytest.raises(FieldValidationError, match="names of one connection, and are set to 'a' and 'b'"):
        config.validate()


def test_names_that_the_reference_has_together() -> None:
    """A pipeline's ``coaddExposures``, of a task without DCR, stays in the file of configuration; it is not read."""
    config = GetDcrTemplateConfig()
    config.connections.coaddExposures, config.connections.dcrCoadds = "template_coadd", "dcr_coadd"
    config.connections.visitInfo, config.connections.obs_info = "visit_image.visitInfo", "visit_image.obs_info"
    config.connections.wcs = "visit_image.wcs"
    read = {"lsst.images": "visit_image.obs_info", "afw": "visit_image.visitInfo"}
    for config.storage, expected in read.items():
        config.validate()
        made = GetDcrTemplateConnections(config=config)
        assert made.dcrCoadds.name == "dcr_coadd"
        assert made.visitInfo.name == made.obs_info.name == expected
        assert "template_coadd" not in {c.name for c in made.allConnections.values()}


@pytest.mark.parametrize("storage", ["lsst.images", "afw"])
@pytest.mark.parametrize("set_", [{"wcs": "visit_image.wcs"}, {"detector": "visit_image.detector"}])
def test_one_component_names_the_image(storage: str, set_: dict[str, str]) -> None:
    config = GetDcrTemplateConfig()
    config.storage = storage
    for name, dataset in set_.items():
        setattr(config.connections, name, dataset)
    made = GetDcrTemplateConnections(config=config)
    names = {c.name for n, c in made.allConnections.items() if n in ("bbox", "wcs", "visitInfo", "detector")}
    ours = {"visit_image.bbox", "visit_image.sky_projection", "visit_image.obs_info", "visit_image.detector"}
    assert names == (ours if storage != "afw" else {"visit_image.bbox", "visit_image.wcs", "visit_image.visitInfo"})


def test_a_detector_of_its_own_gives_the_bounding_box() -> None:
    config = GetDcrTemplateConfig()
    config.storage, config.connections.detector = "afw", "camera_detector"
    made = GetDcrTemplateConnections(config=config)
    assert "bbox" not in made.inputs
    assert made.detector.storageClass == "Detector"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("warp.maskWarpingKernelName", "lanczos3", "only 'bilinear' is possible, found 'lanczos3'"),
        ("warp.growFullMask", 16, "leave it out"),
        ("varianceBackground.binSize", 64, "only 32 is possible, found 64; .* override GetDcrTemplateTask.checkHigh"),
        ("varianceBackground.algorithm", "AKIMA_SPLINE", "only 'LINEAR' is possible"),
        ("coaddPsf.warpingKernelName", "lanczos5", "set warp.warpingKernelName"),
        ("varianceBackground.isNanSafe", True, "only False is possible"),
        ("doScaleVariance", True, "scale it downstream"),
        ("doCorrectVariancePlateScale", True, "follows the area of the pixels"),
        ("output_image_type", "legacy", "needs storage=afw"),
    ],
)
def test_what_is_not_done_is_refused_by_name(field: str, value: Any, words: str) -> None:
    config = GetDcrTemplateConfig()
    *parents, name = field.split(".")
    setattr(getattr(config, parents[0]) if parents else config, name, value)
    with pytest.raises(FieldValidationError, match=words) as caught:
        config.validate()
    assert name in str(caught.value)


def test_another_task_is_refused_by_name() -> None:
    config = GetDcrTemplateConfig()
    with pytest.raises(ConfigError, match=r"varianceBackground cannot be another task; .*override .*checkHighVariance"):
        config.varianceBackground.retarget(GetDcrTemplateTask)
    with pytest.raises(ConfigError, match="scaleVariance cannot be another task; scale it downstream"):
        config.scaleVariance.retarget(GetDcrTemplateTask)


def test_what_the_reference_sets_is_accepted() -> None:
    """All that its setDefaults assigns, and the legacy family."""
    config = GetDcrTemplateConfig()
    config.warp.cacheSize = config.coaddPsf.cacheSize = 50000
    config.warp.interpLength, config.warp.warpingKernelName = 10, "lanczos3"
    config.coaddPsf.warpingKernelName = config.warp.warpingKernelName
    background = config.varianceBackground
    background.algorithm, background.binSize, background.useApprox = "LINEAR", 32, False
    background.statisticsProperty, background.doFilterSuperPixels = "MEDIAN", True
    background.ignoredPixelMask = ["BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", "NO_DATA"]
    config.validate()
    config.storage, config.output_image_type, config.coaddPsf.warpingKernelName = "afw", "legacy", "lanczos5"
    config.validate()
    config.requireCoaddAtGraphBuild = False
    assert GetDcrTemplateConnections(config=config).dcrCoadds.deferGraphConstraint
