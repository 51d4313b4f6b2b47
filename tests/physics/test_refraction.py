"""Refraction: LSST's printed figures, an independent refractive index, astropy's, and the limits."""

import galsim
import numpy as np
import pytest

from dcrflow.physics.refraction import (
    LSST_WATER_VAPOUR,
    WATER_VAPOUR,
    Weather,
    refraction,
    refraction_terms,
    refractivity,
    vapour_pressure,
)

LATITUDE, HEIGHT = -30.244639, 2663.0
PACHON = Weather(20.0, 73892.0, 10.0)
TAN60 = np.sqrt(3.0)


def ciddor(wavelength: np.ndarray, weather: Weather) -> np.ndarray:
    """Refractivity of moist air after Ciddor 1996, Applied Optics 35, 1566 (450 ppm CO2): an independent formula."""
    s2 = (1e3 / wavelength) ** 2
    t, p = weather.temperature, weather.pressure
    kelvin = t + 273.15
    svp = np.exp(1.2378847e-5 * kelvin**2 - 1.9121316e-2 * kelvin + 33.93711047 - 6.3431645e3 / kelvin)
    f = 1.00062 + 3.14e-8 * p + 5.6e-7 * t**2
    xw = weather.humidity / 100 * f * svp / p
    air = 1e-8 * (5792105 / (238.0185 - s2) + 167917 / (57.362 - s2))
    water = 1e-8 * 1.022 * (295.235 + 2.6422 * s2 - 0.032380 * s2**2 + 0.004028 * s2**3)
    molar = 1e-3 * (28.9635 + 12.011e-6 * (450 - 400))

    def density(p: float, kelvin: float, xw: float) -> tuple[float, float]:
        t = kelvin - 273.15
        z = (
            1
            - (p / kelvin)
            * (
                1.58123e-6 - 2.9331e-8 * t + 1.1043e-10 * t**2
                + (5.707e-6 - 2.051e-8 * t) * xw + (1.9898e-4 - 2.376e-6 * t) * xw**2
            )
            + (p / kelvin) ** 2 * (1.83e-11 - 0.765e-8 * xw**2)
        )  # fmt: skip
        scale = p * molar / (z * 8.314510 * kelvin)
        return scale * (1 - xw), scale * xw * 0.018015 / molar

    dry, vapour = density(p, kelvin, xw)
    dry0, _ = density(101325.0, 288.15, 0.0)
    _, vapour0 = density(1333.0, 293.15, 1.0)
    return dry / dry0 * air + vapour / vapour0 * water


def test_lsst_figures() -> None:
    # LSST's own numbers have a misprinted water-vapour coefficient, worth 1.1 mas here
    found = refraction([370, 480, 620, 860, 960, 1025], 60.0, PACHON, LATITUDE, HEIGHT)
    expected = np.array([73.04868, 71.74884, 71.02058, 70.51172, 70.40447, 70.35114])
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(found - expected, 1.1e-3, atol=1e-4)
    first, second = refraction_terms([370, 480, 620, 860, 960, 1025], PACHON, LATITUDE, HEIGHT, LSST_WATER_VAPOUR)
    np.testing.assert_allclose(first * TAN60 + second * TAN60**3, expected, atol=2e-5)


@pytest.mark.parametrize("humidity", [10.0, 40.0, 90.0])
def test_water_vapour_coefficient_against_ciddor(humidity: float) -> None:
    """The printed 7.75141e4 agrees with an independent index to 1e-4 of its dispersion; 7.75141e-4 is off by more."""
    weather = Weather(20.0, 73892.0, humidity)
    wavelength = np.array([400.0, 550.0])
    truth = np.diff(ciddor(wavelength, weather))[0]
    ours = np.diff(refractivity(wavelength, weather))[0]
    misprinted = np.diff(refractivity(wavelength, weather, LSST_WATER_VAPOUR))[0]
    assert abs(ours - truth) < abs(misprinted - truth)
    assert abs(ours / truth - 1) < 1.5e-3


