"""Sums over visits against sums of their products."""

import numpy as np
import pytest

from dcrflow.kernels.visit_sums import add_visits


def some(random: np.random.Generator, *shape: int) -> np.ndarray:
    return (random.normal(size=shape) + 1j * random.normal(size=shape)).astype(np.complex64)


@pytest.mark.parametrize("num", [1, 3, 4])
@pytest.mark.parametrize("width", [8, 13])
def test_products_of_visits_are_added(num: int, width: int) -> None:
    random = np.random.default_rng(num)
    transfers, images = some(random, 4, num, 6, width), some(random, 4, 6, width)
    weights = np.array([1.0, 0.5, 2.0, 0.1])
    normal, right = some(random, num * (num + 1) // 2, 6, width), some(random, num, 6, width)
    pairs = [(i, j) for i in range(num) for j in range(i, num)]
    products = [np.einsum("v,vyx,vyx->yx", weights, transfers[:, i].conj(), transfers[:, j]) for i, j in pairs]
    expected = normal + products, right + np.einsum("v,vjyx,vyx->jyx", weights, transfers.conj(), images)
    add_visits(tuple(transfers), tuple(images), weights, normal, right)
    for one, other in zip((normal, right), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
