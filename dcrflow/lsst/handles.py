"""DCR coadds as LSST's tools hand them over, an object a subfilter: deferred Butler datasets, or images in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from hashlib import blake2b
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.addresses import redacted
from dcrflow.base.errors import CoaddStoreError, DcrflowError, InconsistentCoaddsError
from dcrflow.base.masks import NO_DATA, merged_planes, translate
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch, Tract
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.convert import ExposureArrays, afw_box, arrays_of, box_of, kernel_of, lsst_box, wcs_of
from dcrflow.model.pixels import PatchPixels
from dcrflow.stores.coadds.patch_info import PatchInfo
from dcrflow.stores.coadds.patch_psf import PatchPsf

_UNTOLD = (1, 1)  # height and width of a read where the file's tiles are not known
_SAME_PIXEL = 1e-3  # pixels by which the WCS of a patch may differ from its tract's


@dataclass(frozen=True)
class Subfilters:
    """The subfilters of a band.

    Parameters
    ----------
    edges : tuple of (float, float)
        nm; consecutive subfilters share an edge.
    effective_wavelength, bandwidth : float
        nm.
    transmission : (tuple of float, tuple of float), optional
        Wavelength (nm) and throughput.
    """

    edges: tuple[tuple[float, float], ...]
    effective_wavelength: float
    bandwidth: float
    transmission: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @classmethod
    def even(cls, number: int, effective_wavelength: float, bandwidth: float) -> Subfilters:
        """A band cut into subfilters of equal width, as LSST does."""
        edges = np.linspace(effective_wavelength - bandwidth / 2, effective_wavelength + bandwidth / 2, number + 1)
        pairs = tuple((float(a), float(b)) for a, b in pairwise(edges))
        return cls(pairs, effective_wavelength, bandwidth)


@dataclass(frozen=True)
class _Pixel:
    """What a coadd's pixel tells of the coadd."""

    metadata: Mapping[str, Any]
    planes: Mapping[str, int]
    calibration: Any
    psf: Any = None
    tile: tuple[int, int] | None = None


