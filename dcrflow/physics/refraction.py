"""Refraction by the atmosphere: Ciddor's index of moist air, and what a WCS leaves of the refraction in an image.

Units are those of observing logs: nm, degrees, Celsius, Pa, percent; results are in arcsec. LSST's own formula, which
``rotation: boresight`` applies, is in `dcrflow.physics.lsst_refraction`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

ARCSEC = math.degrees(1.0) * 3600.0  # arcsec in a radian
WAVELENGTH_RANGE = (230.0, 2058.0)  # nm; the formulas do not hold outside
FORMULA = "ciddor1996, sky metric"  # recorded with every template and coadd

_GAS_CONSTANT = 8.314510  # J / (mol K), as Ciddor has it
_DRY_MASS = 0.0289635 + 12.011e-9 * 50  # kg / mol, at 450 ppm of CO2
_WATER_MASS = 0.018015  # kg / mol
_ROUNDS = 6  # of the iteration from true to apparent zenith angle; the fourth changes nothing at z = 75


@dataclass(frozen=True)
class Weather:
    """The air at the telescope.

    Parameters
    ----------
    temperature : float
        Celsius.
    pressure : float
        Pa.
    humidity : float
        Relative, percent.
    assumed : tuple of str
        Which of the three were not measured but taken from the standard atmosphere.
    """

    temperature: float
    pressure: float
    humidity: float
    assumed: tuple[str, ...] = ()

    @classmethod
    def standard(cls, height: float) -> Weather:
        """The standard atmosphere at `height` metres: 19 C at sea level, -6.5 C/km, barometric pressure, 40 %."""
        if not -1000 <= height <= 50000:
            raise ValueError(f"height is {height:g} m, expected -1000 to 50000")
        temperature = 19.0 - 6.5e-3 * height
        pressure = 101325.0 * math.exp(-9.80665 * 0.0289644 * height / (8.3144598 * 288.15))
        return cls(temperature, pressure, 40.0, ("temperature", "pressure", "humidity"))

    @classmethod
    def measured(
        cls, temperature: float | None, pressure: float | None, humidity: float | None, height: float
    ) -> Weather:
        """Take what was measured and fill each missing field (None or NaN) from the standard atmosphere.

        Raises
        ------
        ValueError
            If a measured value is impossible: temperature not within -90 to 60 C, pressure not within 10 to 120 kPa,
            humidity not within 0 to 100 %.
        """
        default = cls.standard(height)
        limits = {"temperature": (-90.0, 60.0), "pressure": (1e4, 1.2e5), "humidity": (0.0, 100.0)}
        values, assumed = {}, []
        for name, value in (("temperature", temperature), ("pressure", pressure), ("humidity", humidity)):
            if value is None or math.isnan(value):
                values[name] = getattr(default, name)
                assumed.append(name)
                continue
            low, high = limits[name]
            if not low <= value <= high:
                raise ValueError(
                    f"{name} {value:g} is not within {low:g} to {high:g}; leave it out to assume a standard one"
                )
            values[name] = float(value)
        return cls(**values, assumed=tuple(assumed))


def vapour_fraction(weather: Weather) -> float:
    """Mole fraction of water vapour (Ciddor 1996, appendix A: Davis 1992, Giacomo 1982)."""
    t, p = weather.temperature, weather.pressure
    kelvin = t + 273.15
    saturation = math.exp(1.2378847e-5 * kelvin**2 - 1.9121316e-2 * kelvin + 33.93711047 - 6343.1645 / kelvin)
    enhancement = 1.00062 + 3.14e-8 * p + 5.6e-7 * t**2
    return weather.humidity / 100.0 * enhancement * saturation / p


def _densities(temperature: float, pressure: float, vapour: float) -> tuple[float, float]:
    """Densities of dry air and of water vapour in moist air, kg/m^3 (Ciddor 1996, equations 4 and 12).

    `vapour` is the mole fraction of water vapour; Celsius and Pa.
    """
    kelvin = temperature + 273.15
    ratio = pressure / kelvin
    compressibility = (
        1
        - ratio * (
            1.58123e-6 - 2.9331e-8 * temperature + 1.1043e-10 * temperature**2
            + (5.707e-6 - 2.051e-8 * temperature) * vapour + (1.9898e-4 - 2.376e-6 * temperature) * vapour**2
        )
        + ratio**2 * (1.83e-11 - 0.765e-8 * vapour**2)
    )  # fmt: skip
    moles = pressure / (compressibility * _GAS_CONSTANT * kelvin)  # a cubic metre
    return moles * (1 - vapour) * _DRY_MASS, moles * vapour * _WATER_MASS


def refractivity(wavelength: ArrayLike, weather: Weather) -> Float:
    """Refractivity n - 1 of moist air with 450 ppm of CO2 (Ciddor 1996, Applied Optics 35, 1566, equations 1 to 5).

    Dry air's dispersion is that of Peck & Reeder 1972, water vapour's that of Erickson 1962, each scaled by density.
    Good to 5e-8, which is 0.4 mas of DCR in dry air and 1 mas in humid air at z = 60.

    Parameters
    ----------
    wavelength : array-like
        nm, in vacuum.
    weather : Weather
        The air at the telescope.

    Returns
    -------
    ndarray of float64, of the shape of `wavelength`

    Raises
    ------
    ValueError
        Outside 230 to 2058 nm, where the formula does not hold; from 300 to 1100 nm it is as good as stated.
    """
    wavelength = in_range(wavelength, WAVELENGTH_RANGE)
    sigma2 = (1e3 / wavelength) ** 2  # wavenumber squared, micron^-2
    dry = 1e-8 * (5792105 / (238.0185 - sigma2) + 167917 / (57.362 - sigma2))
    water = 1.022e-8 * (295.235 + 2.6422 * sigma2 - 0.032380 * sigma2**2 + 0.004028 * sigma2**3)
    of_dry, of_water = _densities(weather.temperature, weather.pressure, vapour_fraction(weather))
    standard_dry, _ = _densities(15.0, 101325.0, 0.0)
    _, standard_water = _densities(20.0, 1333.0, 1.0)
    return np.asarray(dry * of_dry / standard_dry + water * of_water / standard_water)


def in_range(wavelength: ArrayLike, limits: tuple[float, float] = WAVELENGTH_RANGE) -> Float:
    """Wavelengths as an array, if all are within the limits (nm); `ValueError` names the first that is not."""
    wavelength = np.asarray(wavelength, np.float64)
    within = (wavelength >= limits[0]) & (wavelength <= limits[1])
    if not np.all(within):
        raise ValueError(
            f"wavelength {wavelength[~within].flat[0]:g} nm is outside {limits[0]:g} to {limits[1]:g} nm, "
            "where the refraction of air is known"
        )
    return wavelength


def _coefficients(wavelength: ArrayLike, weather: Weather, latitude: float) -> tuple[Float, Float, Float]:
    """A, B and C of R = A tan z - B tan^3 z + C tan^5 z, z apparent; radians.

    The refraction of a thin atmosphere is an expansion in beta, the height of the air's centre of mass over the radius
    of curvature of the Earth, and in g = n - 1 at the telescope: A = g (1 - beta), B = g (beta - g/2) to second order
    (Green 1987, Spherical Astronomy, equation 4.31). C is the next order for an atmosphere whose density falls
    exponentially in an inverse-square gravity, and moves A and B by as much. The weight of the air above gives the
    height of its centre of mass, R T / (M gravity), in which gravity stands alone: it does not multiply R.
    """
    g = refractivity(wavelength, weather)
    kelvin = weather.temperature + 273.15
    beta = 4.63e-6 * kelvin / (1 + 0.012 * math.sin(math.radians(latitude)) ** 2)
    third = 1.5 * g * (1.75 * beta**2 - 1.5 * beta * g + g**2 / 3)
    return g * (1 - beta) + third, g * (beta - g / 2) - 2 * third, third


def dcr_terms(wavelength: ArrayLike, reference: float, weather: Weather, latitude: float) -> Float:
    """The DCR as an image shows it: d = terms[0] tan z + terms[1] tan^3 z + terms[2] tan^5 z, z the true zenith angle.

    An image's WCS is fitted to stars, so it takes out the refraction R0 of the reference wavelength w0. What is left
    of a star is R(w, z') - R0(z') at one apparent zenith angle z', measured on the sky and not in the image plane
    compressed by refraction: the *sky metric*. With z' = z - R expanded about the true zenith angle z that is again an
    odd polynomial of degree 5 in tan z. For R = A t - B t^3 + C t^5, and dA, dB, dC the differences of its
    coefficients between w and w0, collecting powers of t = tan z to third order in the coefficients gives::

        terms[0] = dA (1 - A + A^2)
        terms[1] = -dB (1 - 3 A) + dA (B - A + 3 A^2)
        terms[2] = dC + 3 A dB + dA (B + 2 A^2)

    Against rays traced through the air (`dcrflow.simulate.air`) that is right to 0.04 mas within any LSST band at
    z <= 65, in any weather between 0 and 4300 m; see the tests.

    Parameters
    ----------
    wavelength : array-like of shape (n,)
        nm.
    reference : float
        Wavelength that is not displaced, nm.
    weather : Weather
        The air at the telescope.
    latitude : float
        Of the telescope, degrees.

    Returns
    -------
    ndarray of float64, shape (3, n)
        Arcsec, towards the zenith.
    """
    a, b, c = _coefficients(wavelength, weather, latitude)
    a0, b0, c0 = _coefficients(reference, weather, latitude)
    da, db, dc = a - a0, b - b0, c - c0
    return ARCSEC * np.stack(
        [
            da * (1 - a + a**2),
            -db * (1 - 3 * a) + da * (b - a + 3 * a**2),
            dc + 3 * a * db + da * (b + 2 * a**2),
        ]
    )


def polynomial(terms: Float, tan_zenith: ArrayLike) -> Float:
    """terms[0] t + terms[1] t^3 + terms[2] t^5 at t = `tan_zenith`; shape tan_zenith.shape + terms.shape[1:]."""
    tan = np.asarray(tan_zenith, np.float64)
    tan = tan.reshape(tan.shape + (1,) * (np.ndim(terms) - 1))
    return np.asarray(tan * (terms[0] + tan**2 * (terms[1] + tan**2 * terms[2])))


def refraction(wavelength: ArrayLike, zenith_angle: ArrayLike, weather: Weather, latitude: float) -> Float:
    """How much higher a source appears than it is: A tan z' - B tan^3 z' + C tan^5 z' at the apparent zenith angle z'.

    Parameters
    ----------
    wavelength : array-like
        nm.
    zenith_angle : array-like
        True zenith angle, degrees; broadcasts with `wavelength`.
    weather : Weather
        The air at the telescope.
    latitude : float
        Of the telescope, degrees.

    Returns
    -------
    ndarray of float64
        Arcsec, towards the zenith. Good to 0.03 arcsec at z = 75, and worse below.

    Raises
    ------
    ValueError
        For a wavelength outside 230 to 2058 nm, or at or below the horizon.
    """
    true = np.asarray(zenith_angle, np.float64)
    _above_horizon(true)
    a, b, c = _coefficients(wavelength, weather, latitude)
    found = np.zeros(np.broadcast_shapes(np.shape(a), true.shape))
    for _ in range(_ROUNDS):
        tan = np.tan(np.deg2rad(true) - found)
        found = a * tan - b * tan**3 + c * tan**5
    return ARCSEC * found


def true_altitude(apparent: float, weather: Weather, latitude: float, wavelength: float = 550.0) -> float:
    """The altitude without refraction of what is seen at an apparent altitude; degrees.

    For headers that hold the altitude which the telescope was driven to.

    Raises
    ------
    ValueError
        At or below the horizon.
    """
    zenith_angle = 90.0 - apparent
    _above_horizon(np.asarray(zenith_angle))
    a, b, c = (float(v) for v in _coefficients(wavelength, weather, latitude))
    tan = math.tan(math.radians(zenith_angle))
    return apparent - math.degrees(a * tan - b * tan**3 + c * tan**5)


def _above_horizon(zenith_angle: Float) -> None:
    if not np.all((zenith_angle >= 0) & (zenith_angle < 90)):
        raise ValueError("the zenith angle must be within 0 (included) and 90 degrees (excluded)")
