"""Coadds of visits wherever they are on the sky: on both sides of RA 0, and around the poles."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from distributed import Client
from scenes import tan, visit

import dcrflow
from dcrflow.geometry.box import Box

pytestmark = pytest.mark.slow

BOX = Box(0, 0, 80, 80)
SIGMA, FLUX = 1.7, 4e4  # pixels, nJy


def written(path: Path, ra: float, dec: float, number: int) -> dcrflow.DetectorVisit:
    """A turned visit at the zenith, with one star in the middle and noise of 1."""
    one = visit(visit=number, box=BOX, altitude=89.9, wcs=tan(40, 40, 90.0 * number + 3.0, ra=ra, dec=dec))
    y, x = np.mgrid[: BOX.height, : BOX.width]
    star = np.exp(-((x - 40) ** 2 + (y - 40) ** 2) / (2 * SIGMA**2)) / (2 * np.pi * SIGMA**2)
    noise = np.random.default_rng(number).normal(size=BOX.shape)
    kernel = star[28:53, 28:53] / star.sum()
    header = fits.Header(one.wcs.header)
    header["BUNIT"] = "nJy"
    nodes = [fits.Column(name, "D", array=[40.0]) for name in ("x", "y")]
    fits.HDUList(
        [
            fits.PrimaryHDU(), fits.ImageHDU((FLUX * star + noise).astype(np.float32), header, name="IMAGE"),
            fits.ImageHDU(np.zeros(BOX.shape, np.int32), fits.Header({"MP_BAD": 0}), name="MASK"),
            fits.ImageHDU(np.ones(BOX.shape, np.float32), name="VARIANCE"),
            fits.ImageHDU(kernel[None].astype(np.float32), name="PSF"),
            fits.BinTableHDU.from_columns(nodes, name="PSF_NODES"),
        ]
    ).writeto(path)  # fmt: skip
    return replace(one, image=str(path), observation=replace(one.observation, ra=ra, dec=dec))


@pytest.mark.parametrize(("ra", "dec"), [(0.0, -28.0), (359.9999, 10.0), (40.0, 89.9), (200.0, -89.9), (40.0, 90.0)])
def test_one_tract_around_the_visits(ra: float, dec: float, tmp_path: Path) -> None:
    visits = [written(tmp_path / f"{n}.fits", ra, dec, n) for n in range(4)]
    settings = {"psf_fwhm": 0.85, "cell": 112, "margin": 4, "halo": 24, "taper": 12, "self_calibrate": False}
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        done = dcrflow.build_coadds(visits, tmp_path / "coadds.zarr", client=client, keep_sums=False, **settings)
    assert (done.complete, done.failures, done.left_out) == (done.total, (), ())
    coadds = dcrflow.open_coadds(tmp_path / "coadds.zarr")
    (tract,) = coadds.tracts.values()
    assert max(tract.bbox.shape) < 400  # not a way round the sky
    template = dcrflow.build_template(coadds, visits[0], border=0).compute(scheduler="synchronous")
    assert template.image.sum() == pytest.approx(FLUX, rel=0.02)
