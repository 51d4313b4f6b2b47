"""Bandpasses from curves, files and names."""

import numpy as np
import pytest
from astropy import units as u
from astropy.table import QTable

from dcrflow.base.errors import ConfigError
from dcrflow.physics.bandpass import Bandpass, equal_subfilters


def test_top_hat() -> None:
    band = Bandpass.top_hat(480.0, 140.0)
    assert band.limits == (410.0, 550.0)
    assert band.effective_wavelength == pytest.approx(480.0)


def test_integrals_are_exact_for_linear_segments() -> None:
    band = Bandpass((400.0, 500.0, 600.0), (0.0, 1.0, 0.0))
    area, mean = band.integrals(np.array([350.0, 450.0, 500.0, 650.0]))
    np.testing.assert_allclose(area, [12.5, 37.5, 50.0])
    np.testing.assert_allclose(mean, [400 + 50 * 2 / 3, 477.7777777777778, 500 + 100 / 3])


def test_files(tmp_path) -> None:
    w, t = np.array([400.0, 450.0, 500.0, 550.0]), np.array([0.0, 0.5, 0.4, 0.0])
    np.savetxt(tmp_path / "nm.dat", np.c_[w, t])
    np.savetxt(tmp_path / "angstrom.dat", np.c_[w * 10, t])
    QTable({"wavelength": w * 10 * u.AA, "throughput": t * 100 * u.percent}).write(tmp_path / "curve.ecsv")
    table = QTable({"wavelength": w * u.nm, "throughput": t})
    table.write(tmp_path / "curve.fits")
    table.write(tmp_path / "curve.vot", format="votable")
    for name in ("nm.dat", "angstrom.dat", "curve.ecsv", "curve.fits", "curve.vot"):
        band = Bandpass.read(tmp_path / name)
        np.testing.assert_allclose(band.wavelength, w)
        np.testing.assert_allclose(band.throughput, t)


def test_dark_ends_are_cut() -> None:
    band = Bandpass.from_curve([300, 400, 450, 500, 600, 700], [0, 0, 1, 1, 0, 0])
    assert band.limits == (400.0, 600.0)


def test_named() -> None:
    band = Bandpass.named("lsst2016-g")
    assert 470 < band.effective_wavelength < 490
    with pytest.raises(ConfigError, match="speclite has no filter 'lsst2016-q'"):
        Bandpass.named("lsst2016-q")


@pytest.mark.parametrize(
    ("wavelength", "throughput", "message"),
    [
        ([400.0], [1.0], "two or more"),
        ([400.0, 500.0], [1.0], "two or more"),
        ([500.0, 500.0], [1.0, 1.0], "strictly increasing"),
        ([400.0, np.nan], [1.0, 1.0], "finite"),
        ([400.0, 500.0], [0.0, 0.0], "not all zero"),
        ([400.0, 500.0], [1.0, -0.1], "not negative"),
        ([400.0, 500.0], [1.0, np.inf], "finite"),
    ],
)
def test_unusable_curves(wavelength: list[float], throughput: list[float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Bandpass(tuple(wavelength), tuple(throughput))


def test_unreadable_file_is_named(tmp_path) -> None:
    (tmp_path / "bad.dat").write_text("not numbers")
    (tmp_path / "path.ecsv").write_text(str(tmp_path / "other.ecsv"))  # no table, and not to be opened
    QTable({"wavelength": [400.0, 500.0] * u.nm, "throughput": [0.5, 0.5]}).write(tmp_path / "other.ecsv")
    for name in ("bad.dat", "missing.dat", "missing.fits", "path.ecsv"):
        with pytest.raises(ConfigError, match=name):
            Bandpass.read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.dat", "a.ecsv", "a.fits", "a.vot"])
def test_a_file_that_goes_on_is_no_curve(tmp_path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(10**9)
    with pytest.raises(ConfigError, match=f"{name}: it has more than 16777216 bytes"):
        Bandpass.read(tmp_path / name)


def test_equal_subfilters() -> None:
    edges = equal_subfilters(476.31, 147.0, 3)
    assert edges[0][0] == pytest.approx(402.81)
    assert edges[2][1] == pytest.approx(549.81)
    assert edges[0][1] == edges[1][0]
