"""Coadds from LSST's tools (Butler datasets, files or objects in memory) as one source of coadds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.addresses import redacted
from dcrflow.base.errors import CoaddStoreError, InconsistentCoaddsError
from dcrflow.base.masks import NO_DATA, merged_planes, translate
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch, Tract
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.convert import kernel_of
from dcrflow.lsst.subfilter_coadd import SubfilterCoadd as SubfilterCoadd
from dcrflow.lsst.subfilter_coadd import Subfilters as Subfilters
from dcrflow.lsst.subfilters import noise_of_coadd, refraction_of_coadd
from dcrflow.model.pixels import PatchPixels
from dcrflow.stores.coadds.patch_info import PatchInfo
from dcrflow.stores.coadds.patch_psf import PatchPsf

#: Bytes read of a part of a file, where each tile is sought, over those of the same pixels in a whole file.
_TILE_BY_TILE = 1.4
#: Pixels that cost as much as opening a file once more: 0.1 s, and a block of 2.3 MB of each plane of an object store.
_REOPENED = 1_200_000
_SAME_PIXEL = 1e-3  # pixels by which the WCS of a patch may differ from its tract's


class HandleCoadds:
    """A `dcrflow.stores.coadds.source.CoaddSource` of `SubfilterCoadd`.

    A tract's bounding box comes from its projection, or covers all its patches. The metadata of a patch are kept after
    they were read; its pixels are not.

    Parameters
    ----------
    coadds : iterable of SubfilterCoadd
        In any order; subfilters of a patch are ordered by their id.
    subfilters : Subfilters or callable
        Subfilters of every patch, or a function that returns them for the first `SubfilterCoadd` of a patch.
    url : str
        Address of the coadds, for messages and provenance.
    box_of_patch : callable, optional
        Gives the bounding box of a patch from its (tract, patch) without opening it.
    """

    #: A quantum's butler keeps where its files are in an SQLite database in memory, which one thread alone sees.
    concurrent_reads = False

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
        """A hash of the address and of the data IDs."""
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
        """Bounding boxes of all known patches of a tract by id, also of those without coadds."""
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
        """Metadata of a patch. All its subfilters are opened; at most one pixel of each is read.

        Raises
        ------
        CoaddStoreError
            If it is not there.
        InconsistentCoaddsError
            If its subfilters cover different pixels, or a subfilter is there twice.
        """
        key = (tract, patch, band)
        if key not in self._infos:
            coadds = self._coadds.get(key)
            if not coadds:
                raise CoaddStoreError(f"{self.url} has no tract {tract} patch {patch} in band {band}")
            self._infos[key] = self._look(coadds)
        return self._infos[key]

    def read(self, tract: int, patch: int, band: str, box: Box, planes: Mapping[str, int]) -> PatchPixels:
        """Read part of a patch, as `DcrCoadds.read`; only that region of each subfilter is read."""
        return self.read_strips(tract, patch, band, box, [box], planes)

    def read_strips(
        self, tract: int, patch: int, band: str, box: Box, strips: Sequence[Box], planes: Mapping[str, int]
    ) -> PatchPixels:
        """Read what lies under some strips of a box, as `read` does; other pixels are zero.

        Each read of a region opens the file again. So neighbouring strips are read together if that costs less.
        """
        info = self.info(tract, patch, band)
        missing = sorted(set(info.planes) - set(planes))
        if missing:
            raise ValueError(
                f"{self.url}, tract {tract} patch {patch}: no bit for its mask planes {', '.join(missing)}"
            )
        box.slices(info.bbox)  # raises where it reaches outside
        coadds = self._coadds[tract, patch, band]
        shape = len(coadds), box.height, box.width
        image, variance, mask = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.int32)
        for part in _together(strips, (info.chunks[-2], info.chunks[-1]), info.bbox, box):
            inside = part.intersection(box)
            where, which = inside.slices(box), inside.slices(part)
            for k, coadd in enumerate(coadds):
                found = coadd.region(part)
                image[k][where], variance[k][where] = found.image[which], found.variance[which]
                mask[k][where] = translate(found.mask[which], found.planes, planes)
        if NO_DATA in info.planes:
            image[(mask & np.int32(1 << planes[NO_DATA])) != 0] = np.nan
        return PatchPixels(box, image, variance, mask)

    def read_psf(self, tract: int, patch: int, band: str) -> PatchPsf | None:
        """The PSF of a patch's first subfilter; None if no kernel can be computed anywhere.

        It is computed at the nodes of the PSF, or at 3 x 3 positions if the PSF has no nodes.
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
            refraction=refraction_of_coadd(first),
            subfilter_noise=noise_of_coadd(first, len(coadds)) if len(given.edges) == len(coadds) else None,
        )

    def _check_place(self, coadd: SubfilterCoadd, wcs: SkyWcs, tract: Tract, bbox: Box) -> None:
        x, y = bbox.outline(1)
        found_x, found_y = tract.wcs.sky_to_pixel(*wcs.pixel_to_sky(x, y))
        off = float(np.max(np.hypot(found_x - x, found_y - y)))
        if not off <= _SAME_PIXEL:
            raise InconsistentCoaddsError(f"the WCS of {coadd.label} of {self.url} is {off:.3g} pixels off its tract's")


def _together(strips: Sequence[Box], tile: tuple[int, int], patch: Box, box: Box) -> list[Box]:
    """Regions of whole tiles, within a box of a patch, that hold some strips; none overlap.

    The whole patch if that costs less.
    """
    height, width = tile
    rows: dict[int, tuple[int, int]] = {}  # of tiles: the first and the last column that is needed
    for strip in (s.intersection(box) for s in strips):
        if strip.is_empty:
            continue
        x0, x1 = (strip.x0 - patch.x0) // width * width, -(-(strip.x1 - patch.x0) // width) * width
        for row in range((strip.y0 - patch.y0) // height, -(-(strip.y1 - patch.y0) // height)):
            low, high = rows.get(row, (x0, x1))
            rows[row] = min(low, x0), max(high, x1)
    found: list[Box] = []
    needed = 0  # pixels of the last region
    for row, (x0, x1) in sorted(rows.items()):
        bounds = patch.x0 + x0, patch.y0 + row * height, patch.x0 + x1, patch.y0 + (row + 1) * height
        one = Box.from_bounds(*bounds).intersection(box)
        if found and found[-1].union(one).area - needed - one.area <= _REOPENED:
            found[-1], needed = found[-1].union(one), needed + one.area
        else:
            found.append(one)
            needed = one.area
    return [patch] if _TILE_BY_TILE * sum(one.area for one in found) >= patch.area else found


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
    """Placeholder edges for a patch that lacks subfilters; using the patch raises the error."""
    return Subfilters.even(number, given.effective_wavelength, given.bandwidth).edges


def _middle(box: Box) -> tuple[float, float]:
    return box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2


def _thirds(low: int, high: int) -> list[float]:
    """The middles of the thirds of pixels `low` to `high` - 1."""
    return [low - 0.5 + (high - low) * t for t in (1 / 6, 1 / 2, 5 / 6)]


def _padded(kernel: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    before = [(size - n) // 2 for n in kernel.shape]
    return np.pad(kernel, [(b, b) for b in before])
