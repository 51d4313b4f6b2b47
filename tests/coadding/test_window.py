"""Windows of cells: 1 where a cell is used, 0 at the edges, level within stars; and what that is for."""

import numpy as np
import pytest

from dcrflow.coadding.window import window_nodes, window_of

SIDE, TAPER = 200, 33


def star(y: float, x: float, flux: float = 1e4, sigma: float = 2.5) -> np.ndarray:
    yy, xx = np.mgrid[:SIDE, :SIDE]
    light = flux * np.exp(-0.5 * ((yy - y) ** 2 + (xx - x) ** 2) / sigma**2) / (2 * np.pi * sigma**2)
    return light.astype(np.float32)


def window(light: np.ndarray, taper: int = TAPER) -> np.ndarray:
    return window_of(window_nodes(light, 1.0, taper), len(light), taper)


@pytest.mark.parametrize("taper", [1, 2, 4, 7, 16, 19, 20, TAPER, 64])
@pytest.mark.parametrize("side", [150, 180])
def test_the_middle_counts_fully_and_the_edges_not_at_all(side: int, taper: int) -> None:
    noise = np.random.default_rng(1).normal(0, 1, (side, side)).astype(np.float32)
    found = window(noise, taper)
    assert found.shape == (side, side)
    assert found.flags.c_contiguous
    inner = slice(taper + 8, -taper - 8)
    np.testing.assert_allclose(found[inner, inner], 1.0, atol=1e-6)
    edge = np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]])
    assert edge.min() >= -1e-6
    assert edge.max() < (0.05 if taper >= 16 else 0.6)
    assert found.max() <= 1 + 1e-6


@pytest.mark.parametrize(("y", "x"), [(16.0, 90.0), (183.0, 100.0), (120.0, 14.0), (20.0, 20.0)])
def test_it_is_level_within_a_star_in_the_taper(y: float, x: float) -> None:
    light = star(y, x)
    bent, plain = window(light), window(np.zeros_like(light))

    def change(found: np.ndarray) -> float:
        """Light that visits see differently: rms of the light times the window's gradient, over the light's."""
        along_y, along_x = np.gradient(found.astype(np.float64))
        return float(np.sqrt(np.sum((along_y**2 + along_x**2) * light**2) / np.sum(light.astype(np.float64) ** 2)))

    assert change(plain) > 0.02
    assert change(bent) < change(plain) / 10


def test_light_below_the_noise_changes_nothing() -> None:
    faint = star(16.0, 90.0, flux=1.0)
    np.testing.assert_allclose(window(faint), window(np.zeros_like(faint)), atol=1e-2)


def test_it_hardly_has_high_frequencies_whatever_the_light() -> None:
    """A solution with a common PSF amplifies them; a box without a taper has a share of 0.3 there."""
    light = star(16.0, 90.0) + star(22.0, 99.0, 1e5) + star(10.0, 98.0, 3e4)
    power = np.abs(np.fft.rfft2(window(light))) ** 2
    y, x = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)
    assert np.sqrt(power[np.hypot(y, x) > 0.25].sum() / power[np.hypot(y, x) > 0.02].sum()) < 0.02
