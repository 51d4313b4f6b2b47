"""LSST's refraction: its own figures, and how far it is from the air's."""

import numpy as np
import pytest

from dcrflow.physics import refraction
from dcrflow.physics.lsst_refraction import dcr_terms, refraction_terms, refractivity, vapour_pressure
from dcrflow.physics.refraction import Weather, polynomial

LATITUDE, HEIGHT = -30.244639, 2663.0
TAN60 = np.sqrt(3.0)


def test_lsst_figures() -> None:
    found = polynomial(
        refraction_terms([370, 480, 620, 860, 960, 1025], Weather(20.0, 73892.0, 10.0), LATITUDE, HEIGHT), TAN60
    )
    np.testing.assert_allclose(found, [73.04868, 71.74884, 71.02058, 70.51172, 70.40447, 70.35114], atol=1e-4)


@pytest.mark.parametrize(("zenith_angle", "excess"), [(45.0, 0.0028), (60.0, 0.0077), (65.0, 0.0115)])
def test_its_dcr_is_too_large(zenith_angle: float, excess: float) -> None:
    weather, tan = Weather(12.0, 73892.0, 20.0), np.tan(np.deg2rad(zenith_angle))
    theirs = polynomial(dcr_terms([400.0], 550.0, weather, LATITUDE, HEIGHT), tan)[0]
    true = polynomial(refraction.dcr_terms([400.0], 550.0, weather, LATITUDE), tan)[0]
    assert theirs / true - 1 == pytest.approx(excess, abs=2e-4)


def test_misprinted_water_vapour_coefficient() -> None:
    """In humid air the dispersion of its index is off by more than in dry air, against Ciddor's."""
    off = []
    for humidity in (10.0, 90.0):
        weather = Weather(20.0, 73892.0, humidity)
        theirs, true = (np.ptp(f(np.array([400.0, 550.0]), weather)) for f in (refractivity, refraction.refractivity))
        off.append(theirs / true - 1)
    assert abs(off[0]) < 5e-4
    assert off[1] < -1e-3


@pytest.mark.parametrize("wavelength", [230.1, 2058.7, np.nan])
def test_wavelength_out_of_range(wavelength: float) -> None:
    with pytest.raises(ValueError, match=r"outside 230\.2 to 2058\.6 nm"):
        refractivity([500.0, wavelength], Weather(20.0, 73892.0, 10.0))


def test_dry_air_is_continuous() -> None:
    """The vapour-pressure fit must not run wild below its range."""
    pressures = [vapour_pressure(Weather(0.0, 74000.0, h)) for h in (0.0, 1e-3, 0.1, 1.0, 5.0, 50.0)]
    assert pressures[0] == 0
    assert np.all(np.diff(pressures) >= 0)
    assert pressures[-1] == pytest.approx(3.05, rel=0.1)  # half of 6.11 mbar over water