@dataclass(frozen=True)
class SubfilterCoadd:
    """One subfilter's coadd of a patch; what it says of itself, but for its pixels, is read once.

    Parameters
    ----------
    tract, patch, subfilter : int
        The data ID.
    band : str
        Of the coadd.
    data : object
        A handle with ``get(component=, parameters=)``, or a masked image or exposure in memory.
    dataId : object
        The data ID as the Butler has it, if there is one.
    """

    tract: int
    patch: int
    subfilter: int
    band: str
    data: Any = field(repr=False)
    dataId: Any = field(default=None, repr=False)  # noqa: N815

    @property
    def label(self) -> str:
        """The data ID in words."""
        return f"tract {self.tract} patch {self.patch} band {self.band} subfilter {self.subfilter}"

    @property
    def _is_handle(self) -> bool:
        return hasattr(self.data, "get") and hasattr(self.data, "dataId")

    def _read(self, what: str, **which: Any) -> Any:
        """Read through the handle; what goes wrong names the data ID."""
        try:
            return self.data.get(**which)
        except Exception as error:
            raise CoaddStoreError(
                f"cannot read {what} of {self.label}: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error

    def component(self, *names: str) -> Any:
        """The first of these components that it has; None if it has none."""
        for name in names:
            if not self._is_handle:
                if hasattr(self.data, name):
                    return getattr(self.data, name)
                continue
            try:
                return self._read(f"the {name}", component=name)
            except CoaddStoreError as error:
                if not isinstance(error.__cause__, KeyError | ValueError | AttributeError):  # it has such a component
                    raise
        return None

    @cached_property
    def _from_afw(self) -> bool:
        return hasattr(self._projection, "pixelToSkyArray") if self._is_handle else hasattr(self.data, "getBBox")

    def metadata(self) -> Mapping[str, Any]:
        """What was written down with it."""
        return {} if self._from_afw else self._pixel.metadata

    def planes(self) -> Mapping[str, int]:
        """Its mask planes, name to bit."""
        return self._pixel.planes

    @property
    def calibration(self) -> Any:
        """How its pixels are calibrated: afw's PhotoCalib, or the unit; None if it does not say."""
        return self._pixel.calibration

    @cached_property
    def _pixel(self) -> _Pixel:
        """What a read of pixels tells, of one: most of it has no component of its own."""
        bbox = self.bbox()
        found = self._cut(Box(bbox.x0, bbox.y0, 1, 1))
        planes = self._arrays(found).planes
        if self._from_afw:
            return _Pixel({}, planes, self.component("photoCalib"))
        tile: Any = getattr(found, "tile", None) or getattr(getattr(found, "grid", None), "cell_shape", None)
        return _Pixel(
            metadata=dict(getattr(found, "metadata", {})),
            planes=planes,
            calibration=getattr(found, "unit", None),
            psf=getattr(found, "psf", None),
            tile=None if tile is None else (int(tile[0]), int(tile[1])),
        )

    @property
    def chunk(self) -> tuple[int, int]:
        """Height and width of what is best read at once, pixels: a compressed tile, if the coadd says how large one is.

        LSST's tiles are rows, unless something else was said when they were written.
        """
        known = self.__dict__.get("_pixel")
        return _UNTOLD if known is None or known.tile is None else known.tile

    def bbox(self) -> Box:
        """Its pixels."""
        return self._bbox

    @cached_property
    def _bbox(self) -> Box:
        if self._is_handle:
            return box_of(self._read("the bbox", component="bbox"))
        return box_of(self.data.getBBox() if hasattr(self.data, "getBBox") else self.data.bbox)

    def wcs(self) -> SkyWcs | None:
        """Its WCS, in absolute tract pixels."""
        return self._wcs

    @cached_property
    def _wcs(self) -> SkyWcs | None:
        return None if self._projection is None else wcs_of(self._projection, self.bbox())

    @cached_property
    def _projection(self) -> Any:
        if not self._is_handle and hasattr(self.data, "getWcs"):
            return self.data.getWcs()
        return self.component("sky_projection", "wcs")

    @cached_property
    def psf(self) -> Any:
        """Its PSF; None if it has none.

        A coadd that is read as a stock class has no such component; its pixels may bring a PSF with them all the same.
        """
        found = self.component("psf")
        return self._pixel.psf if found is None and self._is_handle else found

    def tract_bbox(self) -> Box | None:
        """All pixels of the tract, if the projection knows them."""
        frame: Any = getattr(self._projection, "pixel_frame", None)
        return box_of(frame.bbox) if getattr(frame, "frame_type", None) == "TRACT" else None

    def region(self, box: Box) -> ExposureArrays:
        """Its pixels in a box, and no others."""
        return self._arrays(self._cut(box))

    def _cut(self, box: Box) -> Any:
        bbox = afw_box(box) if self._from_afw else lsst_box(box)
        return self._read(f"{box}", parameters={"bbox": bbox}) if self._is_handle else self.data[bbox]

    def _arrays(self, found: Any) -> ExposureArrays:
        try:
            return arrays_of(found)
        except DcrflowError as error:
            raise type(error)(f"{self.label}: {error}") from error


class HandleCoadds:
    """A `dcrflow.stores.coadds.source.CoaddSource` of `SubfilterCoadd`.

    A tract's bounding box is what its projection says, or all that its patches cover. What is read of a patch is kept;
    its pixels are not.

    Parameters
    ----------
    coadds : iterable of SubfilterCoadd
        In any order; subfilters of a patch are ordered by their id.
    subfilters : Subfilters or callable
        Of every patch; or a function of a `SubfilterCoadd` (the first of the patch) that says.
    url : str
        Where they come from, for messages and provenance.
    box_of_patch : callable, optional
        Gives the bounding box of a patch from its (tract, patch) without opening it.
    """

    def __init__(
        self,
        coadds: Iterable[SubfilterCoadd],
        subfilters: Subfilters | Callable[[SubfilterCoadd], Subfilters],
        url: str = "butler",
        box_of_patch: Callable[[int, int], Box] | None = None,
    ) -> None:
        self._coadds: dict[tuple[int, int, str], list[SubfilterCoadd]] = {}
        for coadd in sorted(coadds, key=lambda c: (c.tract, c.patch, c.band, c.subfilter)):
            self._coadds.setdefault((coadd.tract, coadd.patch, coadd.band), []).append(coadd)
        self._subfilters, self._url = subfilters, redacted(url)
        self._box_of_patch = box_of_patch or self._box
        self._tracts: dict[int, Tract] = {}
        self._infos: dict[tuple[int, int, str], PatchInfo] = {}
        self._boxes: dict[tuple[int, int], Box] = {}

    def __repr__(self) -> str:
        return f"<HandleCoadds {self.url}: {len(self._coadds)} patches>"

    @property
    def url(self) -> str:
        """Where they come from."""
        return self._url

    @property
    def digest(self) -> str:
        """A hash of where they come from and which there are."""
        words = (self.url, [(k, [c.subfilter for c in v]) for k, v in self._coadds.items()])
        return blake2b(repr(words).encode(), digest_size=16).hexdigest()

    @property
    def tracts(self) -> Mapping[int, Tract]:
        """The tracts, by id."""
        return MappingProxyType({t: self._tract(t) for t in sorted({t for t, _, _ in self._coadds})})

    @property
    def bands(self) -> tuple[str, ...]:
        """All bands that any patch has."""
        return tuple(sorted({b for _, _, b in self._coadds}))

    def coadds(self, tract: int, patch: int, band: str) -> tuple[SubfilterCoadd, ...]:
        """The subfilter coadds of a patch, by subfilter."""
        return tuple(self._coadds.get((tract, patch, band), ()))

    def boxes(self, tract: int) -> dict[int, Box]:
        """Bounding boxes of a tract's patches, by id: of all that are known, with coadds or without."""
        return {p: self._box_of_patch(t, p) for t, p, _ in self._coadds if t == tract}

    def require_band(self, band: str) -> None:
        """Make sure that some patch has this band.

        Raises
        ------
        CoaddStoreError
            If none has.
        """
        if band not in self.bands:
            raise CoaddStoreError(
                f"{self.url} has no coadds in band {band!r}; its bands are {', '.join(self.bands) or '(none)'}"
            )

    def patches(self, tract: int, band: str) -> tuple[Patch, ...]:
        """The patches of a tract that are there in a band, by id."""
        return tuple(Patch(t, p, self._box_of_patch(t, p)) for t, p, b in self._coadds if (t, b) == (tract, band))

    def info(self, tract: int, patch: int, band: str) -> PatchInfo:
        """What is known of a patch: all its subfilters looked at, no more than one pixel of each read.

        Raises
        ------
        CoaddStoreError
            If it is not there.
        InconsistentCoaddsError
            If its subfilters differ in place, or one of them is there twice.
        """
        key = (tract, patch, band)
        if key not in self._infos:
            coadds = self._coadds.get(key)
            if not coadds:
                raise CoaddStoreError(f"{self.url} has no tract {tract} patch {patch} in band {band}")
            self._infos[key] = self._look(coadds)
        return self._infos[key]

    def read(self, tract: int, patch: int, band: str, box: Box, planes: Mapping[str, int]) -> PatchPixels:
        """Read part of a patch, that region of each subfilter alone; as `DcrCoadds.read`."""
        info = self.info(tract, patch, band)
        missing = sorted(set(info.planes) - set(planes))
        if missing:
            raise ValueError(
                f"{self.url}, tract {tract} patch {patch}: no bit for its mask planes {', '.join(missing)}"
            )
        box.slices(info.bbox)  # raises where it reaches outside
        parts = [c.region(box) for c in self._coadds[tract, patch, band]]
        image, variance = (np.stack([getattr(p, n) for p in parts]) for n in ("image", "variance"))
        mask = np.stack([translate(p.mask, p.planes, planes) for p in parts])
        if NO_DATA in info.planes:
            image[(mask & np.int32(1 << planes[NO_DATA])) != 0] = np.nan
        return PatchPixels(box, image, variance, mask)

    def read_psf(self, tract: int, patch: int, band: str) -> PatchPsf | None:
        """The PSF of a patch's first subfilter; None if no kernel can be computed anywhere.

        At the nodes that it has, or at 3 x 3 where it has none of its own.
        """
        first, box = self._coadds[tract, patch, band][0], self.info(tract, patch, band).bbox
        psf = first.psf
        own = getattr(psf, "nodes", None)
        if isinstance(own, PatchPsf):
            return own
        nodes = [(x, y) for y in _thirds(box.y0, box.y1) for x in _thirds(box.x0, box.x1)]
        found = [(kernel_of(psf, x, y), x, y) for x, y in nodes]
        good = [(k, x, y) for k, x, y in found if k is not None]
        if not good:
            return None
        size = max(max(k.shape) for k, _, _ in good)
        kernels, x, y = zip(*((_padded(k, size), x, y) for k, x, y in good), strict=True)
        return PatchPsf(np.stack(kernels), np.array(x), np.array(y))

    def _box(self, tract: int, patch: int) -> Box:
        if (tract, patch) not in self._boxes:
            self._boxes[tract, patch] = next(
                c[0] for (t, p, _), c in self._coadds.items() if (t, p) == (tract, patch)
            ).bbox()
        return self._boxes[tract, patch]

    def _tract(self, tract: int) -> Tract:
        if tract not in self._tracts:
            keys = [k for k in self._coadds if k[0] == tract]
            first = self._coadds[keys[0]][0]
            wcs = first.wcs()
            if wcs is None:
                raise CoaddStoreError(f"{first.label} of {self.url} has no WCS")
            whole = first.tract_bbox() or reduce(Box.union, (self._box_of_patch(t, p) for t, p, _ in keys))
            self._tracts[tract] = Tract(tract, wcs, whole, (whole.width, whole.height), 0, (1, 1))
        return self._tracts[tract]

    def _look(self, coadds: list[SubfilterCoadd]) -> PatchInfo:
        first = coadds[0]
        ids = [c.subfilter for c in coadds]
        if len(set(ids)) != len(ids):
            raise InconsistentCoaddsError(
                f"tract {first.tract} patch {first.patch} band {first.band} of {self.url} has subfilters {ids}: "
                "one of them is there twice"
            )
        bbox, tract = first.bbox(), self._tract(first.tract)
        planes: list[Mapping[str, int]] = []
        for coadd in coadds:
            found = coadd.bbox()
            wcs = coadd.wcs()
            if found != bbox:
                raise InconsistentCoaddsError(
                    f"{coadd.label} of {self.url} covers {found}, {first.label} covers {bbox}"
                )
            if wcs is None:
                raise CoaddStoreError(f"{coadd.label} of {self.url} has no WCS")
            if wcs != tract.wcs:
                self._check_place(coadd, wcs, tract, bbox)
            planes.append(coadd.planes())
        given = self._subfilters(first) if callable(self._subfilters) else self._subfilters
        edges = given.edges if len(given.edges) == len(coadds) else _stand_in(given, len(coadds))
        return PatchInfo(
            tract=first.tract,
            patch=first.patch,
            band=first.band,
            physical_filter="",
            bbox=bbox,
            units="nJy",
            photometric_zero_point=31.4,
            effective_wavelength=given.effective_wavelength,
            bandwidth=given.bandwidth,
            subfilter_edges=edges,
            transmission=given.transmission,
            planes=merged_planes(planes),
            variance_per_subfilter=True,
            mask_per_subfilter=True,
            chunks=(1, *first.chunk),
            psf_shape=_psf_shape(first.psf, bbox),
        )

    def _check_place(self, coadd: SubfilterCoadd, wcs: SkyWcs, tract: Tract, bbox: Box) -> None:
        x, y = bbox.outline(1)
        found_x, found_y = tract.wcs.sky_to_pixel(*wcs.pixel_to_sky(x, y))
        off = float(np.max(np.hypot(found_x - x, found_y - y)))
        if not off <= _SAME_PIXEL:
            raise InconsistentCoaddsError(f"the WCS of {coadd.label} of {self.url} is {off:.3g} pixels off its tract's")


def _psf_shape(psf: Any, bbox: Box) -> tuple[int, int, int] | None:
    """Nodes, height and width of the kernels; None without a PSF."""
    if psf is None:
        return None
    own = getattr(psf, "nodes", None)
    if isinstance(own, PatchPsf):
        nodes, height, width = own.kernels.shape
        return nodes, height, width
    kernel = kernel_of(psf, *(float(n) for n in _middle(bbox)))
    return None if kernel is None else (9, kernel.shape[0], kernel.shape[1])


def _stand_in(given: Subfilters, number: int) -> tuple[tuple[float, float], ...]:
    """Edges for a patch that lacks subfilters: what is wrong with it is said where it is used."""
    return Subfilters.even(number, given.effective_wavelength, given.bandwidth).edges


def _middle(box: Box) -> tuple[float, float]:
    return box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2


def _thirds(low: int, high: int) -> list[float]:
    """The middles of the thirds of pixels `low` to `high` - 1."""
    return [low - 0.5 + (high - low) * t for t in (1 / 6, 1 / 2, 5 / 6)]


def _padded(kernel: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    before = [(size - n) // 2 for n in kernel.shape]
    return np.pad(kernel, [(b, b) for b in before])
