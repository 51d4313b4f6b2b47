"""A template as an xarray.Dataset in the layout of the template store; its arrays are in memory or lazy."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from dcrflow.base.attributes import encoded, objects
from dcrflow.base.masks import NO_DATA, flag_attributes
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.kernels.rounding import BLOCK, VARIANCE_BITS, round_pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps.psf import TemplatePsf
from dcrflow.steps.resample import correlation_of
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore
from dcrflow.view import accessor as accessor  # registers itself with xarray
from dcrflow.view.thumbnails import preview

_ROWS = 64  # of a mask that are looked at together: they stay in the cache


@lru_cache(maxsize=1)
def software() -> dict[str, str]:
    """Versions of the packages that the pixel values depend on."""
    return {name: version(name) for name in ("dcrflow", "numpy", "numba", "astropy", "dask", "xarray", "zarr")}


def template_dataset(
    plan: TemplatePlan, image: Any, variance: Any, mask: Any, psf: TemplatePsf | None = None
) -> xr.Dataset:
    """Lay out a template's arrays as a dataset.

    Parameters
    ----------
    plan : TemplatePlan
        The plan of the template.
    image, variance : array of float32, shape (y, x) of ``plan.bbox``
        nJy and nJy^2; numpy or dask.
    mask : array of int32, same shape
        Mask planes.
    psf : TemplatePsf, optional
        Its PSF.

    Returns
    -------
    xarray.Dataset
        Variables image, variance and mask over y and x (absolute detector pixels, border included). The attributes are
        those of the template store, except for ``coverage`` and ``status``, which need the pixels. Objects and nested
        lists are JSON text, so that ``to_netcdf`` works.
    """
    box, visit = plan.bbox, plan.visit
    attributes = {
        "instrument": visit.instrument,
        "visit": visit.visit,
        "detector": visit.detector,
        "band": plan.band,
        "physical_filter": visit.physical_filter or plan.info.physical_filter,
        "units": plan.info.units,
        "photometric_zero_point": plan.info.photometric_zero_point,
        "bbox": visit.bbox.as_list(),
        "patches": [[p.tract, p.patch] for p in plan.patches],
        "dcr": dict(plan.applied),
        "refraction": plan.config.refraction,
        "noise_correlation": np.round(correlation_of(plan), 5).tolist(),
        "config": plan.config.as_json(),
        "config_hash": plan.config.digest,
        "inputs": plan.url,
        "inputs_digest": plan.inputs_digest,
        "software": software(),
    }
    if visit.wcs.cards:
        attributes["wcs"] = _cards(visit.wcs)
    dataset = xr.Dataset(
        {
            "image": (("y", "x"), image, {"units": plan.info.units}),
            "variance": (("y", "x"), variance, {"units": f"{plan.info.units}2"}),
            "mask": (("y", "x"), mask, flag_attributes(plan.planes)),
        },
        coords={
            "y": ("y", np.arange(box.y0, box.y1, dtype=np.int64)),
            "x": ("x", np.arange(box.x0, box.x1, dtype=np.int64)),
        },
        attrs=encoded(attributes),
    )
    if psf is None:
        return dataset
    nodes = psf.nodes
    position = {"psf_node_x": nodes.x, "psf_node_y": nodes.y}
    dataset = dataset.assign(psf=(("psf_node", "psf_y", "psf_x"), psf.kernels)).assign_coords(
        {name: ("psf_node", values, {"units": "pixel"}) for name, values in position.items()}
    )
    if psf.coadds is not None:
        dataset = dataset.assign(psf_coadd=(("psf_node", "psf_coadd_y", "psf_coadd_x"), psf.coadds))
    if not nodes.patches:
        return dataset
    tracts = {t.tract.tract: t.tract.wcs for t in plan.tracts}
    patches = [
        {"tract": p.tract, "patch": p.patch, "bbox": p.bbox.as_list(), "wcs": _cards(tracts[p.tract])}
        for p in nodes.patches
    ]
    return dataset.assign_coords(psf_node_patch=("psf_node", nodes.node_patch)).assign_attrs(
        encoded({"psf_patches": patches})
    )


def _cards(wcs: SkyWcs) -> dict[str, Any]:
    """The FITS cards of a WCS, to keep as an attribute; empty for a WCS that has none."""
    return {c.keyword: c.value for c in wcs.header.cards if c.keyword} if wcs.cards else {}


def write_template(template: xr.Dataset, store: TemplateStore | Any, *, in_place: bool = False) -> TemplateRecord:
    """Compute a template, if it is lazy, and write it to a store; the status is written last.

    Image and variance are rounded, by less than the noise, as the template's configuration says (key `precision`).

    Parameters
    ----------
    template : xarray.Dataset
        A whole template, as `dcrflow.build_template` makes it; not a slice.
    store : TemplateStore, or anything that `TemplateStore.create_or_open` takes
        Where to write.
    in_place : bool
        If the arrays are in memory, round them in place instead of copying them.

    Raises
    ------
    ValueError
        If the dataset does not cover the whole detector.
    """
    x0, y0, width, height = template.attrs["bbox"]
    x, y = template["x"].values, template["y"].values
    if len(x) < width or len(y) < height or x[0] > x0 or y[0] > y0 or x[-1] < x0 + width - 1 or y[-1] < y0 + height - 1:
        raise ValueError(
            f"this is a part of the template of visit {template.attrs['visit']} detector {template.attrs['detector']}: "
            f"x {x[0]} to {x[-1]}, y {y[0]} to {y[-1]}; a template store keeps whole ones"
        )
    lazy = template.chunks
    template = rounded(template.compute(), in_place=in_place or bool(lazy))
    return TemplateStore.create_or_open(store).write(
        template.assign_attrs(encoded({"coverage": coverage(template), "preview": preview(template)}))
    )


def rounded(template: xr.Dataset, *, in_place: bool = False) -> xr.Dataset:
    """A template in memory with image and variance rounded by less than the noise, as its attribute `precision` says.

    The attribute `precision` has the keys `steps_per_sigma` (at least this many), `block` (side in pixels of the blocks
    that share one step), `step` (smallest and largest, nJy) and `variance_bits` (bits of the mantissa that are kept);
    see `dcrflow.kernels.rounding`.
    """
    precision = objects(template.attrs)["config"].get("precision")
    if precision is None:
        return template
    image, variance = (
        np.array(template[n].values, order="C", copy=not in_place or None) for n in ("image", "variance")
    )
    steps = round_pixels(image, variance, precision)
    said = {"steps_per_sigma": precision, "block": BLOCK, "step": list(steps or ()), "variance_bits": VARIANCE_BITS}
    return template.assign(
        image=template["image"].copy(data=image), variance=template["variance"].copy(data=variance)
    ).assign_attrs(encoded({"precision": said}))


def coverage(template: xr.Dataset) -> float:
    """Fraction of the detector's pixels (without border) that have data; computes the mask."""
    x0, y0, width, height = template.attrs["bbox"]
    own = template["mask"].sel(x=slice(x0, x0 + width - 1), y=slice(y0, y0 + height - 1))
    names = str(own.attrs["flag_meanings"]).split()
    flag = np.atleast_1d(own.attrs["flag_masks"])[names.index(NO_DATA)]
    mask = own.values
    without = sum(np.count_nonzero(mask[y : y + _ROWS] & int(flag)) for y in range(0, len(mask), _ROWS))
    return 1 - float(without / own.size)
