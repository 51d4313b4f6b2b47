"""Images of detector-visits: FITS as dcrflow and LSST write it, zarr groups; and what is said of unusable ones."""

import gzip
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from astropy.io import fits

from dcrflow.base.errors import VisitImageError
from dcrflow.base.masks import STANDARD_PLANES, TEMPLATE_PLANES, flag_attributes
from dcrflow.geometry.box import Box
from dcrflow.geometry.layout import PatchLayout
from dcrflow.model.visit import DetectorVisit
from dcrflow.model.visit_image import moffat_psf, width_of
from dcrflow.physics.observation import Observation
from dcrflow.physics.refraction import Weather
from dcrflow.simulate.exposure import write_exposure
from dcrflow.stores.visits.images import read_visit_image, read_visit_psf
from dcrflow.stores.visits.seeing import median_seeing, seeing_of
from dcrflow.stores.visits.tables import read_visits, write_visits

GOLDEN = Path(__file__).parents[3] / "shared/golden/lsst"
BOX = Box(7, 11, 90, 80)
KERNELS = np.stack([moffat_psf(w, 3.0, 25) for w in (4.0, 4.4)]).astype(np.float32)


def visit(path: Path, **changes) -> DetectorVisit:
    observation = Observation(
        ra=53.0, dec=-28.0, altitude=60.0, parallactic_angle=20.0, weather=Weather(10.0, 74000.0, 20.0),
        latitude=-30.0, height=2663.0,
    )  # fmt: skip
    wcs = PatchLayout(0.2).wcs((53.0, -28.0), (50.0, 50.0))
    made = DetectorVisit("Cam", 12, 3, "g", BOX, wcs, observation, "g_1", image=str(path))
    return replace(made, **changes)


def arrays():
    rng = np.random.default_rng(1)
    image = rng.normal(0, 2, BOX.shape).astype(np.float32)
    mask = np.zeros(BOX.shape, np.int32)
    mask[5, 6] = 1 << STANDARD_PLANES["CR"]
    return image, np.full(BOX.shape, 4.0, np.float32), mask


def written(path: Path, **changes) -> Path:
    image, variance, mask = arrays()
    nodes = np.array([30.0, 70.0]), np.array([50.0, 50.0])
    write_exposure(path, visit(path), image, variance, mask, longitude=-70.0, psf=KERNELS, psf_nodes=nodes)
    if changes:
        with fits.open(path, mode="update") as file:
            for name, change in changes.items():
                change(file[name])
    return path


def test_a_simulated_image_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = read_visit_image(visit(written(tmp_path / "a.fits")))
    image, variance, mask = arrays()
    np.testing.assert_array_equal(found.pixels.image, image)
    np.testing.assert_array_equal(found.pixels.variance, variance)
    assert found.pixels.mask[5, 6] == 1 << TEMPLATE_PLANES["CR"]
    assert np.count_nonzero(found.pixels.mask) == 1
    assert found.psf.at(50.0, 50.0).sum() == pytest.approx(KERNELS.sum(axis=(1, 2)).mean(), rel=1e-6)
    assert width_of(found.psf.at(30.0, 0.0)) == pytest.approx(width_of(KERNELS[0].astype(float)))
    assert mask[5, 6]


def test_a_part_is_the_part_of_the_whole(tmp_path: Path) -> None:
    made = visit(written(tmp_path / "a.fits"))
    whole, part = read_visit_image(made), read_visit_image(made, Box(20, -5, 30, 40))
    assert part.pixels.box == Box(20, 11, 30, 24)
    np.testing.assert_array_equal(part.pixels.image, whole.pixels.part(part.pixels.box).image)


def test_compressed_files(tmp_path: Path) -> None:
    path = written(tmp_path / "a.fits")
    with path.open("rb") as plain, gzip.open(tmp_path / "a.fits.gz", "wb") as zipped:
        shutil.copyfileobj(plain, zipped)
    with fits.open(path) as file:
        tiled = fits.HDUList(
            [file[0].copy()]
            + [fits.CompImageHDU(h.data, h.header, name=h.name, compression_type="GZIP_2", quantize_level=0)
               if h.name in ("IMAGE", "MASK", "VARIANCE") else h.copy() for h in file[1:]]
        )  # fmt: skip
        tiled.writeto(tmp_path / "a.fits.fz")
    plain = read_visit_image(visit(path))
    for name in ("a.fits.gz", "a.fits.fz"):
        found = read_visit_image(visit(tmp_path / name), Box(10, 20, 30, 30))
        np.testing.assert_array_equal(found.pixels.image, plain.pixels.part(found.pixels.box).image)


def test_a_zarr_group(tmp_path: Path) -> None:
    image, variance, mask = arrays()
    group = zarr.create_group(tmp_path / "visits.zarr").create_group("12/3", attributes={"units": "nJy"})
    for name, values in (
        ("image", image), ("variance", variance), ("mask", mask), ("x", np.arange(BOX.x0, BOX.x1)),
        ("y", np.arange(BOX.y0, BOX.y1)), ("psf", KERNELS), ("psf_node_x", np.array([30.0, 70.0])),
        ("psf_node_y", np.array([50.0, 50.0])),
    ):  # fmt: skip
        group.create_array(name, data=values)
    group["mask"].attrs.update(flag_attributes(STANDARD_PLANES))
    found = read_visit_image(visit(tmp_path / "visits.zarr/12/3"))
    np.testing.assert_array_equal(found.pixels.image, image)
    assert found.digest == read_visit_image(visit(written(tmp_path / "a.fits"))).digest


