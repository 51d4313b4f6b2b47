"""Differential chromatic refraction of subfilters: how far light is displaced, and with which weight.

A subfilter is not one wavelength. So its light is spread along the direction to the zenith, not just shifted. A
`DcrModel` has the places (nodes) where the light of each subfilter lands, their displacements, and their weights:

    K_k(i, j) = sum_l weights[l, k] B(i - d_l e_y) B(j - d_l e_x)
    d_l = terms[0, l] tan z + terms[1, l] tan^3 z + terms[2, l] tan^5 z

with B the cardinal B-spline of degree `degree` and e the direction to the zenith, in pixels per arcsec.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry import sphere
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.physics import lsst_refraction, refraction
from dcrflow.physics.bandpass import Bandpass, Edges
from dcrflow.physics.observation import Observation

Float = NDArray[np.float64]

BINS = 8  # wavelength bins per subfilter; 4 to 12 give the same residual within a few percent
_STEP = 4.0 / 3600.0  # degrees; the WCS is differenced over this distance on both sides


@dataclass(frozen=True)
class DcrModel:
    """Where the light of each subfilter lands in one observation.

    Parameters
    ----------
    terms : ndarray of float64, shape (3, num_nodes)
        Coefficients of tan z, tan^3 z and tan^5 z in the displacement towards the zenith, relative to the reference
        wavelength, arcsec; z is the true zenith angle.
    weights : ndarray of float64, shape (num_nodes, num_subfilters)
        Share of a subfilter's flux that lands at a node; each column sums to 1.
    degree : int
        Degree of the B-spline that interpolates between pixels: 5, or 3 as LSST has it.
    wavelength : ndarray of float64, shape (num_nodes,)
        Wavelength of the nodes, nm.
    """

    terms: Float
    weights: Float
    degree: int
    wavelength: Float

    @property
    def num_subfilters(self) -> int:
        """Number of subfilters."""
        return int(self.weights.shape[1])

    def displacement(self, tan_zenith: Float) -> Float:
        """Displacement of every node towards the zenith.

        Parameters
        ----------
        tan_zenith : ndarray of float64, any shape
            Tangent of the true zenith angle.

        Returns
        -------
        ndarray of float64, shape tan_zenith.shape + (num_nodes,)
            Arcsec; positive (blue) is towards the zenith.
        """
        return refraction.polynomial(self.terms, tan_zenith)

    def mean_displacement(self, tan_zenith: float) -> Float:
        """Weighted mean displacement of each subfilter towards the zenith, arcsec, shape (num_subfilters,)."""
        mean: Float = self.displacement(np.asarray(tan_zenith)) @ self.weights
        return mean


def dcr_model(
    method: str, bandpass: Bandpass, edges: Edges, effective_wavelength: float, observation: Observation,
    rotation: str = "local",
) -> DcrModel:  # fmt: skip
    """Choose wavelengths and weights for the subfilters of a band.

    Parameters
    ----------
    method : {"spectral", "split", "midpoint"}
        ``spectral``: fine bins, weighted by the minimum-curvature spectrum (`spectral_weights`). ``split``: LSST's two
        nodes a subfilter, the refraction of its edges mixed 3:1 and 1:3. ``midpoint``: one node, the mean of the two.
    bandpass : Bandpass
        Of the whole band; only ``spectral`` uses it.
    edges : tuple of (float, float)
        Lower and upper wavelength of each subfilter, nm.
    effective_wavelength : float
        nm; light of this wavelength is not displaced.
    observation : Observation
        Weather and site.
    rotation : {"local", "boresight"}
        ``boresight`` takes LSST's refraction.

    Raises
    ------
    ValueError
        If a wavelength is outside the range of the refraction's formula, or the method is unknown.
    """

    def terms(wavelength: Float) -> Float:
        seen = observation
        if rotation == "boresight":
            return lsst_refraction.dcr_terms(wavelength, effective_wavelength, seen.weather, seen.latitude, seen.height)
        return refraction.dcr_terms(wavelength, effective_wavelength, seen.weather, seen.latitude)

    number = len(edges)
    if method == "spectral":
        wavelength, weights = spectral_weights(bandpass, edges)
        return DcrModel(terms(wavelength), weights, 5, wavelength)
    blue, red = np.array(edges).T
    lower, upper = terms(blue), terms(red)
    if method == "midpoint":
        return DcrModel((lower + upper) / 2, np.eye(number), 5, (blue + red) / 2)
    if method == "split":
        shares = np.array([0.75, 0.25])
        mixed = (lower[..., None] * shares + upper[..., None] * shares[::-1]).reshape(3, 2 * number)
        wavelength = (blue[:, None] * shares + red[:, None] * shares[::-1]).ravel()
        return DcrModel(mixed, np.repeat(np.eye(number), 2, axis=0) / 2, 3, wavelength)
    raise ValueError(f"dcr method {method!r} is unknown; expected spectral, split or midpoint")


def formula(rotation: str) -> str:
    """Which refraction `dcr_model` applies, for the record: the formula's source."""
    return lsst_refraction.FORMULA if rotation == "boresight" else refraction.FORMULA


