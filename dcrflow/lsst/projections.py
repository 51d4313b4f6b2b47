"""LSST's projections as objects of the APE-14 interface, for those that FITS cannot say."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord
from astropy.wcs.wcsapi import BaseLowLevelWCS
from numpy.typing import NDArray

Float = NDArray[np.float64]


class IcrsWcs(BaseLowLevelWCS):
    """What APE 14 asks for of a WCS of two axes whose world is ICRS right ascension and declination in degrees."""

    pixel_n_dim = world_n_dim = 2
    world_axis_physical_types = ("pos.eq.ra", "pos.eq.dec")
    world_axis_units = ("deg", "deg")
    world_axis_object_components = (
        ("celestial", 0, "spherical.lon.degree"),
        ("celestial", 1, "spherical.lat.degree"),
    )
    world_axis_object_classes: ClassVar[Mapping[str, Any]] = {
        "celestial": (SkyCoord, (), {"frame": ICRS(), "unit": (u.deg, u.deg)})
    }


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
