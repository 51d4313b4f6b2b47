"""The DCR-coadd store, for writing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zarr
from numpy.typing import ArrayLike, NDArray

from dcrflow.errors import CoaddStoreError
from dcrflow.geometry.skymap import Tract
from dcrflow.masks import NO_DATA, flag_attributes
from dcrflow.stores.access import location, open_root, url_of
from dcrflow.stores.arrays import CHUNK, codecs
from dcrflow.stores.coadds import KIND, VERSION
from dcrflow.stores.patch_info import read_tract


def create_coadds(store: Any, skymap: str, *, overwrite: bool = False) -> CoaddWriter:
    """Create an empty DCR-coadd store.

    Parameters
    ----------
    store : str, path or zarr store
        Where.
    skymap : str
        Name of the skymap that its tracts belong to.
    overwrite : bool
        Delete a DCR-coadd store that is there already; anything else that is there is left alone, and an error.

    Raises
    ------
    CoaddStoreError
        If something is there, or the place cannot be written.
    """
    where = location(store)
    try:
        existing: zarr.Group | None = zarr.open_group(where, mode="r", zarr_format=3)
    except Exception:
        existing = None
    if existing is not None and (list(existing.attrs) or any(True for _ in existing.keys())):  # noqa: SIM118
        if not overwrite:
            raise CoaddStoreError(f"{url_of(where)} exists already; choose another place, or overwrite it on purpose")
        open_root(where, KIND, VERSION, CoaddStoreError)  # whatever is no coadd store is not ours to delete
    try:
        root = zarr.create_group(
            where,
            zarr_format=3,
            overwrite=overwrite,
            attributes={"dcrflow": {"kind": KIND, "version": VERSION}, "skymap": skymap},
        )
    except Exception as error:
        raise CoaddStoreError(f"cannot create {url_of(where)}: {type(error).__name__}: {error}") from error
    return CoaddWriter(root)


def open_writer(store: Any) -> CoaddWriter:
    """Open a DCR-coadd store to add patches to it; several processes may, each its own patches.

    Raises
    ------
    CoaddStoreError
        If there is no such store.
    """
    where = location(store)
    open_root(where, KIND, VERSION, CoaddStoreError)
    return CoaddWriter(zarr.open_group(where, mode="r+", zarr_format=3))


class CoaddWriter:
    """A DCR-coadd store, open for writing."""

    def __init__(self, root: zarr.Group) -> None:
        self._root = root
        self._tracts: dict[int, Tract] = {}

    def write_tract(self, tract: Tract) -> None:
        """Write a tract's geometry; before its patches."""
        self._root.create_group(
            str(tract.tract),
            attributes={
                "wcs": _cards(tract),
                "bbox": tract.bbox.as_list(),
                "patch_inner": list(tract.patch_inner),
                "patch_border": tract.patch_border,
                "num_patches": list(tract.num_patches),
            },
        )
        self._tracts[tract.tract] = tract

    def write_patch(
        self,
        tract_id: int,
        patch_id: int,
        band: str,
        *,
        image: NDArray[np.float32],
        variance: NDArray[np.float32],
        mask: NDArray[np.int32],
        planes: Mapping[str, int],
        subfilter_edges: Sequence[tuple[float, float]],
        effective_wavelength: float,
        bandwidth: float,
        physical_filter: str = "",
        photometric_zero_point: float = 31.4,
        transmission: Mapping[str, Sequence[float]] | None = None,
        psf: NDArray[np.float32] | None = None,
        psf_nodes: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> None:
        """Write a patch's subfilter coadds.

        Parameters
        ----------
        tract_id, patch_id : int
            Which patch; its tract is written before.
        band : str
            Of the coadds.
        image : ndarray of float32, shape (num_subfilters, height, width)
            nJy; NaN where there are no data.
        variance : ndarray of float32, shape (height, width) or (num_subfilters, height, width)
            nJy^2, of one subfilter.
        mask : ndarray of int32, shape as the variance's
            Mask planes.
        planes : mapping of str to int
            Names and bits of the planes.
        subfilter_edges : sequence of (float, float)
            nm.
        effective_wavelength, bandwidth : float
            nm.
        physical_filter : str
            May be empty.
        photometric_zero_point : float
            AB magnitude of one unit.
        transmission : mapping, optional
            ``{"wavelength": [nm, ...], "throughput": [...]}``.
        psf : ndarray of float32, shape (num_nodes, psf_height, psf_width), optional
            Sums to 1; odd size, centred.
        psf_nodes : (array, array), each of shape (num_nodes,), optional
            Tract pixel position (x, y) of each node.

        Raises
        ------
        ValueError
            If a shape does not fit the patch.
        """
        if tract_id not in self._tracts:
            self._tracts[tract_id] = read_tract(self._root, tract_id, url_of(self._root.store))
        tract = self._tracts[tract_id]
        box = tract.patch(patch_id).bbox
        number = len(subfilter_edges)
        if image.shape != (number, *box.shape):
            raise ValueError(f"image has shape {image.shape}, expected {(number, *box.shape)} for {box}")
        edges = np.asarray(subfilter_edges, np.float64)
        attributes: dict[str, Any] = {
            "band": band,
            "physical_filter": physical_filter,
            "units": "nJy",
            "photometric_zero_point": float(photometric_zero_point),
            "wcs": _cards(tract),
            "tract": tract_id,
            "patch": patch_id,
            "effective_wavelength": float(effective_wavelength),
            "bandwidth": float(bandwidth),
        }
        if transmission is not None:
            attributes["transmission"] = {k: [float(v) for v in transmission[k]] for k in ("wavelength", "throughput")}
        group = self._root.create_group(f"{tract_id}/{patch_id}/{band}", attributes=attributes)
        no_data = np.int32(1 << planes[NO_DATA]) if NO_DATA in planes else np.int32(0)
        _write(group, "image", np.asarray(image, np.float32), np.nan, {"units": "nJy"})
        _write(group, "variance", np.asarray(variance, np.float32), np.nan, {"units": "nJy2"})
        _write(group, "mask", np.asarray(mask, np.int32), no_data, flag_attributes(planes))
        _small(group, "x", ("x",), np.arange(box.x0, box.x1, dtype=np.int64), {"units": "pixel"})
        _small(group, "y", ("y",), np.arange(box.y0, box.y1, dtype=np.int64), {"units": "pixel"})
        _small(group, "subfilter", ("subfilter",), edges.mean(axis=1), {"units": "nm"})
        _small(group, "subfilter_edges", ("subfilter", "edge"), edges, {"units": "nm"})
        if psf is not None:
            node_x, node_y = (np.asarray(v, np.float64) for v in psf_nodes or ())
            _small(group, "psf", ("psf_node", "psf_y", "psf_x"), np.asarray(psf, np.float32), {})
            _small(group, "psf_node_x", ("psf_node",), node_x, {"units": "pixel"})
            _small(group, "psf_node_y", ("psf_node",), node_y, {"units": "pixel"})


def _cards(tract: Tract) -> dict[str, Any]:
    return {card.keyword: card.value for card in tract.wcs.header.cards if card.keyword}


def _write(group: zarr.Group, name: str, values: NDArray[Any], fill: Any, attributes: dict[str, Any]) -> None:
    """Write an image plane (y, x) or stack (subfilter, y, x): inner chunks of 1 MiB, one shard a subfilter."""
    height, width = values.shape[-2:]
    chunk = (min(CHUNK, height), min(CHUNK, width))
    shard = tuple(-(-n // c) * c for n, c in zip((height, width), chunk, strict=True))
    lead = (1,) * (values.ndim - 2)
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=lead + chunk,
        shards=lead + shard,
        compressors=codecs(),
        fill_value=fill,
        attributes=attributes,
        dimension_names=("subfilter", "y", "x")[-values.ndim :],
    )
    array[...] = values


def _small(
    group: zarr.Group, name: str, dims: tuple[str, ...], values: NDArray[Any], attributes: dict[str, Any]
) -> None:
    array = group.create_array(
        name, shape=values.shape, dtype=values.dtype, chunks=values.shape, attributes=attributes, dimension_names=dims,
        compressors=codecs(),
    )  # fmt: skip
    array[...] = values
