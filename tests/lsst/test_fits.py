"""LSST's FITS files: coadds in, templates out, lossless both ways."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.wcs import WCS
from scenes import IMAGE, TRACT, coadds, visit
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.base.attributes import encoded, objects
from dcrflow.base.errors import CoaddStoreError, InconsistentCoaddsError, MissingSubfilterError, TemplateStoreError
from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.cli import main
from dcrflow.demo.parity import golden_coadds
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.export import export
from dcrflow.lsst.fits_coadds import FitsCoadd, open_fits_coadds
from dcrflow.lsst.fits_templates import read_fits, write_fits
from dcrflow.lsst.handles import Subfilters
from dcrflow.lsst.ingest import ingest
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds
from dcrflow.stores.templates.store import TemplateStore

AFW = {"MP_BAD": 0, "MP_CR": 5}
LSST_IMAGES = {"MSKN0000": "BAD", "MSKM0000": 1, "MSKN0001": "COSMIC_RAY", "MSKM0001": 32}
GOLDEN_BAND = Subfilters.even(3, 476.31, 147.0)


@pytest.fixture
def ingested(golden_here: Path) -> DcrCoadds:
    """The pipeline's coadds, ingested."""
    store = MemoryStore()
    assert ingest(open_fits_coadds([golden_here], GOLDEN_BAND), store, skymap="golden") == 4
    return open_coadds(store)


def test_ingest_of_the_pipelines_files(golden_here: Path, ingested: DcrCoadds) -> None:
    """Geometry, pixels, bits and WCS as the set-up has them; the PSF of each patch."""
    expected = golden_coadds(golden_here)
    kernels = np.load(golden_here / "psf_kernels.npz")
    truth = json.loads((golden_here / "truth.json").read_text())
    for number, tract in expected.tracts.items():
        found = ingested.tracts[number]
        assert (found.bbox, found.patch_inner, found.patch_border) == (
            tract.bbox,
            tract.patch_inner,
            tract.patch_border,
        )
        x, y = tract.bbox.outline()
        back = found.wcs.sky_to_pixel(*tract.wcs.pixel_to_sky(x, y))
        assert np.abs(np.array(back) - [x, y]).max() < 1e-6
    assert len(truth["patches"]) == 4
    for each in truth["patches"]:
        key = each["tract"], each["patch"], "g"
        ours, theirs = ingested.info(*key), expected.info(*key)
        assert dict(ours.planes) == dict(theirs.planes)
        assert ours.subfilter_edges == pytest.approx(np.array(theirs.subfilter_edges))
        got, want = (c.read(*key, theirs.bbox, theirs.planes) for c in (ingested, expected))
        for name in ("image", "variance", "mask"):
            assert np.array_equal(*np.broadcast_arrays(getattr(got, name), getattr(want, name)), equal_nan=True)
        psf = ingested.read_psf(*key)
        assert psf is not None
        assert np.abs(psf.at(*psf.x[:1], *psf.y[:1]) - kernels[f"{key[0]}_{key[1]}"]).max() < 1e-7


def write_coadd(
    path: Path, planes: dict[str, Any], place: str = "ltv", unit: str = "nJy", compress: bool = False, **primary: Any
) -> Path:
    """A coadd file of 40 x 30 pixels at (100, -50), one mask plane set at one pixel."""
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 5.0, "CRPIX2": 7.0, "CRVAL1": 53.0,
                          "CRVAL2": -28.0, "CD1_1": -5e-5, "CD2_2": 5e-5, "BUNIT": unit})  # fmt: skip
    header.update({"LTV1": -100.0, "LTV2": 50.0} if place == "ltv" else {"CRVAL1A": 100.0, "CRVAL2A": -50.0})
    mask = np.zeros((30, 40), np.int32)
    mask[3, 4] = 1 << 5
    image = np.arange(1200, dtype=np.float32).reshape(30, 40)
    kind = fits.CompImageHDU if compress else fits.ImageHDU
    options = {"compression_type": "GZIP_2", "quantize_level": 0.0} if compress else {}
    hdus = [fits.PrimaryHDU(header=fits.Header(primary))]
    for name, array, cards in (("IMAGE", image, {}), ("MASK", mask, planes), ("VARIANCE", image + 1, {})):
        whole = header.copy()
        whole.update(cards)
        hdus.append(kind(array, header=whole, name=name, **(options if array.dtype.kind == "f" else {})))
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("place", ["ltv", "crval"])
@pytest.mark.parametrize("planes", [AFW, LSST_IMAGES])
def test_both_spellings_places_and_compression(
    tmp_path: Path, planes: dict[str, Any], place: str, compress: bool
) -> None:
    coadd = FitsCoadd(1, 2, 0, "g", write_coadd(tmp_path / "c.fits", planes, place, compress=compress))
    assert coadd.bbox() == Box(100, -50, 40, 30)
    part = coadd.region(Box(103, -48, 5, 4))
    assert part.planes == {"BAD": 0, "CR": 5}
    assert part.mask[1, 1] == 32
    assert np.count_nonzero(part.mask) == 1
    assert part.image[0, 0] == 2 * 40 + 3
    assert part.variance[0, 0] == part.image[0, 0] + 1
    wcs = coadd.wcs()
    assert wcs is not None
    assert np.allclose(wcs.sky_to_pixel(53.0, -28.0), (104.0, -44.0), atol=1e-9)


