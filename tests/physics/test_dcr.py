"""DCR models: laws of the weights, agreement with LSST's shifts, directions through any WCS."""

import galsim
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrflow.geometry import sphere
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.physics.bandpass import Bandpass, equal_subfilters
from dcrflow.physics.dcr import dcr_model, formula, spectral_weights, zenith_vectors
from dcrflow.physics.observation import Observation
from dcrflow.physics.refraction import Weather, dcr_terms, polynomial

WEATHER = Weather(10.0, 74000.0, 10.0)
ROTATIONS = ("local", "boresight")


def observation(altitude: float = 45.0, parallactic_angle: float = 30.0, rotation: float | None = None) -> Observation:
    return Observation(53.0, -28.0, altitude, parallactic_angle, WEATHER, -30.0, 2663.0, rotation)


def lsst_g() -> Bandpass:
    curve = galsim.Bandpass("LSST_g.dat", "nm")
    return Bandpass.from_curve(curve.wave_list, curve(curve.wave_list))


def end_to_end(band: Bandpass, number: int) -> tuple[tuple[float, float], ...]:
    low, high = band.limits
    return equal_subfilters((low + high) / 2, high - low, number)


def wcs(rotation: float = 0.0, flip: float = -1.0, scale: float = 0.2) -> SkyWcs:
    c, s = np.cos(np.deg2rad(rotation)) * scale / 3600, np.sin(np.deg2rad(rotation)) * scale / 3600
    return SkyWcs.from_header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 501.0, "CRPIX2": 501.0,
            "CRVAL1": 53.0, "CRVAL2": -28.0,
            "CD1_1": flip * c, "CD1_2": -flip * s, "CD2_1": s, "CD2_2": c, "RADESYS": "ICRS",
        }
    )  # fmt: skip


@pytest.mark.parametrize("number", [1, 2, 3, 6])
@pytest.mark.parametrize("bins", [4, 8, 12])
def test_spectral_weights_reproduce_the_fluxes(number: int, bins: int) -> None:
    band = lsst_g()
    _, weights = spectral_weights(band, end_to_end(band, number), bins)
    np.testing.assert_allclose(weights.reshape(number, bins, number).sum(axis=1), np.eye(number), atol=1e-9)


@pytest.mark.parametrize("number", [2, 3, 6])
def test_spectral_weights_are_exact_for_a_linear_spectrum(number: int) -> None:
    """A straight spectrum has no curvature, so it is what comes back from its own fluxes."""
    band = lsst_g()
    edges = end_to_end(band, number)
    wavelength, weights = spectral_weights(band, edges)
    fine = np.concatenate([np.linspace(a, b, 9)[:-1] for a, b in edges] + [[edges[-1][1]]])
    area, _ = band.integrals(fine)
    photons = area * (3 + (wavelength - 480) / 50)
    fluxes = photons.reshape(number, -1).sum(axis=1)
    np.testing.assert_allclose(weights @ fluxes, photons, rtol=1e-8)


def test_spectral_weights_are_better_for_black_bodies_than_transmission_alone() -> None:
    band = lsst_g()
    edges = end_to_end(band, 3)
    wavelength, weights = spectral_weights(band, edges)
    fine = np.concatenate([np.linspace(a, b, 9)[:-1] for a, b in edges] + [[edges[-1][1]]])
    area, _ = band.integrals(fine)
    for temperature in (3000, 6000, 15000):
        photons = area * wavelength**-4 / np.expm1(1.43878e7 / (wavelength * temperature))
        fluxes = photons.reshape(3, -1).sum(axis=1)
        flat = area * np.repeat(fluxes / area.reshape(3, -1).sum(axis=1), 8)
        assert np.abs(weights @ fluxes - photons).sum() < 0.2 * np.abs(flat - photons).sum()


@given(
    number=st.integers(1, 8),
    low=st.floats(320, 800),
    width=st.floats(40, 300),
)
def test_columns_sum_to_one(number: int, low: float, width: float) -> None:
    band = Bandpass.top_hat(low + width / 2, width)
    _, weights = spectral_weights(band, end_to_end(band, number))
    np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-6)


def test_methods_share_the_middle() -> None:
    """For a flat spectrum all three put the light at the same place on average."""
    band = Bandpass.top_hat(480.0, 150.0)
    edges = equal_subfilters(480.0, 150.0, 3)
    here = observation()
    means = [dcr_model(m, band, edges, 480.0, here).mean_displacement(1.0) for m in ("spectral", "split", "midpoint")]
    np.testing.assert_allclose(means[1], means[2], rtol=1e-12)
    np.testing.assert_allclose(means[0].sum(), means[1].sum(), atol=0.03)  # the mean of two edges is not quite the mean
    assert means[0][0] > 0 > means[0][2]  # blue towards the zenith


