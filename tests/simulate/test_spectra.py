"""Bands, spectra and the condensing of many wavelengths to few."""

import numpy as np
import pytest
from astropy import units as u
from astropy.modeling.physical_models import BlackBody

from dcrflow.simulate.spectra import GALAXIES, condensed, lsst_band, photon_spectrum

pytest.importorskip("galsim")


def test_black_body_is_astropys() -> None:
    wavelength = np.linspace(380, 600, 50)
    energy = BlackBody(temperature=5000 * u.K, scale=1.0 * u.erg / (u.cm**2 * u.s * u.AA * u.sr))(wavelength * u.nm)
    photons = energy.value * wavelength
    ours = photon_spectrum("blackbody:5000", wavelength)
    np.testing.assert_allclose(ours / ours[0], photons / photons[0], rtol=1e-6)


@pytest.mark.parametrize("name", ["vega", *GALAXIES, "CWW_E_ext:0.4"])
def test_shipped_spectra_are_positive_in_every_band(name: str) -> None:
    for band in "ugrizy":
        assert np.all(photon_spectrum(name, lsst_band(band).wavelength) > 0)


def test_unknown_names_are_errors() -> None:
    with pytest.raises(ValueError, match="unknown spectrum 'quasar'"):
        photon_spectrum("quasar", 500.0)
    with pytest.raises(ValueError, match="u g r i z y"):
        lsst_band("H")


@pytest.mark.parametrize("band", list("ugrizy"))
@pytest.mark.parametrize("num", [1, 3, 6])
def test_subfilters_cover_the_transmission_curve_from_end_to_end(band: str, num: int) -> None:
    cut = lsst_band(band, num)
    assert cut.num_subfilters == num
    assert cut.edges[0] == cut.curve_wavelength[0]
    assert cut.edges[-1] == cut.curve_wavelength[-1]
    assert cut.curve_throughput[0] == cut.curve_throughput[-1] == 0
    np.testing.assert_allclose(np.diff(cut.edges), cut.bandwidth / num)
    assert np.all((cut.wavelength > cut.edges[:-1, None]) & (cut.wavelength < cut.edges[1:, None]))
    assert cut.edges[0] < cut.effective_wavelength < cut.edges[-1]


def test_shares_sum_to_one_and_a_hot_star_is_bluer() -> None:
    cut = lsst_band("g", 3)
    hot, cool = (cut.photons(f"blackbody:{t}").sum(axis=1) for t in (15000, 3000))
    np.testing.assert_allclose([hot.sum(), cool.sum()], 1.0)
    assert hot[0] > cool[0]
    assert hot[2] < cool[2]


def test_condensed_points_have_the_same_moments() -> None:
    rng = np.random.default_rng(3)
    position, weight = rng.uniform(-0.4, 0.9, 500), rng.exponential(size=500)
    nodes, weights = condensed(position, weight, 8)
    assert len(nodes) == 8
    assert np.all(weights > 0)
    for power in range(16):
        np.testing.assert_allclose(weights @ nodes**power, weight @ position**power, rtol=1e-10)


def test_condensed_gives_back_what_needs_no_condensing() -> None:
    nodes, weights = condensed(np.zeros(300), np.ones(300))
    np.testing.assert_allclose((nodes, weights), ([0.0], [300.0]))
    nodes, weights = condensed(np.array([0.1, 0.2, 0.3]), np.array([1.0, 0.0, 2.0]))
    np.testing.assert_array_equal((nodes, weights), ([0.1, 0.3], [1.0, 2.0]))
    nodes, weights = condensed(np.tile([0.1, 0.2], 50), np.ones(100))
    np.testing.assert_allclose((nodes, weights), ([0.1, 0.2], [50.0, 50.0]))
