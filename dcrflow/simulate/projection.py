"""World coordinates of simulated tracts and detectors, and the sky around a source."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs

Float = NDArray[np.float64]

# Second- and third-order terms of the distortion of a wide-field camera: shares of the strength, A then B.
_SIP_A = {(2, 0): 0.45, (1, 1): -0.30, (0, 2): 0.25, (3, 0): 0.20, (2, 1): -0.05, (1, 2): 0.20, (0, 3): 0.05}
_SIP_B = {(2, 0): -0.25, (1, 1): 0.40, (0, 2): 0.35, (3, 0): -0.05, (2, 1): 0.20, (1, 2): 0.05, (0, 3): 0.20}


def tan_wcs(
    ra: float,
    dec: float,
    x: float,
    y: float,
    matrix: ArrayLike,
    *,
    sip: float = 0.0,
    sip_radius: float = 1000.0,
) -> SkyWcs:
    """A gnomonic (TAN) WCS, with SIP distortion where `sip` is not 0.

    Parameters
    ----------
    ra, dec : float
        Tangent point, ICRS degrees.
    x, y : float
        Absolute pixel coordinates of the tangent point.
    matrix : array-like, shape (2, 2)
        Arcsec east (first row) and north (second row) per pixel along x and y.
    sip : float
        Strength of the distortion: pixels by which it displaces at `sip_radius`, roughly.
    sip_radius : float
        Pixels.
    """
    cd = np.asarray(matrix, np.float64) / 3600.0
    suffix = "-SIP" if sip else ""
    header: dict[str, str | float | int] = {
        "WCSAXES": 2,
        "CTYPE1": f"RA---TAN{suffix}",
        "CTYPE2": f"DEC--TAN{suffix}",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRVAL1": float(ra) % 360.0,
        "CRVAL2": float(dec),
        "CRPIX1": float(x) + 1.0,
        "CRPIX2": float(y) + 1.0,
        "RADESYS": "ICRS",
    }
    header |= {f"CD{i + 1}_{j + 1}": float(cd[i, j]) for i in (0, 1) for j in (0, 1)}
    if sip:
        header |= {"A_ORDER": 3, "B_ORDER": 3}
        for letter, terms in (("A", _SIP_A), ("B", _SIP_B)):
            header |= {f"{letter}_{p}_{q}": c * sip / sip_radius ** (p + q) for (p, q), c in terms.items()}
    return SkyWcs.from_header(header)


def pixel_matrix(pixel_scale: float, rotation: float = 0.0, flipped: bool = False) -> Float:
    """Arcsec east and north per pixel along x and y.

    Parameters
    ----------
    pixel_scale : float
        Arcsec.
    rotation : float
        Position angle of the +y axis, degrees, north through east.
    flipped : bool
        False: east is left where north is up, as on the sky. True: the mirror image.

    Returns
    -------
    ndarray of float64, shape (2, 2)
        Rows east, north; columns x, y.
    """
    angle = math.radians(rotation)
    up = np.array([math.sin(angle), math.cos(angle)])
    right = np.array([-math.cos(angle), math.sin(angle)])
    return pixel_scale * np.stack([-right if flipped else right, up], axis=1)


def detector_wcs(
    boresight: tuple[float, float],
    bbox: Box,
    focal_plane: tuple[float, float],
    *,
    pixel_scale: float,
    rotation: float,
    flipped: bool = False,
    sip: float = 0.0,
) -> SkyWcs:
    """The WCS of a detector somewhere in a rotated camera.

    The camera's focal plane is gnomonic about the boresight; the detector's own WCS is tangent at its middle and
    follows the focal plane there.

    Parameters
    ----------
    boresight : (float, float)
        ICRS, degrees.
    bbox : Box
        The detector's pixels.
    focal_plane : (float, float)
        Place of the detector's middle in the focal plane, pixels from the boresight along the camera's x and y
        (x to the west where y is north).
    pixel_scale : float
        Arcsec.
    rotation : float
        Position angle of the camera's +y at the boresight, degrees, north through east.
    flipped : bool
        Whether the detector's x axis runs against the camera's.
    sip : float
        Strength of the distortion, pixels at half the detector's width.
    """
    camera = tan_wcs(*boresight, 0.0, 0.0, pixel_matrix(pixel_scale, rotation))
    ra, dec = (float(v) for v in camera.pixel_to_sky(*focal_plane))
    matrix = local_matrix(camera, np.array([focal_plane[0]]), np.array([focal_plane[1]]))[0]
    if flipped:
        matrix = matrix * np.array([-1.0, 1.0])
    x, y = bbox.x0 + (bbox.width - 1) / 2, bbox.y0 + (bbox.height - 1) / 2
    return tan_wcs(ra, dec, x, y, matrix, sip=sip, sip_radius=max(bbox.width, bbox.height) / 2)


def local_matrix(wcs: SkyWcs, x: Float, y: Float, step: float = 0.5) -> Float:
    """Arcsec east and north per pixel along x and y, at pixel positions.

    Parameters
    ----------
    wcs : SkyWcs
        Of the pixels.
    x, y : ndarray of float64, shape (n,)
        Absolute pixel coordinates.
    step : float
        Half the length over which the derivative is taken, pixels.

    Returns
    -------
    ndarray of float64, shape (n, 2, 2)
        Rows east, north; columns x, y.
    """
    ra, dec = wcs.pixel_to_sky(x, y)
    columns = []
    for dx, dy in ((step, 0.0), (0.0, step)):
        ahead = tangent_plane(ra, dec, *wcs.pixel_to_sky(x + dx, y + dy))
        behind = tangent_plane(ra, dec, *wcs.pixel_to_sky(x - dx, y - dy))
        columns.append((np.stack(ahead, axis=-1) - np.stack(behind, axis=-1)) / (2 * step))
    return np.stack(columns, axis=-1)


def tangent_plane(ra0: ArrayLike, dec0: ArrayLike, ra: ArrayLike, dec: ArrayLike) -> tuple[Float, Float]:
    """Gnomonic offsets (east, north) of sky positions from tangent points; degrees in, arcsec out."""
    d0, d, a = (np.deg2rad(np.asarray(v, np.float64)) for v in (dec0, dec, np.subtract(ra, ra0)))
    cosine = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(a)
    east = np.cos(d) * np.sin(a) / cosine
    # cos(d0) sin(d) - sin(d0) cos(d) cos(a), without the cancellation of small offsets
    north = (np.sin(d - d0) + 2 * np.sin(d0) * np.cos(d) * np.sin(a / 2) ** 2) / cosine
    return np.rad2deg(east) * 3600.0, np.rad2deg(north) * 3600.0


def from_tangent_plane(ra0: float, dec0: float, east: ArrayLike, north: ArrayLike) -> tuple[Float, Float]:
    """Sky positions (degrees) of gnomonic offsets (arcsec) from a tangent point (degrees)."""
    x, y = (np.deg2rad(np.asarray(v, np.float64) / 3600.0) for v in (east, north))
    d0 = math.radians(dec0)
    z = math.cos(d0) - y * math.sin(d0)
    dec = np.arctan2(math.sin(d0) + y * math.cos(d0), np.hypot(x, z))
    return (ra0 + np.rad2deg(np.arctan2(x, z))) % 360.0, np.rad2deg(dec)
