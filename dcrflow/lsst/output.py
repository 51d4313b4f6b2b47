"""A template as LSST's own objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dcrflow.base.attributes import objects
from dcrflow.base.masks import planes_from_attributes
from dcrflow.geometry.box import Box
from dcrflow.geometry.node_patches import NodePatches
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.convert import lsst_box, masked_image, projection_of
from dcrflow.planning.template import TemplatePlan

_PROVENANCE = ("patches", "dcr", "config", "software")


@dataclass(frozen=True)
class Described:
    """What an LSST object of a template has in addition to the pixels.

    Parameters
    ----------
    output : str
        Its class: MaskedImage, DifferenceImage or DcrTemplate.
    detector : lsst.images.cameras.Detector, optional
        The detector of the visit image; by default a nominal one.
    observation : astro_metadata_translator.ObservationInfo, optional
        The observation; by default one that has only the data ID.
    inputs : sequence of TemplateInput
        The coadds that the template was made from.
    """

    output: str
    detector: Any
    observation: Any
    inputs: Sequence[Any]


def lsst_template(plan: TemplatePlan, template: xr.Dataset, wcs: Any, described: Described) -> Any:
    """A template as a class of `lsst.images`, or `dcrflow.lsst.datasets.DcrTemplate`; on `wcs` as it was given.

    Parameters
    ----------
    plan : TemplatePlan
        The plan of the template.
    template : xarray.Dataset
        Its pixels, in memory.
    wcs : lsst.images.SkyProjection or SkyWcs
        Of the detector.
    described : Described
        The class of the result, and what it has in addition to the pixels.
    """
    made = masked_image_of(template, plan.visit.wcs, wcs if hasattr(wcs, "as_fits_wcs") else None)
    if described.output == "MaskedImage":
        return made
    return described_template(made, template, described)


def described_template(masked: Any, template: xr.Dataset, described: Described) -> Any:
    """A masked image of a template as a DifferenceImage or a DcrTemplate."""
    from dcrflow.lsst.datasets import DcrTemplate
    from dcrflow.lsst.difference import difference_image
    from dcrflow.lsst.node_psf import node_psf
    from dcrflow.lsst.repository import nominal_detector, nominal_observation

    about = objects(template.attrs)
    which = str(about["instrument"]) or "UNKNOWN", int(about["visit"]), int(about["detector"])
    detector = described.detector
    if detector is None:
        detector = nominal_detector(*which, Box(*about["bbox"]))
    observation = described.observation
    if observation is None or hasattr(observation, "getBoresightRaDec"):
        observation = nominal_observation(*which, str(about["physical_filter"]) or str(about["band"]))
    made = difference_image(masked, template, detector, observation, described.inputs)
    if described.output == "DifferenceImage":
        return made
    psf = None
    if "psf" in template:
        kernels, x, y = (template[name].values for name in ("psf", "psf_node_x", "psf_node_y"))
        owners = None
        if "psf_node_patch" in template.variables and about.get("psf_patches") and about.get("wcs"):
            owners = NodePatches.of(
                about["wcs"], template["psf_node_patch"].values, about["psf_patches"], about["config"]["warp"]
            )
        coadds = template["psf_coadd"].values if "psf_coadd" in template else None
        psf = node_psf(kernels, x, y, masked.bbox, owners, coadds)
    return DcrTemplate.of(made, psf)


def check_psf(template: Any, psf: Any) -> None:
    """Make sure that a template can be written with a PSF.

    Raises
    ------
    TypeError
        If a DcrTemplate cannot.
    """
    from lsst.images.psfs import GaussianPointSpreadFunction

    from dcrflow.lsst.datasets import DcrTemplate
    from dcrflow.lsst.node_psf import NodePsf

    if isinstance(template, DcrTemplate) and not isinstance(psf, NodePsf | GaussianPointSpreadFunction):
        raise TypeError(
            f"a DcrTemplate has a NodePsf or a GaussianPointSpreadFunction, found {type(psf).__name__}; "
            "make it with dcrflow.lsst.node_psf.node_psf"
        )


def masked_image_of(template: xr.Dataset, wcs: SkyWcs, projection: Any = None) -> Any:
    """A template as a `lsst.images.MaskedImage`, with the provenance in its metadata (each key as JSON)."""
    from lsst.images import DetectorFrame

    attributes, box = objects(template.attrs), box_of_template(template)
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
