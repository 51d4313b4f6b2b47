"""LSST's projections as objects of the APE-14 interface, for projections that FITS cannot express."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.icrs_wcs import IcrsWcs

Float = NDArray[np.float64]


@dataclass
class ProjectionWcs(IcrsWcs):
    """A `lsst.images.SkyProjection` in degrees that can be pickled."""

    text: bytes
    _view: Any = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, projection: Any) -> ProjectionWcs:
        from lsst.images.json import write

        return cls(write(projection).model_dump_json().encode(), projection.as_astropy())

    def __reduce__(self) -> tuple[Any, ...]:
        return ProjectionWcs, (self.text,)

    @property
    def view(self) -> Any:
        if self._view is None:
            from lsst.images.serialization import read_archive

            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "projection.json"
                path.write_bytes(self.text)
                self._view = read_archive(str(path)).as_astropy()
        return self._view

    def pixel_to_world_values(self, x: Float, y: Float) -> tuple[Float, Float]:
        ra, dec = self.view.pixel_to_world_values(*_at_least_1d(x, y))
        return np.rad2deg(ra).reshape(np.shape(x)), np.rad2deg(dec).reshape(np.shape(x))

    def world_to_pixel_values(self, ra: Float, dec: Float) -> tuple[Float, Float]:
        x, y = self.view.world_to_pixel_values(*(np.deg2rad(v) for v in _at_least_1d(ra, dec)))
        return x.reshape(np.shape(ra)), y.reshape(np.shape(ra))


@dataclass(frozen=True)
class AfwWcs(IcrsWcs):
    """A `lsst.afw.geom.SkyWcs` that FITS cannot express."""

    wcs: Any

    def pixel_to_world_values(self, x: Float, y: Float) -> tuple[Float, Float]:
        ra, dec = self.wcs.pixelToSkyArray(*_at_least_1d(x, y), degrees=True)
        return ra.reshape(np.shape(x)), dec.reshape(np.shape(x))

    def world_to_pixel_values(self, ra: Float, dec: Float) -> tuple[Float, Float]:
        x, y = self.wcs.skyToPixelArray(*_at_least_1d(ra, dec), degrees=True)
        return x.reshape(np.shape(ra)), y.reshape(np.shape(ra))


def _at_least_1d(*values: Float) -> list[Float]:
    return [np.ascontiguousarray(np.atleast_1d(v), np.float64).ravel() for v in values]
