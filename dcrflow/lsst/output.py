"""A template as LSST's own objects."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from dcrflow.base.masks import planes_from_attributes
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.convert import afw_box, lsst_box, masked_image, projection_of
from dcrflow.planning.template import TemplatePlan

_PROVENANCE = ("patches", "dcr", "config", "software")


def lsst_template(plan: TemplatePlan, template: xr.Dataset, wcs: Any) -> Any:
    """A template as a `lsst.images.MaskedImage`, on `wcs` as it was given; an ExposureF if that is one of afw's.

    Parameters
    ----------
    plan : TemplatePlan
        What was made.
    template : xarray.Dataset
        Its pixels, in memory.
    wcs : lsst.images.SkyProjection, lsst.afw.geom.SkyWcs or SkyWcs
        Of the detector.
    """
    if hasattr(wcs, "pixelToSkyArray"):
        return _exposure_of(template, wcs, plan)
    return masked_image_of(template, plan.visit.wcs, wcs if hasattr(wcs, "as_fits_wcs") else None)


def masked_image_of(template: xr.Dataset, wcs: SkyWcs, projection: Any = None) -> Any:
    """A template as a `lsst.images.MaskedImage`, with what was done among its metadata (JSON, key by key)."""
    from lsst.images import DetectorFrame

    attributes, box = template.attrs, box_of_template(template)
    if projection is None:
        frame = DetectorFrame(
            instrument=str(attributes["instrument"]), visit=int(attributes["visit"]),
            detector=int(attributes["detector"]), bbox=lsst_box(Box(*attributes["bbox"])),
        )  # fmt: skip
        projection = projection_of(wcs, frame, box)
    metadata = {f"dcrflow {key}": json.dumps(attributes[key]) for key in _PROVENANCE if key in attributes}
    image, variance, mask = (np.asarray(template[name].values) for name in ("image", "variance", "mask"))
    planes = planes_from_attributes(template["mask"].attrs)
    return masked_image(box, image, variance, mask, planes, projection, metadata)


def box_of_template(template: xr.Dataset) -> Box:
    """The pixels of a template, border included."""
    x, y = template["x"].values, template["y"].values
    return Box(int(x[0]), int(y[0]), len(x), len(y))


def _exposure_of(template: xr.Dataset, wcs: Any, plan: TemplatePlan) -> Any:
    """The same as afw's ExposureF, its PSF that of the detector's middle everywhere; wants the LSST stack."""
    from lsst.afw.image import ExposureF, FilterLabel, PhotoCalib

    box = box_of_template(template)
    exposure = ExposureF(afw_box(box))
    exposure.image.array[:, :], exposure.variance.array[:, :] = template["image"].values, template["variance"].values
    mask = template["mask"].values
    for plane, bit in planes_from_attributes(template["mask"].attrs).items():
        here = np.int32(exposure.mask.addMaskPlane(plane))  # its bit is afw's to say, and stays if it is there
        exposure.mask.array[:, :] |= ((mask >> np.int32(bit)) & np.int32(1)) << here
    exposure.setWcs(wcs)
    exposure.setPhotoCalib(PhotoCalib(1.0))
    exposure.setFilter(FilterLabel(band=plan.band, physical=plan.visit.physical_filter or plan.band))
    if "psf" in template:
        own = plan.visit.bbox
        exposure.setPsf(_psf_at(template, own.x0 + (own.width - 1) / 2, own.y0 + (own.height - 1) / 2))
    return exposure


def _psf_at(template: xr.Dataset, x: float, y: float) -> Any:
    from lsst.afw.image import ImageD
    from lsst.afw.math import FixedKernel
    from lsst.geom import Point2D
    from lsst.meas.algorithms import KernelPsf

    kernel = np.ascontiguousarray(template.dcrflow.psf_at(x, y).values, np.float64)
    return KernelPsf(FixedKernel(ImageD(kernel)), Point2D(x, y))
