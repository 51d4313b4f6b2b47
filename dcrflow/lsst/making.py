"""Make a template as an LSST object from coadds and a detector: the steps of `GetDcrTemplateTask.run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from lsst.pipe.base import NoWorkFound

from dcrflow.base.errors import NoOverlapError, WcsError
from dcrflow.base.masks import NO_DATA, planes_from_attributes
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst import afw_psf, overlap
from dcrflow.lsst.afw_output import afw_records, records_of
from dcrflow.lsst.convert import box_of, wcs_of
from dcrflow.lsst.difference import inputs_of_plan
from dcrflow.lsst.handles import HandleCoadds
from dcrflow.lsst.matched import MatchedCoadd, already_matched, as_observed
from dcrflow.lsst.output import Described, check_psf, lsst_template
from dcrflow.model.config import TemplateConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.observation import Observation
from dcrflow.planning.psf import plan_psf
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.steps import TemplatePsf, assemble, make_region
from dcrflow.steps.dataset import coverage


@dataclass(frozen=True)
class Order:
    """The inputs of one template: coadds, detector-visit and configuration.

    Parameters
    ----------
    source : HandleCoadds
        The subfilter coadds.
    observation, config
        The observation to match, and the method.
    box : Box
        Pixels of the detector, without border.
    wcs : object
        Of the detector, as it was given.
    task_config : GetDcrTemplateConfig
        Gives the class of the result.
    band, physical_filter, instrument : str
        Of the detector-visit; empty where they are not known.
    visit, detector : int
        Of the detector-visit.
    skymap : str
        Of the coadds.
    components : mapping
        ``detector`` and ``visitInfo`` of the detector's image, and ``coaddRefs``, where they were given.
    """

    source: HandleCoadds
    observation: Observation
    config: TemplateConfig
    box: Box
    wcs: Any
    task_config: Any
    band: str
    physical_filter: str
    instrument: str
    visit: int
    detector: int
    skymap: str
    components: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(
        cls, coadds: Sequence[Any], ids: Sequence[Any], bbox: Any, wcs: Any, task_config: Any, data_id: Any,
        physical_filter: str | None, visit: int | None, given: Mapping[str, Any],
    ) -> Order:  # fmt: skip
        """Of the arguments of the task's ``run``.

        Raises
        ------
        MixedCoaddsError
            If the coadds are of several bands, or of another than the detector-visit.
        """
        components = {name: given.get(name) for name in ("detector", "visitInfo", "coaddRefs")}
        if all(isinstance(c, MatchedCoadd) for c in coadds):
            source, observation, config = as_observed(coadds, coadds[0].coadds.url)
            if components["visitInfo"] is None:
                components["visitInfo"] = coadds[0].visitInfo
        else:
            source, observation, config = already_matched(coadds, ids, task_config.template_config())
        band = overlap.only_band(source)
        if (expected := str(overlap.value_of(data_id, "band", band))) != band:
            raise overlap.MixedCoaddsError(f"the coadds are of band {band}, the detector-visit is of band {expected}")
        named = physical_filter or overlap.value_of(data_id, "physical_filter", None)
        number = overlap.value_of(data_id, "visit", 0) if visit is None else visit
        return cls(
            source=source,
            observation=observation,
            config=config,
            box=box_of(bbox),
            wcs=wcs,
            task_config=task_config,
            band=band,
            physical_filter=str(named or getattr(components["visitInfo"], "physical_filter", None) or ""),
            instrument=str(overlap.value_of(data_id, "instrument", "")),
            visit=int(number),
            detector=int(overlap.value_of(data_id, "detector", 0)),
            skymap=str(overlap.value_of(ids[0], "skymap", "")) if ids else "",
            components=components,
        )


def detector_wcs(wcs: Any, box: Box) -> SkyWcs:
    """The WCS of a detector of either family, for the pixels of a box.

    Raises
    ------
    WcsError
        If it cannot be used.
    """
    try:
        return wcs_of(wcs, box)
    except WcsError as error:
        raise WcsError(f"the detector's WCS cannot be used: {error}") from error


def bbox_of_detector(detector: Any) -> Any:
    """The pixels of a detector of either family."""
    return detector.getBBox() if hasattr(detector, "getBBox") else detector.bbox


def plan_of(order: Order, wcs: SkyWcs, *, flag: bool) -> TemplatePlan:
    """Plan the template.

    Parameters
    ----------
    order : Order
        What to make.
    wcs : SkyWcs
        Of the detector.
    flag : bool
        Whether to set HIGH_VARIANCE; if not, a method of the task sets it.

    Raises
    ------
    lsst.pipe.base.NoWorkFound
        If no coadd overlaps the detector.
    """
    visit = DetectorVisit(
        instrument=order.instrument,
        visit=order.visit,
        detector=order.detector,
        band=order.band,
        bbox=order.box,
        wcs=wcs,
        observation=order.observation,
        physical_filter=order.physical_filter,
    )
    config = order.config if flag else order.config.model_copy(update={"high_variance_threshold": None})
    try:
        return plan_template(order.source, visit, config)
    except NoOverlapError as error:
        raise NoWorkFound(str(error)) from error


def make(order: Order, plan: TemplatePlan) -> xr.Dataset:
    """Make the pixels and the PSF, in memory; each pixel of the coadds is read once."""
    nodes = plan_psf(order.source, plan)
    psf = None if nodes is None else TemplatePsf.made(order.source, plan, nodes)
    return assemble(plan, [make_region(order.source, plan, plan.bbox)], psf)


def covered(template: xr.Dataset) -> float:
    """Fraction of the detector's own pixels that have data.

    Raises
    ------
    lsst.pipe.base.NoWorkFound
        If no pixel has, not even of the border.
    """
    mask = template["mask"]
    if np.all(mask.values & np.int32(1 << planes_from_attributes(mask.attrs)[NO_DATA])):
        raise NoWorkFound("no pixel of the detector is covered by a coadd with data")
    return float(coverage(template))


def notes(plan: TemplatePlan) -> dict[str, Any]:
    """The entries that a plan adds to the task's metadata."""
    applied = plan.applied
    found: dict[str, Any] = {
        "patches": [f"{p.tract},{p.patch}" for p in plan.patches],
        "dcrMethod": applied["method"],
        "dcrRotation": applied["rotation"],
        "zenithAngle": applied["zenith_angle"],
        "zenithDirection": applied["direction"],
    }
    for axis, name in enumerate(("shiftY", "shiftX")):
        found[name] = [float(s[axis]) for s in applied["shift"]]
    assumed = list(applied["weather_assumed"])
    return found | ({"weatherAssumed": assumed} if assumed else {})


