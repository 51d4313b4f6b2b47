"""The solver's building blocks against plain numpy."""

import numpy as np
import pytest
from scipy.ndimage import fourier_shift

from dcrflow.base.workspace import Workspace
from dcrflow.coadding.cells import CellGrid, cut
from dcrflow.coadding.ladder import System, add_blended
from dcrflow.coadding.output_psf import moffat_stamp
from dcrflow.coadding.transfer import backward, forward, shift_transform, stamp_transform
from dcrflow.geometry.box import Box
from dcrflow.kernels.fourier import noise_power, solve_many, solve_three
from dcrflow.kernels.ladder_pixels import noise_of_three


def transfers(num: int, side: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return forward(random.normal(size=(num, side, side)).astype(np.float32))


def add_normal(transfer: np.ndarray, weight: float, normal: np.ndarray) -> None:
    """Add weight conj(T_i) T_j to the upper triangle."""
    num = len(transfer)
    normal += weight * np.array([transfer[i].conj() * transfer[j] for i in range(num) for j in range(i, num)])


def full(normal: np.ndarray, num: int) -> np.ndarray:
    out = np.zeros((*normal.shape[1:], num, num), np.complex128)
    pair = 0
    for i in range(num):
        for j in range(i, num):
            out[..., i, j], out[..., j, i] = normal[pair], np.conj(normal[pair])
            pair += 1
    return out


@pytest.mark.parametrize("num", [1, 2, 3, 5])
def test_small_systems_are_solved_as_numpy_solves_them(num: int) -> None:
    side, prior = 12, np.linspace(0.1, 0.5, num)
    normal = np.zeros((num * (num + 1) // 2, side, side // 2 + 1), np.complex64)
    for visit in range(4):
        add_normal(transfers(num, side, visit), 0.3, normal)
    right = transfers(num, side, 9)
    matrix = full(normal, num) + np.diag(prior)
    expected = np.moveaxis(np.linalg.solve(matrix, np.moveaxis(right, 0, -1)[..., None])[..., 0], -1, 0)
    found = [np.empty_like(right)]
    solve_many(normal, prior, right, found[0])
    if num == 3:
        several = np.empty((2, *right.shape), np.complex64)
        solve_three(normal, np.array([[prior[0], 7.0, 9.0], prior]), right, several)
        found.append(several[1])
    for out in found:
        np.testing.assert_allclose(out, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


def test_noise_of_a_solution_is_that_of_monte_carlo() -> None:
    side, prior = 32, np.array([1e-3, 0.2, 0.5])
    psf = stamp_transform(moffat_stamp(4.0), side)
    each = [transfers(3, side, v) * psf / 40 for v in range(5)]
    normal = np.zeros((6, side, side // 2 + 1), np.complex64)
    for transfer in each:
        add_normal(transfer, 1.0, normal)
    random, values = np.random.default_rng(3), []
    for _ in range(60):
        noise = random.normal(size=(5, side, side)).astype(np.float32)
        right = sum(np.conj(t) * forward(n) for t, n in zip(each, noise, strict=True)).astype(np.complex64)
        out = np.empty_like(right)
        solve_many(normal, prior, right, out)
        values.append(backward(psf * out))
    found = noise_power(normal, prior, psf, np.eye(3, dtype=np.complex64), 1)
    np.testing.assert_allclose(np.var(values, axis=(0, 2, 3)), found, rtol=0.1)
    for step in (1, 4):
        priors = np.array([[1e-3, 40.0, 900.0], prior])
        each_prior = [noise_power(normal, one, psf, np.eye(3, dtype=np.complex64), step) for one in priors]
        np.testing.assert_allclose(noise_of_three(normal, priors, psf, step), each_prior, rtol=1e-9)


def test_a_shift_is_scipys() -> None:
    image = np.random.default_rng(1).normal(size=(20, 20)).astype(np.float32)
    expected = np.fft.ifft2(fourier_shift(np.fft.fft2(image), (2, -3))).real
    np.testing.assert_allclose(backward(forward(image) * shift_transform(20, 2, -3)), expected, atol=1e-5)


def test_flux_of_a_flat_ladder() -> None:
    side = 48
    psf = stamp_transform(moffat_stamp(4.0, size=31), side)
    normal = np.zeros((1, side, side // 2 + 1), np.complex64)
    add_normal(psf[None], 2.0, normal)
    system = System(normal, psf, ())
    stamp = moffat_stamp(4.0, size=31).astype(np.float64)
    assert system.lowest == pytest.approx(1 / (2 * np.sum(stamp**2)), rel=1e-4)
    assert system.area == pytest.approx(1 / np.sum(stamp**2), rel=1e-4)


@pytest.mark.parametrize(
    ("shape", "cell", "margin"), [((300, 700), 256, 0), ((64, 64), 288, 0), ((1000, 577), 288, 60)]
)
def test_cores_tile_the_frame(shape: tuple[int, int], cell: int, margin: int) -> None:
    grid = CellGrid(shape, cell, margin=margin)
    hits = np.zeros(shape, int)
    for one in grid:
        assert one.box.shape == (grid.side, grid.side)
        assert one.core.grown(grid.halo).intersection(one.box) == one.core.grown(grid.halo)
        hits[one.core.y0 : one.core.y1, one.core.x0 : one.core.x1] += 1
    inner = hits[margin : shape[0] - margin, margin : shape[1] - margin]
    assert np.all(inner == 1)
    assert hits.sum() == inner.sum()
    assert len(grid.cells) == len(grid)


def test_what_leaves_the_frame_is_filled() -> None:
    image = np.arange(12.0).reshape(3, 4)
    found = cut(image, Box(-1, 1, 3, 4), -5.0)
    np.testing.assert_array_equal(found, [[-5, 4, 5], [-5, 8, 9], [-5, -5, -5], [-5, -5, -5]])


def test_cells_must_fit() -> None:
    with pytest.raises(ValueError, match="taper"):
        CellGrid((100, 100), 64, 16, 16)
    with pytest.raises(ValueError, match="no cells"):
        CellGrid((0, 100))


def test_solutions_are_blended_along_the_ladder() -> None:
    side, num = 24, 3
    normal = np.zeros((6, side, side // 2 + 1), np.complex64)
    for visit in range(5):
        add_normal(transfers(num, side, visit), 0.3, normal)
    system = System(normal, stamp_transform(moffat_stamp(3.75, size=23), side), (0.3, 0.08))
    seen = system.psf * transfers(num, side, 11)
    rung = np.full((side, side), 0.25, np.float32)  # of most rows, and no rung between these and the others
    rung[5:9] = np.linspace(5.0, 5.75, side)
    rung[8, 3] = 8.0
    start = np.random.default_rng(1).normal(size=(num, side, side)).astype(np.float32)
    found, expected = start.copy(), start.astype(float)
    add_blended(system, seen, rung, found, Workspace())
    again = start.copy()
    add_blended(system, seen, rung, again, Workspace(), backward(system.solve(seen, system.lowest)))
    np.testing.assert_array_equal(again, found)
    for step in range(9):
        one = backward(system.solve(seen, system.lowest * 10.0**step))
        expected += np.maximum(1 - np.abs(rung - step), 0) * one
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.max(np.abs(expected)))
