"""From visit images in a Butler to DCR coadds in the same Butler to templates by `pipetask run`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lsst.ctrl.mpexec", reason="the extra lsst is not installed")

from astropy import units as u
from lsst.daf.butler import Butler, DatasetType
from rubin import must
from scenes import TRACT, coadds, tan, visit
from typer.testing import CliRunner

import dcrflow
from dcrflow.base.errors import CoaddStoreError, VisitImageError
from dcrflow.cli.app import app
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.lsst.butler import open_butler_coadds, read_butler_visits
from dcrflow.lsst.convert import arrays_of
from dcrflow.lsst.put_coadds import put_coadds
from dcrflow.lsst.repository import VISIT_RUN, make_repository, nominal_detector, observation_info
from dcrflow.lsst.subfilter_coadd import SubfilterCoadd, Subfilters
from dcrflow.lsst.subfilters import noise_of_coadd, noise_to_metadata, subfilters_of_coadd, subfilters_to_metadata
from dcrflow.model.subfilter_noise import SubfilterNoise
from dcrflow.stores.coadds.store import open_coadds
from dcrflow.stores.visits.images import read_visit_image, read_visit_psf

SIGMA = 1.7  # pixels, of the visits' PSF
NOISE = 2.0
SIZE = 120
ONE = Tract(7, TRACT.wcs, Box(220, 230, 128, 128), (128, 128), 10, (1, 1))
STARS = ((268.3, 280.6, 4e4), (290.0, 310.2, 2e4), (310.7, 265.5, 3e4))  # x, y in the tract, flux


def seen_visits() -> list[Any]:
    """Four visits near the zenith, where DCR is nothing: rotated and dithered."""
    box = Box(40, 20, SIZE, SIZE)
    return [
        visit(
            visit=20 + n, detector=n % 2, box=box, altitude=89.9, parallactic_angle=90.0 * n, physical_filter="g_sim",
            wcs=tan(40 + SIZE / 2 + n, 20 + SIZE / 2 - n, 90.0 * n + 3.0, ra=RA, dec=DEC),
        )
        for n in range(4)
    ]  # fmt: skip


RA, DEC = (float(v) for v in TRACT.wcs.pixel_to_sky(284.0, 294.0))


def drawn(one: Any) -> np.ndarray:
    """Gaussian stars where a visit has them, and noise."""
    box = one.bbox
    y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1]
    image = np.random.default_rng(one.visit).normal(0, NOISE, box.shape)
    for tx, ty, flux in STARS:
        cx, cy = one.wcs.sky_to_pixel(*TRACT.wcs.pixel_to_sky(tx, ty))
        image += flux / (2 * np.pi * SIGMA**2) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * SIGMA**2))
    return image.astype(np.float32)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a sky map, and four visit_images beside the blank calexps."""
    from lsst.images import DetectorFrame, Image, Mask, MaskPlane, MaskSchema, VisitImage
    from lsst.images.psfs import GaussianPointSpreadFunction

    from dcrflow.lsst.convert import lsst_box, projection_of

    root = tmp_path_factory.mktemp("visits") / "repo"
    visits = seen_visits()
    blank = coadds(np.zeros((3, *ONE.bbox.shape), np.float32), tracts=(ONE,))
    butler = make_repository(str(root), blank, visits)
    kind = DatasetType("visit_image", ("instrument", "visit", "detector"), "VisitImage", universe=butler.dimensions)
    butler.registry.registerDatasetType(kind)
    schema = MaskSchema([MaskPlane("BAD", "A bad pixel."), MaskPlane("NO_DATA", "No data.")])
    for one in visits:
        bbox = lsst_box(one.bbox)
        frame = DetectorFrame(instrument=one.instrument, visit=one.visit, detector=one.detector, bbox=bbox)
        image = drawn(one)
        mask = Mask(0, schema=schema, bbox=bbox)
        mask.array[5, 7] = 1  # a bad pixel that holds nonsense
        image[5, 7] = 1e6
        made = VisitImage(
            Image(image, bbox=bbox, unit=u.nJy), mask=mask,
            variance=Image(np.float32(NOISE**2), bbox=bbox, dtype=np.float32, unit=u.nJy**2),
            sky_projection=projection_of(one.wcs, frame, one.bbox), obs_info=observation_info(one, -70.75),
            psf=GaussianPointSpreadFunction(SIGMA, bbox, 25),
            detector=nominal_detector(one.instrument, one.visit, one.detector, one.bbox), band=one.band,
        )  # fmt: skip
        data_id = {"instrument": one.instrument, "visit": one.visit, "detector": one.detector}
        butler.put(made, "visit_image", data_id, run=VISIT_RUN)
    return root


