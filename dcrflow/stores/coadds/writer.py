"""Writing a DCR-coadd store.

A patch's attributes are written last. So a patch whose writing was interrupted is not taken for complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import zarr
from numpy.typing import ArrayLike, NDArray
from zarr.storage import ZipStore

from dcrflow.base.errors import CoaddStoreError
from dcrflow.base.masks import NO_DATA, flag_attributes
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.kernels.rounding import BLOCK, VARIANCE_BITS, round_pixels
from dcrflow.stores.coadds.kind import KIND, UNFINISHED, VERSION
from dcrflow.stores.coadds.patch_info import check_edges, read_tract
from dcrflow.stores.zarr.access import group_attributes, is_occupied, location, open_root, refuse_zip, url_of, words_of
from dcrflow.stores.zarr.arrays import COADD_CHUNK, header_cards, write_array
from dcrflow.stores.zarr.checksums import digest_of_layout, digest_of_words, document_for
from dcrflow.stores.zarr.remote import dependable


@contextmanager
def whole_coadds(store: Any, skymap: str, *, overwrite: bool = False) -> Iterator[CoaddWriter]:
    """Create a store that readers refuse until all of it is written: what is not there yet would be no data to them.

    Parameters as `create_coadds`.

    Raises
    ------
    CoaddStoreError
        If something is there, the place cannot be written, or somebody else replaced the store meanwhile.
    """
    token = "" if isinstance(store, ZipStore) else uuid4().hex  # nothing in a zip file can be replaced
    writer = create_coadds(store, skymap, overwrite=overwrite, unfinished=token)
    yield writer
    if token:
        writer.finish(token)


def create_coadds(store: Any, skymap: str, *, overwrite: bool = False, unfinished: str = "") -> CoaddWriter:
    """Create an empty DCR-coadd store.

    Parameters
    ----------
    store : str, path or zarr store
        Where.
    skymap : str
        Name of the skymap that its tracts belong to.
    overwrite : bool
        Delete a DCR-coadd store that is there already. Anything else that is there is an error and is left alone.
    unfinished : str
        A token: readers refuse the store until `CoaddWriter.finish`.

    Raises
    ------
    CoaddStoreError
        If something is there, or the place cannot be written.
    """
    where = location(store)
    refuse_zip(where, CoaddStoreError)
    try:
        occupied = is_occupied(where)
    except Exception as error:
        raise CoaddStoreError(f"cannot look at {url_of(where)}: {words_of(error)}") from error
    if occupied and not overwrite:
        raise CoaddStoreError(f"{url_of(where)} exists already; choose another place, or overwrite it on purpose")
    if occupied:
        open_root(where, KIND, VERSION, CoaddStoreError)  # raises if it is anything else, which must not be deleted
    try:
        root = zarr.create_group(
            dependable(where),
            zarr_format=3,
            overwrite=overwrite,
            attributes={
                "dcrflow": {"kind": KIND, "version": VERSION},
                "skymap": skymap,
                **({UNFINISHED: unfinished} if unfinished else {}),
            },
        )
    except Exception as error:
        raise CoaddStoreError(
            f"cannot create {url_of(where)}: {words_of(error)}; give a place that can be written"
        ) from error
    return CoaddWriter(root)


def open_writer(store: Any) -> CoaddWriter:
    """Open a DCR-coadd store to add patches to it. Several processes may do so, each for its own patches.

    Raises
    ------
    CoaddStoreError
        If there is no such store, or it cannot be written.
    """
    where = location(store)
    refuse_zip(where, CoaddStoreError)
    return CoaddWriter(open_root(where, KIND, VERSION, CoaddStoreError, mode="r+"))


class CoaddWriter:
    """A DCR-coadd store, open for writing; make one with `create_coadds` or `open_writer`."""

    def __init__(self, root: zarr.Group) -> None:
        self._root = root
        self._tracts: dict[int, Tract] = {}

    def __repr__(self) -> str:
        return f"<CoaddWriter {self.url}>"

    @property
    def url(self) -> str:
        """Where it is."""
        return url_of(location(self._root))

    def finish(self, token: str) -> None:
        """Let readers have a store that was created as unfinished.

        Raises
        ------
        CoaddStoreError
            If somebody else replaced it meanwhile.
        """
        try:
            root = zarr.open_group(self._root.store, path=self._root.path, mode="r+", use_consolidated=False)
            attributes = root.attrs.asdict()
            if attributes.pop(UNFINISHED, None) == token:
                root.attrs.put(attributes)
                return
        except Exception as error:
            raise CoaddStoreError(f"{self.url}: cannot finish the store: {words_of(error)}") from error
        raise CoaddStoreError(
            f"{self.url} was replaced by somebody else while it was written; write to another place, or again"
        )

    def write_tract(self, tract: Tract) -> None:
        """Write a tract's geometry; this comes before its patches.

        Raises
        ------
        CoaddStoreError
            If the store has the tract already, or cannot be written.
        """
        attributes: dict[str, Any] = {
            "wcs": header_cards(tract.wcs.header),
            "bbox": tract.bbox.as_list(),
            "patch_inner": list(tract.patch_inner),
            "patch_border": tract.patch_border,
            "num_patches": list(tract.num_patches),
        }
        if not tract.clipped:
            attributes["patches_clipped"] = False
        try:
            self._root.create_group(str(tract.tract), attributes=attributes)
        except zarr.errors.ContainsGroupError as error:
            raise CoaddStoreError(f"{self.url} has tract {tract.tract} already; a tract is written once") from error
        except OSError as error:
            raise CoaddStoreError(f"{self.url}: cannot write tract {tract.tract}: {words_of(error)}") from error
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
        precision: float | None = None,
        count: NDArray[np.int16] | None = None,
        about: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> None:
        """Write a patch's subfilter coadds; a patch whose writing was interrupted is written anew.

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
            Names and bits of the planes; NO_DATA gets a free bit where it has none.
        subfilter_edges : sequence of (float, float)
            nm; consecutive subfilters share an edge.
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
            Tract pixel position (x, y) of each node; the patch's centre if left out, which goes with one node.
        precision : float, optional
            Steps a sigma of the noise to which image and variance are rounded, so that they compress to a third; every
            bit is kept otherwise. See `dcrflow.kernels.rounding`.
        count : ndarray of int16, shape (height, width), optional
            Visits that went into each pixel.
        about : mapping, optional
            More attributes of the patch: where it comes from.
        overwrite : bool
            Replace the patch if it is there.

        Raises
        ------
        ValueError
            If a shape does not fit the patch, or the edges do not follow each other.
        CoaddStoreError
            If the patch is there already, its tract is not, or the store cannot be written.
        """
        if tract_id not in self._tracts:
            self._tracts[tract_id] = read_tract(self._root, tract_id, self.url)
        tract = self._tracts[tract_id]
        box = tract.patch(patch_id).bbox
        where = f"{self.url}, tract {tract_id} patch {patch_id} band {band}"
        edges = check_edges(np.asarray(subfilter_edges, np.float64), where, ValueError)
        stack, either = (len(edges), *box.shape), (box.shape, (len(edges), *box.shape))
        image = _fitting("image", image, np.float32, (stack,), where)
        variance = _fitting("variance", variance, np.float32, either, where)
        mask = _fitting("mask", mask, np.int32, either, where)
        steps: list[float] = []
        if precision is not None:
            image, variance, steps = _rounded(image, variance, precision)
        arrays = _pixel_variables(image, variance, mask, _with_no_data(planes), edges, box)
        arrays += _optional_variables(psf, psf_nodes, count, box, where)
        attributes: dict[str, Any] = {
            **(about or {}),
            "band": band,
            "physical_filter": physical_filter,
            "units": "nJy",
            "photometric_zero_point": float(photometric_zero_point),
            "wcs": header_cards(tract.wcs.header),
            "tract": tract_id,
            "patch": patch_id,
            "effective_wavelength": float(effective_wavelength),
            "bandwidth": float(bandwidth),
        }
        if transmission is not None:
            attributes["transmission"] = {k: [float(v) for v in transmission[k]] for k in ("wavelength", "throughput")}
        if precision is not None:
            attributes["precision"] = {
                "steps_per_sigma": float(precision), "block": BLOCK, "step": steps, "variance_bits": VARIANCE_BITS,
            }  # fmt: skip
        path = f"{tract_id}/{patch_id}/{band}"
        if not overwrite and "band" in (group_attributes(self._root, [path])[0] or {}):
            raise CoaddStoreError(f"{where} is there already; overwrite it on purpose, or write another")
        self._write_group(path, arrays, attributes, where)

    def _write_group(self, path: str, arrays: Sequence[_Variable], attributes: dict[str, Any], where: str) -> None:
        """Write a patch's group; its attributes last, where the store allows it."""
        try:
            last = self._root.store.supports_deletes  # in a zip file nothing can be written twice
            group = self._root.create_group(path, overwrite=last, attributes={} if last else attributes)
            documents = {}
            for v in arrays:
                dims = v.dims[-v.values.ndim :]
                array = write_array(
                    group, v.name, dims, v.values, fill=v.fill, chunk=COADD_CHUNK, attributes=v.attributes
                )
                documents[v.name] = document_for(array)
            if last:
                said = {name: document["attributes"] for name, document in documents.items()}
                attributes["layout_crc32"] = digest_of_layout(documents)
                attributes["attributes_crc32"] = digest_of_words(attributes, said)
                group.update_attributes(attributes)
        except OSError as error:
            raise CoaddStoreError(f"{where}: cannot write it: {words_of(error)}") from error


