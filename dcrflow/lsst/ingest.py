"""Copy DCR coadds from FITS files or a Butler to a DCR-coadd store, patch by patch, with pixels and bits unchanged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import CoaddStoreError, MissingSubfilterError
from dcrflow.base.masks import translate
from dcrflow.geometry.patches import fit_tract
from dcrflow.geometry.skymap import Tract
from dcrflow.lsst.convert import ExposureArrays
from dcrflow.lsst.handles import HandleCoadds
from dcrflow.stores.coadds.writer import CoaddWriter, whole_coadds


def ingest(
    source: HandleCoadds,
    store: Any,
    *,
    skymap: str = "",
    num_subfilters: int | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Copy coadds into a new DCR-coadd store.

    Variance and mask are stored once if they are the same for all subfilters. The PSF is stored if it can be read.

    Parameters
    ----------
    source : HandleCoadds
        From `dcrflow.lsst.fits_coadds.open_fits_coadds` or `dcrflow.lsst.butler.open_butler_coadds`.
    store : str, path or zarr store
        The store to write.
    skymap : str
        Name of the skymap.
    num_subfilters : int, optional
        Subfilters that every patch must have; by default as many as the first patch has.
    overwrite : bool
        Replace an existing store.
    progress : callable, optional
        Called with the number of patches done and the number of all.

    Returns
    -------
    int
        Patches written.

    Raises
    ------
    MissingSubfilterError
        If a patch does not have its subfilters 0 to `num_subfilters` - 1; before anything is written.
    CoaddStoreError, InconsistentCoaddsError
        If something cannot be read or written, or the coadds do not agree with each other.
    """
    patches = [
        (p.tract, p.patch, band) for t in source.tracts for band in source.bands for p in source.patches(t, band)
    ]
    number = num_subfilters or len(source.coadds(*patches[0]))
    for tract, patch, band in patches:
        found = [c.subfilter for c in source.coadds(tract, patch, band)]
        if found != list(range(number)):
            raise MissingSubfilterError(
                f"tract {tract} patch {patch} band {band} of {source.url} has subfilters {found}, expected 0 to "
                f"{number - 1}; add what is missing"
            )
    tracts = [_tract(source, number) for number in source.tracts]
    with whole_coadds(store, skymap, overwrite=overwrite) as writer:
        for each in tracts:
            writer.write_tract(each)
        for done, (tract, patch, band) in enumerate(patches, 1):
            _copy(source, writer, tract, patch, band)
            if progress is not None:
                progress(done, len(patches))
    return len(patches)


def _tract(source: HandleCoadds, number: int) -> Tract:
    """A tract's geometry, from the boxes of its patches."""
    tract = source.tracts[number]
    try:
        return fit_tract(number, tract.wcs, source.boxes(number))
    except ValueError as error:
        raise CoaddStoreError(f"{source.url}: {error}; are the patch ids right?") from error


def _copy(source: HandleCoadds, writer: CoaddWriter, tract: int, patch: int, band: str) -> None:
    info = source.info(tract, patch, band)
    parts = [c.region(info.bbox) for c in source.coadds(tract, patch, band)]
    planes = _planes(parts)
    psf = source.read_psf(tract, patch, band) if info.psf_shape is not None else None
    kept: dict[str, Any] = {}
    if psf is not None:
        kept = {"psf": psf.kernels.astype(np.float32), "psf_nodes": (psf.x, psf.y)}
    if info.transmission is not None:
        kept["transmission"] = dict(zip(("wavelength", "throughput"), info.transmission, strict=True))
    writer.write_patch(
        tract, patch, band,
        image=np.stack([p.image for p in parts]),
        variance=_once([p.variance for p in parts]),
        mask=_once([translate(p.mask, p.planes, planes) for p in parts]),
        planes=planes,
        subfilter_edges=info.subfilter_edges,
        effective_wavelength=info.effective_wavelength,
        bandwidth=info.bandwidth,
        physical_filter=info.physical_filter,
        **kept,
    )  # fmt: skip


def _planes(parts: list[ExposureArrays]) -> Mapping[str, int]:
    """The mask planes: unchanged if they are the same in all subfilters, with new bits if not."""
    if all(p.planes == parts[0].planes for p in parts):
        return parts[0].planes
    names = sorted({name for p in parts for name in p.planes})
    return {name: bit for bit, name in enumerate(names)}


def _once(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """One array if all are equal, otherwise all of them, stacked."""
    same = all(np.array_equal(a, arrays[0], equal_nan=a.dtype.kind == "f") for a in arrays[1:])
    return arrays[0] if same else np.stack(arrays)