def test_pixels_and_psf_come_from_the_butler(repo: Path) -> None:
    found = read_butler_visits(f"butler:{repo}?collections={VISIT_RUN}&dataset=visit_image")
    assert [v.visit for v in found] == [20, 21, 22, 23]
    one = found[1]
    whole = read_visit_image(one)
    assert whole.pixels.image.shape == (SIZE, SIZE)
    expected = drawn(seen_visits()[1])
    expected[5, 7] = 1e6
    np.testing.assert_array_equal(whole.pixels.image, expected)
    assert np.count_nonzero(whole.pixels.mask) == 1
    part = Box(50, 30, 20, 10)
    np.testing.assert_array_equal(read_visit_image(one, part).pixels.image, expected[10:20, 10:30])
    psf = read_visit_psf(one)
    assert psf.kernels.shape == (1, 25, 25), "a PSF that does not vary has one node"
    y, x = np.mgrid[-12:13, -12:13]
    gauss = np.exp(-(x**2 + y**2) / (2 * SIGMA**2))
    np.testing.assert_allclose(psf.kernels[0], gauss / gauss.sum(), atol=2e-3)
    gone = replace(one, image=one.image.partition("#")[0] + "#00000000-0000-4000-8000-000000000000")
    with pytest.raises(VisitImageError, match="no dataset 00000000"):
        read_visit_image(gone)
    with pytest.raises(VisitImageError, match="no dataset's UUID"):
        read_visit_image(replace(one, image=one.image.partition("#")[0]))


class Said(SubfilterCoadd):
    """A coadd that has metadata alone."""

    def metadata(self) -> dict[str, str]:
        return self.data.metadata


def said(metadata: dict[str, str]) -> SubfilterCoadd:
    return Said(7, 0, 0, "g", SimpleNamespace(metadata=metadata))


@pytest.mark.parametrize("text", ["{", "[]", "7", "[" * 100_000, '{"transmission": null, "edges": [1]}',
                                  '{"transmission": 5, "edges": []}'])  # fmt: skip
def test_what_coadds_say_of_their_subfilters_is_checked(text: str) -> None:
    (key,) = subfilters_to_metadata(Subfilters.even(3, 480.0, 150.0))
    with pytest.raises(CoaddStoreError, match="tract 7 patch 0 band g subfilter 0: metadata 'dcrflow subfilters' is "):
        subfilters_of_coadd(said({key: text}), 3)


def test_what_coadds_say_of_their_noise_is_checked() -> None:
    noise = SubfilterNoise((0.5, 0.3, 0.2), ((0.0, 0.1, 0.0), (0.1, 1.0, 0.1), (0.0, 0.1, 0.0)))
    assert noise_of_coadd(said(noise_to_metadata(noise)), 3) == noise
    assert noise_of_coadd(said(noise_to_metadata(None)), 3) is None
    with pytest.raises(CoaddStoreError, match=r"tract 7 patch 0 band g subfilter 0: .*expected 4 shares"):
        noise_of_coadd(said(noise_to_metadata(noise)), 4)
    for text in ("{", "[" * 100_000):
        with pytest.raises(CoaddStoreError, match="dcrflow subfilter noise"):
            noise_of_coadd(said({next(iter(noise_to_metadata(noise))): text}), 3)


