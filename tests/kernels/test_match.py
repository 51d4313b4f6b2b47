"""Matching many pieces in one call is matching them one by one, to the last bit."""

import numpy as np
import pytest

from dcrflow.kernels.arrays import CellTable, LightRange, MaskedImage, RunningMean, TapTable
from dcrflow.kernels.convolve import convolve_sum, or_shifted
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

    def fresh() -> RunningMean:
        shape = (60, 100)
        zeros = (np.zeros(shape, dtype) for dtype in (np.float32, np.int32, np.float32))
        return RunningMean(np.full(shape, np.nan), *zeros)

    together, alone = fresh(), fresh()
    for y0, x0, height, width in PIECES if first else ():
        for array in (together.image, together.mask, together.weight):
            array[y0 - 10 : y0 - 10 + height, x0 - 5 : x0 - 5 + width] = 7
    tables = [
        TapTable(
            np.concatenate([k.ravel() for k in taps]), np.cumsum([0, *(k.size for k in taps)]),
            np.array([k.shape[1:] for k in taps]), offsets,
        )
        for taps, offsets in ((kernels, low), (noise, noise_low))
    ]  # fmt: skip
    begins = np.full(len(PIECES), first)
    skipped, whole = match_pieces(
        MaskedImage(image, variance, mask), np.int32(2), PIECES, CellTable(kernel_of, *tables, light),
        False, begins, -10, -5, together,
    )  # fmt: skip
    assert skipped.tolist() == [False, False, False, True]
    assert whole != first  # the last piece is left out
    for (y0, x0, height, width), c in zip(PIECES[:-1], kernel_of, strict=False):
        found = MaskedImage(*(np.empty((height, width), dtype) for dtype in (np.float64, np.float32, np.int32)))
        convolve_sum(image, kernels[c], *low[c], y0, x0, found.image)
        convolve_sum(variance, noise[c], *noise_low[c], y0, x0, found.variance)
        or_shifted(mask, np.int32(2), LightRange(*light[c]), y0, x0, found.mask)
        merge_into(found, False, y0 - 10, x0 - 5, alone)
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.isfinite(together.image).sum() == (PIECES[:-1, 2] * PIECES[:-1, 3]).sum()
    assert not (together.mask & ~2).any()
    assert (together.mask == 2).any()