def test_misprinted_coefficient_moves_the_dcr_as_stated() -> None:
    for humidity, mas in ((10.0, 0.03), (40.0, 0.5), (90.0, 2.8)):
        weather = Weather(20.0, 73892.0, humidity)
        dcr = [
            -np.diff(refraction_terms([400.0, 550.0], weather, LATITUDE, HEIGHT, w), axis=1)[:, 0] @ [TAN60, TAN60**3]
            for w in (WATER_VAPOUR, LSST_WATER_VAPOUR)
        ]
        shift = (dcr[0] - dcr[1]) * 1e3
        assert shift == pytest.approx(mas, rel=0.25)


def test_galsim_agrees() -> None:
    """GalSim's refraction (Filippenko 1982) of dry air: the same DCR to half a percent."""
    wavelength = np.array([400.0, 480.0, 560.0])
    ours = refraction(wavelength, 45.0, Weather(11.5, 69328.0, 0.0), 45.0, 0.0)
    theirs = [
        galsim.dcr.get_refraction(
            w, 45.0 * galsim.degrees, pressure=69.328, temperature=273.15 + 11.5, H2O_pressure=0.0
        )
        for w in wavelength
    ]
    np.testing.assert_allclose(np.diff(ours), np.diff(theirs) * 206264.806, rtol=5e-3)


def test_laws() -> None:
    first, second = refraction_terms([400.0, 700.0], PACHON, LATITUDE, HEIGHT)
    assert first[0] > first[1] > 0  # blue is refracted more
    assert np.all(np.abs(second) < 2e-3 * first)
    assert refraction(500.0, 0.0, PACHON, LATITUDE, HEIGHT) == 0
    z = np.linspace(0, 80, 20)
    assert np.all(np.diff(refraction(500.0, z, PACHON, LATITUDE, HEIGHT)) > 0)


@pytest.mark.parametrize("wavelength", [230.1, 2058.7, np.nan, -1.0])
def test_wavelength_out_of_range(wavelength: float) -> None:
    with pytest.raises(ValueError, match=r"outside 230\.2 to 2058\.6 nm"):
        refractivity([500.0, wavelength], PACHON)


@pytest.mark.parametrize("angle", [-1.0, 90.0, 120.0, np.nan])
def test_zenith_angle_out_of_range(angle: float) -> None:
    with pytest.raises(ValueError, match="zenith angle"):
        refraction(500.0, angle, PACHON, LATITUDE, HEIGHT)


def test_standard_weather() -> None:
    weather = Weather.standard(2663.0)
    assert weather.temperature == pytest.approx(19 - 6.5 * 2.663)
    assert weather.pressure == pytest.approx(73892, rel=2e-3)
    assert weather.humidity == 40
    assert weather.assumed == ("temperature", "pressure", "humidity")


def test_partly_missing_weather() -> None:
    weather = Weather.measured(np.nan, 74500.0, None, HEIGHT)
    assert weather.pressure == 74500.0
    assert weather.temperature == Weather.standard(HEIGHT).temperature
    assert weather.assumed == ("temperature", "humidity")
    assert Weather.measured(5.0, 74500.0, 0.0, HEIGHT).assumed == ()


@pytest.mark.parametrize(
    "values", [(-999.0, 74000.0, 10.0), (10.0, 0.0, 10.0), (10.0, 740.0, 10.0), (10.0, 74000.0, 101)]
)
def test_impossible_weather(values: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="is not within"):
        Weather.measured(*values, height=HEIGHT)


def test_dry_air_is_continuous() -> None:
    """The vapour-pressure fit must not run wild below its range."""
    pressures = [vapour_pressure(Weather(0.0, 74000.0, h)) for h in (0.0, 1e-3, 0.1, 1.0, 5.0, 50.0)]
    assert pressures[0] == 0
    assert np.all(np.diff(pressures) >= 0)
    assert pressures[-1] == pytest.approx(3.05, rel=0.1)  # half of 6.11 mbar over water
