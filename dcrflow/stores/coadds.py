"""The DCR-coadd store, for reading: subfilter coadds by tract, patch and band."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.sync import sync

from dcrflow.errors import CoaddStoreError, WcsError
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch, Tract
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.masks import NO_DATA, planes_from_attributes, translate
from dcrflow.pixels import PatchPixels
from dcrflow.stores.access import attribute, location, open_root, url_of

KIND, VERSION = "dcr-coadds", 1


@dataclass(frozen=True)
class PatchInfo:
    """What the store says of a patch in one band, without its pixels.

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
    transmission: tuple[tuple[float, ...], tuple[float, ...]] | None
    planes: Mapping[str, int]
    variance_per_subfilter: bool
    mask_per_subfilter: bool
    chunks: tuple[int, ...]

    @property
    def num_subfilters(self) -> int:
        """Number of subfilters."""
        return len(self.subfilter_edges)


def open_coadds(store: DcrCoadds | Any) -> DcrCoadds:
    """Open a DCR-coadd store for reading.

    Parameters
    ----------
    store : str, path, zarr store, zarr.Group or DcrCoadds
        A directory, a zip file, a URL that fsspec knows, or any of zarr's store objects.

    Raises
    ------
    CoaddStoreError
        If there is no such store, or it is none of DCR coadds.
    """
    return store if isinstance(store, DcrCoadds) else DcrCoadds(location(store))


