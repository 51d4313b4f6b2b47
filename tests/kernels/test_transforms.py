"""Fourier transforms in single precision against numpy's in double precision."""

import numpy as np
import pytest

from dcrflow.kernels.transforms import columns, plan, rows_back, rows_forward

SHAPES = (2, 2), (4, 6), (15, 10), (36, 30), (64, 40), (60, 250), (500, 128)


def image_of(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_transforms_are_those_of_numpy(shape: tuple[int, int]) -> None:
    image = image_of(shape)
    out = np.full((shape[0], shape[1] // 2 + 1), np.nan, np.complex64)
    view = out.view(np.float32)
    rows_forward(image, *plan(shape[1]), view)
    columns(view, False, 2.0, *plan(shape[0]), view)
    expected = 2 * np.fft.rfft2(image.astype(np.float64))
    assert np.max(np.abs(out - expected)) < 4e-7 * np.max(np.abs(expected))


@pytest.mark.parametrize("shape", SHAPES)
def test_transforms_back_are_those_of_numpy_also_of_some_rows(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(shape)
    transform = (random.normal(size=(shape[0], shape[1] // 2 + 1, 2)) @ [1, 1j]).astype(np.complex64)
    expected = np.fft.irfft2(transform.astype(np.complex128), s=shape)
    half = np.full_like(transform, np.nan)
    columns(transform.view(np.float32), True, 1 / (shape[0] * shape[1]), *plan(shape[0]), half.view(np.float32))
    for rows in (np.arange(shape[0]), np.flatnonzero(random.random(shape[0]) < 0.6)):
        out = np.full((len(rows), shape[1]), np.nan, np.float32)
        rows_back(half.view(np.float32), rows, *plan(shape[1]), out)
        assert np.max(np.abs(out - expected[rows]), initial=0) < 1e-6 * np.max(np.abs(expected))


def test_a_length_without_a_plan_is_named() -> None:
    with pytest.raises(ValueError, match="14 numbers has a prime factor above 5"):
        plan(14)
