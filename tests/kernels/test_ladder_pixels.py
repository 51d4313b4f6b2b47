"""Loops of the ladder, against plain numpy."""

import numpy as np
import pytest
from scipy.ndimage import convolve1d

from dcrflow.kernels.ladder_pixels import add_share, rungs, smooth_symmetric, unexplained, with_local_colours

RNG = np.random.default_rng(17)
SHAPE = (23, 30)


def image() -> np.ndarray:
    return RNG.normal(0, 1, SHAPE).astype(np.float32)


def transforms(number: int) -> np.ndarray:
    return (RNG.normal(0, 1, (number, 20, 11)) + 1j * RNG.normal(0, 1, (number, 20, 11))).astype(np.complex64)


@pytest.mark.parametrize("number", [0, 1, 3])
def test_smoothing_is_a_convolution(number: int) -> None:
    taps = np.linspace(1, 0.1, 4 * number + 1).astype(np.float32)
    rows, out = np.empty((SHAPE[0] + 8 * number, SHAPE[1]), np.float32), np.empty(SHAPE, np.float32)
    one, other = image(), image()
    kernel = np.concatenate([taps[:0:-1], taps]).astype(float)
    for factor in (None, other):
        smooth_symmetric(one, factor, taps, rows, out)
        expected = (one if factor is None else one * factor).astype(float)
        for axis in (0, 1):
            expected = convolve1d(expected, kernel, axis, mode="constant")
        np.testing.assert_allclose(out, expected, atol=1e-5)


def test_rungs_are_logarithms_within_limits() -> None:
    power = (10 ** RNG.uniform(-4, 14, SHAPE)).astype(np.float32)
    power[0, :4] = -1e9, 0.0, 25.0, 3e38
    out = np.empty_like(power)
    rungs(power, 3.0, 0.25, 8, out)
    expected = np.log10(np.clip(0.25 * (power.astype(float) - 3.0), 1, 1e8))
    assert np.max(np.abs(out - expected)) < 2e-6
    assert out.min() == 0
    assert out.max() <= 8


def test_local_colours() -> None:
    flux, power, products = image(), image(), np.stack([image(), image()])
    shrink = RNG.uniform(1, 2, (4, 2)).astype(np.float32)
    rung = RNG.uniform(0, 3, SHAPE).astype(np.float32)
    rung[0, :2] = 0, 3
    out = np.empty((3, *SHAPE), np.float32)
    with_local_colours(flux, products, power, shrink, rung, out)
    np.testing.assert_array_equal(out[0], flux)
    for j in range(2):
        more = np.interp(rung, np.arange(4), shrink[:, j])
        expected = flux * products[j] / (np.maximum(power, 0) + more)
        np.testing.assert_allclose(out[j + 1], expected, rtol=1e-5)


def test_shares_of_two_rungs_interpolate_between_them() -> None:
    low, high, rung, out = image(), image(), np.full(SHAPE, 3.25, np.float32), np.zeros(SHAPE, np.float32)
    rows = np.array([0, 3, 22])
    for step, one in ((2, image()), (3, low), (4, high), (5, image())):
        add_share(one[rows], rows, rung, step, out)
    expected = np.zeros(SHAPE)
    expected[rows] = (0.75 * low + 0.25 * high)[rows]
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_what_a_sky_leaves_of_the_right_hand_side() -> None:
    normal, sky, right, (psf, undo) = transforms(6), transforms(3), transforms(3), transforms(2)
    normal[[0, 3, 5]] = normal[[0, 3, 5]].real
    whole = np.empty((3, 3, 20, 11), complex)
    for pair, (i, j) in zip(normal, [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)], strict=True):
        whole[j, i], whole[i, j] = pair.conj(), pair
    expected = psf * (right - np.einsum("ijyx,jyx->iyx", whole, undo * sky))
    unexplained(normal, psf, undo, sky, right, sky)
    np.testing.assert_allclose(sky, expected, atol=2e-5)