def test_units_are_made_nanojansky(tmp_path: Path) -> None:
    one = Box(101, -50, 1, 1)
    micro = FitsCoadd(0, 0, 0, "g", write_coadd(tmp_path / "a.fits", {"MP_BAD": 0}, unit="uJy")).region(one)
    assert (micro.image[0, 0], micro.variance[0, 0]) == (1e3, 2e6)
    old = write_coadd(tmp_path / "b.fits", {"MP_BAD": 0}, unit="count", FLUXMAG0=10 ** (31.4 / 2.5) / 4)
    assert FitsCoadd(0, 0, 0, "g", old).region(one).image[0, 0] == pytest.approx(4.0)
    strange = write_coadd(tmp_path / "c.fits", {"MP_BAD": 0}, unit="s")
    with pytest.raises(InconsistentCoaddsError, match="expected a flux density"):
        FitsCoadd(0, 0, 0, "g", strange).region(one)


def test_which_coadd_a_file_is(tmp_path: Path) -> None:
    ids = {f"LSST BUTLER DATAID {k}": v for k, v in {"TRACT": 4, "PATCH": 5, "BAND": "r", "SUBFILTER": 1}.items()}
    by_header = write_coadd(tmp_path / "anything.fits", {"MP_BAD": 0})
    with fits.open(by_header, mode="update") as file:
        for key, value in ids.items():
            file[0].header[f"HIERARCH {key}"] = value
    assert open_fits_coadds([by_header], GOLDEN_BAND).coadds(4, 5, "r")[0].subfilter == 1
    by_name = write_coadd(tmp_path / "dcrCoadd_7_8_i_2_skymap_run.fits", {"MP_BAD": 0})
    assert open_fits_coadds([by_name], GOLDEN_BAND).coadds(7, 8, "i")[0].subfilter == 2
    for files, words in (
        ([tmp_path / "no"], "does not exist"),
        ([write_coadd(tmp_path / "x.fits", {})], "which coadd"),
    ):
        with pytest.raises(CoaddStoreError, match=words):
            open_fits_coadds(files, GOLDEN_BAND)


