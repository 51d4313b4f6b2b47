"""One subfilter's coadd of a patch as LSST's tools hand it over: a deferred Butler dataset, or an image in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from dcrflow.base.errors import CoaddStoreError, DcrflowError
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.convert import ExposureArrays, afw_box, arrays_of, box_of, lsst_box, wcs_of

_UNTOLD = (1, 1)  # height and width of a read where the file's tiles are not known


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
