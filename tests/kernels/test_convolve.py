"""Convolution of stacks, against scipy; bad pixels spoil their own neighbourhood alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from dcrflow.kernels.convolve import convolve_sum, or_footprint


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
    seed=st.integers(0, 2**31),
)
def test_against_scipy(n: int, shared: bool, ky: int, kx: int, low: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = 1 if shared else n
    stack = rng.normal(size=(n, 50, 60)).astype(np.float32)
    kernels = rng.normal(size=(m, ky, kx))
    y_low, x_low = low[0] + rng.integers(0, 2, m), low[1] + rng.integers(0, 2, m)
    block = (16, 17, 20, 23)
    out = np.empty((20, 23))
    convolve_sum(stack, kernels, y_low, x_low, 16, 17, out)
    np.testing.assert_allclose(out, oracle(stack, kernels, y_low, x_low, block), atol=1e-12)


def test_nan_spoils_its_neighbourhood_alone() -> None:
    stack = np.ones((2, 40, 40), np.float32)
    stack[1, 20, 21] = np.nan
    kernels = np.full((2, 5, 7), 1 / 35)
    out = np.empty((30, 30))
    convolve_sum(stack, kernels, np.array([-2, -2]), np.array([-3, -3]), 5, 5, out)
    bad = np.argwhere(~np.isfinite(out)) + 5
    assert len(bad) == 35
    assert bad.min(axis=0).tolist() == [18, 18]
    assert bad.max(axis=0).tolist() == [22, 24]
    np.testing.assert_allclose(out[np.isfinite(out)], 2)


@pytest.mark.parametrize("low_high", [((0, 0), (0, 0)), ((-1, 2), (-3, 1)), ((1, 1), (2, 3))])
def test_or_footprint_against_brute_force(low_high: tuple[tuple[int, int], tuple[int, int]]) -> None:
    (low_y, high_y), (low_x, high_x) = low_high
    rng = np.random.default_rng(0)
    stack = (1 << rng.integers(0, 4, (1, 30, 33))).astype(np.int32) * (rng.random((1, 30, 33)) < 0.03)
    stack = stack.astype(np.int32)
    out = np.zeros((20, 21), np.int32)
    one = lambda v: np.array([v])  # noqa: E731
    or_footprint(stack, one(low_y), one(high_y), one(low_x), one(high_x), 4, 6, out)
    expected = np.zeros_like(out)
    for y in range(20):
        for x in range(21):
            for j in range(low_y, high_y + 1):
                for i in range(low_x, high_x + 1):
                    yy, xx = 4 + y - j, 6 + x - i
                    if 0 <= yy < 30 and 0 <= xx < 33:
                        expected[y, x] |= stack[0, yy, xx]
    np.testing.assert_array_equal(out, expected)
