"""Convolution of stacks, against scipy; bad pixels spoil their own neighbourhood alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from dcrflow.kernels.arrays import LightRange
from dcrflow.kernels.convolve import convolve_sum, or_shifted
from dcrflow.kernels.convolve_lines import convolve_along, convolve_down


def oracle(
    stack: np.ndarray, kernels: np.ndarray, y_low: np.ndarray, x_low: np.ndarray, block: tuple[int, ...]
) -> np.ndarray:
    y0, x0, height, width = block
    total = np.zeros((height, width))
    for k, image in enumerate(stack):
        i = k if len(kernels) > 1 else 0
        full = signal.convolve2d(image.astype(float), kernels[i])  # full[p] belongs to pixel p + low
        sy, sx = y0 - y_low[i], x0 - x_low[i]
        total += full[sy : sy + height, sx : sx + width]
    return total


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 3),
    shared=st.booleans(),
    ky=st.integers(1, 9),
    kx=st.integers(1, 11),
    low=st.tuples(st.integers(-5, 2), st.integers(-5, 2)),
    shape=st.tuples(st.integers(1, 23), st.integers(1, 150)),
    seed=st.integers(0, 2**31),
)
def test_against_scipy(
    n: int, shared: bool, ky: int, kx: int, low: tuple[int, int], shape: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    m = 1 if shared else n
    stack = rng.normal(size=(n, 50, 190)).astype(np.float32)
    kernels = rng.normal(size=(m, ky, kx)).astype(np.float32)
    y_low, x_low = low[0] + rng.integers(0, 2, m), low[1] + rng.integers(0, 2, m)
    expected = oracle(stack, kernels, y_low, x_low, (16, 17, *shape))
    largest = np.abs(kernels).sum() * np.abs(stack).max()
    for of_stack, of_sum, tolerance in (("f8", "f8", 1e-15), ("f4", "f8", 1e-7), ("f4", "f4", 1e-6)):
        out = np.empty(shape, of_sum)
        convolve_sum(stack.astype(of_stack), kernels.astype(of_stack), y_low, x_low, 16, 17, out)
        np.testing.assert_allclose(out, expected, atol=tolerance * largest)


@given(height=st.integers(1, 9), width=st.integers(1, 300), y=st.integers(0, 5), x=st.integers(0, 40))
def test_a_pixel_is_the_same_in_any_block(height: int, width: int, y: int, x: int) -> None:
    rng = np.random.default_rng(2)
    stack = rng.normal(size=(2, 30, 360)).astype(np.float32)
    kernels = rng.normal(size=(2, 4, 7)).astype(np.float32)
    low = np.array([0, -1]), np.array([1, 2])
    whole, block = np.empty((20, 345)), np.empty((height, width))
    convolve_sum(stack, kernels, *low, 5, 10, whole)
    convolve_sum(stack, kernels, *low, 5 + y, 10 + x, block)
    np.testing.assert_array_equal(block, whole[y : y + height, x : x + width])


def test_nan_spoils_its_neighbourhood_alone() -> None:
    stack = np.ones((2, 40, 40), np.float32)
    stack[1, 20, 21] = np.nan
    kernels = np.full((2, 5, 7), 1 / 35, np.float32)
    out = np.empty((30, 30))
    convolve_sum(stack, kernels, np.array([-2, -2]), np.array([-3, -3]), 5, 5, out)
    bad = np.argwhere(~np.isfinite(out)) + 5
    assert len(bad) == 35
    assert bad.min(axis=0).tolist() == [18, 18]
    assert bad.max(axis=0).tolist() == [22, 24]
    np.testing.assert_allclose(out[np.isfinite(out)], 2, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    number=st.integers(1, 60),
    axis=st.integers(0, 1),
    shape=st.tuples(st.integers(1, 23), st.integers(1, 80)),
    place=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    of_sum=st.sampled_from(["f8", "f4"]),
)
def test_along_one_axis(number: int, axis: int, shape: tuple[int, int], place: tuple[int, int], of_sum: str) -> None:
    rng = np.random.default_rng(number)
    image, taps = rng.normal(size=(100, 160)), rng.normal(size=number)
    bad = 60 + place[0], 62 + place[1]
    image[bad] = np.nan
    y0, x0 = 60, 61
    want = np.zeros(shape)
    for i, tap in enumerate(taps):
        sy, sx = (y0 - i, x0) if axis == 0 else (y0, x0 - i)
        want += tap * image[sy : sy + shape[0], sx : sx + shape[1]]
    out = np.empty(shape, of_sum)
    (convolve_along if axis else convolve_down)(image, taps, y0, x0, out)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(want))
    np.testing.assert_allclose(out, want, atol=1e-13 if of_sum == "f8" else 1e-5)


@pytest.mark.parametrize("low_high", [((0, 0), (0, 0)), ((-1, 2), (-3, 1)), ((1, 1), (2, 3))])
def test_or_shifted_against_brute_force(low_high: tuple[tuple[int, int], tuple[int, int]]) -> None:
    (low_y, high_y), (low_x, high_x) = low_high
    rng = np.random.default_rng(0)
    stack = (1 << rng.integers(0, 4, (1, 30, 33))).astype(np.int32) * (rng.random((1, 30, 33)) < 0.03)
    stack = stack.astype(np.int32)
    out = np.zeros((20, 21), np.int32)
    one = lambda v: np.array([v])  # noqa: E731
    or_shifted(stack, np.int32(7), LightRange(one(low_y), one(high_y), one(low_x), one(high_x)), 4, 6, out)
    expected = np.zeros_like(out)
    for y in range(20):
        for x in range(21):
            for j in range(low_y, high_y + 1):
                for i in range(low_x, high_x + 1):
                    yy, xx = 4 + y - j, 6 + x - i
                    if 0 <= yy < 30 and 0 <= xx < 33:
                        expected[y, x] |= stack[0, yy, xx] & 7
    np.testing.assert_array_equal(out, expected)