@pytest.mark.slow
@pytest.mark.integration
def test_from_visits_to_templates(repo: Path, tmp_path: Path) -> None:
    store, skymap = tmp_path / "coadds.zarr", tmp_path / "geometry.zarr"
    coadds(np.zeros((3, *ONE.bbox.shape), np.float32), tracts=(ONE,), store=str(skymap))
    settings = ("psf_fwhm=0.85", "cell=160", "margin=8", "halo=32", "taper=16", "self_calibrate=false")
    words = [word for setting in settings for word in ("--set", setting)]
    place = f"butler:{repo}?collections={VISIT_RUN}&dataset=visit_image"
    must("dcrflow", "coadd", place, store, "--skymap", skymap, "--workers", 1, "--no-keep-sums", *words)
    built = open_coadds(store)
    info = built.info(7, 0, "g")
    options = ["lsst", "put-coadds", str(store), "-b", str(repo), "--run", "from-visits", "--skymap", "test"]
    for words in ("1 patch put", "0 patches put, 1 there before"):
        done = CliRunner().invoke(app, options)
        assert done.exit_code == 0, done.output
        assert words in done.output
    butler = Butler.from_config(str(repo))
    refs = butler.query_datasets("dcrCoadd", collections="from-visits", order_by="subfilter")
    assert [r.dataId["subfilter"] for r in refs] == [0, 1, 2]
    for k, ref in enumerate(refs):
        coadd = butler.get(ref)
        np.testing.assert_array_equal(arrays_of(coadd).image, built.read(7, 0, "g", info.bbox, info.planes).image[k])
        kernel = coadd.psf.compute_kernel_image(x=280.0, y=290.0).array
        np.testing.assert_allclose(kernel, built.read_psf(7, 0, "g").kernels[0], atol=1e-6)
    assert info.subfilter_noise is not None
    back = open_butler_coadds(f"butler:{repo}?collections=from-visits").info(7, 0, "g")
    assert back.subfilter_noise == info.subfilter_noise

    must("pipetask", "run", "-b", repo, "-i", f"from-visits,{VISIT_RUN}", "--output-run", "templates",
         "-t", "dcrflow.lsst.GetDcrTemplateTask:getDcrTemplate", "-d", "skymap = 'test'",
         "--register-dataset-types")  # fmt: skip
    butler = Butler.from_config(str(repo))
    for one in seen_visits():
        data_id = {"instrument": one.instrument, "visit": one.visit, "detector": one.detector}
        template = arrays_of(butler.get("dcrDiff_templateExp", data_id, collections="templates"))
        within = one.bbox.slices(template.box)
        image, mask = template.image[within], template.mask[within]
        good = (mask & (1 << template.planes["NO_DATA"])) == 0
        assert good.mean() > 0.65
        truth = drawn(one).astype(float)
        # the template has another PSF: its flux is the stars' flux
        assert image[good].sum() == pytest.approx(truth[good].sum(), rel=0.01)
        middle = one.wcs.sky_to_pixel(*TRACT.wcs.pixel_to_sky(*STARS[0][:2]))
        brightest = np.unravel_index(np.argmax(np.where(good, image, 0)), image.shape)
        assert np.hypot(brightest[1] + one.bbox.x0 - middle[0], brightest[0] + one.bbox.y0 - middle[1]) < 1.0


def test_a_store_without_coadds(repo: Path, tmp_path: Path) -> None:
    dcrflow.create_coadds(tmp_path / "empty.zarr", skymap="test")
    with pytest.raises(CoaddStoreError, match="has no patches"):
        put_coadds(tmp_path / "empty.zarr", str(repo), "other")
    with pytest.raises(CoaddStoreError, match="has no patches"):
        make_repository(str(tmp_path / "repo"), tmp_path / "empty.zarr", [])
    assert not (tmp_path / "repo").exists()


def test_coadds_must_be_on_the_butlers_sky_map(repo: Path) -> None:
    here = coadds(np.zeros((3, *ONE.bbox.shape), np.float32), tracts=(ONE,))
    with pytest.raises(CoaddStoreError, match="no sky map 'moon'; it has test"):
        put_coadds(here, str(repo), "other", skymap="moon")
    moved = replace(ONE, wcs=tan(ra=53.01))
    away = coadds(np.zeros((3, *ONE.bbox.shape), np.float32), tracts=(moved,))
    with pytest.raises(CoaddStoreError, match=r"31\.8 arcsec from where the sky map 'test'"):
        put_coadds(away, str(repo), "other")
    other = replace(ONE, tract=8)
    with pytest.raises(CoaddStoreError, match="has no tract 8 patch 0"):
        put_coadds(coadds(np.zeros((3, *ONE.bbox.shape), np.float32), tracts=(other,)), str(repo), "other")