def spectral_weights(bandpass: Bandpass, edges: Edges, bins: int = BINS) -> tuple[Float, Float]:
    """Weights of fine wavelength bins: the smoothest spectrum that reproduces the subfilters' fluxes.

    The photon spectrum s(w) inside the band minimises the integral of s''(w)^2 subject to: integral over subfilter k
    of T(w) s(w) dw = F_k. The solution is linear in the fluxes F; the weights are W_lk = T(w_l) dw_l ds(w_l)/dF_k. With
    one subfilter s is constant, with two it is linear. The outer subfilters reach to the ends of the bandpass.

    Parameters
    ----------
    bandpass : Bandpass
        Transmission T of the whole band.
    edges : tuple of (float, float)
        Lower and upper wavelength of each subfilter, nm.
    bins : int
        Fine bins a subfilter.

    Returns
    -------
    wavelength : ndarray of float64, shape (num_subfilters * bins,)
        Throughput-weighted mean of each bin, nm.
    weights : ndarray of float64, shape (num_subfilters * bins, num_subfilters)
        W; within the bins of subfilter j, column k sums to 1 for j = k and to 0 otherwise.

    Raises
    ------
    ValueError
        If the transmission is zero all over a subfilter.
    """
    number = len(edges)
    bounds = np.array([edges[0][0], *(e[1] for e in edges)], np.float64)
    bounds[0], bounds[-1] = bandpass.limits
    if np.any(np.diff(bounds) <= 0):
        raise ValueError(f"the subfilters' edges {bounds.tolist()} nm do not increase within the transmission curve")
    fine = np.concatenate([np.linspace(a, b, bins, endpoint=False) for a, b in pairwise(bounds)])
    area, wavelength = bandpass.integrals(np.append(fine, bounds[-1]))
    if np.any(area.reshape(number, bins).sum(axis=1) <= 0):
        raise ValueError("a subfilter lies where the transmission curve is zero")
    members = np.repeat(np.eye(number), bins, axis=0)  # which bin belongs to which subfilter
    constraints = (area[:, None] * members).T
    if number == 1:
        response = np.ones((len(area), 1)) / area.sum()
    else:
        x = (wavelength - wavelength.mean()) / (wavelength[-1] - wavelength[0])
        curvature = _second_derivative(x)
        scale = constraints / constraints.sum(axis=1, keepdims=True)
        system = np.block([[curvature.T @ curvature, scale.T], [scale, np.zeros((number, number))]])
        right = np.vstack([np.zeros((len(area), number)), np.diag(1 / constraints.sum(axis=1))])
        response = np.linalg.solve(system, right)[: len(area)]
    return wavelength, area[:, None] * response


def _second_derivative(x: Float) -> Float:
    """Second derivative on an uneven grid, weighted so that the sum of its squares approximates its integral."""
    rows = np.zeros((len(x) - 2, len(x)))
    for i in range(len(x) - 2):
        a, b = x[i + 1] - x[i], x[i + 2] - x[i + 1]
        rows[i, i : i + 3] = np.array([2 / (a * (a + b)), -2 / (a * b), 2 / (b * (a + b))]) * np.sqrt((a + b) / 2)
    return rows


def zenith_vectors(
    observation: Observation, wcs: SkyWcs, x: Float, y: Float, rotation: str, middle: tuple[float, float]
) -> tuple[Float, Float, Float]:
    """Zenith angle, and pixels per arcsec towards the zenith, at positions of a tract.

    Parameters
    ----------
    observation : Observation
        Its zenith is used.
    wcs : SkyWcs
        Of the tract.
    x, y : ndarray of float64, any one shape
        Tract pixel coordinates.
    rotation : {"local", "boresight"}
        ``local``: at each position, points a few arcsec towards and away from the zenith go through the WCS.
        ``boresight``: LSST's convention (since November 2025), the boresight's zenith angle and (cos rot, sin rot) with
        rot = parallactic angle - rotation angle for all, whatever the WCS.
    middle : (float, float)
        Tract pixel (x, y) whose pixel scale ``boresight`` uses for all positions.

    Returns
    -------
    tan_zenith, dy, dx : ndarray of float64, the shape of x
        Tangent of the zenith angle; pixels along y and x of one arcsec towards the zenith.

    Raises
    ------
    ValueError
        If a position is at or below the horizon, or the rotation angle that ``boresight`` needs is missing.
    """
    x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    if rotation == "boresight":
        if observation.rotation_angle is None:
            raise ValueError("rotation: boresight needs the camera's rotation_angle, which the observation lacks")
        angle = np.deg2rad(observation.parallactic_angle - observation.rotation_angle)
        pixels = 1.0 / wcs.pixel_scale(*middle)
        tan = np.tan(np.deg2rad(90.0 - observation.altitude))
        full = np.ones(x.shape)
        return tan * full, pixels * np.cos(angle) * full, pixels * np.sin(angle) * full
    ra, dec = wcs.pixel_to_sky(x, y)
    zenith_angle = observation.zenith_angle(ra, dec)
    if not np.all(zenith_angle < 90):
        raise ValueError("part of the detector is at or below the horizon")
    direction = observation.zenith_direction(ra, dec)
    ahead = wcs.sky_to_pixel(*sphere.offset(ra, dec, direction, _STEP))
    behind = wcs.sky_to_pixel(*sphere.offset(ra, dec, direction, -_STEP))
    arcsec = 2 * _STEP * 3600.0
    return np.tan(np.deg2rad(zenith_angle)), (ahead[1] - behind[1]) / arcsec, (ahead[0] - behind[0]) / arcsec
