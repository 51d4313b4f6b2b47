"""Loops over the pixels of a cell, against numpy and scipy."""

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from dcrflow.kernels.coadd_pixels import (
    add_pixels,
    add_scaled,
    calibration_sums,
    holes_of,
    interpolate,
    largest_around,
    note_deviation,
)
from dcrflow.kernels.first_fill import fill_holes

SIDE = 40
RNG = np.random.default_rng(2)


def image() -> np.ndarray:
    return RNG.normal(size=(SIDE, SIDE)).astype(np.float32)


def most() -> np.ndarray:
    """Nearly all pixels."""
    return RNG.random((SIDE, SIDE)) < 0.95


@pytest.mark.parametrize(("shape", "reach"), [((SIDE, 31), 0), ((SIDE, 31), 3), ((2, 5), 4), ((1, 1), 2)])
def test_largest_value_around(shape: tuple[int, int], reach: int) -> None:
    given = RNG.normal(size=shape).astype(np.float32)
    out = np.empty_like(given)
    largest_around(given, reach, out)
    np.testing.assert_array_equal(out, maximum_filter(given, 2 * reach + 1, mode="constant", cval=-np.inf))


def test_pixels_and_holes_are_added() -> None:
    valid = most()
    given = np.where(valid, image(), np.float32(0))
    light, lacked, number = image(), image(), np.full((SIDE, SIDE), 3, np.int16)
    wanted = light + 2 * given, lacked + 2 * ~valid, number + ~valid
    add_pixels(given, holes_of(valid), 2.0, light, lacked, number)
    for found, expected in zip((light, lacked, number), wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("share", [0.03, 0.6])
def test_holes_are_filled_with_the_mean_and_what_is_near(share: float) -> None:
    valid = RNG.random((SIDE, SIDE)) > share
    valid[10:20, 5:17] = False
    given, mean, window = np.where(valid, image(), np.float32(0)), image(), image()
    near = np.exp(-0.5 * np.add.outer(np.arange(-2, 3) ** 2, np.arange(-2, 3) ** 2))
    expected = given.astype(float)
    for y, x in np.argwhere(~valid):
        if any(
            valid[min(max(y + dy, 0), SIDE - 1), min(max(x + dx, 0), SIDE - 1)]
            for dy in (-2, 0, 2) for dx in (-2, 0, 2) if dy or dx
        ):  # fmt: skip
            rows, columns = slice(max(y - 2, 0), y + 3), slice(max(x - 2, 0), x + 3)
            weights = (
                near[rows.start - y + 2 :, columns.start - x + 2 :][: SIDE - rows.start, : SIDE - columns.start]
                * valid[rows, columns]
            )
            expected[y, x] = mean[y, x] + np.sum(weights * (given - mean)[rows, columns]) / np.sum(weights)
        else:
            expected[y, x] = mean[y, x]
    fill_holes(given, holes_of(valid), valid, mean, window)
    np.testing.assert_allclose(given, expected * window, rtol=1e-5, atol=1e-5)


def test_holes_are_found() -> None:
    valid = most()
    np.testing.assert_array_equal(holes_of(valid), np.flatnonzero(~valid))


def test_values_are_interpolated_to_places() -> None:
    values, at = np.array([3.0, 5.0, 4.0]), np.array([[0, 0.25, 1.0], [1.5, 1.75, 2.0]], np.float32)
    out = np.empty_like(at)
    interpolate(values, at, out)
    np.testing.assert_allclose(out, np.interp(at, [0, 1, 2], values), rtol=1e-6)


def test_scaled_sums() -> None:
    what, out = ((image() + 1j * image()).astype(np.complex64)[None] for _ in range(2))
    wanted = out - 0.5 * what
    add_scaled(what, -0.5, out, out)
    np.testing.assert_allclose(out, wanted, atol=1e-5)


def test_the_largest_deviation_and_its_visit() -> None:
    light, largest, whose = np.abs(image()), np.zeros((SIDE, SIDE), np.float32), np.full((SIDE, SIDE), -1)
    visits, within = [5 * image() for _ in range(3)], (2, SIDE, 0, SIDE - 3)
    for place, flux in enumerate(visits):
        note_deviation(flux, light, 2.0, 4.0, 0.1, 0.3, place, within, largest, whose)
    found = np.abs(visits) / np.sqrt(1 + (0.1 * light / 2) ** 2 + 0.3 / 2 * light / 2)
    found[np.abs(visits) <= 4] = 0
    found[:, :2], found[:, :, -3:] = 0, 0
    np.testing.assert_allclose(largest, found.max(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(whose, np.where(found.max(axis=0) > 0, found.argmax(axis=0), -1))


def test_equations_of_self_calibration() -> None:
    """Those of weighted least squares, for an image of which the derivatives are known."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    model, valid, error = np.sin(0.3 * y) * np.cos(0.2 * x) + 0.1 * y, most(), 0.2
    by_dy, by_dx = -0.3 * np.cos(0.3 * y) * np.cos(0.2 * x) - 0.1, 0.2 * np.sin(0.3 * y) * np.sin(0.2 * x)
    residual = np.where(valid, image(), np.float32(0))
    inner = np.s_[5:33, 4:35]
    terms = np.stack([model, by_dy, by_dx, np.ones_like(model)])[:, *inner].reshape(4, -1)
    weight = (valid / (1.5 + (error * model) ** 2))[inner].ravel()
    out = np.empty((4, 5))
    squares = calibration_sums(residual, model.astype(np.float32), valid, (5, 33, 4, 35), 1.5, error, out)
    np.testing.assert_allclose(out[:, :4], (terms * weight) @ terms.T, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(out[:, 4], (terms * weight) @ residual[inner].ravel(), rtol=1e-4, atol=1e-3)
    assert squares == pytest.approx(np.sum(residual[inner].astype(np.float64) ** 2), rel=1e-5)
