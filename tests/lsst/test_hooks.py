"""Methods that a derived class overrides, written for either generation of the reference task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("lsst.pipe.base", reason="the extra lsst is not installed")
pytest.importorskip("lsst.images", reason="the extra lsst is not installed")

from lsst.images.psfs import GaussianPointSpreadFunction
from lsst.pipe.base import Struct
from rubin import put_by

from dcrflow.lsst import GetDcrTemplateConfig, GetDcrTemplateTask
from dcrflow.lsst.hooks import REFUSED


class Planned(GetDcrTemplateTask):
    """Makes no pixels: the result is what would be made."""

    def _make(self, order: Any) -> Struct:
        return Struct(template=order)


class Today(Planned):
    """With exactly the arguments that ``run`` has in July 2026."""

    def run(  # type: ignore[override]
        self, *, coaddExposureHandles: Any, bbox: Any, wcs: Any, dataIds: Any, physical_filter: Any, visit: Any = None,  # noqa: N803
    ) -> Struct:  # fmt: skip
        assert {t: [c.dataId for c in some] for t, some in coaddExposureHandles.items()} == dataIds
        return super().run(
            coaddExposureHandles=coaddExposureHandles, bbox=bbox, wcs=wcs, dataIds=dataIds,
            physical_filter=physical_filter, visit=visit,
        )  # fmt: skip


class Page(Planned):
    """As the documentation page has it, with the name of the result that it has."""

    def getOverlappingExposures(self, inputs: Any) -> Struct:  # noqa: N802
        assert inputs["coaddExposureRefs"] == inputs["dcrCoadds"]
        return super().getOverlappingExposures(inputs)

    def run(self, coaddExposures: Any, bbox: Any, wcs: Any, dataIds: Any, **kwargs: Any) -> Struct:  # type: ignore[override]  # noqa: N803
        assert [c.dataId for c in coaddExposures] == dataIds
        return Struct(outputExposure=super().run(coaddExposures, bbox, wcs, dataIds, **kwargs).template)


def order_of(task: GetDcrTemplateTask, inputs: dict[str, Any]) -> Any:
    """What a quantum would make."""
    put, detector = put_by(task, inputs)
    assert put.template.components["detector"] is detector
    return put.template


@pytest.mark.parametrize("derived", [Planned, Today, Page])
def test_run_and_selection_of_either_generation(inputs: dict[str, Any], derived: type[GetDcrTemplateTask]) -> None:
    """What a quantum has and ``run`` has no argument for reaches the template nevertheless."""
    order = order_of(derived(), inputs)
    assert (order.visit, order.detector, order.instrument) == (12, 3, "TestCam")
    assert (order.physical_filter, order.band) == ("g_sim", "g")
    assert len(order.source.patches(7, "g")) == 4


def test_an_override_that_selects(inputs: dict[str, Any]) -> None:
    class First(Today):
        def getOverlappingExposures(self, inputs: Any) -> Struct:  # noqa: N802
            found = super().getOverlappingExposures(inputs)
            return Struct(coaddExposures=found.coaddExposures[:1], dataIds=found.dataIds[:1])

    assert [p.patch for p in order_of(First(), inputs).source.patches(7, "g")] == [0]


def test_nothing_is_left_of_a_quantum(inputs: dict[str, Any]) -> None:
    """A later call of ``run`` on the same task knows nothing of it."""
    task = Planned()
    order_of(task, inputs)
    found = task.getOverlappingExposures(inputs)
    order = task.run(found.coaddExposures, inputs["bbox"], inputs["wcs"], found.dataIds).template
    assert (order.visit, order.instrument, order.components["detector"]) == (0, "", None)


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_never_be_called_is_refused(name: str) -> None:
    derived = type("Mine", (GetDcrTemplateTask,), {name: lambda self: None})
    with pytest.raises(TypeError, match=f"Mine.{name} would never be called: .*(set|override)"):
        derived()


def psf_of(psf: Any, inputs: dict[str, Any], **fields: Any) -> Any:
    """The template of a class that returns a PSF, and what its hook was given."""
    seen: list[Any] = []

    class Mine(GetDcrTemplateTask):
        def _makePsf(self, template: Any, catalog: Any, wcs: Any) -> Any:  # noqa: N802
            seen.extend([template, catalog, wcs])
            return psf(template, super()._makePsf(template, catalog, wcs))

    config = GetDcrTemplateConfig()
    for name, value in fields.items():
        setattr(config, name, value)
    task = Mine(config=config)
    found = task.getOverlappingExposures(inputs)
    made = task.run(found.coaddExposures[:1], inputs["bbox"], inputs["wcs"], found.dataIds[:1]).template
    assert seen[2] is inputs["wcs"]
    return made, seen[1]


def test_make_psf(inputs: dict[str, Any]) -> None:
    """It is given the template, the coadds that were used, and the WCS; what it returns is the template's PSF."""
    made, catalog = psf_of(lambda t, _: GaussianPointSpreadFunction(2.5, t.bbox, 25), inputs)
    kernel = made.psf.compute_kernel_image(x=100.0, y=90.0).array
    assert kernel.shape == (25, 25)
    assert kernel.max() == pytest.approx(1 / (2 * np.pi * 2.5**2), rel=0.02)
    assert [(r.tract, r.patch, r.photo_calib) for r in catalog] == [(7, 0, catalog[0].photo_calib)]
    assert box_matches(catalog[0], inputs)
    same, _ = psf_of(lambda _, own: own, inputs)
    assert type(same.psf) is GaussianPointSpreadFunction, "that of a template whose coadds have no PSF"
    plain, _ = psf_of(lambda _, own: own, inputs, output="MaskedImage")
    assert not hasattr(plain, "psf")


def box_matches(record: Any, inputs: dict[str, Any]) -> bool:
    first = inputs["coaddExposureRefs"][0].get(component="bbox")
    return bool((record.bbox.x0, record.bbox.width) == (first.x.start, first.x.size))


@pytest.mark.parametrize(("output", "words"), [
    ("DcrTemplate", "has a NodePsf or a GaussianPointSpreadFunction, found str"),
    ("MaskedImage", "has no PSF, found 'mine'; set output=DcrTemplate"),
])  # fmt: skip
def test_a_psf_that_cannot_be_written(inputs: dict[str, Any], output: str, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        psf_of(lambda *_: "mine", inputs, output=output)