@pytest.mark.parametrize("with_psf", [False, True])
def test_coadds_of_lsst_images(tmp_path: Path, with_psf: bool) -> None:
    """Their own files into a store: pixels, bits, planes by their short names, WCS to 1e-6 px, the PSF."""
    pytest.importorskip("lsst.images", reason="the extra lsst is not installed")
    from lsst.images import DetectorFrame, TractFrame, VisitImage
    from lsst.images.psfs import GaussianPointSpreadFunction
    from lsst.images.serialization import write_archive

    from dcrflow.lsst.convert import lsst_box, masked_image, projection_of
    from dcrflow.lsst.repository import nominal_detector, nominal_observation

    tract, rng = TRACT, np.random.default_rng(7)
    frame: Any = TractFrame(skymap="test", tract=7, bbox=lsst_box(tract.bbox))
    if with_psf:  # only images of visits have one
        frame = DetectorFrame(instrument="X", visit=1, detector=1, bbox=lsst_box(tract.bbox))
    pixels: dict[tuple[int, int], Any] = {}
    for patch in tract.patches:
        projection = projection_of(tract.wcs, frame, patch.bbox)
        for k in range(3):
            image, variance = rng.random((2, *patch.bbox.shape)).astype(np.float32)
            mask = rng.integers(0, 1 << len(STANDARD_PLANES), image.shape).astype(np.int32)
            mask &= ~np.int32(1 << STANDARD_PLANES["NO_DATA"])  # where that is set, a store gives no pixels
            made = masked_image(patch.bbox, image, variance, mask, STANDARD_PLANES, projection)
            if with_psf:
                made = VisitImage(
                    made.image, mask=made.mask, variance=made.variance, sky_projection=projection, band="g",
                    obs_info=nominal_observation("X", 1, 1, "g"), detector=nominal_detector("X", 1, 1, patch.bbox),
                    psf=GaussianPointSpreadFunction(1.7, lsst_box(patch.bbox), 21),
                )  # fmt: skip
            write_archive(made, str(tmp_path / f"dcrCoadd_7_{patch.patch}_g_{k}.fits"))
            pixels[patch.patch, k] = image, variance, mask
    store = MemoryStore()
    assert ingest(open_fits_coadds([tmp_path], GOLDEN_BAND), store, skymap="test") == 4
    found = open_coadds(store)
    x, y = tract.bbox.outline(9)
    assert np.abs(np.array(found.tracts[7].wcs.sky_to_pixel(*tract.wcs.pixel_to_sky(x, y))) - [x, y]).max() < 1e-6
    for patch in found.patches(7, "g"):
        info = found.info(7, patch.patch, "g")
        assert dict(info.planes) == dict(STANDARD_PLANES)
        got = found.read(7, patch.patch, "g", patch.bbox, info.planes)
        for k in range(3):
            for name, expected in zip(("image", "variance", "mask"), pixels[patch.patch, k], strict=True):
                assert np.array_equal(getattr(got, name)[k], expected), name
        psf = found.read_psf(7, patch.patch, "g")
        assert (psf is not None) == with_psf
        if psf is not None:
            kernel = psf.kernels[4]
            offset = np.arange(kernel.shape[0]) - kernel.shape[0] // 2
            assert float(kernel.sum(axis=0) @ offset**2) == pytest.approx(1.7**2, rel=0.02)


def test_the_planes_are_in_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    coadd = FitsCoadd(1, 2, 0, "g", write_coadd(tmp_path / "c.fits", AFW))
    monkeypatch.setattr(FitsCoadd, "region", None)
    assert coadd.planes() == {"BAD": 0, "CR": 5}


