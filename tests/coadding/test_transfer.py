"""Transfer functions of a visit, and sums over visits, against numpy's transforms."""

import numpy as np
import pytest

from dcrflow.coadding.basis import SpectralBasis
from dcrflow.coadding.output_psf import moffat_stamp
from dcrflow.coadding.transfer import (
    Optics,
    TransferFunctions,
    blocks_shape,
    in_blocks,
    rows_in_blocks,
    transfer_functions,
)
from dcrflow.coadding.visits import Correction
from dcrflow.kernels.blocks import add_visits, from_blocks
from dcrflow.kernels.transforms import plan


def basis_of(num: int) -> SpectralBasis:
    random = np.random.default_rng(num)
    light = random.dirichlet(np.ones(8), num).T
    return SpectralBasis(np.linspace(400, 500, 8), light, np.full(num, 1 / num), np.eye(num))


def some(seed: int, num: int, side: int) -> np.ndarray:
    return np.fft.rfft2(np.random.default_rng(seed).normal(size=(num, side, side))).astype(np.complex64)


def expected(optics: Optics, basis: SpectralBasis, side: int) -> np.ndarray:
    """T_j by definition."""
    half = optics.psf.shape[0] // 2
    psf = np.zeros((side, side))
    for y in range(-half, half + 1):
        for x in range(-half, half + 1):
            psf[y % side, x % side] += optics.psf[half + y, half + x]
    y, x = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)
    light = np.zeros((basis.num_terms, side, side // 2 + 1), np.complex128)
    for (dy, dx), node in zip(optics.displacement, basis.nodes, strict=True):
        light += node[:, None, None] * np.exp(-2j * np.pi * (y * dy + x * dx))
    correction = optics.correction
    shift = np.exp(-2j * np.pi * (y * correction.dy + x * correction.dx))
    return correction.scale * shift * np.fft.rfft2(psf) * light


def visit(
    num: int, side: int, furthest: float, correction: Correction
) -> tuple[Optics, SpectralBasis, TransferFunctions]:
    stamp = moffat_stamp(3.5, size=15) * np.linspace(0.9, 1.1, 15)  # not symmetric
    displacement = np.linspace(-1, 0.8, 8)[:, None] * np.array([0.8, -0.6]) * furthest
    optics, basis = Optics(stamp.astype(np.float32), displacement, correction), basis_of(num)
    return optics, basis, transfer_functions(optics, basis, np.empty(blocks_shape(num, side), np.float32))


@pytest.mark.parametrize("num", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("side", [48, 90, 120])
def test_what_a_visit_shows(num: int, side: int) -> None:
    optics, basis, found = visit(num, side, 1.5, Correction(1.02, 0.3, -0.4))
    transfer, sky = expected(optics, basis, side), some(1, num, side)
    np.testing.assert_allclose(found.every(1), transfer, atol=2e-6)
    np.testing.assert_array_equal(found.every(3), found.every(1)[:, ::3, ::3])
    shown = np.fft.irfft2(np.sum(transfer * sky, axis=0), s=(side, side))
    np.testing.assert_allclose(found.shown(in_blocks(sky)), shown, atol=3e-6 * np.abs(shown).max())
    image = np.random.default_rng(2).normal(size=(side, side)).astype(np.float32)
    matched = np.fft.irfft2(0.7 * np.conj(transfer[0]) * np.fft.rfft2(image), s=(side, side))
    np.testing.assert_allclose(found.matched(image, 0.7), matched, atol=3e-6 * np.abs(matched).max())
    sums = sky.copy()
    found.add_adjoint(image, 0.3, sums)
    right = sky + 0.3 * np.conj(transfer) * np.fft.rfft2(image)
    np.testing.assert_allclose(sums, right, atol=3e-6 * np.abs(right).max())


@pytest.mark.parametrize("furthest", [0.0, 0.1, 4.0, 20.0, 90.0])
def test_light_that_is_spread_any_distance(furthest: float) -> None:
    optics, basis, found = visit(3, 90, furthest, Correction())
    np.testing.assert_allclose(found.every(1), expected(optics, basis, 90), atol=3e-6)


@pytest.mark.parametrize("num", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("side", [60, 90])  # an even and an odd number of passes
def test_products_of_visits_are_added(num: int, side: int) -> None:
    random = np.random.default_rng(num)
    transfers = [some(v, num, side) / side for v in range(3)]
    images, weights = random.normal(size=(3, side, side)).astype(np.float32), np.array([1, 0.5, 2], np.float32)
    pairs = [(i, j) for i in range(num) for j in range(i, num)]
    before = some(8, len(pairs), side), some(9, num, side)
    rows = np.empty((3, *blocks_shape(num, side)[1:]), np.float32)
    for image, to in zip(images, rows, strict=True):
        rows_in_blocks(image, to)
    normal, right = (in_blocks(one) for one in before)
    add_visits((1,) * num, tuple(in_blocks(t) for t in transfers), rows, weights, *plan(side), normal, right)
    products = [sum(w * t[i].conj() * t[j] for w, t in zip(weights, transfers, strict=True)) for i, j in pairs]
    spectra = np.fft.rfft2(images)
    light = sum(w * t.conj() * d for w, t, d in zip(weights, transfers, spectra, strict=True))
    for blocks, old, added in zip((normal, right), before, (np.array(products), light), strict=True):
        found = np.empty_like(old)
        from_blocks(blocks, False, found)
        np.testing.assert_allclose(found, old + added, atol=1e-5 * np.abs(old + added).max())
        from_blocks(blocks, True, found)
        np.testing.assert_allclose(found, 2 * (old + added), atol=2e-5 * np.abs(old + added).max())
