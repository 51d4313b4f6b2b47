"""Fit a TAN-SIP WCS, which FITS cards can hold, to any mapping of a detector's pixels to the sky."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from dcrflow.base.errors import WcsError
from dcrflow.geometry.box import Box
from dcrflow.geometry.sphere import separation
from dcrflow.geometry.wcs import SkyWcs

Float = NDArray[np.float64]
ToSky = Callable[[Float, Float], tuple[Float, Float]]

_ORDERS = (1, 3, 5, 7, 9)  # 9 is the highest that the convention has
_BEYOND = 64  # pixels beyond the box within which the fit must be good: the border of templates


def fit_tan_sip(to_sky: ToSky, bbox: Box, aim: float = 1e-6, tolerance: float = 1e-4) -> SkyWcs:
    """Fit a TAN-SIP WCS: of the lowest order that has the accuracy aimed at, or else the best.

    Parameters
    ----------
    to_sky : callable
        Maps x and y (absolute pixels, arrays) to right ascension and declination (ICRS, degrees).
    bbox : Box
        The detector.
    aim, tolerance : float
        Largest error, pixels, on the detector and a border of 64 pixels: that is aimed at; that is accepted.

    Returns
    -------
    SkyWcs
        With FITS cards; plain TAN if the mapping is that.

    Raises
    ------
    WcsError
        If no order up to 9 is accurate enough, or the mapping has no sky somewhere; states the error in pixels.
    """
    x0, y0 = bbox.x0 + (bbox.width - 1) / 2, bbox.y0 + (bbox.height - 1) / 2
    half = np.array([bbox.width, bbox.height]) / 2 + _BEYOND
    centre = tuple(float(v[0]) for v in to_sky(np.array([x0]), np.array([y0])))
    nodes = _grid(np.cos(np.pi * (np.arange(24) + 0.5) / 24))
    checks = _grid(np.linspace(-1, 1, 17))
    sky = to_sky(x0 + half[0] * nodes[0], y0 + half[1] * nodes[1])
    truth = to_sky(x0 + half[0] * checks[0], y0 + half[1] * checks[1])
    if not np.isfinite([*centre, *np.ravel(sky), *np.ravel(truth)]).all():
        raise WcsError(f"the projection has no sky in some pixels of {bbox}")
    plane = np.stack(tangent_plane(*sky, *centre))
    off, best = np.inf, None
    for order in _ORDERS:
        made = SkyWcs.from_header(_header(plane, nodes, half, order, (x0, y0), centre))
        found = made.pixel_to_sky(x0 + half[0] * checks[0], y0 + half[1] * checks[1])
        this = float(np.max(separation(*found, *truth))) * 3600 / made.pixel_scale(x0, y0)
        if this < off:
            off, best = this, made
        if off <= aim:
            break
    if best is None or off > tolerance:
        raise WcsError(f"no TAN-SIP WCS is nearer to it than {off:.2g} pixels; expected {tolerance:g} at most")
    return best


def _grid(values: Float) -> Float:
    return np.stack([v.ravel() for v in np.meshgrid(values, values)])


def tangent_plane(ra: Float, dec: Float, ra0: float, dec0: float) -> tuple[Float, Float]:
    """Gnomonic projection about (ra0, dec0): xi to the east and eta to the north, degrees."""
    delta, d, d0 = np.deg2rad(ra - ra0), np.deg2rad(dec), np.deg2rad(dec0)
    depth = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(delta)
    xi = np.cos(d) * np.sin(delta) / depth
    eta = (np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(delta)) / depth
    return np.rad2deg(xi), np.rad2deg(eta)


def _header(
    plane: Float, nodes: Float, half: Float, order: int, origin: tuple[float, float], centre: tuple[float, ...]
) -> fits.Header:
    """The cards of the fit of one order: the linear terms are the CD matrix, the others are in units of its pixels."""
    powers = [(i, n - i) for n in range(1, order + 1) for i in range(n, -1, -1)]
    terms = np.stack([nodes[0] ** i * nodes[1] ** j for i, j in powers], axis=1)
    found = np.linalg.lstsq(terms, plane.T, rcond=None)[0].T / [half[0] ** i * half[1] ** j for i, j in powers]
    matrix = found[:, :2]
    sip = np.linalg.solve(matrix, found[:, 2:])
    header = fits.Header()
    suffix = "-SIP" if order > 1 else ""
    header["CTYPE1"], header["CTYPE2"] = f"RA---TAN{suffix}", f"DEC--TAN{suffix}"
    header["CRVAL1"], header["CRVAL2"] = centre[0] % 360.0, centre[1]
    header["CRPIX1"], header["CRPIX2"] = (v + 1 for v in origin)
    for i in (0, 1):
        for j in (0, 1):
            header[f"CD{i + 1}_{j + 1}"] = float(matrix[i, j])
    header["CUNIT1"], header["CUNIT2"], header["RADESYS"] = "deg", "deg", "ICRS"
    if order > 1:
        header["A_ORDER"], header["B_ORDER"] = order, order
        for (i, j), a, b in zip(powers[2:], *sip, strict=True):
            header[f"A_{i}_{j}"], header[f"B_{i}_{j}"] = float(a), float(b)
    return header
