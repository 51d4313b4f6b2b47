"""One subfilter: the ordinary coadd, which the same code makes as the optimal PSF-homogenised one."""

import numpy as np
import pytest

from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.output_psf import moffat_stamp
from dcrflow.coadding.patch import solve_patch
from dcrflow.coadding.visits import VisitOnFrame
from dcrflow.demo.coadd_scene import PIXEL_SCALE, CoaddScene, Pointing, coadd_scene
from dcrflow.model.coadd_config import CoaddConfig

SIZE, FWHM = 200, 0.85
EDGE = np.s_[45:-45, 45:-45]


@pytest.fixture(scope="module")
def scene() -> CoaddScene:
    return coadd_scene(4, SIZE, ("1e3", "1e4"), num_subfilters=1, spacing=50, edge=50)


@pytest.fixture(scope="module")
def visits(scene: CoaddScene) -> list[VisitOnFrame]:
    """At the zenith, where nothing is refracted; seeing and noise differ."""
    seeing, sigma = (0.65, 0.75, 0.85, 0.95, 1.1, 1.2), (1.0, 2.0, 1.0, 1.5, 1.0, 2.0)
    return [scene.visit(n, Pointing(0.0, 0.0, f), s, 9) for n, (f, s) in enumerate(zip(seeing, sigma, strict=True))]


def transfer(psf: np.ndarray) -> np.ndarray:
    """Fourier transform of a stamp whose middle is the origin, on the frame's pixels."""
    image = np.zeros((SIZE, SIZE))
    half = psf.shape[-1] // 2
    image[: psf.shape[-1], : psf.shape[-1]] = psf
    return np.fft.rfft2(np.roll(image, (-half, -half), (0, 1)))


def test_it_is_the_optimal_coadd(scene: CoaddScene, visits: list[VisitOnFrame]) -> None:
    """Against the weighted sum written down in plain numpy: G sum(w P* D) / sum(w P* P)."""
    config = CoaddConfig(num_subfilters=1, reject=False, self_calibrate=False)
    target = moffat_stamp(FWHM / PIXEL_SCALE, size=81)
    grid = CellGrid((SIZE, SIZE), config.cell, config.halo, config.taper)
    found = solve_patch(grid, visits, scene.basis, target, config)
    assert found.image.shape == (1, SIZE, SIZE)
    weights = [v.sigma**-2 for v in visits]
    psfs = [transfer(v.psf[0]) for v in visits]
    total = sum(w * np.conj(p) * np.fft.rfft2(v.image) for w, p, v in zip(weights, psfs, visits, strict=True))
    power = sum(w * np.abs(p) ** 2 for w, p in zip(weights, psfs, strict=True))
    optimal = np.fft.irfft2(transfer(target) * total / power, s=(SIZE, SIZE))
    truth = scene.draw(Pointing(0.0, 0.0, FWHM))
    error, noise = (np.std((image - truth)[EDGE]) for image in (found.image[0], optimal))
    assert error < 1.05 * noise
    assert np.std((found.image[0] - optimal)[EDGE]) < 0.3 * noise
    each = [np.fft.irfft2(transfer(target) * np.fft.rfft2(v.image) / p, s=(SIZE, SIZE)) for v, p in
            zip(visits, psfs, strict=True)]  # fmt: skip
    plain = np.average(each, axis=0, weights=weights)
    assert noise < 0.8 * np.std((plain - truth)[EDGE]), "bad seeing counts less where it resolves less"


def test_its_variance_is_the_scatter(scene: CoaddScene, visits: list[VisitOnFrame]) -> None:
    config = CoaddConfig(num_subfilters=1, reject=False, self_calibrate=False)
    target = moffat_stamp(FWHM / PIXEL_SCALE, size=81)
    grid = CellGrid((SIZE, SIZE), config.cell, config.halo, config.taper)
    found = solve_patch(grid, visits, scene.basis, target, config)
    empty = scene.draw(Pointing(0.0, 0.0, FWHM)) < 0.05
    part = np.zeros_like(empty)
    part[EDGE] = empty[EDGE]
    truth = scene.draw(Pointing(0.0, 0.0, FWHM))
    scatter = np.std((found.image[0] - truth)[part])
    assert scatter == pytest.approx(np.sqrt(np.median(found.variance[0][part])), rel=0.1)