def test_a_subfilter_that_is_missing(golden_here: Path) -> None:
    files = [f for f in golden_here.glob("dcrCoadd_0_*") if not f.name.endswith("0_3_g_1.fits.gz")]
    store = MemoryStore()
    with pytest.raises(
        MissingSubfilterError, match=r"tract 0 patch 3 band g .* has subfilters \[0, 2\], expected 0 to 2"
    ):
        ingest(open_fits_coadds(files, GOLDEN_BAND), store)
    assert not store._store_dict


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A template store with one template."""
    path = tmp_path_factory.mktemp("templates") / "templates.zarr"
    mask = (np.random.default_rng(1).random(IMAGE.shape[1:]) < 1e-3).astype(np.int32) << 3
    made = dcrflow.build_template(coadds(IMAGE, mask=mask), visit(physical_filter="g_sim"))
    dcrflow.write_template(made, path)
    return path


@pytest.mark.parametrize("name", ["t.fits", "t.fits.gz"])
@pytest.mark.parametrize("with_psf", ["", "old", "by patch"])
def test_fits_round_trip(templates: Path, tmp_path: Path, name: str, with_psf: str) -> None:
    template = TemplateStore.open(templates).read(12, 3).load()
    if with_psf:
        kernels = np.random.default_rng(2).random((4, 5, 5)).astype(np.float32)
        nodes = {
            n: ("psf_node", np.arange(4) + k, {"units": "pixel"}) for k, n in enumerate(("psf_node_x", "psf_node_y"))
        }
        template = template.assign(psf=(("psf_node", "psf_y", "psf_x"), kernels)).assign_coords(nodes)
    if with_psf == "by patch":
        patches = [{"tract": 0, "patch": n, "bbox": [0, 0, 9, 9], "wcs": {"CRVAL1": 10.0}} for n in (4, 7)]
        template = template.assign_coords(psf_node_patch=("psf_node", [0, 0, 1, 1]))
        template = template.assign(psf_coadd=(("psf_node", "psf_coadd_y", "psf_coadd_x"), kernels[:, :3]))
        template = template.assign_attrs(encoded({"psf_patches": patches}))
    write_fits(template, tmp_path / name)
    back = read_fits(tmp_path / name)
    xr.testing.assert_equal(back, template)
    assert back.attrs == template.attrs
    assert set(str(back.mask.attrs["flag_meanings"]).split()) == set(str(template.mask.attrs["flag_meanings"]).split())
    assert not list(tmp_path.glob("*.partial*"))


def test_fits_as_astropy_reads_it(templates: Path, tmp_path: Path) -> None:
    assert export(templates, tmp_path) == 1
    assert export(templates, tmp_path) == 0
    template = TemplateStore.open(templates).read(12, 3)
    with fits.open(tmp_path / "template_12_3.fits") as file:
        assert [h.name for h in file[1:4]] == ["IMAGE", "MASK", "VARIANCE"]
        assert (file[0].header["VISIT"], file[0].header["BAND"]) == (12, "g")
        assert file["MASK"].header["MP_NO_DATA"] == 8
        assert file["MASK"].header["MP_HIGH_VARIANCE"] == 18
        wcs = WCS(file["IMAGE"].header)
    x, y = np.array([0.0, 200.0]), np.array([10.0, 0.0])
    expected = SkyWcs.from_header(objects(template.attrs)["wcs"]).pixel_to_sky(
        x + int(template.x[0]), y + int(template.y[0])
    )
    assert np.allclose(wcs.all_pix2world(x, y, 0), expected, rtol=0, atol=1e-11)


def test_fits_as_lsst_reads_it(templates: Path, tmp_path: Path) -> None:
    images = pytest.importorskip("lsst.images", reason="the extra lsst is not installed")
    from dcrflow.lsst.convert import arrays_of

    export(templates, tmp_path)
    export(templates, tmp_path / "theirs", "lsst-images")
    template = TemplateStore.open(templates).read(12, 3).load()
    planes = {n: images.MaskPlane(n, n) for n in str(template.mask.attrs["flag_meanings"]).split()}
    frame = images.GeneralFrame(unit="pix")
    legacy = images.MaskedImage.read_legacy(
        str(tmp_path / "template_12_3.fits"), plane_map=planes, fits_wcs_frame=frame
    )
    own = images.serialization.read_archive(str(tmp_path / "theirs" / "template_12_3.fits"))
    for found in (legacy, own):
        got = arrays_of(found)
        assert got.box == Box(int(template.x[0]), int(template.y[0]), *template.image.shape[::-1])
        assert np.array_equal(got.image, template.image.values, equal_nan=True)
        assert _off(found.sky_projection, template) < 1e-6
        assert np.array_equal(got.variance, template.variance.values, equal_nan=True)
        for name, bit in zip(
            str(template.mask.attrs["flag_meanings"]).split(), template.mask.attrs["flag_masks"], strict=True
        ):
            assert np.array_equal((got.mask >> got.planes[name]) & 1, (template.mask.values & bit) // bit), name
    assert json.loads(own.metadata["dcrflow patches"]) == [[7, p] for p in range(4)]


def _off(projection: Any, template: xr.Dataset) -> float:
    """Pixels by which a projection is off a template's WCS, at worst, on a grid with its corners."""
    x, y = (
        v.ravel() for v in np.meshgrid(*(np.linspace(float(template[k][0]), float(template[k][-1]), 7) for k in "xy"))
    )
    ra, dec = (np.rad2deg(v) for v in projection.as_astropy().pixel_to_world_values(x, y))
    back = SkyWcs.from_header(objects(template.attrs)["wcs"]).sky_to_pixel(ra, dec)
    return float(np.abs(np.array(back) - [x, y]).max())


def test_what_is_no_template(tmp_path: Path) -> None:
    fits.PrimaryHDU().writeto(tmp_path / "x.fits")
    with pytest.raises(TemplateStoreError, match="is not a FITS file of a template"):
        read_fits(tmp_path / "x.fits")


def test_commands(
    golden_here: Path, templates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dcrflow", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    files = sorted(golden_here.glob("dcrCoadd_0_0_*"))
    out = tmp_path / "coadds.zarr"
    status, said = run("ingest", *files, "--out", out, "--effective-wavelength", 476.31, "--bandwidth", 147)
    assert (status, "1 patches" in said) == (0, True), said
    assert open_coadds(out).info(0, 0, "g").num_subfilters == 3
    assert run("ingest", *files, "--out", tmp_path / "b.zarr")[0] == 0  # the LSST band's own wavelengths
    assert open_coadds(tmp_path / "b.zarr").info(0, 0, "g").bandwidth == 147.0
    assert run("ingest", *files, "--out", out)[0] == 2  # it is there
    assert run("ingest", *files[1:], "--out", tmp_path / "c.zarr")[0] == 2  # a subfilter is missing
    status, said = run("export", templates, tmp_path / "fits")
    assert (status, "1 files" in said) == (0, True), said
