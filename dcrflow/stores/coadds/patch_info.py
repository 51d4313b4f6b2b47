"""Metadata of tracts and patches in a DCR-coadd store: read and checked, without pixels."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.api.asynchronous import open_group
from zarr.storage import StorePath

from dcrflow.base.errors import CoaddStoreError, WcsError, brief
from dcrflow.base.masks import planes_from_attributes
from dcrflow.compat.zarr_sync import sync
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.model.subfilter_noise import SubfilterNoise
from dcrflow.stores.zarr.access import attribute, words_of
from dcrflow.stores.zarr.arrays import header_cards, reading, without_fill
from dcrflow.stores.zarr.packing import packing

Arrays = dict[str, zarr.AsyncArray[Any]]
Transmission = tuple[tuple[float, ...], tuple[float, ...]]

_SAME_PIXEL = 1e-3  # pixels; largest difference between a patch's WCS and its tract's

_LAYOUT = {
    "image": (("subfilter", "y", "x"),),
    "variance": (("y", "x"), ("subfilter", "y", "x")),
    "mask": (("y", "x"), ("subfilter", "y", "x")),
    "x": (("x",),),
    "y": (("y",),),
    "subfilter_edges": (("subfilter", "edge"),),
    "psf": (("psf_node", "psf_y", "psf_x"),),
}
_OPTIONAL = ("psf",)
_INTEGER = ("mask", "x", "y")
_READ = ("x", "y", "subfilter_edges")
_NAN = ("image", "variance")
_MOST_SUBFILTERS, _MOST_OF_PSF = 64, 2048  # nodes of a PSF, and pixels a side
_SMALL, _LARGEST_CHUNK = 1 << 20, 1 << 25  # entries of a chunk of anything, and of pixels: 134 MB of float32
_NARROWEST = 0.1  # nm, of a subfilter
_LARGEST_NUMBER = 1e6  # nm or magnitudes
_ZERO_POINT = 31.4  # AB magnitude of 1 nJy


@dataclass(frozen=True)
class PatchInfo:
    """Metadata of a patch in one band.

    Parameters
    ----------
    tract, patch : int
        The data ID.
    band, physical_filter : str
        The latter may be empty.
    bbox : Box
        The patch's outer bounding box, tract pixels, from the coordinates ``x`` and ``y``.
    units : str
        Of the image.
    photometric_zero_point : float
        AB magnitude of one unit.
    effective_wavelength, bandwidth : float
        nm.
    subfilter_edges : tuple of (float, float)
        nm; consecutive subfilters share an edge.
    transmission : (tuple of float, tuple of float) or None
        Wavelength (nm) and throughput, if the store has it.
    planes : mapping of str to int
        Mask planes, name to bit.
    variance_per_subfilter, mask_per_subfilter : bool
        Whether these have the subfilter dimension.
    chunks : tuple of int
        Inner chunks of the image.
    psf_shape : tuple of 3 int, or None
        Nodes, height and width of the PSF kernels, if the store has any.
    refraction : str or None
        The formula of the refraction that the coadds were built with, where the store says it.
    subfilter_noise : SubfilterNoise or None
        How the noise of the subfilters belongs together, where the store says it; independent pixels otherwise.
    """

    tract: int
    patch: int
    band: str
    physical_filter: str
    bbox: Box
    units: str
    photometric_zero_point: float
    effective_wavelength: float
    bandwidth: float
    subfilter_edges: tuple[tuple[float, float], ...]
    transmission: Transmission | None
    planes: Mapping[str, int]
    variance_per_subfilter: bool
    mask_per_subfilter: bool
    chunks: tuple[int, ...]
    psf_shape: tuple[int, ...] | None = None
    refraction: str | None = None
    subfilter_noise: SubfilterNoise | None = None

    @property
    def num_subfilters(self) -> int:
        """Number of subfilters."""
        return len(self.subfilter_edges)


def read_tract(root: zarr.Group, tract: int, url: str) -> Tract:
    """Read a tract's geometry from the attributes of its group.

    Raises
    ------
    CoaddStoreError
        If there is no such group, or its attributes are missing or unusable.
    """
    where = f"{url}, tract {tract}"
    group = _group(root.store_path / str(tract), where)
    cards = attribute(group, where, "wcs", dict, CoaddStoreError)
    numbers: dict[str, list[int]] = {}
    for name, length in (("bbox", 4), ("patch_inner", 2), ("num_patches", 2)):
        value = attribute(group, where, name, list, CoaddStoreError)
        if len(value) != length or not all(isinstance(v, int) and (v > 0 or name == "bbox") for v in value):
            kind = "integers" if name == "bbox" else "positive integers"
            raise CoaddStoreError(f"{where}: attribute {name!r} is {value!r}, expected {length} {kind}")
        numbers[name] = value
    border = attribute(group, where, "patch_border", int, CoaddStoreError)
    try:
        wcs, bbox = SkyWcs.from_header(cards), Box(*numbers["bbox"])
    except (WcsError, ValueError) as error:
        what = "attribute 'wcs': " if isinstance(error, WcsError) else ""
        raise CoaddStoreError(f"{where}: {what}{error}") from error
    if bbox.is_empty:
        raise CoaddStoreError(f"{where}: attribute 'bbox' is {bbox.as_list()}, expected a box with pixels in it")
    inner, count = numbers["patch_inner"], numbers["num_patches"]
    if not all((n - 1) * w < size <= n * w for n, w, size in zip(count, inner, bbox.shape[::-1], strict=True)):
        raise CoaddStoreError(
            f"{where}: num_patches {brief(count)} of patch_inner {brief(inner)} do not cover bbox {bbox.as_list()} and "
            "no more; one of the three is wrong"
        )
    if not 0 <= border <= max(bbox.shape):
        raise CoaddStoreError(
            f"{where}: attribute 'patch_border' is {brief(border)}, expected 0 to {max(bbox.shape)}, the tract's side"
        )
    clipped = group.attrs.get("patches_clipped", True) is not False
    return Tract(tract, wcs, bbox, (inner[0], inner[1]), border, (count[0], count[1]), clipped)


def read_patch_info(root: zarr.Group, url: str, tract: Tract, patch: int, band: str) -> tuple[Arrays, PatchInfo]:
    """Read and check the metadata and coordinates of a patch.

    Returns
    -------
    arrays : dict of str to zarr.AsyncArray
        The patch's variables, open for reading; ``psf`` only if there is one.
    info : PatchInfo

    Raises
    ------
    CoaddStoreError
        If the patch is not in the store, or its layout is wrong.
    """
    where = f"{url}, tract {tract.tract} patch {patch} band {band}"
    group = open_patch(root, tract.tract, patch, band, where)
    try:
        expected = tract.patch(patch).bbox
    except LookupError as error:
        raise CoaddStoreError(f"{where}: {error}") from None
    arrays, values = _open_arrays(group, where, expected)
    for name in ("x", "y"):
        if len(values[name]) == 0 or np.any(np.diff(values[name]) != 1):
            raise CoaddStoreError(f"{where}: {name} must be pixel indices that increase by 1, one or more")
    bbox = Box(int(values["x"][0]), int(values["y"][0]), len(values["x"]), len(values["y"]))
    edges = check_edges(values["subfilter_edges"].astype(np.float64), where, CoaddStoreError)
    _check_shapes(arrays, where, len(edges), bbox)
    _check_place(group, where, tract, patch, bbox, expected)
    planes = _planes(arrays["mask"], where)
    numbers = _numbers(group, where)
    for name, wanted, remedy in (("units", "nJy", "calibrate the coadds"), ("band", band, "name the group after it")):
        found = attribute(group, where, name, str, CoaddStoreError)
        if found != wanted:
            raise CoaddStoreError(f"{where}: attribute {name!r} is {found!r}, expected {wanted!r}; {remedy}")
    return arrays, PatchInfo(
        tract=tract.tract,
        patch=patch,
        band=band,
        physical_filter=str(group.attrs.get("physical_filter", "")),
        bbox=bbox,
        units="nJy",
        subfilter_edges=tuple((float(low), float(high)) for low, high in edges),
        transmission=_transmission(group, where),
        planes=planes,
        variance_per_subfilter=arrays["variance"].ndim == 3,
        mask_per_subfilter=arrays["mask"].ndim == 3,
        chunks=tuple(arrays["image"].chunks),
        psf_shape=arrays["psf"].shape if "psf" in arrays else None,
        refraction=said if isinstance(said := group.attrs.get("refraction"), str) else None,
        subfilter_noise=_subfilter_noise(group, where, len(edges)),
        photometric_zero_point=numbers["photometric_zero_point"],
        effective_wavelength=numbers["effective_wavelength"],
        bandwidth=numbers["bandwidth"],
    )


def _check_shapes(arrays: Arrays, where: str, num_subfilters: int, bbox: Box) -> None:
    """Check the shapes of images and of the PSF against the coordinates."""
    for name in ("image", "variance", "mask"):
        shape = arrays[name].shape
        whole = (num_subfilters, *bbox.shape)[-len(shape) :]
        if shape != whole:
            raise CoaddStoreError(f"{where}: variable {name!r} has shape {shape}, expected {whole}")
    psf = arrays["psf"].shape if "psf" in arrays else None
    if psf is not None and not (psf[0] > 0 and psf[1] % 2 and psf[2] % 2):
        raise CoaddStoreError(f"{where}: variable 'psf' has shape {psf}, expected nodes and odd sides")


def _planes(mask: zarr.AsyncArray[Any], where: str) -> dict[str, int]:
    """Mask planes, name to bit, if the mask's dtype has these bits."""
    try:
        planes = planes_from_attributes(dict(mask.attrs))
    except ValueError as error:
        raise CoaddStoreError(f"{where}: variable 'mask': {error}") from error
    kind = mask.dtype
    beyond = sorted(name for name, bit in planes.items() if bit >= 8 * kind.itemsize)
    if beyond:
        raise CoaddStoreError(f"{where}: variable 'mask' is of {kind}, which has no bits for {', '.join(beyond)}")
    return planes


