"""`GetDcrTemplateTask`: the LSST pipeline task that makes a DCR-matched template, on dcrflow.

It stands where ``lsst.ip.diffim.GetDcrTemplateTask`` stands, with its methods and configuration fields.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from numbers import Integral
from typing import Any, ClassVar

import xarray as xr
from lsst.pipe.base import NoWorkFound, PipelineTask, Struct
from lsst.utils.logging import getLogger
from lsst.utils.timer import timeMethod

from dcrflow.base.errors import InconsistentCoaddsError, MissingSubfilterError, NoOverlapError, WcsError
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Outline, overlapping_patches
from dcrflow.lsst.connections import GetDcrTemplateConfig
from dcrflow.lsst.convert import box_in_skymap, box_of, observation_row, wcs_of
from dcrflow.lsst.difference import difference_image, inputs_of_plan
from dcrflow.lsst.handles import HandleCoadds, SubfilterCoadd, Subfilters
from dcrflow.lsst.matched import MatchedCoadd, already_matched, as_observed
from dcrflow.lsst.output import lsst_template
from dcrflow.lsst.subfilters import subfilters_of_coadd
from dcrflow.model.config import TemplateConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.observation import Observation
from dcrflow.planning.psf import plan_psf
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.steps import assemble, make_tile, warp_psf
from dcrflow.steps.dataset import coverage
from dcrflow.stores.visits.tables import detector_visit

__all__ = ["GetDcrTemplateTask", "IncompletePatchError"]


class IncompletePatchError(MissingSubfilterError, RuntimeError):
    """A patch does not have each of its subfilters once."""


class GetDcrTemplateTask(PipelineTask):
    """Make the DCR-matched template of one detector of one visit."""

    ConfigClass = GetDcrTemplateConfig
    _DefaultName: ClassVar[str] = "getDcrTemplate"
    canMultiprocess: ClassVar[bool] = True  # noqa: N815

    def __init__(self, *, log: Any = None, parentTask: Any = None, **kwargs: Any) -> None:  # noqa: N803
        if log is None and parentTask is None:
            log = getLogger("lsst")  # pipetask shows what is said under that name, and listens to --log-level for it
        super().__init__(log=log, parentTask=parentTask, **kwargs)

    def runQuantum(self, butlerQC: Any, inputRefs: Any, outputRefs: Any) -> None:  # noqa: N802, N803
        """Read what a quantum needs, make its template, write it.

        Parameters
        ----------
        butlerQC : lsst.pipe.base.QuantumContext
            Reads and writes datasets; coadds are read by region, when their pixels are needed.
        inputRefs, outputRefs : InputQuantizedConnection, OutputQuantizedConnection
            What to read, and what to write.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            If the detector has no WCS, or no coadd overlaps it: a success without output.
        """
        data_id = butlerQC.quantum.dataId
        with _naming(data_id):
            inputs = butlerQC.get(inputRefs)
            found = self.getOverlappingExposures(inputs)
            outputs = self.run(
                coaddExposures=found.coaddExposures,
                bbox=inputs["bbox"],
                wcs=inputs["wcs"],
                dataIds=found.dataIds,
                dataId=data_id,
                detector=inputs.get("detector"),
                visitInfo=inputs["visitInfo"],
                coaddRefs=inputRefs.coaddExposureRefs,
            )
        butlerQC.put(outputs, outputRefs)

    @timeMethod
    def getOverlappingExposures(self, inputs: Mapping[str, Any]) -> Struct:  # noqa: N802
        """Return the DCR-matched coadds that overlap the detector, and their data IDs.

        The registry's spatial index is generous. What overlaps is decided in the tract's pixels, by the detector's
        outline and the border; no pixels are read.

        Parameters
        ----------
        inputs : mapping
            ``coaddExposureRefs`` (handles of subfilter coadds), ``bbox``, ``wcs`` and ``visitInfo`` of the detector. A
            ``skyMap`` (`lsst.skymap.BaseSkyMap`) says where the patches are, if there is one; without one, each
            patch's first coadd is asked.

        Returns
        -------
        lsst.pipe.base.Struct
            ``coaddExposures``, a list of `dcrflow.lsst.matched.MatchedCoadd`, and ``dataIds``, theirs.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            If the detector has no WCS or nothing overlaps it.
        RuntimeError
            If a patch that overlaps does not have each of its subfilters once.
        InconsistentCoaddsError
            If there are coadds of several bands.
        """
        if inputs["wcs"] is None:
            raise NoWorkFound("the detector has no WCS: nothing can be made for it")
        bbox = box_of(inputs["bbox"])
        coadds = [_coadd(handle) for handle in inputs["coaddExposureRefs"]]
        source = self._source(coadds, inputs.get("skyMap"))
        band = _only_band(source)
        outline = self._outline(inputs["wcs"], bbox)
        patch_list: dict[int, list[tuple[int, int]]] = {}
        for tract, geometry in source.tracts.items():
            for patch in overlapping_patches(outline, geometry, source.patches(tract, band)):
                there = source.coadds(tract, patch.patch, band)
                patch_list.setdefault(tract, []).extend((patch.patch, c.subfilter) for c in there)
        if not patch_list:
            ra, dec = outline.centre
            raise NoWorkFound(f"no patch overlaps the detector at RA {ra:.4f}, Dec {dec:.4f} deg")
        matched = self.getDcrModel(patch_list, coadds, inputs["visitInfo"])
        return Struct(coaddExposures=matched, dataIds=[m.dataId for m in matched])

    def getExposures(self, inputs: Mapping[str, Any]) -> Struct:  # noqa: N802
        """`getOverlappingExposures` by the name that newer pipelines have for it."""
        result: Struct = self.getOverlappingExposures(inputs)
        return result

    def checkPatchList(self, patchList: Mapping[int, Iterable[Any]]) -> None:  # noqa: N802, N803
        """Check that each patch has every subfilter, and has it once.

        Parameters
        ----------
        patchList : mapping of int to iterable
            By tract, an entry a coadd: (patch, subfilter), a data ID, or, as LSST has it, the patch alone.

        Raises
        ------
        RuntimeError
            If a patch does not have exactly ``config.numSubfilters`` different subfilters; names tract, patch, found
            and expected.
        """
        expected = self.config.numSubfilters
        for tract, entries in patchList.items():
            by_patch: dict[int, list[int | None]] = {}
            for entry in entries:
                patch, subfilter = _patch_and_subfilter(entry)
                by_patch.setdefault(patch, []).append(subfilter)
            for patch, found in by_patch.items():
                known = [s for s in found if s is not None]
                twice = sorted(s for s, n in Counter(known).items() if n > 1)
                if len(found) != expected or twice:
                    which = f" ({', '.join(map(str, sorted(known)))})" if known else ""
                    raise IncompletePatchError(
                        f"tract {tract} patch {patch} has {len(found)} subfilter coadds{which}, expected {expected} "
                        f"different ones{f'; {twice[0]} is there twice' if twice else ''}"
                    )

    def getDcrModel(  # noqa: N802
        self,
        patchList: Mapping[int, Iterable[Any]],  # noqa: N803
        coaddRefs: Sequence[Any],  # noqa: N803
        visitInfo: Any,  # noqa: N803
    ) -> list[MatchedCoadd]:
        """Match coadds to an observation.

        Parameters
        ----------
        patchList : mapping of int to iterable
            Which patches, as `checkPatchList` takes them.
        coaddRefs : sequence
            Handles of subfilter coadds; those of other patches are left out.
        visitInfo : astro_metadata_translator.ObservationInfo or lsst.afw.image.VisitInfo
            The observation.

        Returns
        -------
        list of MatchedCoadd
            One a patch, each with its own data ID, by tract and patch.

        Raises
        ------
        RuntimeError
            If a patch, by the list or by the handles, does not have each of its subfilters once.
        """
        self.checkPatchList(patchList)
        wanted = sorted({(t, _patch_and_subfilter(e)[0]) for t, entries in patchList.items() for e in entries})
        refs: dict[tuple[int, int], list[Any]] = {key: [] for key in wanted}
        for ref in coaddRefs:
            refs.get((ref.dataId["tract"], ref.dataId["patch"]), []).append(ref)
        source = self._source([r for found in refs.values() for r in found])
        band = _only_band(source) if source.bands else ""
        for (tract, patch), found in refs.items():
            self.checkPatchList({tract: [(patch, int(r.dataId["subfilter"])) for r in found]})
            if not found:
                raise IncompletePatchError(
                    f"tract {tract} patch {patch} has 0 subfilter coadds, expected {self.config.numSubfilters}"
                )
        observation, config = _observation(visitInfo), self.config.template_config()
        return [MatchedCoadd(source, t, p, band, observation, config, refs[t, p][0].dataId) for t, p in wanted]

    @timeMethod
    def run(
        self, coaddExposures: Any, bbox: Any, wcs: Any, dataIds: Any, **kwargs: Any  # noqa: N803
    ) -> Struct:  # fmt: skip
        """Resample coadds to a detector; where tracts overlap, they are averaged.

        None of the arguments is changed.

        Parameters
        ----------
        coaddExposures : sequence, or mapping of int to sequence
            From `getOverlappingExposures`; or masked images or exposures, matched already. All, or by tract.
        bbox : lsst.images.Box or lsst.geom.Box2I
            Pixels of the detector, without border.
        wcs : lsst.images.SkyProjection or lsst.afw.geom.SkyWcs
            Of the detector.
        dataIds : sequence of data IDs, or mapping of int to sequence
            Tract and patch of each coadd.
        **kwargs
            ``dataId``: that of the detector, for messages and provenance. For ``output="DifferenceImage"`` also
            ``detector`` and ``visitInfo``, components of the detector's image, and, if there are any, ``coaddRefs``,
            the coadds' dataset references. Others are ignored.

        Returns
        -------
        lsst.pipe.base.Struct
            ``outputExposure`` (and the same as ``template``): a `lsst.images.MaskedImage` in nJy; a DifferenceImage if
            the configuration says so; or, if `wcs` is one of afw's, an ExposureF. ``psf``: the PSFs of the coadds
            combined, an xarray.DataArray of kernels (psf_node, psf_y, psf_x) with their places; None where the coadds
            have none.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            If there is no WCS, or no coadd overlaps the detector.
        """
        if wcs is None:
            raise NoWorkFound("the detector has no WCS: nothing can be made for it")
        coadds, ids = _flat(coaddExposures), _flat(dataIds)
        if not coadds:
            raise NoWorkFound("no coadds to make a template of")
        if all(isinstance(c, MatchedCoadd) for c in coadds):
            source, observation, config = as_observed(coadds, coadds[0].coadds.url)
        else:
            source, observation, config = already_matched(coadds, ids, self.config.template_config())
        data_id = kwargs.get("dataId") or {}
        with _naming(data_id):
            return self._run(source, observation, config, bbox, wcs, ids, data_id, kwargs)

    def _run(
        self, source: HandleCoadds, observation: Observation, config: TemplateConfig, bbox: Any, wcs: Any,
        ids: Sequence[Any], data_id: Any, kwargs: Mapping[str, Any],
    ) -> Struct:  # fmt: skip
        band, box = _only_band(source), box_of(bbox)
        if (expected := str(_value(data_id, "band", band))) != band:
            raise InconsistentCoaddsError(f"the coadds are of band {band}, the detector-visit is of band {expected}")
        visit = DetectorVisit(
            instrument=str(_value(data_id, "instrument", "")),
            visit=int(_value(data_id, "visit", 0)),
            detector=int(_value(data_id, "detector", 0)),
            band=band,
            bbox=box,
            wcs=self._wcs(wcs, box),
            observation=observation,
            physical_filter=str(_value(data_id, "physical_filter", "")),
        )
        try:
            plan = plan_template(source, visit, config)
        except NoOverlapError as error:
            raise NoWorkFound(str(error)) from error
        with self.timer("tiles"):
            nodes = plan_psf(source, plan)
            psf = None if nodes is None else (nodes, warp_psf(source, plan, nodes))
            dataset = assemble(plan, [make_tile(source, plan, tile.box) for tile in plan.tiles], psf)
        self._note(plan, float(coverage(dataset)))
        output = lsst_template(plan, dataset, wcs)
        if self.config.output == "DifferenceImage":
            output = self._difference_image(output, plan, dataset, ids, kwargs)
        return Struct(outputExposure=output, template=output, psf=None if psf is None else dataset["psf"])

    def _difference_image(
        self, masked: Any, plan: TemplatePlan, dataset: xr.Dataset, ids: Sequence[Any], given: Mapping[str, Any]
    ) -> Any:
        lacking = [name for name in ("detector", "visitInfo") if given.get(name) is None]
        if lacking:
            raise ValueError(f"output=DifferenceImage: run() wants {' and '.join(lacking)} of the detector's image")
        datasets: dict[tuple[int, int], list[tuple[Any, str]]] = {}
        for ref in given.get("coaddRefs") or ():
            datasets.setdefault((ref.dataId["tract"], ref.dataId["patch"]), []).append((ref.id, ref.run))
        inputs = inputs_of_plan(plan, str(_value(ids[0], "skymap", "")), datasets)
        return difference_image(masked, dataset, given["detector"], given["visitInfo"], inputs)

    def getResourceConfig(self) -> None:  # noqa: N802
        """Resources that the task asks for: none of its own."""
        return

    def getSchemaCatalogs(self) -> dict[str, Any]:  # noqa: N802
        """Schemas of the catalogues that the task writes: it writes none."""
        return {}

    def getAllSchemaCatalogs(self) -> dict[str, Any]:  # noqa: N802
        """Schemas of the task and its subtasks."""
        found: dict[str, Any] = {}
        for reference in self.getTaskDict().values():
            task = reference()
            if task is not None and hasattr(task, "getSchemaCatalogs"):
                found |= task.getSchemaCatalogs()
        return found

    def _source(self, handles: Sequence[Any], skymap: Any = None) -> HandleCoadds:
        places = None if skymap is None else partial(box_in_skymap, skymap)
        return HandleCoadds(map(_coadd, handles), self._subfilters, box_of_patch=places)

    def _subfilters(self, coadd: SubfilterCoadd) -> Subfilters:
        config = self.config
        if config.effectiveWavelength is not None:
            return Subfilters.even(config.numSubfilters, config.effectiveWavelength, config.bandwidth)
        return subfilters_of_coadd(coadd, config.numSubfilters)

    def _wcs(self, wcs: Any, bbox: Box) -> Any:
        try:
            return wcs_of(wcs, bbox.grown(self.config.templateBorderSize))
        except WcsError as error:
            raise WcsError(f"the detector's WCS cannot be used: {error}") from error

    def _outline(self, wcs: Any, bbox: Box) -> Outline:
        return Outline.of(self._wcs(wcs, bbox), bbox.grown(self.config.templateBorderSize))

    def _note(self, plan: TemplatePlan, covered: float) -> None:
        """Write down what was done where `getFullMetadata` finds it."""
        self.metadata["coverage"] = covered
        self.metadata["patches"] = [f"{p.tract},{p.patch}" for p in plan.patches]
        self.metadata["dcrMethod"] = plan.applied["method"]
        self.metadata["dcrRotation"] = plan.applied["rotation"]
        self.metadata["zenithAngle"] = plan.applied["zenith_angle"]
        self.metadata["zenithDirection"] = plan.applied["direction"]
        for axis, name in enumerate(("shiftY", "shiftX")):
            self.metadata[name] = [float(s[axis]) for s in plan.applied["shift"]]
        assumed = list(plan.applied["weather_assumed"])
        if assumed:
            self.metadata["weatherAssumed"] = assumed
        self.log.info("Template of %s: %d patches, %.1f %% covered", plan.visit.label, len(plan.patches), 100 * covered)


def _observation(visit_info: Any) -> Observation:
    """Of a visit, whatever the class; the detector's part of the row is made up."""
    row = {"visit": 0, "detector": 0, "band": "x", "x0": 0, "y0": 0, "width": 1, "height": 1, "wcs": _ANYWHERE}
    return detector_visit(observation_row(visit_info) | row).observation


