"""The free matching kernel of the demo: a kernel that is known comes out again, and takes up what one kernel can."""

import numpy as np
import pytest
from scipy.ndimage import convolve
from scipy.signal import convolve2d

from dcrflow.demo.subtraction import subtract

SHAPE = (90, 80)


def stars(fluxes: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Moffat stars on a grid, each moved along x."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    places = [(15 + 20 * j, 15 + 16 * i) for j in range(4) for i in range(4)]
    image = np.zeros(SHAPE)
    for (cy, cx), flux, d in zip(places, fluxes, dx, strict=True):
        image += flux * (1 + ((y - cy) ** 2 + (x - cx - d) ** 2) / 6.0) ** -3
    return image


def test_a_known_kernel_and_background_come_out() -> None:
    rng = np.random.default_rng(1)
    template = stars(rng.uniform(1e3, 1e4, 16), np.zeros(16))
    kernel = rng.uniform(-0.1, 1.0, (5, 5))
    kernel[0, 0] = 3.0  # not symmetric: a kernel turned by 180 degrees would be seen
    science = convolve2d(template, kernel, mode="same") + 7.0
    done = subtract(science, template, np.ones(SHAPE), np.ones(SHAPE, np.bool_), reach=2)
    np.testing.assert_allclose(done.kernel, kernel, atol=1e-8)
    assert done.background == pytest.approx(7.0, abs=1e-6)
    inner = np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(done.template[inner], science[inner], rtol=1e-9)
    np.testing.assert_allclose(done.template[inner], convolve(template, done.kernel)[inner] + 7.0, rtol=1e-6)


def test_a_shift_of_all_stars_goes_and_one_by_colour_stays() -> None:
    fluxes = np.full(16, 1e4)
    template, shift = stars(fluxes, np.zeros(16)), np.full(16, 0.3)
    by_colour = shift * np.where(np.arange(16) % 2, 1, -1)
    left = []
    for moved in (shift, by_colour):
        science = stars(fluxes, moved)
        done = subtract(science, template, np.ones(SHAPE), np.ones(SHAPE, np.bool_))
        left.append(np.nanstd(science - done.template) / np.std(science - template))
    assert left[0] < 0.05
    assert left[1] > 0.9


def test_missing_pixels_are_not_fitted_and_stay_missing() -> None:
    rng = np.random.default_rng(2)
    template = stars(rng.uniform(1e3, 1e4, 16), np.zeros(16))
    science = 2.0 * template
    template[40, 40] = np.nan
    science[10, 10] = np.nan
    variance = np.ones(SHAPE)
    variance[60, 60] = 0.0
    done = subtract(science, template, variance, np.ones(SHAPE, np.bool_), reach=1)
    assert done.kernel[1, 1] == pytest.approx(2.0)
    assert np.isnan(done.template[39:42, 39:42]).all()
    assert np.isfinite(done.template[10, 10])
    with pytest.raises(ValueError, match="cannot determine"):
        subtract(science, template, variance, np.zeros(SHAPE, np.bool_))
