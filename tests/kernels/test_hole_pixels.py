"""Single pixels of visits against sums over whole images."""

import numpy as np
from scipy.signal import convolve2d

from dcrflow.coadding.small_grid import Response
from dcrflow.kernels.hole_pairs import LANES, find_runs, multiply_pairs, pair_values
from dcrflow.kernels.hole_pixels import fold, pad_periodically, see_pixels, spread_pixels

SIDE, PAD, REACH = 20, 12, 4


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    sky = random.normal(size=(2, SIDE, SIDE)).astype(np.float32)
    response = random.normal(size=(2, 2 * REACH + 1, 2 * REACH + 1)).astype(np.float32)
    places = np.sort(random.choice(SIDE * SIDE, 30, replace=False)).astype(np.int32)
    return np.pad(sky, ((0, 0), (PAD, PAD), (PAD, PAD)), mode="wrap"), response, places


def test_a_pixel_shows_the_sky_around_it() -> None:
    sky, response, places = scene(1)
    out, pieces = np.empty(len(places), np.float32), Response(response)
    see_pixels(sky, pieces.offsets(SIDE, PAD), pieces.values, places, SIDE, PAD, out)
    inner = slice(PAD - REACH, SIDE + PAD + REACH)
    expected = sum(convolve2d(s[inner, inner], r[::-1, ::-1], mode="valid") for s, r in zip(sky, response, strict=True))
    np.testing.assert_allclose(out, expected.ravel()[places], rtol=1e-4, atol=1e-4)


def test_spreading_is_the_adjoint_of_seeing() -> None:
    sky, response, places = scene(2)
    values, seen = np.random.default_rng(3).normal(size=len(places)).astype(np.float32), np.empty(30, np.float32)
    pieces, out = Response(response), np.zeros_like(sky)
    see_pixels(sky, pieces.offsets(SIDE, PAD), pieces.values, places, SIDE, PAD, seen)
    spread_pixels(values, pieces.offsets(SIDE, PAD), pieces.values, places, SIDE, PAD, out)
    np.testing.assert_allclose(np.sum(out * sky), np.sum(seen * values), rtol=1e-4)


def test_bright_pieces_of_a_response_come_first() -> None:
    y, x = np.mgrid[-20:21, -20:21]
    response = np.array([[[1.0]], [[0.1]]]) * np.exp(-np.hypot(y, x))
    pieces = Response(response.astype(np.float32))
    whole = np.zeros((2, SIDE + 70, SIDE + 70), np.float32)
    for faint in (1e-2, 1e-4, 1e-5):
        number, found = pieces.number(faint), np.zeros_like(whole)
        offsets, place = pieces.offsets(SIDE, 35)[:number], np.array([10 * SIDE + 10], np.int32)
        spread_pixels(np.ones(1, np.float32), offsets, pieces.values[:number], place, SIDE, 35, found)
        left = np.abs(found[:, 25:66, 25:66] - response)
        assert np.max(left) < faint
        assert np.all((left < 1e-6) | (response < faint))
    assert pieces.number(1e-2) < pieces.number(1e-3) < pieces.number(1e-4) < len(pieces.values)


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
    of = np.empty(len(places) + 1, np.int64)
    start, number = np.empty((2, len(places) * (REACH + 1)), np.int32)
    assert find_runs(y, x, REACH, 10**6, of, start, number) == np.count_nonzero(np.triu(full))
    assert find_runs(y, x, REACH, 50, np.empty_like(of), start.copy(), number.copy()) > 50
    number = number[: of[-1]]
    value = np.empty(np.sum(-(-number // LANES)) * LANES, np.float32)
    pair_values(y, x, who, of_pair, of, start, number, value)
    vector, out = np.ones(len(places) + LANES, np.float32), np.empty(len(places) + LANES, np.float32)
    vector[: len(places)] = random.normal(size=len(places))
    multiply_pairs(of, start, number, value, vector, out)
    np.testing.assert_allclose(out[: len(places)], full @ vector[: len(places)], rtol=1e-4, atol=1e-4)