def _numbers(group: zarr.AsyncGroup, where: str) -> dict[str, float]:
    """The attributes of a patch that are positive numbers."""
    numbers = {}
    for name in ("photometric_zero_point", "effective_wavelength", "bandwidth"):
        found = attribute(group, where, name, (int, float), CoaddStoreError)
        if not 0 < found < _LARGEST_NUMBER:
            raise CoaddStoreError(f"{where}: attribute {name!r} is {brief(found)}, expected a positive number")
        number = float(found)
        if name == "photometric_zero_point" and abs(number - _ZERO_POINT) > 0.01:
            raise CoaddStoreError(
                f"{where}: attribute {name!r} is {number}, expected {_ZERO_POINT}, that of nJy; calibrate the coadds"
            )
        numbers[name] = number
    return numbers


def open_patch(root: zarr.Group, tract: int, patch: int, band: str, where: str) -> zarr.AsyncGroup:
    """Open a patch's group in a band; `CoaddStoreError` if it is not there."""
    return _group(root.store_path / f"{tract}/{patch}/{band}", where)


def _group(path: StorePath, where: str) -> zarr.AsyncGroup:
    try:
        return sync(open_group(path, mode="r", zarr_format=3, use_consolidated=False))
    except FileNotFoundError as error:  # zarr's GroupNotFoundError is one
        raise CoaddStoreError(f"{where}: there is no such group; is the store complete?") from error
    except Exception as error:
        raise CoaddStoreError(f"{where}: cannot open the group: {words_of(error)}") from error


