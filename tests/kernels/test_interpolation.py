"""The list of interpolations: what each entry promises, and that an entry is all that a new one takes."""

import subprocess
import sys
from typing import get_args

import numpy as np
import pytest
from numpy.testing import assert_allclose

from dcrflow.kernels.arrays import CoordinateGrid, MaskedImage
from dcrflow.kernels.interpolation import INTERPOLATIONS, Interpolation
from dcrflow.kernels.warp import warp_kernel, weight_table
from dcrflow.model.config import Warp

WEIGHTED = [name for name, i in INTERPOLATIONS.items() if i.weight is not None]


def test_the_configuration_offers_all_of_them() -> None:
    assert get_args(Warp) == tuple(INTERPOLATIONS)
    assert all(i.name == name for name, i in INTERPOLATIONS.items())


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_support(name: str) -> None:
    """Even, so that as many pixels are on either side of a place; the margin holds it and two pixels more."""
    interpolation = INTERPOLATIONS[name]
    assert interpolation.support % 2 == 0
    assert interpolation.margin - interpolation.half_width == 3
    assert (interpolation.weight is None) or (interpolation.reproject is None)


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights(name: str) -> None:
    """They sum to 1, are mirrored at the middle, and continue where the next pixel begins."""
    interpolation, fraction = INTERPOLATIONS[name], np.linspace(0, 1, 65)
    weights = interpolation.weights(fraction)
    assert weights.shape == (65, interpolation.support)
    assert_allclose(weights.sum(axis=1), 1, rtol=1e-14)
    assert_allclose(weights, weights[::-1, ::-1], atol=1e-14)
    assert_allclose(weights[-1, 1:], weights[0, :-1], atol=1e-14)
    assert interpolation.of_variance.weight is not None


@pytest.mark.parametrize("name", sorted(set(INTERPOLATIONS) - set(WEIGHTED)))
def test_without_weights(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has no weights"):
        INTERPOLATIONS[name].weights(np.zeros(1))


def keys(distance: np.ndarray) -> np.ndarray:
    """Cubic convolution (Keys 1981, IEEE Trans. ASSP 29, 1153), which is exact for parabolas."""
    d = np.abs(distance)
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))


def test_a_new_one_is_an_entry() -> None:
    """Nothing else is needed for the compiled warp to take it."""
    cubic = Interpolation("cubic", 4, weight=keys)
    y, x = np.mgrid[:40, :50].astype(float)
    image = (1 + 0.3 * x - 0.2 * y + 0.01 * x**2 + 0.02 * x * y - 0.03 * y**2).astype(np.float32)
    source = MaskedImage(image, np.ones_like(image), np.zeros(image.shape, np.int32))
    out = MaskedImage(*(np.empty((20, 30), dtype) for dtype in (np.float32, np.float32, np.int32)))
    nodes = np.arange(0, 41, 10)
    grid = CoordinateGrid(
        *(g + s for g, s in zip(np.meshgrid(nodes, nodes, indexing="ij"), (5.3, 6.8), strict=True)), 10, 0, 0
    )
    warp_kernel(cubic)(source, 0, 0, grid, weight_table(cubic), 256, out)
    y, x = np.mgrid[:20, :30] + np.array([5.3, 6.8])[:, None, None]
    expected = 1 + 0.3 * x - 0.2 * y + 0.01 * x**2 + 0.02 * x * y - 0.03 * y**2
    assert_allclose(out.image, expected, atol=1e-5)
    weights = [keys(np.arange(-1, 3) - f) for f in (0.3, 0.8)]
    assert_allclose(out.variance, (weights[0] ** 2).sum() * (weights[1] ** 2).sum(), rtol=1e-5)


def test_plans_are_made_without_numba() -> None:
    code = "import sys, dcrflow.planning.template, dcrflow.model.config; print('numba' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
