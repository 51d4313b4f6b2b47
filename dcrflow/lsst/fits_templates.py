"""Templates as LSST-style FITS files, written and read with astropy alone.

HDUs ``IMAGE``, ``MASK`` (planes named by ``MP_`` cards) and ``VARIANCE``, each with the detector's WCS for the array's
pixels and the array's place (``LTV1``, ``CRVAL1A``), as `lsst.images.MaskedImage.read_legacy` and afw read them; then,
if the template has a PSF, ``PSF`` (kernels, one plane per node), ``PSF_NODES`` (their places, absolute detector pixels,
and their patches: indices into ``psf_patches`` of the provenance) and perhaps ``PSF_COADD`` (the coadds' kernels),
then ``PROVENANCE``: the attributes of the template store, each as JSON.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from astropy.io import fits

from dcrflow.base.attributes import encoded, objects
from dcrflow.base.errors import TemplateStoreError, WcsError
from dcrflow.base.fits_files import open_fits
from dcrflow.base.masks import flag_of, planes_from_attributes
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.stores.files import whole_file

_LONGEST = 1 << 18  # letters of an attribute that is written; the table is as wide as the longest
_PLANES = (("IMAGE", "image"), ("MASK", "mask"), ("VARIANCE", "variance"))
#: Columns of a PSF's nodes: FITS format and unit, dtype and attributes of the coordinate.
_NODES = {
    "psf_node_x": ("D", "pixel", np.float64, {"units": "pixel"}),
    "psf_node_y": ("D", "pixel", np.float64, {"units": "pixel"}),
    "psf_node_patch": ("K", None, np.int64, {}),
}


def write_fits(template: xr.Dataset, path: str | Path) -> None:
    """Write a template to a FITS file, replacing one that is there; compressed if the path ends in ``.gz``.

    Parameters
    ----------
    template : xarray.Dataset
        From a template store.
    path : str or path
        The file to write.

    Raises
    ------
    TemplateStoreError
        If its WCS has no FITS cards, or the file cannot be written.
    """
    attributes, x, y = objects(template.attrs), template["x"].values, template["y"].values
    box = Box(int(x[0]), int(y[0]), len(x), len(y))
    where = f"visit {attributes.get('visit')} detector {attributes.get('detector')}"
    if "wcs" not in attributes:
        raise TemplateStoreError(f"{where}: its WCS cannot be written to FITS; use --format lsst-images")
    hdus: list[Any] = [fits.PrimaryHDU(header=_primary(attributes))]
    for name, variable in _PLANES:
        header = _place(SkyWcs.from_header(attributes["wcs"]), box)
        if name == "MASK":
            for plane, bit in planes_from_attributes(template[variable].attrs).items():
                header[f"HIERARCH MP_{plane}" if len(plane) > 5 else f"MP_{plane}"] = bit
        else:
            header["BUNIT"] = "nJy" if name == "IMAGE" else "nJy2"
        hdus.append(fits.ImageHDU(np.asarray(template[variable].values), header=header, name=name))
    if "psf" in template:
        hdus.append(fits.ImageHDU(np.asarray(template["psf"].values), name="PSF"))
        columns = [
            fits.Column(name, form, unit, array=template[name].values)
            for name, (form, unit, _, _) in _NODES.items()
            if name in template.variables
        ]
        hdus.append(fits.BinTableHDU.from_columns(columns, name="PSF_NODES"))
    if "psf_coadd" in template:
        hdus.append(fits.ImageHDU(np.asarray(template["psf_coadd"].values), name="PSF_COADD"))
    said = {key: json.dumps(value) for key, value in sorted(attributes.items())}
    keys, texts = zip(*((key, text) for key, text in said.items() if len(text) <= _LONGEST), strict=True)
    columns = [fits.Column(n, f"{max(map(len, v))}A", array=v) for n, v in (("key", keys), ("value", texts))]
    hdus.append(fits.BinTableHDU.from_columns(columns, name="PROVENANCE"))
    try:
        with whole_file(path) as partial:
            fits.HDUList(hdus).writeto(partial)
    except OSError as error:
        raise TemplateStoreError(f"{where}: cannot write {path}: {error}") from error


def read_fits(path: str | Path) -> xr.Dataset:
    """Read what `write_fits` wrote: the same dataset.

    Raises
    ------
    TemplateStoreError
        If the file was not written by `write_fits`.
    """
    try:
        with open_fits(path) as file:
            table = file["PROVENANCE"].data
            attributes = {str(k): json.loads(str(v)) for k, v in zip(table["key"], table["value"], strict=True)}
            variables: dict[str, Any] = {}
            for name, variable in _PLANES:
                header, array = file[name].header, file[name].data
                dtype = np.int32 if name == "MASK" else np.float32
                variables[variable] = (("y", "x"), np.ascontiguousarray(array, dtype), _attributes(header, name))
            y, x = (np.arange(n) - int(header[f"LTV{i}"]) for n, i in zip(array.shape, (2, 1), strict=True))
            coordinates: dict[str, Any] = {"y": ("y", y), "x": ("x", x)}
            if "PSF" in file:
                variables["psf"] = (("psf_node", "psf_y", "psf_x"), np.ascontiguousarray(file["PSF"].data, np.float32))
                if "PSF_COADD" in file:
                    kernels = np.ascontiguousarray(file["PSF_COADD"].data, np.float32)
                    variables["psf_coadd"] = (("psf_node", "psf_coadd_y", "psf_coadd_x"), kernels)
                nodes = file["PSF_NODES"].data
                for name in (n for n in _NODES if n in nodes.names):
                    _, _, node_type, about = _NODES[name]
                    coordinates[name] = ("psf_node", np.asarray(nodes[name], node_type), about)
    except (OSError, LookupError, ValueError, TypeError) as error:
        raise TemplateStoreError(f"{path} is not a FITS file of a template: {' '.join(str(error).split())}") from error
    return xr.Dataset(variables, coords=coordinates, attrs=encoded(attributes))


def _attributes(header: fits.Header, name: str) -> dict[str, Any]:
    if name != "MASK":
        return {"units": str(header["BUNIT"])}
    planes = sorted((int(bit), key.removeprefix("MP_")) for key, bit in header.items() if key.startswith("MP_"))
    return {"flag_masks": [int(flag_of(bit)) for bit, _ in planes], "flag_meanings": " ".join(n for _, n in planes)}


def _primary(attributes: Any) -> fits.Header:
    header = fits.Header()
    for key, name, comment in (
        ("INSTRUME", "instrument", "camera"), ("VISIT", "visit", "visit"), ("DETECTOR", "detector", "detector"),
        ("BAND", "band", "band"), ("FILTER", "physical_filter", "physical filter"),
        ("COVERAGE", "coverage", "fraction of the detector that has data"),
    ):  # fmt: skip
        if attributes.get(name) not in (None, ""):
            header[key] = (attributes[name], comment)
    header["ORIGIN"] = "dcrflow"
    return header


def _place(wcs: SkyWcs, box: Box) -> fits.Header:
    """The cards of a WCS for an array that covers `box`, and the cards of its position."""
    try:
        header = wcs.header
    except WcsError as error:
        raise TemplateStoreError(str(error)) from error
    header["CRPIX1"], header["CRPIX2"] = header["CRPIX1"] - box.x0, header["CRPIX2"] - box.y0
    header["LTV1"], header["LTV2"] = float(-box.x0), float(-box.y0)
    for axis, first in ((1, box.x0), (2, box.y0)):
        header[f"CTYPE{axis}A"], header[f"CUNIT{axis}A"] = "LINEAR", "PIXEL"
        header[f"CRPIX{axis}A"], header[f"CRVAL{axis}A"] = 1.0, float(first)
    return header
