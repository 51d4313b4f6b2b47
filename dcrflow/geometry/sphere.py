"""Spherical trigonometry in degrees: separations, position angles, offsets.

These call `astropy.coordinates.angular_separation`, ``position_angle`` and ``offset_by``, with degrees in and out.
"""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.coordinates import Angle, angular_separation, offset_by, position_angle
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


def separation(ra1: ArrayLike, dec1: ArrayLike, ra2: ArrayLike, dec2: ArrayLike) -> Float:
    """Great-circle distance, degrees (Vincenty's formula: good at all separations)."""
    return np.asarray(np.rad2deg(angular_separation(*(np.deg2rad(v) for v in (ra1, dec1, ra2, dec2)))))


def bearing(ra1: ArrayLike, dec1: ArrayLike, ra2: ArrayLike, dec2: ArrayLike) -> Float:
    """Position angle of point 2 as seen from point 1, degrees, north through east."""
    return np.asarray(Angle(position_angle(*(np.deg2rad(v) for v in (ra1, dec1, ra2, dec2))), u.rad).deg)


def offset(ra: ArrayLike, dec: ArrayLike, angle: ArrayLike, distance: ArrayLike) -> tuple[Float, Float]:
    """The point at `distance` from (ra, dec) along position angle `angle`; all in degrees."""
    lon, lat = offset_by(*(np.deg2rad(v) for v in (ra, dec, angle, distance)))
    return Angle(lon, u.rad).deg % 360.0, Angle(lat, u.rad).deg


def from_tangent_plane(ra: Float, dec: Float, xi: Float, eta: Float) -> tuple[Float, Float]:
    """The points at (xi, eta) on planes that touch the sphere at (ra, dec); all in degrees, xi to the east."""
    lat, x, y = np.deg2rad(dec), np.deg2rad(xi), np.deg2rad(eta)
    along = np.cos(lat) - y * np.sin(lat)
    lon = np.deg2rad(ra) + np.arctan2(x, along)
    return np.rad2deg(lon) % 360.0, np.rad2deg(np.arctan2(np.sin(lat) + y * np.cos(lat), np.hypot(x, along)))