class DcrCoadds:
    """A DCR-coadd store, open for reading; cheap to open, safe to send to other processes.

    Parameters
    ----------
    store : str or zarr store
        See `open_coadds`.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._infos: dict[tuple[int, int, str], PatchInfo] = {}
        self._arrays: dict[tuple[int, int, str], dict[str, zarr.Array[Any]]] = {}
        self._root = open_root(store, KIND, VERSION, CoaddStoreError)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._store,)

    def __repr__(self) -> str:
        return f"<DcrCoadds {self.url}: {len(self.tracts)} tracts, bands {' '.join(self.bands) or '(none)'}>"

    def __dask_tokenize__(self) -> str:
        return self.digest

    @property
    def url(self) -> str:
        """Where it is."""
        return url_of(self._store)

    @property
    def skymap(self) -> str:
        """Name of the skymap; empty if it has none."""
        return str(self._root.attrs.asdict().get("skymap", ""))

    @cached_property
    def digest(self) -> str:
        """A hash of where the store is and which tracts it has; says nothing of its pixels."""
        words = self.url, [(t.tract, t.wcs.key, t.bbox, t.patch_inner, t.patch_border) for t in self.tracts.values()]
        return blake2b(repr(words).encode(), digest_size=16).hexdigest()

    @cached_property
    def _names(self) -> dict[int, dict[int, tuple[str, ...]]]:
        """tract -> patch -> bands, from listing the store once."""

        async def names(prefix: str) -> list[str]:
            return sorted([name.strip("/") async for name in self._root.store.list_dir(prefix)])

        base = f"{self._root.path}/".lstrip("/")

        async def collect() -> dict[int, dict[int, tuple[str, ...]]]:
            tracts = [n for n in await names(base.rstrip("/")) if n.isdecimal()]
            patches = await asyncio.gather(*(names(f"{base}{t}") for t in tracts))
            found: dict[int, dict[int, tuple[str, ...]]] = {}
            for tract, members in zip(tracts, patches, strict=True):
                numbers = [m for m in members if m.isdecimal()]
                bands = await asyncio.gather(*(names(f"{base}{tract}/{p}") for p in numbers))
                found[int(tract)] = {
                    int(p): tuple(b for b in some if not b.startswith(("zarr.json", ".", "__")))
                    for p, some in sorted(zip(numbers, bands, strict=True), key=lambda item: int(item[0]))
                }
            return dict(sorted(found.items()))

        return sync(collect())

    @cached_property
    def tracts(self) -> Mapping[int, Tract]:
        """The tracts, by id.

        Raises
        ------
        CoaddStoreError
            If a tract's attributes are missing or unusable.
        """
        return MappingProxyType({number: read_tract(self._root, number, self.url) for number in self._names})

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """All bands that any patch has."""
        return tuple(sorted({b for patches in self._names.values() for bands in patches.values() for b in bands}))

    def require_band(self, band: str) -> None:
        """Raise a `CoaddStoreError` that names the bands there are, if no patch has this one."""
        if band not in self.bands:
            raise CoaddStoreError(
                f"{self.url} has no coadds in band {band!r}; its bands are {', '.join(self.bands) or '(none)'}"
            )

    def patches(self, tract: int, band: str) -> tuple[Patch, ...]:
        """The patches of a tract that are there in a band, by id; their boxes as the skymap has them."""
        geometry = self.tracts[tract]
        count = geometry.num_patches[0] * geometry.num_patches[1]
        present = [p for p, bands in self._names[tract].items() if band in bands]
        outside = [p for p in present if p >= count]
        if outside:
            raise CoaddStoreError(f"{self.url}: tract {tract} has {count} patches, found group {tract}/{outside[0]}")
        return tuple(geometry.patch(p) for p in present)

    def info(self, tract: int, patch: int, band: str) -> PatchInfo:
        """What the store says of a patch; read once.

        Raises
        ------
        CoaddStoreError
            If the patch is not there or not laid out as it should be; says what is wrong where.
        """
        key = (tract, patch, band)
        if key not in self._infos:
            group, where = self._group(*key)
            self._arrays[key], self._infos[key] = _describe(group, where, *key, self.tracts[tract])
        return self._infos[key]

    def _group(self, tract: int, patch: int, band: str) -> tuple[zarr.Group, str]:
        where = f"{self.url}, tract {tract} patch {patch} band {band}"
        try:
            group = self._root[f"{tract}/{patch}/{band}"]
        except Exception as error:
            raise CoaddStoreError(f"{where}: no such group ({type(error).__name__})") from error
        if not isinstance(group, zarr.Group):
            raise CoaddStoreError(f"{where} is an array, expected a group")
        return group, where

    def read(self, tract: int, patch: int, band: str, box: Box, planes: Mapping[str, int]) -> PatchPixels:
        """Read part of a patch: the chunks under it, each once.

        Parameters
        ----------
        tract, patch : int
            The data ID.
        band : str
            Of the coadds.
        box : Box
            The part, absolute tract pixels, within the patch's bounding box.
        planes : mapping of str to int
            The bits that the mask shall have; all of the patch's planes must be in it.

        Returns
        -------
        PatchPixels
            The image is NaN where the mask says NO_DATA.

        Raises
        ------
        CoaddStoreError
            If a chunk cannot be read or fails its checksum; names patch, variable and region.
        """
        info = self.info(tract, patch, band)
        rows, columns = box.slices(info.bbox)
        arrays = self._arrays[(tract, patch, band)]
        found: dict[str, NDArray[Any]] = {}
        for name, dtype in (("image", np.float32), ("variance", np.float32), ("mask", np.int32)):
            array = arrays[name]
            try:
                values = array[..., rows, columns]
            except Exception as error:
                raise CoaddStoreError(
                    f"{self.url}, tract {tract} patch {patch} band {band}: cannot read {name} at {box}: "
                    f"{type(error).__name__}: {' '.join(str(error).split())}; restore the store, or make the coadd again"
                ) from error
            values = np.asarray(values, dtype)
            found[name] = values if values.ndim == 3 else values[None]
        mask = translate(found["mask"], info.planes, planes)
        image = found["image"]
        if NO_DATA in info.planes:
            gone = (mask & np.int32(1 << planes[NO_DATA])) != 0
            if gone.any():
                image = image.copy() if not image.flags.writeable else image
                image[np.broadcast_to(gone, image.shape)] = np.nan
        return PatchPixels(box, image, found["variance"], mask)


def read_tract(root: zarr.Group, number: int, url: str) -> Tract:
    """Read a tract's geometry from its group's attributes."""
    where = f"{url}, tract {number}"
    try:
        group = root[str(number)]
    except KeyError as error:
        raise CoaddStoreError(f"{where} is not a zarr group") from error
    if not isinstance(group, zarr.Group):
        raise CoaddStoreError(f"{where} is an array, expected a group")
    cards = attribute(group, where, "wcs", dict, CoaddStoreError)
    numbers = {}
    for name, length in (("bbox", 4), ("patch_inner", 2), ("num_patches", 2)):
        value = attribute(group, where, name, list, CoaddStoreError)
        if len(value) != length or not all(isinstance(v, int) for v in value):
            raise CoaddStoreError(f"{where}: attribute {name!r} is {value!r}, expected {length} integers")
        numbers[name] = value
    border = attribute(group, where, "patch_border", int, CoaddStoreError)
    try:
        wcs = SkyWcs.from_header(cards)
        bbox = Box(*numbers["bbox"])
    except (WcsError, ValueError) as error:
        raise CoaddStoreError(f"{where}: {error}") from error
    inner, count = numbers["patch_inner"], numbers["num_patches"]
    return Tract(number, wcs, bbox, (inner[0], inner[1]), border, (count[0], count[1]))


_OPEN: dict[str, DcrCoadds] = {}


def _reopen(store: Any) -> DcrCoadds:
    """Unpickle: one open store a process for each URL, so that metadata is read once."""
    if not isinstance(store, str):
        return DcrCoadds(store)
    if store not in _OPEN:
        _OPEN[store] = DcrCoadds(store)
    return _OPEN[store]


_LAYOUT = {
    "image": (("subfilter", "y", "x"),),
    "variance": (("y", "x"), ("subfilter", "y", "x")),
    "mask": (("y", "x"), ("subfilter", "y", "x")),
    "x": (("x",),),
    "y": (("y",),),
    "subfilter_edges": (("subfilter", "edge"),),
}


def _describe(
    group: zarr.Group, where: str, tract: int, patch: int, band: str, geometry: Tract
) -> tuple[dict[str, zarr.Array[Any]], PatchInfo]:
    """Read and check a patch's metadata."""
    arrays: dict[str, zarr.Array[Any]] = {}
    for name, dims in _LAYOUT.items():
        array = group.get(name)
        if not isinstance(array, zarr.Array):
            raise CoaddStoreError(f"{where} has no variable {name!r}")
        found = tuple(str(d) for d in array.metadata.dimension_names or ())
        if found not in dims:
            raise CoaddStoreError(
                f"{where}: variable {name!r} has dimensions {found}, expected {' or '.join(map(str, dims))}"
            )
        kinds = "iu" if name in ("mask", "x", "y") else "f"
        if array.dtype.kind not in kinds:
            expected = "an integer" if kinds == "iu" else "a floating-point"
            raise CoaddStoreError(f"{where}: variable {name!r} has dtype {array.dtype}, expected {expected} type")
        arrays[name] = array
    x, y = np.asarray(arrays["x"][:]), np.asarray(arrays["y"][:])
    for name, values in (("x", x), ("y", y)):
        if len(values) == 0 or np.any(np.diff(values) != 1):
            raise CoaddStoreError(f"{where}: {name} must be pixel indices that increase by 1")
    bbox = Box(int(x[0]), int(y[0]), len(x), len(y))
    edges = np.asarray(arrays["subfilter_edges"][:], np.float64)
    number = edges.shape[0]
    for name in ("image", "variance", "mask"):
        shape = arrays[name].shape
        if shape[-2:] != bbox.shape or (len(shape) == 3 and shape[0] != number):
            raise CoaddStoreError(
                f"{where}: variable {name!r} has shape {shape}, expected {number} subfilters on {bbox.shape} pixels"
            )
    if (
        edges.shape[1:] != (2,)
        or not np.all(edges[:, 0] < edges[:, 1])
        or not np.allclose(edges[1:, 0], edges[:-1, 1], rtol=1e-9)
    ):
        raise CoaddStoreError(
            f"{where}: subfilter_edges are {edges.tolist()}, expected increasing (low, high) that share edges"
        )
    skymap_box = geometry.patch(patch).bbox
    if bbox != skymap_box:
        raise CoaddStoreError(f"{where}: its pixels are {bbox}, the tract's geometry says {skymap_box}")
    try:
        planes = planes_from_attributes(arrays["mask"].attrs.asdict())
    except ValueError as error:
        raise CoaddStoreError(f"{where}: variable 'mask': {error}") from error
    number_kinds = (int, float)
    values = {
        name: float(attribute(group, where, name, number_kinds, CoaddStoreError))
        for name in ("photometric_zero_point", "effective_wavelength", "bandwidth")
    }
    for name, value in values.items():
        if not np.isfinite(value) or (name != "photometric_zero_point" and value <= 0):
            raise CoaddStoreError(f"{where}: attribute {name!r} is {value}, expected a positive number")
    units = attribute(group, where, "units", str, CoaddStoreError)
    if units != "nJy":
        raise CoaddStoreError(f"{where}: units are {units!r}, expected 'nJy'; calibrate the coadds first")
    if (named := attribute(group, where, "band", str, CoaddStoreError)) != band:
        raise CoaddStoreError(f"{where}: attribute 'band' is {named!r}")
    return arrays, PatchInfo(
        tract=tract,
        patch=patch,
        band=band,
        physical_filter=str(group.attrs.asdict().get("physical_filter", "")),
        bbox=bbox,
        units=units,
        subfilter_edges=tuple((float(a), float(b)) for a, b in edges),
        transmission=_transmission(group, where),
        planes=planes,
        variance_per_subfilter=arrays["variance"].ndim == 3,
        mask_per_subfilter=arrays["mask"].ndim == 3,
        chunks=tuple(arrays["image"].chunks),
        **values,
    )


def _transmission(group: zarr.Group, where: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    curve = group.attrs.asdict().get("transmission")
    if curve is None:
        return None
    try:
        assert isinstance(curve, Mapping)
        wavelength, throughput = (tuple(float(v) for v in curve[k]) for k in ("wavelength", "throughput"))
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise CoaddStoreError(
            f"{where}: attribute 'transmission' must be {{'wavelength': [...], 'throughput': [...]}}"
        ) from error
    return wavelength, throughput
