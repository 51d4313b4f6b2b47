"""`GetDcrTemplateTask`: the LSST pipeline task that makes a DCR-matched template, on dcrflow.

It replaces ``lsst.ip.diffim.GetDcrTemplateTask`` and has the same methods and configuration fields. It accepts the
calls of both generations of that task: lists and positional arguments, or dicts by tract and keyword arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from lsst.pipe.base import NoWorkFound, PipelineTask, Struct
from lsst.utils.logging import getLogger
from lsst.utils.timer import timeMethod

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Outline
from dcrflow.lsst import hooks, making, overlap
from dcrflow.lsst.config import GetDcrTemplateConfig
from dcrflow.lsst.convert import box_in_skymap, box_of
from dcrflow.lsst.handles import HandleCoadds, SubfilterCoadd, Subfilters
from dcrflow.lsst.high_variance import flag_exposure
from dcrflow.lsst.matched import MatchedCoadd, observation_of
from dcrflow.lsst.overlap import IncompletePatchError, PatchList
from dcrflow.lsst.subfilters import subfilters_of_coadd

__all__ = ["GetDcrTemplateTask", "IncompletePatchError"]


class GetDcrTemplateTask(PipelineTask):
    """Make the DCR-matched template of one detector of one visit.

    Derived classes may override its methods. One that overrides a method of the reference task that dcrflow has no
    place for (`dcrflow.lsst.hooks.REFUSED`) cannot be constructed; the error says what to use instead.
    """

    ConfigClass = GetDcrTemplateConfig
    _DefaultName: ClassVar[str] = "getDcrTemplate"
    canMultiprocess: ClassVar[bool] = True  # noqa: N815

    def __init__(self, *, log: Any = None, parentTask: Any = None, **kwargs: Any) -> None:  # noqa: N803
        if log is None and parentTask is None:
            log = getLogger("lsst")  # pipetask shows what is said under that name, and listens to --log-level for it
        hooks.refuse(type(self))
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
            If the detector has no WCS, or no coadd covers a pixel of it: a success without output.
        """
        data_id = butlerQC.quantum.dataId
        with making.naming(data_id):
            inputs = dict(butlerQC.get(inputRefs))
            detector = inputs.get("detector")
            if "bbox" not in inputs:
                inputs["bbox"] = making.bbox_of_detector(detector)
            found = hooks.overlapping(self, GetDcrTemplateTask, inputs)
            arguments = {name: overlap.value_of(data_id, name, None) for name in ("physical_filter", "visit")}
            arguments |= {name: inputs[name] for name in ("bbox", "wcs")}
            more = {"detector": detector, "visitInfo": inputs["visitInfo"], "coaddRefs": inputRefs.dcrCoadds}
            with hooks.quantum(dataId=data_id, **more):
                outputs = hooks.call_run(self, found, arguments)
        butlerQC.put(outputs, outputRefs)

    @timeMethod
    def getExposures(  # noqa: N802
        self,
        dcrCoaddExposureHandles: Sequence[Any],  # noqa: N803
        bbox: Any,
        skymap: Any,
        wcs: Any,
        visitInfo: Any,  # noqa: N803
    ) -> Struct:
        """Return the DCR-matched coadds that overlap the detector, and their data IDs, by tract.

        The registry's spatial index also returns coadds that do not overlap. The overlap is computed in tract pixels
        from the outline of the detector with its border; no pixels are read.

        Parameters
        ----------
        dcrCoaddExposureHandles : sequence
            Deferred subfilter coadds.
        bbox : lsst.images.Box or lsst.geom.Box2I
            Pixels of the detector, without border.
        skymap : lsst.skymap.BaseSkyMap or None
            Gives the outlines of the patches; without one, they are read from the first coadd of each patch.
        wcs : lsst.images.SkyProjection or lsst.afw.geom.SkyWcs
            Of the detector.
        visitInfo : astro_metadata_translator.ObservationInfo or lsst.afw.image.VisitInfo
            The observation.

        Returns
        -------
        lsst.pipe.base.Struct
            ``coaddExposures``, a dict of tract to a list of `dcrflow.lsst.matched.MatchedCoadd`, and ``dataIds``,
            their data IDs, in the same order.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            If the detector has no WCS or nothing overlaps it.
        RuntimeError
            If a patch that overlaps does not have each of its subfilters once, or there are coadds of several bands.
        """
        if wcs is None:
            raise NoWorkFound("the detector has no WCS: nothing can be made for it")
        coadds = [overlap.subfilter_coadd(handle) for handle in dcrCoaddExposureHandles]
        if not coadds:
            raise NoWorkFound("no coadds to make a template of")
        outline = self._outline(wcs, box_of(bbox))
        patches = overlap.patches_under(self._source(coadds, skymap), outline)
        if not patches:
            ra, dec = outline.centre
            raise NoWorkFound(f"no patch overlaps the detector at RA {ra:.4f}, Dec {dec:.4f} deg")
        matched = overlap.by_tract(overlap.flat(self.getDcrModel(patches, coadds, visitInfo)))
        return Struct(coaddExposures=matched, dataIds={t: [m.dataId for m in some] for t, some in matched.items()})

    @timeMethod
    def getOverlappingExposures(self, inputs: Mapping[str, Any]) -> Struct:  # noqa: N802
        """As `getExposures`, for older pipelines: it takes a mapping and returns lists.

        Parameters
        ----------
        inputs : mapping
            Subfilter coadds as ``dcrCoadds``, ``coaddExposures`` or ``coaddExposureRefs``; ``bbox``, ``wcs`` and
            ``visitInfo`` of the detector; a ``skyMap``, if there is one.

        Returns
        -------
        lsst.pipe.base.Struct
            ``coaddExposures``, a list of `dcrflow.lsst.matched.MatchedCoadd`, and ``dataIds``, their data IDs.

        Raises
        ------
        lsst.pipe.base.NoWorkFound, RuntimeError
            As `getExposures`.
        KeyError
            If there are no coadds among the inputs.
        """
        names = ("dcrCoadds", "coaddExposures", "coaddExposureRefs")
        handles = next((inputs[name] for name in names if name in inputs), None)
        if handles is None:
            raise KeyError(f"the inputs have none of {', '.join(names)}; found {', '.join(inputs)}")
        found = self.getExposures(handles, inputs["bbox"], inputs.get("skyMap"), inputs["wcs"], inputs["visitInfo"])
        return Struct(coaddExposures=overlap.flat(found.coaddExposures), dataIds=overlap.flat(found.dataIds))

    def checkPatchList(self, patchList: PatchList) -> None:  # noqa: N802, N803
        """Check that each patch has every subfilter, and has it once.

        Parameters
        ----------
        patchList : mapping of int to iterable
            By tract, one entry per coadd: (patch, subfilter), a data ID, or, as in LSST's task, only the patch.

        Raises
        ------
        RuntimeError
            If a patch does not have exactly ``config.numSubfilters`` different subfilters; names tract, patch, found
            and expected.
        """
        overlap.check_patches(patchList, self.config.numSubfilters)

    def getDcrModel(  # noqa: N802
        self,
        patchList: PatchList,  # noqa: N803
        coaddRefs: Sequence[Any],  # noqa: N803
        visitInfo: Any,  # noqa: N803
    ) -> list[MatchedCoadd]:
        """Match coadds to an observation.

        Parameters
        ----------
        patchList : mapping of int to iterable
            The patches, as for `checkPatchList`.
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
        refs = overlap.handles_of_patches(patchList, coaddRefs, self.config.numSubfilters)
        source = self._source([r for found in refs.values() for r in found])
        band = overlap.only_band(source) if source.bands else ""
        observation, config = observation_of(visitInfo), self.config.template_config()
        return [
            MatchedCoadd(source, tract, patch, band, observation, config, found[0].dataId, visitInfo)
            for (tract, patch), found in refs.items()
        ]

    @timeMethod
    def run(
        self,
        coaddExposures: Any = None,  # noqa: N803
        bbox: Any = None,
        wcs: Any = None,
        dataIds: Any = None,  # noqa: N803
        *,
        coaddExposureHandles: Any = None,  # noqa: N803
        physical_filter: str | None = None,
        visit: int | None = None,
        **kwargs: Any,
    ) -> Struct:
        """Resample coadds to a detector; where tracts overlap, they are averaged.

        No argument is changed. (The reference task enlarges `bbox` in its newer form.)

        Parameters
        ----------
        coaddExposures, coaddExposureHandles : mapping of int to sequence, or sequence
            From `getExposures` or `getOverlappingExposures`; or masked images, exposures or handles of coadds that were
            matched before. By tract, or as one sequence; give only one of the two arguments.
        bbox : lsst.images.Box or lsst.geom.Box2I
            Pixels of the detector, without border.
        wcs : lsst.images.SkyProjection or lsst.afw.geom.SkyWcs
            Of the detector.
        dataIds : mapping of int to sequence of data IDs, or sequence
            Tract and patch of each coadd.
        physical_filter : str, optional
            Of the detector-visit.
        visit : int, optional
            Visit id of the template, as readers of the template see it.
        **kwargs
            ``dataId`` of the detector, for messages and provenance. ``detector`` and ``visitInfo``, components of
            the detector's image, which the template then has; ``coaddRefs``, the coadds' dataset references. Others are
            ignored.

        Returns
        -------
        lsst.pipe.base.Struct
            ``outputExposure`` (and the same as ``template``), in nJy: what ``config.output`` says, or, if `wcs` is one
            of afw's, an ExposureF. ``psf``: the PSFs of the coadds combined, an xarray.DataArray of kernels (psf_node,
            psf_y, psf_x) with their places; None where the coadds have none.

        Raises
        ------
        lsst.pipe.base.NoWorkFound
            If there is no WCS, or no pixel that a coadd covers.
        RuntimeError
            If the coadds are of several bands, or calibrated differently.
        TypeError
            If an argument is missing, or the coadds are given by both names.
        """
        if (coaddExposures is None) == (coaddExposureHandles is None):
            raise TypeError("run() takes the coadds as coaddExposures or as coaddExposureHandles, one of the two")
        if bbox is None or dataIds is None:
            raise TypeError(f"run() is missing its argument {'bbox' if bbox is None else 'dataIds'}")
        if wcs is None:
            raise NoWorkFound("the detector has no WCS: nothing can be made for it")
        given = coaddExposures if coaddExposureHandles is None else coaddExposureHandles
        coadds, ids = overlap.flat(given), overlap.flat(dataIds)
        if not coadds:
            raise NoWorkFound("no coadds to make a template of")
        kwargs = {**hooks.of_quantum(), **kwargs}
        data_id = kwargs.get("dataId") or {}
        with making.naming(data_id):
            self._checkInputs(
                dataIds if isinstance(dataIds, Mapping) else {0: ids},
                given if isinstance(given, Mapping) else {0: coadds},
            )
            order = making.Order.of(coadds, ids, bbox, wcs, self.config, data_id, physical_filter, visit, kwargs)
            return self._make(order)

    def _make(self, order: making.Order) -> Struct:
        """Make the template, call the hooks, and record what was done in the metadata."""
        own_flags = hooks.is_overridden(self, GetDcrTemplateTask, "checkHighVariance")
        wcs = making.detector_wcs(order.wcs, order.box.grown(self.config.templateBorderSize))
        plan = making.plan_of(order, wcs, flag=not own_flags)
        with self.timer("tiles"):
            dataset = making.make(order, plan)
        covered = making.covered(dataset)
        self._note(plan, covered)
        output = making.exposure_of(order, plan, dataset)
        if own_flags:
            self.checkHighVariance(output)
        if hooks.is_overridden(self, GetDcrTemplateTask, "_makePsf"):
            catalog = making.catalog_of(order, plan)
            output = making.with_psf(output, self._makePsf(output, catalog, order.wcs))
        return Struct(outputExposure=output, template=output, psf=dataset.get("psf"))

    def checkHighVariance(self, template: Any) -> None:  # noqa: N802
        """Set HIGH_VARIANCE where the variance is far above its median; derived classes may override this.

        Parameters
        ----------
        template : lsst.images.MaskedImage, or lsst.afw.image.Exposure
            Its mask is changed. The mask of lsst.images has the plane already.
        """
        flag_exposure(template, self.config.template_config())

    def _makePsf(self, template: Any, catalog: Any, wcs: Any) -> Any:  # noqa: N802
        """Return the PSF of the template; derived classes may override this to return another.

        Parameters
        ----------
        template : lsst.images.MaskedImage, or lsst.afw.image.Exposure
            With the PSF that dcrflow made of the coadds' PSFs.
        catalog : lsst.afw.table.ExposureCatalog, or list of dcrflow.lsst.afw_psf.CoaddRecord
            The coadds that were used, with tract, patch, bbox, WCS, PSF and calibration; a list unless `wcs` is of afw.
        wcs : lsst.images.SkyProjection or lsst.afw.geom.SkyWcs
            Of the detector.

        Returns
        -------
        object
            A `dcrflow.lsst.node_psf.NodePsf` or `lsst.images.psfs.GaussianPointSpreadFunction`; a
            `lsst.afw.detection.Psf` for an Exposure; None for a template that has no PSF.
        """
        return template.getPsf() if hasattr(template, "getPsf") else getattr(template, "psf", None)

    @staticmethod
    def _checkInputs(dataIds: Mapping[int, Any], coaddExposures: Mapping[int, Any]) -> tuple[str, Any]:  # noqa: N802, N803
        """Check that the coadds agree in band and calibration; derived classes may override this.

        Parameters
        ----------
        dataIds, coaddExposures : mapping of int to sequence
            By tract, data IDs and coadds.

        Returns
        -------
        band : str
            Of all coadds; empty if no data ID has one.
        calibration : object
            ``photoCalib`` of all coadds; None if none has one.

        Raises
        ------
        RuntimeError
            If the coadds are of several bands, or calibrated differently.
        """
        return overlap.one_band(overlap.flat(dataIds)), overlap.one_calibration(overlap.flat(coaddExposures))

    @property
    def schema(self) -> Any:
        """Schema of the ExposureCatalog that `_makePsf` is given with afw's classes; needs the LSST stack."""
        from dcrflow.lsst.afw_psf import coadd_schema

        return coadd_schema()

    def getResourceConfig(self) -> None:  # noqa: N802
        """Resources of the task: it has no requirements."""
        return

    def getSchemaCatalogs(self) -> dict[str, Any]:  # noqa: N802
        """Schemas of the catalogues that the task writes: it does not write any."""
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
        return HandleCoadds(map(overlap.subfilter_coadd, handles), self._subfilters, box_of_patch=places)

    def _subfilters(self, coadd: SubfilterCoadd) -> Subfilters:
        config = self.config
        if config.effectiveWavelength is not None:
            return Subfilters.even(config.numSubfilters, config.effectiveWavelength, config.bandwidth)
        return subfilters_of_coadd(coadd, config.numSubfilters)

    def _outline(self, wcs: Any, bbox: Box) -> Outline:
        grown = bbox.grown(self.config.templateBorderSize)
        return Outline.of(making.detector_wcs(wcs, grown), grown)

    def _note(self, plan: Any, covered: float) -> None:
        """Record what was done in the task's metadata, for `getFullMetadata`."""
        self.metadata["coverage"] = covered
        for name, value in making.notes(plan).items():
            self.metadata[name] = value
        self.log.info("Template of %s: %d patches, %.1f %% covered", plan.visit.label, len(plan.patches), 100 * covered)