_IMAGE = ("subfilter", "y", "x")


def _rounded(
    image: NDArray[np.float32], variance: NDArray[np.float32], precision: float
) -> tuple[NDArray[np.float32], NDArray[np.float32], list[float]]:
    """Copies of image and variance, rounded; the smallest and the largest step, nJy."""
    image, spread = image.copy(), np.broadcast_to(variance, image.shape).copy()
    found = [round_pixels(i, v, precision) for i, v in zip(image, spread, strict=True)]
    steps = [step for pair in found if pair is not None for step in pair]
    return image, spread if variance.ndim == 3 else spread[0], [min(steps), max(steps)] if steps else []


class _Variable(NamedTuple):
    name: str
    dims: tuple[str, ...]
    values: NDArray[Any]
    fill: Any
    attributes: dict[str, Any]


def _pixel_variables(
    image: NDArray[np.float32],
    variance: NDArray[np.float32],
    mask: NDArray[np.int32],
    planes: Mapping[str, int],
    edges: NDArray[np.float64],
    box: Box,
) -> list[_Variable]:
    """Images and coordinates of a patch, as they are written."""
    pixel = {"units": "pixel"}
    return [
        _Variable("image", _IMAGE, image, np.nan, {"units": "nJy"}),
        _Variable("variance", _IMAGE, variance, np.nan, {"units": "nJy2"}),
        _Variable("mask", _IMAGE, mask, 1 << planes[NO_DATA], flag_attributes(planes)),
        _Variable("x", ("x",), np.arange(box.x0, box.x1, dtype=np.int64), 0, pixel),
        _Variable("y", ("y",), np.arange(box.y0, box.y1, dtype=np.int64), 0, pixel),
        _Variable("subfilter", ("subfilter",), edges.mean(axis=1), np.nan, {"units": "nm"}),
        _Variable("subfilter_edges", ("subfilter", "edge"), edges, np.nan, {"units": "nm"}),
    ]


