"""A base for WCS objects of the APE-14 interface whose world is ICRS, in degrees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord
from astropy.wcs.wcsapi import BaseLowLevelWCS


class IcrsWcs(BaseLowLevelWCS):  # type: ignore[misc]  # astropy has no types
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
