"""B-splines and their coefficient filter, against scipy."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.interpolate import BSpline

from dcrflow.kernels.convolve_lines import convolve_along, convolve_down
from dcrflow.kernels.interpolation import bspline, filter_radius
from dcrflow.kernels.spline import coefficient_filter, dcr_taps


@pytest.mark.parametrize("degree", [3, 5])
def test_basis_against_scipy(degree: int) -> None:
    basis = BSpline.basis_element(np.arange(degree + 2) - (degree + 1) / 2, extrapolate=False)
    x = np.linspace(-3.5, 3.5, 141)
    expected = np.nan_to_num(basis(x))
    np.testing.assert_allclose([bspline(degree, v) for v in x], expected, atol=1e-14)


@pytest.mark.parametrize("degrees", [(3,), (5,), (3, 3), (3, 5), (5, 5)])
def test_filter_against_scipy(degrees: tuple[int, ...]) -> None:
    """Far from the edges the FIR filter is scipy's recursive one."""
    rng = np.random.default_rng(3)
    image = rng.normal(size=(130, 140))
    expected = image
    for degree in degrees:
        expected = ndimage.spline_filter(expected, degree)
    taps = coefficient_filter(degrees)
    radius = len(taps) // 2
    assert radius == filter_radius(degrees)
    rows, out = np.empty((130, 140 - 2 * radius)), np.empty((130 - 2 * radius, 140 - 2 * radius), np.float32)
    convolve_along(image, taps, 0, 2 * radius, rows)
    convolve_down(rows, taps, 2 * radius, 0, out)
    edge = 40 - radius  # scipy's mirror reaches this far in
    np.testing.assert_allclose(
        out[edge:-edge, edge:-edge], expected[40:-40, 40:-40], atol=3e-6 * np.abs(expected).max()
    )


@pytest.mark.parametrize("degrees", [(), (3,), (5,), (3, 3), (3, 5), (5, 5)])
def test_filter_passes_a_constant(degrees: tuple[int, ...]) -> None:
    assert coefficient_filter(degrees).sum() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("degree", [3, 5])
def test_taps_move_light_where_they_should(degree: int) -> None:
    """A point source's taps are the basis around its displacement; their first moment is the displacement."""
    half = (degree + 1) // 2
    dy, dx, weights = np.array([1.3, -0.7]), np.array([-2.2, 0.4]), np.array([0.75, 0.25])
    taps = np.zeros((8, 10))
    dcr_taps(degree, dy, dx, weights, -half, -half - 2, taps)
    y, x = np.arange(8) - half, np.arange(10) - half - 2
    assert taps.sum() == pytest.approx(1)
    assert (taps.sum(axis=1) * y).sum() == pytest.approx(weights @ dy)
    assert (taps.sum(axis=0) * x).sum() == pytest.approx(weights @ dx)
