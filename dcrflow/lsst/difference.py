"""A template as a `lsst.images.DifferenceImage`, LSST's class for a stitched template with its provenance.

In addition to a MaskedImage it has the detector, the observation, a PSF, and the coadds that the template is made from
(`templates`: the position of each on the detector, its dataset, and the second moments of its PSF there).

Without afw or piff, lsst.images cannot write a PSF that varies or is tabulated. The PSF is therefore a round Gaussian
with the determinant radius of the template's PSF at the centre of the detector (NaN if the coadds have no PSF). The
full PSF with its nodes is in the template store, and in files written with ``--format fits``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.geometry.mapping import map_pixels
from dcrflow.lsst.convert import lsst_box
from dcrflow.planning.template import TemplatePlan

Float = NDArray[np.float64]
Dataset = tuple[UUID, str]

_POINTS = 4  # along each side of a patch, that a distortion of the detector bends


@dataclass(frozen=True, eq=False)
class TemplateInput:
    """A coadd that went into a template.

    Parameters
    ----------
    skymap : str
        Empty if it is not known.
    tract, patch : int
        The data ID.
    datasets : sequence of (UUID, str)
        Butler's dataset of each subfilter, and its RUN collection.
    x, y : ndarray of float64, shape (n,), or None
        The patch's outline in detector pixels; None if its position on the detector is not known.
    """

    skymap: str
    tract: int
    patch: int
    datasets: Sequence[Dataset]
    x: Float | None = None
    y: Float | None = None


def inputs_of_plan(
    plan: TemplatePlan, skymap: str, datasets: Mapping[tuple[int, int], Sequence[Dataset]]
) -> list[TemplateInput]:
    """The coadds that a plan uses; a tract and patch that `datasets` lacks gets an id from `made_up_dataset`."""
    found = []
    for tract in plan.tracts:
        for patch in tract.patches:
            x, y = map_pixels(tract.tract.wcs, plan.visit.wcs, *patch.bbox.outline(_POINTS))
            key = (patch.tract, patch.patch)
            known = datasets.get(key) or [made_up_dataset(plan.url, *key)]
            found.append(TemplateInput(skymap, *key, known, x, y))
    return found


def made_up_dataset(url: str, tract: int, patch: int) -> Dataset:
    """An identifier and a name for coadds that are not in a Butler, computed from their URL; always the same."""
    return uuid5(NAMESPACE_URL, f"{url}#{tract}/{patch}"), url


def difference_image(
    masked: Any, template: xr.Dataset, detector: Any, observation: Any, inputs: Sequence[TemplateInput]
) -> Any:
    """A template as a `lsst.images.DifferenceImage`.

    Parameters
    ----------
    masked : lsst.images.MaskedImage
        Of the template, from `dcrflow.lsst.output`.
    template : xarray.Dataset
        The same with its PSF, as a template store keeps it.
    detector : lsst.images.cameras.Detector
        Which detector.
    observation : astro_metadata_translator.ObservationInfo
        Of the visit.
    inputs : sequence of TemplateInput
        The coadds that the template was made from.
    """
    from lsst.images import DifferenceImage
    from lsst.images.psfs import GaussianPointSpreadFunction

    box = Box(*template.attrs["bbox"])
    xx, yy, xy = _moments(template, box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2)
    size = int(template["psf"].shape[-1]) if "psf" in template else 1
    psf = GaussianPointSpreadFunction((xx * yy - xy**2) ** 0.25, masked.bbox, size)
    return DifferenceImage(
        masked.image,
        mask=masked.mask,
        variance=masked.variance,
        sky_projection=masked.sky_projection,
        obs_info=observation,
        psf=psf,
        detector=detector,
        band=str(template.attrs["band"]),
        templates=[info for one in inputs for info in _template_info(one, template, box)],
        metadata=dict(masked.metadata),
    )


def _template_info(one: TemplateInput, template: xr.Dataset, box: Box) -> list[Any]:
    from lsst.images import DifferenceImageTemplateInfo, NoOverlapError, Polygon

    bounds = Polygon.from_box(lsst_box(box))
    if one.x is not None and one.y is not None:
        try:
            common = Polygon(x_vertices=one.x, y_vertices=one.y).intersection(bounds)
        except NoOverlapError:  # it reaches the border alone
            return []
        bounds = common if isinstance(common, Polygon) else Polygon.from_box(common.bbox)
    middle = bounds.centroid
    xx, yy, xy = _moments(template, middle.x, middle.y)
    return [
        DifferenceImageTemplateInfo(
            skymap=one.skymap, tract=one.tract, patch=one.patch, dataset_id=identifier, dataset_run=run, bounds=bounds,
            psf_shape_xx=xx, psf_shape_yy=yy, psf_shape_xy=xy, psf_shape_flag=not math.isfinite(xx),
            instrument=str(template.attrs["instrument"]) or "UNKNOWN",
        )
        for identifier, run in one.datasets
    ]  # fmt: skip


def _moments(template: xr.Dataset, x: float, y: float) -> tuple[float, float, float]:
    """Second moments xx, yy, xy of the PSF at a position, pixels^2, without a taper; NaN without a PSF."""
    if "psf" not in template:
        return math.nan, math.nan, math.nan
    kernel = template.dcrflow.psf_at(x, y).values
    dy, dx = (np.arange(n) - n // 2 for n in kernel.shape)
    dx, dy = dx - float(kernel.sum(axis=0) @ dx), dy - float(kernel.sum(axis=1) @ dy)
    return (
        float(kernel.sum(axis=0) @ dx**2),
        float(kernel.sum(axis=1) @ dy**2),
        float(dy @ kernel @ dx),
    )
