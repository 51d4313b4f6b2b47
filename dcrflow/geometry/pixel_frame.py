"""The WCS of a region of pixels for astropy and packages that use it: the APE-14 interface over a `SkyWcs`."""

from __future__ import annotations

from typing import Any

from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord
from astropy.wcs.wcsapi import BaseLowLevelWCS, HighLevelWCSWrapper

from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs


def pixel_frame(wcs: SkyWcs, box: Box) -> HighLevelWCSWrapper:
    """The WCS of an array that covers `box`: array pixel (0, 0) is its lower left. Threads may share it."""
    return HighLevelWCSWrapper(_PixelFrame(wcs, box))


class _PixelFrame(BaseLowLevelWCS):  # type: ignore[misc]
    pixel_n_dim = world_n_dim = 2
    world_axis_physical_types = ("pos.eq.ra", "pos.eq.dec")
    world_axis_units = ("deg", "deg")
    world_axis_object_components = (
        ("sky", 0, "spherical.lon.degree"),
        ("sky", 1, "spherical.lat.degree"),
    )

    def __init__(self, wcs: SkyWcs, box: Box) -> None:
        self._wcs = wcs
        self._box = box

    @property
    def world_axis_object_classes(self) -> dict[str, Any]:
        return {"sky": (SkyCoord, (), {"frame": ICRS(), "unit": (u.deg, u.deg)})}

    def pixel_to_world_values(self, *pixel_arrays: Any) -> Any:
        x, y = pixel_arrays
        return self._wcs.pixel_to_sky(x + self._box.x0, y + self._box.y0)

    def world_to_pixel_values(self, *world_arrays: Any) -> Any:
        x, y = self._wcs.sky_to_pixel(*world_arrays)
        return x - self._box.x0, y - self._box.y0