def _open_arrays(group: zarr.AsyncGroup, where: str, bbox: Box) -> tuple[Arrays, dict[str, NDArray[Any]]]:
    """Open a patch's variables and read its coordinates and edges, all requests in flight together.

    A pixel whose chunk is lost is NaN, whatever the fill value of a foreign store: what is not there is no data.
    """

    async def one(name: str) -> tuple[zarr.AsyncArray[Any], Any] | None:
        try:
            array = await group.getitem(name)
        except KeyError:
            if name in _OPTIONAL:
                return None
            raise CoaddStoreError(
                f"{where} has no variable {name!r}; if writing it was interrupted, write it again"
            ) from None
        except Exception as error:
            raise CoaddStoreError(f"{where}: cannot open variable {name!r}: {words_of(error)}") from error
        if not isinstance(array, zarr.AsyncArray):
            raise CoaddStoreError(f"{where}: {name!r} is a group, expected a variable")
        _check_array(array, name, where, bbox)
        if name in _NAN:
            array = without_fill(array)
        try:
            return array, (await array.getitem(...) if name in _READ else None)
        except Exception as error:
            raise CoaddStoreError(f"{where}: cannot read variable {name!r}: {words_of(error)}") from error

    async def every() -> list[tuple[zarr.AsyncArray[Any], Any] | None]:
        return await asyncio.gather(*(one(name) for name in _LAYOUT))

    with reading():
        opened = sync(every())
    found = {name: got for name, got in zip(_LAYOUT, opened, strict=True) if got is not None}
    return {n: a for n, (a, _) in found.items()}, {n: np.asarray(found[n][1]) for n in _READ}