def test_the_digest_tells_pixels_apart(tmp_path: Path) -> None:
    path = written(tmp_path / "a.fits")
    digests = [read_visit_image(visit(path)).digest, read_visit_image(visit(path), Box(10, 20, 30, 30)).digest]
    for name in ("IMAGE", "VARIANCE", "MASK", "PSF"):
        with fits.open(path, mode="update") as file:
            pixels = file[name].data[0] if name == "PSF" else file[name].data
            pixels[-1, -1] += 1 if name == "MASK" else 1e-5
        digests.append(read_visit_image(visit(path)).digest)
    assert len(set(digests)) == len(digests)


def test_an_exposure_of_the_pipelines_needs_a_width(tmp_path: Path) -> None:
    if not GOLDEN.is_dir():
        pytest.skip(f"{GOLDEN} is not there")
    (found,) = [v for v in read_visits(GOLDEN) if v.visit == 1001] if False else read_visits(
        [GOLDEN / "calexp_1001_0.fits.gz"]
    )  # fmt: skip
    with pytest.raises(VisitImageError, match="no extension PSF, and the table no psf_fwhm"):
        read_visit_image(found)
    seen = read_visit_image(replace(found, psf_fwhm=0.8))
    with fits.open(GOLDEN / "calexp_1001_0.fits.gz") as file:
        scale = file["PhotoCalib"].data[0]["calibrationMean"]
        np.testing.assert_allclose(seen.pixels.image, file["IMAGE"].data * scale, rtol=1e-6)
    assert seeing_of(replace(found, psf_fwhm=0.8)) == pytest.approx(0.8, rel=0.01)


@pytest.mark.parametrize("unit", ["adu", "electron/s", "e-/s", "count s-1"])
def test_counts_with_a_zero_point(unit: str, tmp_path: Path) -> None:
    def counts(hdu) -> None:
        hdu.header["BUNIT"] = unit
        hdu.header["MAGZERO"] = 28.9

    path = written(tmp_path / "a.fits", IMAGE=counts)
    found = read_visit_image(visit(path))
    np.testing.assert_allclose(found.pixels.image, 10 * arrays()[0], rtol=1e-6)
    np.testing.assert_allclose(found.pixels.variance, 400.0, rtol=1e-6)


def no_unit(hdu) -> None:
    del hdu.header["BUNIT"]


def set_psf(value):
    def change(hdu) -> None:
        hdu.data = value

    return change


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"IMAGE": no_unit}, "no unit .BUNIT., and it has neither a PhotoCalib nor a zero point"),
        ({"IMAGE": lambda h: h.header.__setitem__("BUNIT", "parsec")}, "BUNIT is 'parsec'"),
        ({"PSF": set_psf(np.zeros_like(KERNELS))}, "its sum is 0"),
        ({"PSF": set_psf(np.full_like(KERNELS, np.nan))}, "its sum is nan"),
        ({"PSF": set_psf(3 * KERNELS)}, "expected 0.2 to 1.05"),
        ({"PSF": set_psf(np.roll(KERNELS, 3, axis=2))}, "centroid 2.9 px off"),
        ({"PSF": set_psf(KERNELS[:, :24])}, "expected .nodes, odd, odd."),
        ({"VARIANCE": set_psf(np.zeros(BOX.shape, np.float32))}, "no pixel has a finite value and a positive variance"),
        ({"IMAGE": set_psf(np.full(BOX.shape, np.nan, np.float32))}, "no pixel has a finite value"),
        ({"MASK": lambda h: setattr(h, "name", "FLAGS")}, "no extension MASK"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, changes, words: str) -> None:
    path = written(tmp_path / "a.fits", **changes)
    with pytest.raises(VisitImageError, match=words) as caught:
        read_visit_image(visit(path))
    assert "visit 12 detector 3" in str(caught.value)
    assert str(path) in str(caught.value)


def test_no_such_image(tmp_path: Path) -> None:
    for image, words in (
        ("", "add a column `image`"),
        (str(tmp_path / "none.fits"), "no such file"),
        (str(tmp_path / "none"), "neither a FITS file"),
        ("reference://::file:///other.json", "may not ask for"),
        ("simplecache::reference://::https://host/a.fits", "may not ask for"),
    ):
        with pytest.raises(VisitImageError, match=words):
            read_visit_image(replace(visit(tmp_path), image=image))
    (tmp_path / "bad.fits").write_bytes(b"SIMPLE  = nonsense" * 300)
    with pytest.raises(VisitImageError, match="cannot read it"):
        read_visit_image(visit(tmp_path / "bad.fits"))
    with pytest.raises(VisitImageError, match="the table says"):
        read_visit_image(visit(written(tmp_path / "a.fits"), bbox=Box(0, 0, 200, 200)))


def test_the_table_names_images(tmp_path: Path) -> None:
    path = written(tmp_path / "a.fits")
    write_visits([visit(path, psf_fwhm=0.7), visit(path, visit=13)], tmp_path / "visits.ecsv")
    assert "image" in (tmp_path / "visits.ecsv").read_text()
    assert str(tmp_path) not in (tmp_path / "visits.ecsv").read_text()  # relative: both can be moved
    one, other = read_visits(tmp_path / "visits.ecsv")
    assert (one.image, one.psf_fwhm, other.psf_fwhm) == (str(path), 0.7, None)
    assert median_seeing([one, other]) == pytest.approx(0.2 * 4.2, abs=0.011)
    assert read_visit_psf(one).kernels.shape == KERNELS.shape
