"""Single pixels of visits against sums over whole images."""

import numpy as np
from scipy.signal import convolve2d

from dcrflow.kernels.hole_pixels import (
    count_neighbours,
    fold,
    multiply_pairs,
    pad_periodically,
    pair_values,
    see_pixels,
    spread_pixels,
)

SIDE, PAD, REACH = 20, 6, 4


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    sky = random.normal(size=(2, SIDE, SIDE)).astype(np.float32)
    response = random.normal(size=(2, 2 * REACH + 1, 2 * REACH + 1)).astype(np.float32)
    places = np.sort(random.choice(SIDE * SIDE, 30, replace=False)).astype(np.int32)
    return np.pad(sky, ((0, 0), (PAD, PAD), (PAD, PAD)), mode="wrap"), response, places


def test_a_pixel_shows_the_sky_around_it() -> None:
    sky, response, places = scene(1)
    out = np.empty(len(places), np.float32)
    see_pixels(sky, response, places, SIDE, out)
    inner = slice(PAD - REACH, SIDE + PAD + REACH)
    expected = sum(convolve2d(s[inner, inner], r[::-1, ::-1], mode="valid") for s, r in zip(sky, response, strict=True))
    np.testing.assert_allclose(out, expected.ravel()[places], rtol=1e-4, atol=1e-4)


def test_spreading_is_the_adjoint_of_seeing() -> None:
    sky, response, places = scene(2)
    values, seen = np.random.default_rng(3).normal(size=len(places)).astype(np.float32), np.empty(30, np.float32)
    see_pixels(sky, response, places, SIDE, seen)
    out = np.zeros_like(sky)
    spread_pixels(values, response, places, SIDE, out)
    np.testing.assert_allclose(np.sum(out * sky), np.sum(seen * values), rtol=1e-4)


def test_padding_is_periodic_and_folding_its_adjoint() -> None:
    random = np.random.default_rng(5)
    images, other = random.normal(size=(2, SIDE, SIDE)), random.normal(size=(2, SIDE + 2 * PAD, SIDE + 2 * PAD))
    padded, folded = np.empty_like(other), np.empty_like(images)
    pad_periodically(images, PAD, padded)
    np.testing.assert_array_equal(padded, np.pad(images, ((0, 0), (PAD, PAD), (PAD, PAD)), mode="wrap"))
    fold(other, PAD, folded)
    np.testing.assert_allclose(np.sum(folded * images), np.sum(other * padded))


def test_pairs_make_the_matrix_of_responses() -> None:
    random = np.random.default_rng(4)
    places = np.sort(random.choice(SIDE * SIDE, 40)).astype(np.int32)  # some pixels twice: of two visits
    y, x = np.divmod(places, np.int32(SIDE))
    who = random.integers(0, 3, len(places)).astype(np.int32)
    of_pair = random.normal(size=(6, 2 * REACH + 1, 2 * REACH + 1)).astype(np.float32)
    for v in range(3):  # that of a visit to itself is symmetric
        of_pair[v * (v + 1) // 2 + v] += of_pair[v * (v + 1) // 2 + v, ::-1, ::-1]
    full = np.zeros((len(places), len(places)))
    for j in range(len(places)):
        for i in range(len(places)):
            dy, dx, v, u = y[j] - y[i], x[j] - x[i], who[j], who[i]
            if max(abs(dy), abs(dx)) <= REACH:
                sign, high, low = (1, v, u) if v >= u else (-1, u, v)
                full[j, i] = of_pair[high * (high + 1) // 2 + low, REACH + sign * dy, REACH + sign * dx]
    np.testing.assert_array_equal(full, full.T)
    first = np.empty(len(places) + 1, np.int64)
    number = count_neighbours(y, x, REACH, 10**6, first)
    assert number == np.count_nonzero(np.triu(full))
    assert count_neighbours(y, x, REACH, 50, np.empty_like(first)) > 50
    other, value, out = np.empty(number, np.int32), np.empty(number, np.float32), np.empty(len(places), np.float32)
    pair_values(y, x, who, of_pair, first, other, value)
    vector = random.normal(size=len(places)).astype(np.float32)
    multiply_pairs(first, other, value, vector, out)
    np.testing.assert_allclose(out, full @ vector, rtol=1e-4, atol=1e-4)