def _check_array(array: zarr.AsyncArray[Any], name: str, where: str, bbox: Box) -> None:
    """Check what is declared, sizes first of all: nothing is allocated for what cannot be."""
    dims = tuple(str(d) for d in getattr(array.metadata, "dimension_names", None) or ())
    if dims not in _LAYOUT[name]:
        expected = " or ".join(str(d) for d in _LAYOUT[name])
        raise CoaddStoreError(f"{where}: variable {name!r} has dimensions {dims}, expected {expected}")
    kinds, expected = ("iu", "an integer") if name in _INTEGER else ("f", "a floating-point")
    if array.dtype.kind not in kinds:
        raise CoaddStoreError(f"{where}: variable {name!r} has dtype {array.dtype}, expected {expected} type")
    if name in _NAN and (what := packing(dict(array.attrs), unit=name == "image")):
        raise CoaddStoreError(f"{where}: variable {name!r} has {what}")
    most = {"y": bbox.height, "x": bbox.width, "subfilter": _MOST_SUBFILTERS, "edge": 2}
    beyond = [d for d, n in zip(dims, array.shape, strict=True) if n > most.get(d, _MOST_OF_PSF)]
    if beyond or math.prod(array.shape) > math.prod(most.get(d, _MOST_OF_PSF) for d in dims):
        raise CoaddStoreError(
            f"{where}: variable {name!r} has shape {array.shape}, expected at most "
            f"{tuple(most.get(d, _MOST_OF_PSF) for d in dims)} of a patch of {bbox.width} x {bbox.height} pixels"
        )
    try:
        chunks = array.chunks
    except NotImplementedError:
        raise CoaddStoreError(
            f"{where}: variable {name!r} has chunks of different sizes (rectilinear), expected one size; write it "
            "again with regular chunks"
        ) from None
    most_of_chunk = max(4 * math.prod(array.shape), _LARGEST_CHUNK if dims[-2:] == ("y", "x") else _SMALL)
    if math.prod(chunks) > most_of_chunk:
        raise CoaddStoreError(
            f"{where}: variable {name!r} has chunks of {chunks}, far beyond its shape {array.shape}; write it again "
            f"with chunks of at most {most_of_chunk} values"
        )


def check_edges(edges: NDArray[np.float64], where: str, error: type[Exception]) -> NDArray[np.float64]:
    """Edges of subfilters, shape (num_subfilters, 2), nm: as they are if they follow each other, else `error`."""
    good = edges.ndim == 2 and edges.shape[0] > 0 and edges.shape[1] == 2 and bool(np.all(edges[:, 0] < edges[:, 1]))
    if not good or not np.allclose(edges[1:, 0], edges[:-1, 1], rtol=1e-9):
        raise error(
            f"{where}: subfilter_edges are {edges.tolist()}, expected increasing (low, high) pairs that share edges"
        )
    if np.any(edges[:, 1] - edges[:, 0] < _NARROWEST):
        raise error(f"{where}: subfilter_edges are {edges.tolist()}, expected subfilters of {_NARROWEST} nm or more")
    return edges


def _check_place(group: zarr.AsyncGroup, where: str, tract: Tract, patch: int, bbox: Box, expected: Box) -> None:
    """Check the patch's pixels, IDs and WCS against its tract's."""
    attributes: dict[str, Any] = dict(group.attrs)
    for name, number in (("tract", tract.tract), ("patch", patch)):
        if attributes.get(name, number) != number:
            raise CoaddStoreError(f"{where}: attribute {name!r} is {attributes[name]!r}, expected {number}")
    if bbox != expected:
        raise CoaddStoreError(f"{where}: its x and y say {bbox}, the tract's geometry {expected}; one of them is wrong")
    cards = attributes.get("wcs")
    if cards is None or cards == header_cards(tract.wcs.header):
        return
    try:
        wcs = SkyWcs.from_header(cards)
    except WcsError as error:
        raise CoaddStoreError(f"{where}: attribute 'wcs': {error}") from error
    x, y = bbox.outline(1)
    found_x, found_y = tract.wcs.sky_to_pixel(*wcs.pixel_to_sky(x, y))
    off = float(np.max(np.hypot(found_x - x, found_y - y)))
    if not off <= _SAME_PIXEL:
        raise CoaddStoreError(
            f"{where}: its wcs is {off:.3g} pixels off the tract's, expected the tract's own, in tract pixels"
        )


def _transmission(group: zarr.AsyncGroup, where: str) -> Transmission | None:
    curve: Any = group.attrs.get("transmission")
    if curve is None:
        return None
    try:
        wavelength, throughput = (tuple(float(v) for v in curve[k]) for k in ("wavelength", "throughput"))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise CoaddStoreError(
            f"{where}: attribute 'transmission' must be {{'wavelength': [...], 'throughput': [...]}}"
        ) from error
    return wavelength, throughput


def _subfilter_noise(group: zarr.AsyncGroup, where: str, num_subfilters: int) -> SubfilterNoise | None:
    found: Any = group.attrs.get("subfilter_noise")
    if found is None:
        return None
    try:
        return SubfilterNoise.from_attribute(found, num_subfilters)
    except ValueError as error:
        raise CoaddStoreError(f"{where}: attribute 'subfilter_noise' is {brief(found)}; {error}") from None