def exposure_of(order: Order, plan: TemplatePlan, template: xr.Dataset) -> Any:
    """The template as an object of the configured class."""
    datasets: dict[tuple[int, int], list[tuple[Any, str]]] = {}
    for ref in order.components["coaddRefs"] or ():
        datasets.setdefault((ref.dataId["tract"], ref.dataId["patch"]), []).append((ref.id, ref.run))
    described = Described(
        order.task_config.output,
        order.components["detector"],
        order.components["visitInfo"],
        inputs_of_plan(plan, order.skymap, datasets),
    )
    if hasattr(order.wcs, "pixelToSkyArray"):
        from dcrflow.lsst.afw_output import exposure_of_template

        return exposure_of_template(plan, template, order.wcs, order.source, order.task_config)
    return lsst_template(plan, template, order.wcs, described)


def catalog_of(order: Order, plan: TemplatePlan) -> Any:
    """The coadds of a plan as ``_makePsf`` takes them: an ExposureCatalog for afw's classes, a list for others."""
    records = records_of(plan, order.source)
    return afw_psf.catalog_of(afw_records(records))[0] if hasattr(order.wcs, "pixelToSkyArray") else records


def with_psf(template: Any, psf: Any) -> Any:
    """A template with a PSF that a derived class made.

    Raises
    ------
    TypeError
        If the template's class cannot have it.
    """
    if hasattr(template, "setPsf"):
        template.setPsf(psf)
    elif not hasattr(type(template), "psf"):
        if psf is not None:
            raise TypeError(f"a {type(template).__name__} has no PSF, found {psf!r}; set output=DcrTemplate")
    elif psf is not None:
        check_psf(template, psf)
        template.psf = psf
    return template


@contextmanager
def naming(data_id: Any) -> Iterator[None]:
    """Name the detector-visit in every error."""
    try:
        yield
    except NoWorkFound:
        raise
    except Exception as error:
        note = f"data ID {dict(getattr(data_id, 'required', data_id))}"
        if data_id and note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        raise
