"""LSST's refraction, whole, for ``rotation: boresight``: to compare numbers with the pipeline's, not to trust.

It is Stone 1996 (PASP 108, 1051) with Owens' 1967 index of air, as `lsst.afw.coord` computes it. Against rays traced
through the air it makes the DCR of 400 to 550 nm too large by 0.3 % at z = 45 and 0.8 % at z = 60, for three reasons:
the tan^3 term has a plus (Stone's and Green's has a minus), gravity multiplies the whole (at given pressure and
temperature the leading term does not depend on it), and the last coefficient of the water vapour's density factor is
7.75141e-4, where both papers print 7.75141e4.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dcrflow.physics.refraction import ARCSEC, Weather, in_range

Float = NDArray[np.float64]

FORMULA = "lsst (stone1996)"  # recorded with what is made by it
WAVELENGTH_RANGE = (230.2, 2058.6)  # nm, where Stone's formula holds


def refractivity(wavelength: ArrayLike, weather: Weather) -> Float:
    """Refractivity n - 1 of moist air (Stone 1996, equations 9 to 14), with LSST's last coefficient.

    Raises
    ------
    ValueError
        Outside 230.2 to 2058.6 nm, where the formula does not hold.
    """
    wavelength = in_range(wavelength, WAVELENGTH_RANGE)
    kelvin = weather.temperature + 273.15
    water = vapour_pressure(weather)
    dry = weather.pressure / 100.0 - water  # mbar
    dry_factor = (1 + dry * (57.90e-8 - 9.3250e-4 / kelvin + 0.25844 / kelvin**2)) * dry / kelvin
    water_factor = (
        1
        + water
        * (1 + 3.7e-4 * water)
        * (-2.37321e-3 + 2.23366 / kelvin - 710.792 / kelvin**2 + 7.75141e-4 / kelvin**3)
    ) * water / kelvin  # fmt: skip
    sigma2 = (1e3 / wavelength) ** 2  # wavenumber squared, micron^-2
    dry_dispersion = 2371.34 + 683939.7 / (130 - sigma2) + 4547.3 / (38.9 - sigma2)
    water_dispersion = 6487.31 + 58.058 * sigma2 - 0.71150 * sigma2**2 + 0.08851 * sigma2**3
    return np.asarray(1e-8 * (dry_dispersion * dry_factor + water_dispersion * water_factor))


def vapour_pressure(weather: Weather) -> float:
    """Pressure of the water vapour, mbar (Stone 1996, equations 18 to 20).

    The polynomial is a fit above a dew point of about -50 C; air drier than that counts as dry.
    """
    if weather.humidity <= 0:
        return 0.0
    t = weather.temperature
    x = math.log(weather.humidity / 100.0)
    dew = 238.3 * ((t + 238.3) * x + 17.2694 * t) / ((t + 238.3) * (17.2694 - x) - 17.2694 * t)
    if dew < -50.0:
        return 0.0
    powers = (4.50874, 0.341724, 0.0106778, 0.184889e-3, 0.238294e-5, 0.203447e-7)
    return max(0.0, 1.3332239 * sum(c * dew**i for i, c in enumerate(powers)))


def refraction_terms(wavelength: ArrayLike, weather: Weather, latitude: float, height: float) -> Float:
    """R = terms[0] tan z + terms[1] tan^3 z + terms[2] tan^5 z with the true zenith angle z; the last is zero.

    Parameters
    ----------
    wavelength : array-like of shape (n,)
        nm.
    weather : Weather
        The air at the telescope.
    latitude, height : float
        Of the telescope, degrees and metres above sea level.

    Returns
    -------
    ndarray of float64, shape (3, n)
        Arcsec, towards the zenith.
    """
    n1 = refractivity(wavelength, weather)
    beta = 4.5908e-6 * (weather.temperature + 273.15)
    lat = math.radians(latitude)
    kappa = 1 + 0.005302 * math.sin(lat) ** 2 - 0.00000583 * math.sin(2 * lat) ** 2 - 0.000000315 * height
    return ARCSEC * kappa * np.stack([n1 * (1 - beta), n1 * (beta - n1 / 2), np.zeros_like(n1)])


def dcr_terms(wavelength: ArrayLike, reference: float, weather: Weather, latitude: float, height: float) -> Float:
    """`refraction_terms` relative to those of a reference wavelength, nm."""
    where = weather, latitude, height
    return refraction_terms(wavelength, *where) - refraction_terms(np.array([reference]), *where)
