"""Matching many pieces in one call is matching them one by one, to the last bit."""

import numpy as np
import pytest

from dcrflow.kernels.convolve import convolve_sum, or_footprint
from dcrflow.kernels.match import match_pieces
from dcrflow.kernels.merge import merge_into

PIECES = np.array([(14, 12, 20, 70), (34, 12, 9, 70), (14, 82, 20, 3), (50, 40, 1, 30)])


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("planes_of_noise", [1, 3])
def test_piece_by_piece(planes_of_noise: int, first: bool) -> None:
    """So are those of the first patch, whatever was in the memory that they are written to."""
    rng = np.random.default_rng(3)
    image = rng.normal(size=(3, 70, 110)).astype(np.float32)
    variance = rng.uniform(1, 2, (planes_of_noise, 70, 110)).astype(np.float32)
    mask = (rng.random((1, 70, 110)) < 0.01).astype(np.int32) * 6
    kernels = [rng.normal(size=(3, ky, kx)).astype(np.float32) for ky, kx in ((7, 8), (9, 6))]
    noise = [rng.random((planes_of_noise, ky, kx)).astype(np.float32) for ky, kx in ((5, 4), (3, 6))]
    low, noise_low = rng.integers(-6, -2, (2, 2, 3)), rng.integers(-4, -1, (2, 2, planes_of_noise))
    light = np.array([[[-1], [2], [0], [1]], [[0], [0], [-2], [1]]])
    kernel_of = np.array([0, 1, 1, 0])
    variance[0, 51, 55] = np.nan  # within reach of the last piece

    def fresh() -> tuple[np.ndarray, ...]:
        shape = (60, 100)
        return np.full(shape, np.nan), np.zeros(shape, np.float32), np.zeros(shape, np.int32), np.zeros(shape, "f4")

    together, alone = fresh(), fresh()
    for y0, x0, height, width in PIECES if first else ():
        for array in (together[0], together[2], together[3]):
            array[y0 - 10 : y0 - 10 + height, x0 - 5 : x0 - 5 + width] = 7
    row = [np.concatenate([k.ravel() for k in of]) for of in (kernels, noise)]
    at = [np.cumsum([0, *(k.size for k in of)]) for of in (kernels, noise)]
    shape = [np.array([k.shape[1:] for k in of]) for of in (kernels, noise)]
    left = match_pieces(
        image, variance, mask, np.int32(2), PIECES, kernel_of, row[0], at[0], shape[0], low, row[1], at[1], shape[1],
        noise_low, light, False, first, -10, -5, *together,
    )  # fmt: skip
    assert left.tolist() == [False, False, False, True]
    for (y0, x0, height, width), c in zip(PIECES[:-1], kernel_of, strict=False):
        found, spread = np.empty((height, width)), np.empty((height, width), np.float32)
        bits = np.empty((height, width), np.int32)
        convolve_sum(image, kernels[c], *low[c], y0, x0, found)
        convolve_sum(variance, noise[c], *noise_low[c], y0, x0, spread)
        or_footprint(mask, np.int32(2), *light[c], y0, x0, bits)
        merge_into(found, spread, bits, False, y0 - 10, x0 - 5, *alone)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(together[0]).sum() == (PIECES[:-1, 2] * PIECES[:-1, 3]).sum()
    assert not (together[2] & ~2).any()
    assert (together[2] == 2).any()