def _optional_variables(
    psf: NDArray[np.float32] | None,
    nodes: tuple[ArrayLike, ArrayLike] | None,
    count: NDArray[np.int16] | None,
    box: Box,
    where: str,
) -> list[_Variable]:
    """Visits a pixel and the PSF, of those that are given."""
    found = []
    if count is not None:
        fitting = _fitting("count", count, np.int16, (box.shape,), where)
        found.append(_Variable("count", ("y", "x"), fitting, 0, {"long_name": "visits that went into a pixel"}))
    if psf is not None:
        centre = [box.x0 + (box.width - 1) / 2], [box.y0 + (box.height - 1) / 2]
        found += _psf_variables(psf, nodes or centre, where)
    return found


def _psf_variables(psf: NDArray[np.float32], nodes: Any, where: str) -> list[_Variable]:
    """Kernels of the PSF and the positions of their nodes, as they are written."""
    kernels, x, y = _psf(psf, nodes, where)
    pixel = {"units": "pixel"}
    return [
        _Variable("psf", ("psf_node", "psf_y", "psf_x"), kernels, np.nan, {}),
        _Variable("psf_node_x", ("psf_node",), x, np.nan, pixel),
        _Variable("psf_node_y", ("psf_node",), y, np.nan, pixel),
    ]


def _with_no_data(planes: Mapping[str, int]) -> dict[str, int]:
    """The planes, NO_DATA among them: a lost chunk of a mask must read as no data."""
    free = next(bit for bit in range(32) if bit not in planes.values())
    return {**planes} if NO_DATA in planes else {**planes, NO_DATA: free}


def _fitting(
    name: str, values: ArrayLike, dtype: type, shapes: tuple[tuple[int, ...], ...], where: str
) -> NDArray[Any]:
    array: NDArray[Any] = np.asarray(values, dtype)
    if array.shape not in shapes:
        expected = " or ".join(str(s) for s in dict.fromkeys(shapes))
        raise ValueError(f"{where}: {name} has shape {array.shape}, expected {expected}")
    return array


def _psf(
    psf: ArrayLike, nodes: tuple[ArrayLike, ArrayLike], where: str
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    kernels = np.asarray(psf, np.float32)
    x, y = (np.asarray(v, np.float64) for v in nodes)
    if kernels.ndim != 3 or not all(n % 2 for n in kernels.shape[1:]) or not x.shape == y.shape == kernels.shape[:1]:
        raise ValueError(
            f"{where}: psf has shape {kernels.shape} with nodes {x.shape} and {y.shape}, expected (nodes, odd, odd) "
            "and as many x and y"
        )
    return kernels, x, y
