"""A template as an `lsst.afw.image.ExposureF`; needs the LSST stack.

Nothing here has been run with the real stack, which is not on PyPI: see ``docs/rubin.md`` for what was checked how.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from dcrflow.base.masks import planes_from_attributes
from dcrflow.lsst.afw_psf import CoaddRecord, catalog_of, coadd_psf, kernel_psf
from dcrflow.lsst.convert import afw_box
from dcrflow.lsst.handles import HandleCoadds
from dcrflow.lsst.output import box_of_template
from dcrflow.planning.template import TemplatePlan

_AFW_KERNELS = ("bilinear", "lanczos3", "lanczos4", "lanczos5")


def exposure_of_template(plan: TemplatePlan, template: xr.Dataset, wcs: Any, coadds: HandleCoadds, config: Any) -> Any:
    """A template as an ExposureF: pixels, mask, WCS, calibration, filter, PSF, visit, and the coadds it is made of.

    Parameters
    ----------
    plan : TemplatePlan
        The plan of the template.
    template : xarray.Dataset
        Its pixels, in memory.
    wcs : lsst.afw.geom.SkyWcs
        WCS of the detector.
    coadds : HandleCoadds
        The coadds, which give the PSFs.
    config : GetDcrTemplateConfig
        Gives ``coaddPsf``.
    """
    from lsst.afw.image import CoaddInputs, ExposureF, FilterLabel, PhotoCalib, VisitInfo
    from lsst.afw.table import ExposureTable

    exposure = ExposureF(afw_box(box_of_template(template)))
    exposure.image.array[:, :], exposure.variance.array[:, :] = template["image"].values, template["variance"].values
    mask = template["mask"].values
    for plane, bit in planes_from_attributes(template["mask"].attrs).items():
        here = np.int32(exposure.mask.addMaskPlane(plane))  # afw chooses the bit, or keeps that of an existing plane
        exposure.mask.array[:, :] |= ((mask >> np.int32(bit)) & np.int32(1)) << here
    exposure.setWcs(wcs)
    exposure.setPhotoCalib(PhotoCalib(1.0))
    exposure.setFilter(FilterLabel(band=plan.band, physical=plan.visit.physical_filter or plan.band))
    info = exposure.getInfo()
    info.setVisitInfo(VisitInfo(id=plan.visit.visit))
    records = afw_records(records_of(plan, coadds))
    catalog, schema = catalog_of(records)
    inputs = CoaddInputs(ExposureTable.makeMinimalSchema(), schema)
    inputs.ccds.extend(catalog, deep=True)
    info.setCoaddInputs(inputs)
    if (psf := _psf(plan, template, wcs, records, config)) is not None:
        exposure.setPsf(psf)
    return exposure


def records_of(plan: TemplatePlan, coadds: HandleCoadds) -> list[CoaddRecord]:
    """The coadds of a plan, each by its first subfilter; without those that have no WCS of their own."""
    found = []
    for patch in plan.patches:
        first = coadds.coadds(patch.tract, patch.patch, plan.band)[0]
        if (wcs := first.component("wcs", "sky_projection")) is not None:
            calib = first.component("photoCalib")
            found.append(CoaddRecord(patch.tract, patch.patch, patch.bbox, wcs, first.psf, calib))
    return found


def afw_records(records: list[CoaddRecord]) -> list[CoaddRecord]:
    """Those whose WCS is one of afw's, as a catalogue wants it."""
    return [record for record in records if hasattr(record.wcs, "pixelToSkyArray")]


def _psf(plan: TemplatePlan, template: xr.Dataset, wcs: Any, records: list[CoaddRecord], config: Any) -> Any:
    """A CoaddPsf made from the coadds' PSFs; if these are not afw PSFs, the kernel at the template's centre."""
    if "psf" not in template:
        return None
    x, y = template.dcrflow.middle
    own = [record for record in records if hasattr(record.psf, "computeKernelImage")]
    if not own:
        return kernel_psf(template.dcrflow.psf_at(x, y).values, x, y)
    names = (config.coaddPsf.warpingKernelName, config.warp.warpingKernelName, "lanczos3")
    return coadd_psf(own, wcs, (x, y), next(n for n in names if n in _AFW_KERNELS), config.coaddPsf.cacheSize)
