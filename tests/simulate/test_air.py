"""Rays traced through the air: against the formulas of `physics`, against SLALIB's integrator, and against laws."""

import numpy as np
import pytest

from dcrflow.physics import lsst_refraction
from dcrflow.physics.refraction import Weather, dcr_terms, polynomial, refraction
from dcrflow.simulate.air import LAPSE, air_above, traced_dcr

BANDS = {"u": (320, 400), "g": (390, 560), "r": (540, 700), "i": (680, 830), "z": (800, 935), "y": (910, 1060)}
PACHON, LATITUDE, HEIGHT = Weather(12.0, 73892.0, 20.0), -30.244639, 2663.0
RNG = np.random.default_rng(1)


def random_weather() -> tuple[Weather, float, float]:
    """Weather, latitude and height of an observatory: 0 to 4300 m, -29 to 30 C, 0 to 100 %."""
    height = RNG.uniform(0, 4300)
    pressure = 101325 * np.exp(-height / 8300) * RNG.uniform(0.97, 1.03)
    return Weather(RNG.uniform(-29, 30), pressure, RNG.uniform(0, 100)), RNG.uniform(-70, 70), height


WEATHERS = [random_weather() for _ in range(20)]


@pytest.mark.parametrize(("band", "limits"), BANDS.items())
def test_the_formula_is_as_good_as_it_says(band: str, limits: tuple[float, float]) -> None:
    """To 0.04 mas at z <= 65, 0.2 at 75 and 3 at 80, in any band, weather and place."""
    wavelength, middle = np.linspace(*limits, 5), sum(limits) / 2
    for weather, latitude, height in WEATHERS:
        terms = dcr_terms(wavelength, middle, weather, latitude)
        for zenith_angle, mas in ((30.0, 0.04), (45.0, 0.04), (60.0, 0.04), (65.0, 0.04), (75.0, 0.2), (80.0, 3.0)):
            truth = traced_dcr(wavelength, middle, zenith_angle, weather, latitude, height)
            assert np.abs(polynomial(terms, np.tan(np.deg2rad(zenith_angle))) - truth).max() * 1e3 < mas


def test_the_lapse_rate_hardly_matters() -> None:
    """At given pressure and temperature below it, the height of the air's centre of mass is the same."""
    low, high = (traced_dcr([400.0], 550.0, 60.0, PACHON, LATITUDE, HEIGHT, lapse) for lapse in (4e-3, 8e-3))
    assert abs(low - high)[0] * 1e3 < 0.03


def test_lsst_refraction_is_not() -> None:
    truth = traced_dcr([400.0], 550.0, 60.0, PACHON, LATITUDE, HEIGHT)
    theirs = polynomial(lsst_refraction.dcr_terms([400.0], 550.0, PACHON, LATITUDE, HEIGHT), np.sqrt(3.0))
    assert (theirs - truth)[0] * 1e3 == pytest.approx(9.9, abs=0.3)


def test_slalib_agrees() -> None:
    """palpy's `refro` integrates the ray too, with another index of air: 0.03 arcsec of refraction, 1 % of DCR."""
    palpy = pytest.importorskip("palpy")
    for weather, latitude, height in WEATHERS:
        air = air_above(np.array([400.0, 550.0]), weather, latitude, height)
        for z in np.deg2rad([30.0, 60.0, 75.0]):
            theirs = np.rad2deg([
                palpy.refro(
                    z, height, weather.temperature + 273.15, weather.pressure / 100, weather.humidity / 100, w,
                    np.deg2rad(latitude), LAPSE, 1e-11,
                )
                for w in (0.4, 0.55)
            ]) * 3600  # fmt: skip
            ours = np.rad2deg(air.refraction(np.full(2, z))) * 3600
            np.testing.assert_allclose(ours, theirs, atol=0.03 * np.tan(z))
            assert np.diff(ours)[0] == pytest.approx(np.diff(theirs)[0], rel=1.2e-2)


def test_more_layers_change_nothing() -> None:
    angle = np.deg2rad([70.0, 70.0])
    few, many = (
        air_above(np.array([330.0, 900.0]), PACHON, LATITUDE, HEIGHT, nodes=n).refraction(angle) for n in (48, 96)
    )
    np.testing.assert_allclose(few, many, rtol=0, atol=np.deg2rad(2e-8 / 3.6))  # 0.02 mas


def test_refraction_itself() -> None:
    """The whole refraction agrees with the formula's, too: 2 mas at z = 60 of 74 arcsec."""
    true = np.deg2rad(60.0)
    air, seen = air_above(np.array([400.0]), PACHON, LATITUDE, HEIGHT), np.array([true])
    for _ in range(4):
        seen = true - air.refraction(seen)
    assert np.rad2deg(air.refraction(seen)[0]) * 3600 == pytest.approx(
        float(refraction(400.0, 60.0, PACHON, LATITUDE)), abs=2e-3
    )


def test_laws() -> None:
    assert np.all(np.abs(traced_dcr([400.0, 700.0], 550.0, 0.0, PACHON, LATITUDE, HEIGHT)) < 1e-12)
    assert traced_dcr([550.0], 550.0, 60.0, PACHON, LATITUDE, HEIGHT)[0] == pytest.approx(0, abs=1e-12)
    blue, red = traced_dcr([400.0, 700.0], 550.0, 45.0, PACHON, LATITUDE, HEIGHT)
    assert blue > 0 > red
    vacuum = Weather(12.0, 1e-3, 0.0)
    assert np.abs(traced_dcr([400.0], 550.0, 60.0, vacuum, LATITUDE, HEIGHT)[0]) < 1e-7
