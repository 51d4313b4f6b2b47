"""The recursion to B-spline coefficients, against scipy's, and against the filter that templates take."""

import numpy as np
import pytest
from scipy.ndimage import convolve1d, spline_filter

from dcrflow.kernels.recursion import quintic_coefficients
from dcrflow.kernels.spline import coefficient_filter


@pytest.mark.parametrize("shape", [(60, 64), (61, 75), (117, 600), (121, 1100), (300, 57), (193, 8)])
def test_coefficients_are_those_of_scipy(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(sum(shape))
    image = np.zeros((shape[0] + 60, shape[1] + 60))
    image[30:-30, 30:-30] = random.normal(0, 1, shape)
    image[40, 34] = 1e4
    found = image.astype(np.float32)
    quintic_coefficients(found)
    expected = spline_filter(image.astype(np.float32).astype(np.float64), 5, mode="mirror")  # 0 at the edges, too
    assert np.max(np.abs(found - expected)) < 1e-6 * expected.max()
    faint = np.abs(image) < 100
    faint[10:70, 4:64] = False  # the star's light, and its rounding, are gone 30 px from it
    assert np.max(np.abs(found - expected)[faint]) < 1e-5


def test_what_is_beyond_the_edges_counts_as_nothing() -> None:
    image = np.random.default_rng(2).normal(100, 10, (90, 83)).astype(np.float32)
    found = image.copy()
    quintic_coefficients(found)
    taps, expected = coefficient_filter((5,)), image.astype(np.float64)
    for axis in (0, 1):
        expected = convolve1d(expected, taps, axis, mode="constant")
    inner = np.s_[24:-24, 24:-24]
    assert np.max(np.abs(found - expected)[inner]) < 1e-6 * np.max(np.abs(expected))


def test_small_images_and_parts_of_others() -> None:
    whole = np.random.default_rng(3).normal(0, 1, (200, 300)).astype(np.float32)
    part = whole[20:150, 30:201]
    alone = part.copy()
    before = whole.copy()
    quintic_coefficients(part)
    quintic_coefficients(alone)
    np.testing.assert_array_equal(part, alone)
    before[20:150, 30:201] = part
    np.testing.assert_array_equal(whole, before)
    for shape in ((1, 1), (1, 40), (40, 1), (2, 3)):
        tiny = np.zeros(shape, np.float32)
        quintic_coefficients(tiny)
        np.testing.assert_array_equal(tiny, 0)