def test_midpoint_is_the_mean_of_the_edges() -> None:
    edges = equal_subfilters(480.0, 150.0, 3)
    model = dcr_model("midpoint", Bandpass.top_hat(480.0, 150.0), edges, 480.0, observation())
    for z in (20.0, 60.0):
        tan = float(np.tan(np.deg2rad(z)))
        d = polynomial(dcr_terms(np.ravel(edges), 480.0, WEATHER, -30.0), tan).reshape(-1, 2)
        np.testing.assert_allclose(model.mean_displacement(tan), d.mean(axis=1), rtol=1e-10)


def test_boresight_keeps_the_refraction_of_lsst() -> None:
    edges, here = equal_subfilters(480.0, 150.0, 3), observation()
    ours, theirs = (dcr_model("midpoint", Bandpass.top_hat(480.0, 150.0), edges, 480.0, here, r) for r in ROTATIONS)
    excess = theirs.mean_displacement(np.sqrt(3.0)) / ours.mean_displacement(np.sqrt(3.0)) - 1
    np.testing.assert_allclose(excess, 0.0075, atol=1.5e-3)
    assert len({formula(r) for r in ROTATIONS}) == 2


def test_nothing_moves_at_the_zenith() -> None:
    model = dcr_model("spectral", lsst_g(), end_to_end(lsst_g(), 3), 480.0, observation(90.0))
    assert np.all(model.displacement(np.array(0.0)) == 0)


@pytest.mark.parametrize("rotation", [0.0, 37.0, 90.0, -140.0])
@pytest.mark.parametrize("flip", [-1.0, 1.0])
def test_direction_through_the_wcs(rotation: float, flip: float) -> None:
    """A point moved by the vector lies an arcsec nearer to the zenith, whatever the WCS."""
    here = observation(altitude=35.0, parallactic_angle=-77.0)
    sky = wcs(rotation, flip)
    x, y = np.array([500.0, 0.0, 2000.0]), np.array([500.0, 900.0, -3000.0])
    tan, dy, dx = zenith_vectors(here, sky, x, y, "local", (0.0, 0.0))
    before = here.zenith_angle(*sky.pixel_to_sky(x, y))
    after = here.zenith_angle(*sky.pixel_to_sky(x + dx, y + dy))
    np.testing.assert_allclose((before - after) * 3600, 1.0, atol=1e-5)
    np.testing.assert_allclose(tan, np.tan(np.deg2rad(before)))
    moved = sphere.separation(*sky.pixel_to_sky(x, y), *sky.pixel_to_sky(x + dx, y + dy)) * 3600
    np.testing.assert_allclose(moved, 1.0, atol=1e-5)


def test_boresight_convention() -> None:
    here = observation(45.0, 70.0, rotation=20.0)
    tan, dy, dx = zenith_vectors(here, wcs(), np.zeros(2), np.zeros(2), "boresight", (500.0, 500.0))
    np.testing.assert_allclose(tan, 1.0)
    np.testing.assert_allclose(dy, 5 * np.cos(np.deg2rad(50)), rtol=1e-6)
    np.testing.assert_allclose(dx, 5 * np.sin(np.deg2rad(50)), rtol=1e-6)
    with pytest.raises(ValueError, match="rotation_angle"):
        zenith_vectors(observation(), wcs(), np.zeros(1), np.zeros(1), "boresight", (0.0, 0.0))


def test_field_dependence() -> None:
    """Over a 3.5-degree field at z = 45 deg the amplitude varies by +-6 %."""
    here = observation(45.0, 0.0)
    y = 1.75 * 3600 / 0.2 * np.array([-1.0, 1.0])
    tan, _, _ = zenith_vectors(here, wcs(), np.full(2, 500.0), 500 + y, "local", (0.0, 0.0))
    np.testing.assert_allclose(tan - 1, [0.063, -0.059], atol=4e-3)


def test_dark_subfilter_is_an_error() -> None:
    band = Bandpass.from_curve([400, 450, 460, 540, 550, 600], [1, 1, 0, 0, 1, 1])
    with pytest.raises(ValueError, match="transmission curve is zero"):
        spectral_weights(band, ((400.0, 461.0), (461.0, 539.0), (539.0, 600.0)))
