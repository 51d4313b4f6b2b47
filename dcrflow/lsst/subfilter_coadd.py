"""The coadd of one subfilter of a patch, from LSST's tools: a deferred Butler dataset, or an image in memory."""

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
    """Properties of a coadd that are known only after reading a pixel of it."""

    metadata: Mapping[str, Any]
    planes: Mapping[str, int]
    calibration: Any
    psf: Any = None
    tile: tuple[int, int] | None = None


@dataclass(frozen=True)
class SubfilterCoadd:
    """The coadd of one subfilter of a patch. Its metadata are read once; its pixels are read at each call.

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
        """The data ID as text."""
        return f"tract {self.tract} patch {self.patch} band {self.band} subfilter {self.subfilter}"

    @property
    def _is_handle(self) -> bool:
        return hasattr(self.data, "get") and hasattr(self.data, "dataId")

    def _read(self, what: str, **which: Any) -> Any:
        """Read through the handle; errors name the data ID."""
        try:
            return self.data.get(**which)
        except Exception as error:
            raise CoaddStoreError(
                f"cannot read {what} of {self.label}: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error

    def component(self, *names: str) -> Any:
        """The first of these components that exists; None if none does."""
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
        """Its metadata."""
        return {} if self._from_afw else self._pixel.metadata

    def planes(self) -> Mapping[str, int]:
        """Its mask planes, name to bit."""
        return self._pixel.planes

    @property
    def calibration(self) -> Any:
        """The calibration of its pixels: afw's PhotoCalib, or the unit; None if it has neither."""
        return self._pixel.calibration

    @cached_property
    def _pixel(self) -> _Pixel:
        """Read one pixel, for the properties that cannot be read as components."""
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
        """Height and width of the best region for one read, pixels: a compressed tile, if its size is known.

        LSST's tiles are rows, unless another shape was chosen when the file was written.
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

        A coadd that is read as a stock class has no such component, but its masked image may have a PSF.
        """
        found = self.component("psf")
        return self._pixel.psf if found is None and self._is_handle else found

    def tract_bbox(self) -> Box | None:
        """All pixels of the tract, if the projection has them."""
        frame: Any = getattr(self._projection, "pixel_frame", None)
        return box_of(frame.bbox) if getattr(frame, "frame_type", None) == "TRACT" else None

    def region(self, box: Box) -> ExposureArrays:
        """Read its pixels in a box; only these are read."""
        return self._arrays(self._cut(box))

    def _cut(self, box: Box) -> Any:
        bbox = afw_box(box) if self._from_afw else lsst_box(box)
        return self._read(f"{box}", parameters={"bbox": bbox}) if self._is_handle else self.data[bbox]

    def _arrays(self, found: Any) -> ExposureArrays:
        try:
            return arrays_of(found)
        except DcrflowError as error:
            raise type(error)(f"{self.label}: {error}") from error
