"""PSFs for afw: a `CoaddPsf`, which knows which coadd covers which pixels; needs the LSST stack.

Nothing here has been run with the real stack, which is not on PyPI: see ``docs/rubin.md`` for what was checked how.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.lsst.convert import afw_box
from dcrflow.stores.coadds.patch_psf import PatchPsf


class CoaddRecord(NamedTuple):
    """One coadd of a CoaddPsf.

    Parameters
    ----------
    tract, patch : int
        Which patch.
    bbox : Box
        Its pixels.
    wcs : lsst.afw.geom.SkyWcs
        Its WCS; None if its pixels are those of the image that the PSF is for.
    psf : lsst.afw.detection.Psf
        Its PSF.
    photo_calib : lsst.afw.image.PhotoCalib, optional
        Its calibration.
    """

    tract: int
    patch: int
    bbox: Box
    wcs: Any
    psf: Any
    photo_calib: Any = None


def coadd_schema() -> Any:
    """The `lsst.afw.table.Schema` of a catalogue of coadds, with the columns that CoaddPsf needs."""
    from lsst.afw.table import ExposureTable

    schema = ExposureTable.makeMinimalSchema()
    for name, kind, doc in (
        ("tract", np.int32, "Tract of the coadd."), ("patch", np.int32, "Patch of the coadd."),
        ("weight", float, "Weight in the PSF; 1 for all."),
    ):  # fmt: skip
        schema.addField(name, type=kind, doc=doc)
    return schema


def catalog_of(records: list[CoaddRecord]) -> tuple[Any, Any]:
    """An `lsst.afw.table.ExposureCatalog` of coadds, with the columns that CoaddPsf needs, and its schema."""
    from lsst.afw.geom import Polygon
    from lsst.afw.table import ExposureCatalog
    from lsst.geom import Box2D

    schema = coadd_schema()
    catalog = ExposureCatalog(schema)
    for one in records:
        row, box = catalog.addNew(), afw_box(one.bbox)
        row.setPsf(one.psf)
        row.setWcs(one.wcs)
        row.setBBox(box)
        row.setValidPolygon(Polygon(Box2D(box)))
        if one.photo_calib is not None:
            row.setPhotoCalib(one.photo_calib)
        row.set("tract", one.tract)
        row.set("patch", one.patch)
        row.set("weight", 1.0)
    return catalog, schema


def coadd_psf(records: list[CoaddRecord], wcs: Any, middle: tuple[float, float], kernel: str, cache: int) -> Any:
    """A `lsst.meas.algorithms.CoaddPsf`: at each position, the mean of the warped PSFs of the coadds there.

    Parameters
    ----------
    records : list of CoaddRecord
        The coadds that have a PSF.
    wcs : lsst.afw.geom.SkyWcs
        WCS of the image that the PSF is for.
    middle : (float, float)
        Average position (x, y) of the PSF; a position with data.
    kernel : str
        Interpolation, as afw names it.
    cache : int
        Entries of the table of kernels.
    """
    from lsst.geom import Point2D
    from lsst.meas.algorithms import CoaddPsf

    return CoaddPsf(catalog_of(records)[0], wcs, Point2D(*middle), kernel, cache)


def kernel_psf(kernel: NDArray[np.float64], x: float, y: float) -> Any:
    """A `lsst.meas.algorithms.KernelPsf`: one kernel everywhere."""
    from lsst.afw.image import ImageD
    from lsst.afw.math import FixedKernel
    from lsst.geom import Point2D
    from lsst.meas.algorithms import KernelPsf

    return KernelPsf(FixedKernel(ImageD(np.ascontiguousarray(kernel, np.float64))), Point2D(x, y))


def coadd_psf_of_nodes(nodes: PatchPsf, bbox: Box) -> Any:
    """A CoaddPsf with one coadd for the area around each node, which has the kernel of that node.

    Unlike a `NodePsf`, it changes in steps between nodes. The nodes of a template are at most 256 pixels apart.
    """
    from lsst.afw.geom import makeCdMatrix, makeSkyWcs
    from lsst.geom import Point2D, SpherePoint, degrees

    cd = makeCdMatrix(scale=0.2 / 3600 * degrees)
    plane = makeSkyWcs(Point2D(nodes.x[0], nodes.y[0]), SpherePoint(0.0, 0.0, degrees), cd)  # the same on both sides
    records = [
        CoaddRecord(0, number, cell, plane, kernel_psf(nodes.kernels[number], nodes.x[number], nodes.y[number]))
        for number, cell in _cells(nodes, bbox)
    ]
    return coadd_psf(records, plane, (float(nodes.x.mean()), float(nodes.y.mean())), "bilinear", 0)


def _cells(nodes: PatchPsf, bbox: Box) -> Iterator[tuple[int, Box]]:
    """The pixels of a box that are nearest, in each axis, to the column and row of a node."""
    edges = {}
    for axis, places, low, high in (("x", nodes.x, bbox.x0, bbox.x1), ("y", nodes.y, bbox.y0, bbox.y1)):
        levels = np.unique(places)
        between = np.ceil((levels[1:] + levels[:-1]) / 2).astype(int)
        edges[axis] = levels, np.concatenate([[low], np.clip(between, low, high), [high]])
    for number, (x, y) in enumerate(zip(nodes.x, nodes.y, strict=True)):
        (xs, x_edges), (ys, y_edges) = edges["x"], edges["y"]
        i, j = int(np.searchsorted(xs, x)), int(np.searchsorted(ys, y))
        cell = [int(v) for v in (x_edges[i], y_edges[j], x_edges[i + 1], y_edges[j + 1])]
        if cell[0] < cell[2] and cell[1] < cell[3]:
            yield number, Box.from_bounds(*cell)
