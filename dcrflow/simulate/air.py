"""The simulator's refraction: rays traced through layers of moist air. Nothing of `dcrflow.physics` is in it.

A ray through spherical layers keeps n r sin(psi), with n the refractive index, r the distance from the Earth's centre
and psi the angle to the local vertical. It is bent by R = - integral of tan(psi) dn / n from the telescope to space
(Auer & Standish 2000, AJ 119, 2472, equation 2; they change the variable to psi, which matters near the horizon alone).
Temperature falls linearly up to the tropopause and is constant above, pressure is in hydrostatic equilibrium, the
partial pressure of water vapour falls with a power of the temperature (Hohenkerk & Sinclair 1985, NAO Technical Note
63), and n at every height is Ciddor's (1996, Applied Optics 35, 1566).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray
from scipy.integrate import solve_ivp

if TYPE_CHECKING:
    from dcrflow.physics.refraction import Weather

Float = NDArray[np.float64]

LAPSE = 6.5e-3  # K / m
_TROPOPAUSE, _SPACE = 11000.0, 85000.0  # m above sea level; above the latter is 1e-5 of the air
_VAPOUR_POWER = 18.36  # of the temperature
_NODES = 48  # heights a layer
_GAS = 8.314510  # J / (mol K)
_DRY, _WATER = 28.9635e-3 + 12.011e-9 * (450 - 400), 18.015e-3  # kg / mol
_ROUNDS = 3  # from true to apparent zenith angle: each gains a factor of a thousand


@dataclass(frozen=True, eq=False)
class Air:
    """The air above a telescope, as rays of some wavelengths meet it.

    Parameters
    ----------
    radius : ndarray of float64, shape (num_heights,)
        Distance from the centre of the Earth's curvature, metres, layer by layer from the telescope up.
    index : ndarray of float64, shape (num_wavelengths, num_heights)
        Refractive index.
    bend : ndarray of float64, shape (num_wavelengths, num_heights)
        Quadrature weights: the refraction is the sum of bend * tan(psi), radians.
    """

    radius: Float
    index: Float
    bend: Float

    def refraction(self, apparent: Float) -> Float:
        """Refraction of every wavelength at its apparent zenith angle, radians, shape (num_wavelengths,)."""
        invariant = self.index[:, 0] * self.radius[0] * np.sin(apparent)
        sine = invariant[:, None] / (self.index * self.radius)
        found: Float = np.sum(self.bend * sine / np.sqrt(1 - sine**2), axis=1)
        return found


def air_above(
    wavelength: Float, weather: Weather, latitude: float, height: float, lapse: float = LAPSE, nodes: int = _NODES
) -> Air:
    """Layer the air above a telescope.

    Parameters
    ----------
    wavelength : ndarray of float64, shape (num_wavelengths,)
        nm, in vacuum.
    weather : Weather
        The air at the telescope: Celsius, Pa, percent.
    latitude, height : float
        Of the telescope, degrees and metres above sea level.
    lapse : float
        Fall of the temperature below the tropopause, K / m.
    nodes : int
        Heights a layer.
    """
    base = weather.temperature + 273.15
    vapour = weather.humidity / 100 * _enhanced(weather.temperature, weather.pressure) * _saturation(base)
    middle = max(_TROPOPAUSE, height + 1000.0)

    def temperature(h: Float | float) -> Float | float:
        return base - lapse * (np.minimum(h, middle) - height)

    def fraction(h: Float | float, pressure: Float | float) -> Float | float:
        """Mole fraction of water vapour; none is left to speak of above the tropopause, where it is not changed."""
        here = vapour * (temperature(h) / base) ** _VAPOUR_POWER / pressure
        return np.where(np.asarray(h) > middle, 0.0, here)

    def fall(h: float, log_pressure: Float) -> Float:
        """d(ln P) / dh in hydrostatic equilibrium."""
        pressure, kelvin = np.exp(log_pressure), temperature(h)
        dry, water = _density(pressure, kelvin, fraction(h, pressure))
        return -(dry + water) * _gravity(latitude, h) / pressure

    radius, index, bend = [], [], []
    start = math.log(weather.pressure)
    for low, high in ((height, middle), (middle, _SPACE)):
        x, derivative, weights = _collocation(nodes)
        heights = low + (high - low) * (x + 1) / 2
        solved = solve_ivp(fall, (low, high), [start], "DOP853", heights, rtol=1e-11, atol=1e-13)
        pressure = np.exp(solved.y[0])
        start = float(solved.y[0, -1])
        n = 1 + _refractivity(wavelength, pressure, temperature(heights), fraction(heights, pressure))
        radius.append(_curvature(latitude) + heights)
        index.append(n)
        bend.append(-(np.log(n) @ derivative.T) * weights)
    return Air(np.concatenate(radius), np.concatenate(index, axis=1), np.concatenate(bend, axis=1))


def traced_dcr(
    wavelength: ArrayLike, reference: float, zenith_angle: float, weather: Weather, latitude: float, height: float,
    lapse: float = LAPSE,
) -> Float:  # fmt: skip
    """How far from the light of a reference wavelength an image shows other light of a star.

    The image's WCS knows where light of the reference wavelength comes from. Light that arrives at an apparent zenith
    angle z' is taken for that of a star at z' + R0(z'), when the star is at z' + R(z').

    Parameters
    ----------
    wavelength : array-like of shape (n,)
        nm.
    reference : float
        nm.
    zenith_angle : float
        True zenith angle of the star, degrees.
    weather : Weather
        The air at the telescope.
    latitude, height : float
        Of the telescope, degrees and metres.
    lapse : float
        Of the temperature, K / m.

    Returns
    -------
    ndarray of float64, shape (n,)
        Arcsec towards the zenith.
    """
    wavelength = tuple(np.ravel(np.asarray(wavelength, np.float64)).tolist())
    air, air0 = _kept(wavelength, reference, weather, latitude, height, lapse)
    true = math.radians(zenith_angle)
    apparent = np.full(len(wavelength), true)
    for _ in range(_ROUNDS):
        apparent = true - air.refraction(apparent)
    return np.rad2deg(air.refraction(apparent) - air0.refraction(apparent)) * 3600.0


@lru_cache(maxsize=32)
def _kept(
    wavelength: tuple[float, ...], reference: float, weather: Weather, latitude: float, height: float, lapse: float
) -> tuple[Air, Air]:
    """The air of a visit, for its wavelengths and for the reference alone: the same for all of its stars."""
    both = air_above(np.array([*wavelength, reference]), weather, latitude, height, lapse)
    return (
        Air(both.radius, both.index[:-1], both.bend[:-1]),
        Air(both.radius, both.index[-1:], both.bend[-1:]),
    )


@lru_cache(maxsize=4)
def _collocation(nodes: int) -> tuple[Float, Float, Float]:
    """Chebyshev points on [-1, 1], ascending, the matrix that differentiates there, and weights that integrate."""
    x = -np.cos(np.pi * np.arange(nodes) / (nodes - 1))
    values = chebyshev.chebvander(x, nodes - 1)
    slopes = np.stack([chebyshev.chebval(x, chebyshev.chebder(row)) for row in np.eye(nodes)], axis=1)
    areas = [(0.0 if n % 2 else 2.0 / (1 - n * n)) for n in range(nodes)]
    inverse = np.linalg.inv(values)
    return x, slopes @ inverse, np.array(areas) @ inverse


def _gravity(latitude: float, height: float) -> float:
    """Acceleration of gravity, m / s^2: the international formula of 1980 and the free-air gradient."""
    s = math.sin(math.radians(latitude)) ** 2
    at_sea = 9.7803267715 * (1 + 0.001931851353 * s) / math.sqrt(1 - 0.0066943800229 * s)
    return at_sea / (1 + height / _curvature(latitude)) ** 2


def _curvature(latitude: float) -> float:
    """Mean radius of curvature of the Earth's ellipsoid (WGS 84), metres."""
    squared = 0.00669437999
    return 6378137.0 * math.sqrt(1 - squared) / (1 - squared * math.sin(math.radians(latitude)) ** 2)


def _saturation(kelvin: float) -> float:
    """Saturation pressure of water vapour, Pa (Davis 1992)."""
    return math.exp(33.93711047 + kelvin * (-1.9121316e-2 + kelvin * 1.2378847e-5) - 6343.1645 / kelvin)


def _enhanced(celsius: float, pressure: float) -> float:
    return 1.00062 + 3.14e-8 * pressure + 5.6e-7 * celsius**2


def _density(pressure: Float, kelvin: Float | float, x: Float | float) -> tuple[Float, Float]:
    """Densities of dry air and vapour, kg / m^3, at the mole fraction x of vapour (the BIPM's 1981/91 equation)."""
    t = kelvin - 273.15
    first = 1.58123e-6 + t * (-2.9331e-8 + t * 1.1043e-10)
    first = first + x * (5.707e-6 - 2.051e-8 * t + x * (1.9898e-4 - 2.376e-6 * t))
    q = pressure / kelvin
    moles = q / _GAS / (1 + q * (q * (1.83e-11 - 0.765e-8 * x * x) - first))
    return moles * (1 - x) * _DRY, moles * x * _WATER


def _refractivity(wavelength: Float, pressure: Float, kelvin: Float | float, x: Float | float) -> Float:
    """n - 1 of moist air, shape (num_wavelengths, num_heights)."""
    s2 = 1e6 / wavelength[:, None] ** 2
    dry15 = (5792105 / (238.0185 - s2) + 167917 / (57.362 - s2)) * 1e-8
    vapour20 = 1.022e-8 * (295.235 + s2 * (2.6422 + s2 * (-0.032380 + s2 * 0.004028)))
    zero, one = np.zeros(1), np.ones(1)
    dry, water = _density(pressure, kelvin, x)
    return np.asarray(
        dry15 * dry / _density(np.array([101325.0]), 288.15, zero)[0]
        + vapour20 * water / _density(np.array([1333.0]), 293.15, one)[1]
    )
