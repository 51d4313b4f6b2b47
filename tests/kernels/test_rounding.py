"""Rounded pixels: an unbiased mean, the promised noise, bright stars untouched, and fewer bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import Blosc

from dcrflow.kernels.rounding import BLOCK, VARIANCE_BITS, round_image, round_pixels, round_variance

PRECISION = 16.0


def noisy(sigma: float, shape: tuple[int, int] = (512, 512), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, sigma, shape).astype(np.float32), np.full(shape, sigma**2, np.float32)


@pytest.mark.parametrize("sigma", [1e-12, 0.37, 1.0, 31.0, 1e9])
def test_the_step_is_a_power_of_two_with_as_many_steps_a_sigma(sigma: float) -> None:
    image, variance = noisy(sigma, (64, 64))
    low, high = round_pixels(image, variance, PRECISION)
    assert low == high
    assert np.log2(low) == np.rint(np.log2(low))
    assert sigma / (2 * PRECISION) < low <= sigma / PRECISION * (1 + 1e-6)
    np.testing.assert_array_equal(image, np.rint(image / low) * low)


def test_mean_and_noise_are_those_of_the_raw_pixels() -> None:
    raw, variance = noisy(1.0, (2048, 2048))
    image = raw.copy()
    step, _ = round_pixels(image, variance, PRECISION)
    assert abs(np.mean(image.astype(np.float64) - raw)) < 0.01 * step
    added = image.astype(np.float64).var() / raw.astype(np.float64).var() - 1
    assert added == pytest.approx(step**2 / 12, abs=2e-4)
    assert added < 1e-3


def test_flux_of_bright_stars() -> None:
    """A star of 10^6 sigma whose photons add to the variance: its flux in a 3 sigma aperture to 1e-6."""
    y, x = np.mgrid[-64:64, -64:64]
    star = 1e6 * np.exp(-(x**2 + y**2) / (2 * 2.5**2))
    image, variance = noisy(1.0, star.shape)
    image += star.astype(np.float32)
    variance += star.astype(np.float32)
    raw = image.copy()
    round_pixels(image, variance, PRECISION)
    aperture = x**2 + y**2 < 7.5**2
    assert image[aperture].sum(dtype=np.float64) == pytest.approx(raw[aperture].sum(dtype=np.float64), rel=1e-6)


def test_what_has_no_usable_variance_stays_as_it_is() -> None:
    image, variance = noisy(1.0, (2 * BLOCK, 2 * BLOCK))
    variance[:BLOCK, :BLOCK] = [[0.0, -1.0, np.nan, np.inf] * (BLOCK // 4)] * BLOCK
    image[40, 40], image[41, 41] = np.nan, np.inf
    raw, steps = image.copy(), np.ones((2, 2), np.float32)
    round_image(image, variance, PRECISION, steps)
    assert steps[0, 0] == 0
    assert np.all(steps.ravel()[1:] > 0)
    np.testing.assert_array_equal(image[:BLOCK, :BLOCK], raw[:BLOCK, :BLOCK])
    assert np.isnan(image[40, 40])
    assert np.isposinf(image[41, 41])


def test_numbers_with_no_bits_below_the_step_stay() -> None:
    image = np.array([[1e30, -3e38, 8388609.0, 1e-40]], np.float32)
    raw = image.copy()
    round_pixels(image, np.full((1, 4), 256.0, np.float32), PRECISION)
    np.testing.assert_array_equal(image[0, :3], raw[0, :3])
    assert image[0, 3] == 0


@given(st.floats(width=32, allow_nan=True, allow_infinity=True))
def test_a_variance_keeps_its_bits(value: float) -> None:
    variance = np.array([value], np.float32)
    round_variance(variance)
    got, raw = float(variance[0]), float(np.float32(value))
    if not np.isfinite(raw):
        assert np.array_equal(got, raw, equal_nan=True)
    elif abs(raw) >= np.finfo(np.float32).tiny:
        assert np.isfinite(got)
        assert abs(got - raw) <= abs(raw) * 2.0 ** -(VARIANCE_BITS + 1) or got == raw
    again = variance.copy()
    round_variance(again)
    np.testing.assert_array_equal(again, variance)


def test_bytes_a_pixel() -> None:
    """About a third of the raw image's bytes, and of a variance with structure."""
    codec = Blosc("lz4", shuffle=Blosc.BITSHUFFLE)
    image, variance = noisy(3.0)
    variance *= np.random.default_rng(1).uniform(0.99, 1.01, variance.shape).astype(np.float32)
    before = [len(codec.encode(a)) / a.size for a in (image, variance)]
    round_pixels(image, variance, PRECISION)
    after = [len(codec.encode(a)) / a.size for a in (image, variance)]
    assert before[0] > 3.4
    assert after[0] < 1.3
    assert after[1] < 1.1
