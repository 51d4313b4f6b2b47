"""Refraction: check values, an independent refractive index, laws, limits. Against traced rays: `test_air.py`."""

import galsim
import numpy as np
import pytest

from dcrflow.physics.refraction import (
    Weather,
    dcr_terms,
    polynomial,
    refraction,
    refractivity,
    true_altitude,
    vapour_fraction,
)

LATITUDE, HEIGHT = -30.244639, 2663.0
PACHON = Weather(12.0, 73892.0, 20.0)
PLACES = {
    "P": (PACHON, LATITUDE), "H": (Weather(8.0, 73800.0, 90.0), LATITUDE),
    "M": (Weather(15.0, 83000.0, 40.0), 33.356), "L": (Weather(20.0, 101000.0, 60.0), 33.356),
}  # fmt: skip


@pytest.mark.parametrize(
    ("place", "wavelength", "reference", "zenith_angle", "mas"),
    [
        ("P", 400, 550, 30, 431.65), ("P", 400, 550, 45, 746.99), ("P", 400, 550, 60, 1290.47),
        ("P", 400, 550, 65, 1594.49), ("P", 330, 370, 60, 882.86), ("P", 700, 622, 60, -227.63),
        ("P", 1060, 970, 65, -87.27), ("H", 400, 550, 60, 1310.24), ("H", 320, 370, 65, 1461.48),
        ("M", 400, 480, 60, 940.58), ("L", 400, 480, 45, 652.09), ("L", 330, 400, 65, 2246.06),
    ],
)  # fmt: skip
def test_check_values(place: str, wavelength: float, reference: float, zenith_angle: float, mas: float) -> None:
    """DCR of a separate implementation of the same formulas, to 0.05 mas."""
    terms = dcr_terms([wavelength], reference, *PLACES[place])
    found = polynomial(terms, np.tan(np.deg2rad(zenith_angle)))
    assert found[0] * 1e3 == pytest.approx(mas, abs=0.05)


def test_check_values_on_the_way() -> None:
    assert vapour_fraction(PACHON) == pytest.approx(0.00380822, abs=5e-9)
    assert 1e8 * refractivity(400.0, PACHON) == pytest.approx(20825.5924, abs=1e-3)
    terms = dcr_terms([400.0], 550.0, PACHON, LATITUDE)[:, 0]
    np.testing.assert_allclose(terms, [0.7479644, -0.00098107, 3.3066e-6], rtol=2e-5)


def test_refractivity_of_standard_air() -> None:
    """Ciddor's table 1: dry air at 633 nm, 20 C and 80, 100, 120 kPa, and 10 and 30 C and 100 kPa."""
    table = ((20, 8e4, 21458.0), (20, 1e5, 26824.4), (20, 1.2e5, 32191.6), (10, 1e5, 27774.7), (30, 1e5, 25937.2))
    for celsius, pressure, expected in table:
        assert 1e8 * refractivity(633.0, Weather(celsius, pressure, 0.0)) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("humidity", [0.0, 10.0, 90.0])
def test_index_against_galsims(humidity: float) -> None:
    """GalSim has Edlen's of 1953 (Filippenko 1982): dispersion alike to 1 %, whatever the humidity."""
    weather = Weather(11.5, 69328.0, humidity)
    vapour = 0.1 * 6.1094 * np.exp(17.625 * 11.5 / (243.04 + 11.5)) * humidity / 100  # kPa, Magnus' formula
    wavelength = np.array([400.0, 480.0, 560.0, 900.0])
    theirs = [
        galsim.dcr.air_refractive_index_minus_one(w, pressure=69.328, temperature=284.65, H2O_pressure=vapour)
        for w in wavelength
    ]
    np.testing.assert_allclose(np.diff(refractivity(wavelength, weather)), np.diff(theirs), rtol=1e-2)
    np.testing.assert_allclose(refractivity(wavelength, weather), theirs, rtol=1e-3)


def test_terms_are_the_difference_in_the_sky_metric() -> None:
    """Light seen at z' is taken for that of a star at z' + R0(z'): the same DCR from the refraction itself."""
    w, w0 = np.array([330.0, 400.0, 700.0]), 550.0
    for z in (10.0, 45.0, 65.0):
        apparent = z - refraction(w, z, PACHON, LATITUDE) / 3600
        seen_at = np.array([_seen_from(a, w0) for a in apparent])
        expected = (z - seen_at) * 3600
        found = polynomial(dcr_terms(w, w0, PACHON, LATITUDE), np.tan(np.deg2rad(z)))
        np.testing.assert_allclose(found, expected, atol=2e-5)


def _seen_from(apparent: float, wavelength: float) -> float:
    """True zenith angle of what light of a wavelength shows at an apparent zenith angle."""
    return 90.0 - true_altitude(90.0 - apparent, PACHON, LATITUDE, wavelength)


def test_true_altitude_undoes_refraction() -> None:
    for altitude in (15.0, 30.0, 60.0, 90.0):
        seen = altitude + float(refraction(550.0, 90.0 - altitude, PACHON, LATITUDE)) / 3600
        assert true_altitude(min(seen, 90.0), PACHON, LATITUDE) == pytest.approx(altitude, abs=1e-6)
    assert true_altitude(30.0, PACHON, LATITUDE) == pytest.approx(30 - 0.0202, abs=2e-4)


def test_laws() -> None:
    terms = dcr_terms([400.0, 550.0, 700.0], 550.0, PACHON, LATITUDE)
    assert terms[0, 0] > 0 == terms[0, 1] > terms[0, 2]  # blue goes to the zenith, the reference stays
    assert np.all(terms[:, 1] == 0)
    assert np.all(np.abs(terms[1]) <= 2e-3 * np.abs(terms[0]))
    assert refraction(500.0, 0.0, PACHON, LATITUDE) == 0
    z = np.linspace(0, 80, 20)
    assert np.all(np.diff(refraction(500.0, z, PACHON, LATITUDE)) > 0)
    denser = Weather(PACHON.temperature, PACHON.pressure * 1.01, PACHON.humidity)
    assert np.abs(dcr_terms([400.0], 550.0, denser, LATITUDE)[0, 0] / terms[0, 0] - 1.01) < 1e-3


def test_weather_limits_the_accuracy() -> None:
    """+1 mbar is 1.7 mas and +1 C is 4.5 mas of DCR between 400 and 550 nm at z = 60."""
    tan60 = np.sqrt(3.0)

    def dcr(t: float, p: float) -> float:
        return float(polynomial(dcr_terms([400.0], 550.0, Weather(t, p, 20.0), LATITUDE), tan60)[0]) * 1e3

    here = dcr(12.0, 73892.0)
    assert dcr(12.0, 73992.0) - here == pytest.approx(1.7, abs=0.1)
    assert dcr(13.0, 73892.0) - here == pytest.approx(-4.5, abs=0.2)


@pytest.mark.parametrize("wavelength", [229.9, 2058.7, np.nan, -1.0])
def test_wavelength_out_of_range(wavelength: float) -> None:
    with pytest.raises(ValueError, match="outside 230 to 2058 nm"):
        refractivity([500.0, wavelength], PACHON)


@pytest.mark.parametrize("angle", [-1.0, 90.0, 120.0, np.nan])
def test_zenith_angle_out_of_range(angle: float) -> None:
    with pytest.raises(ValueError, match="zenith angle"):
        refraction(500.0, angle, PACHON, LATITUDE)
    with pytest.raises(ValueError, match="zenith angle"):
        true_altitude(90.0 - angle, PACHON, LATITUDE)


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