_ANYWHERE = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -1e-4, "CDELT2": 1e-4,
    "CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": 0.0, "CRVAL2": 0.0,
}  # fmt: skip


def _coadd(handle: Any) -> SubfilterCoadd:
    """Of a handle; one that has been made of it already is kept, with what has been read of it."""
    if isinstance(handle, SubfilterCoadd):
        return handle
    d = handle.dataId
    data = getattr(handle, "inMemoryDataset", handle)  # a handle of an object in memory cuts out no regions
    return SubfilterCoadd(int(d["tract"]), int(d["patch"]), int(d["subfilter"]), str(d["band"]), data, d)


def _only_band(source: HandleCoadds) -> str:
    """The band of all coadds."""
    if len(source.bands) != 1:
        raise InconsistentCoaddsError(f"coadds of one band are needed, found {', '.join(source.bands) or 'none'}")
    return source.bands[0]


@contextmanager
def _naming(data_id: Any) -> Iterator[None]:
    """Name the detector-visit in whatever goes wrong."""
    try:
        yield
    except NoWorkFound:
        raise
    except Exception as error:
        note = f"data ID {dict(getattr(data_id, 'required', data_id))}"
        if data_id and note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        raise


def _patch_and_subfilter(entry: Any) -> tuple[int, int | None]:
    if isinstance(entry, Integral):
        return int(entry), None
    if isinstance(entry, tuple):
        return int(entry[0]), int(entry[1])
    return int(entry["patch"]), int(entry["subfilter"])


def _flat(values: Any) -> list[Any]:
    """A list of what is given by tract, or all together."""
    return [v for some in values.values() for v in some] if isinstance(values, Mapping) else list(values)


def _value(data_id: Any, name: str, default: Any) -> Any:
    try:
        return data_id[name]
    except KeyError:
        return default
