"""The task on the stack's own classes, which stand-ins play: the same template as on dcrflow's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("lsst.pipe.base", reason="the extra lsst is not installed")

import afw
from afw import stack  # noqa: F401  (a fixture)
from astropy.io import fits
from lsst.pipe.base import NoWorkFound
from scenes import DETECTOR, TRACT, tan
from zarr.storage import MemoryStore

import dcrflow
from dcrflow.base.errors import InconsistentCoaddsError
from dcrflow.geometry.skymap import Tract
from dcrflow.lsst import GetDcrTemplateConfig, GetDcrTemplateTask
from dcrflow.lsst.fits_coadds import open_fits_coadds
from dcrflow.lsst.handles import Subfilters
from dcrflow.lsst.ingest import ingest
from dcrflow.stores.coadds.store import open_coadds

CALIBRATION = 0.5  # nJy a count


def gaussian(sigma: float = 1.5) -> np.ndarray:
    y, x = np.mgrid[-10:11, -10:11]
    kernel = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    return kernel / kernel.sum()


@pytest.fixture
def handles(stack: None, scene: Any) -> list[afw.Handle]:  # noqa: F811
    """The scene's coadds as the Butler gives afw's: counts, calibrated by a PhotoCalib; planes have afw's bits."""
    source, made = open_coadds(scene[0]), []
    for patch in source.patches(7, "g"):
        info = source.info(7, patch.patch, "g")
        pixels = source.read(7, patch.patch, "g", info.bbox, info.planes)
        for k in range(3):
            exposure = afw.ExposureF(afw.box2i(info.bbox))
            exposure.image.array[:] = pixels.image[k] / np.float32(CALIBRATION)
            exposure.variance.array[:] = pixels.variance[k] / np.float32(CALIBRATION**2)
            for plane, bit in info.planes.items():
                here = exposure.mask.addMaskPlane(plane)
                exposure.mask.array[:] |= ((pixels.mask[k] >> bit) & 1) << here
            exposure.setWcs(afw.SkyWcs(source.tracts[7].wcs))
            exposure.setPhotoCalib(afw.PhotoCalib(CALIBRATION))
            exposure.setPsf(afw.KernelPsf(afw.FixedKernel(afw.ImageD(gaussian())), afw.Point2D(0, 0)))
            data_id = {"skymap": "test", "tract": 7, "patch": patch.patch, "band": "g", "subfilter": k}
            made.append(afw.Handle(exposure, data_id))
    return made


@pytest.fixture
def task() -> GetDcrTemplateTask:
    config = GetDcrTemplateConfig()
    config.storage = "afw"
    config.effectiveWavelength, config.bandwidth = 475.0, 150.0
    return GetDcrTemplateTask(config=config)


def inputs(handles: list[afw.Handle], visit: Any, **changes: Any) -> dict[str, Any]:
    return {
        "coaddExposureRefs": handles, "bbox": afw.box2i(visit.bbox), "wcs": afw.SkyWcs(visit.wcs),
        "visitInfo": afw.VisitInfo(visit), "skyMap": afw.SkyMap(TRACT), **changes,
    }  # fmt: skip


def made_of(task: GetDcrTemplateTask, given: dict[str, Any]) -> Any:
    found = task.getOverlappingExposures(given)
    data_id = {"instrument": "TestCam", "visit": 12, "detector": 3, "physical_filter": "g_sim"}
    return task.run(found.coaddExposures, given["bbox"], given["wcs"], found.dataIds, dataId=data_id)


def planes(mask: np.ndarray, names: Any) -> dict[str, np.ndarray]:
    return {name: (mask >> np.int32(bit)) & 1 for name, bit in names.items()}


def test_the_same_template_as_an_exposure(task: GetDcrTemplateTask, handles: list[afw.Handle], scene: Any) -> None:
    """Every pixel and every plane as dcrflow makes them of the same coadds; geometry, calibration, filter and PSF."""
    visit = scene[1][0]
    given = inputs(handles, visit)
    result = made_of(task, given)
    expected: xr.Dataset = dcrflow.build_template(scene[0], visit, dcrflow.TemplateConfig(fill=0.0)).compute()
    exposure = result.outputExposure
    assert isinstance(exposure, afw.ExposureF)
    box, own = exposure.getBBox(), DETECTOR.grown(20)
    assert [box.getMinX(), box.getMinY(), box.getMaxX(), box.getMaxY()] == [own.x0, own.y0, own.x1 - 1, own.y1 - 1]
    assert exposure.getWcs() is given["wcs"]
    assert exposure.getPhotoCalib().getCalibrationMean() == 1.0
    assert (exposure.getFilter().bandLabel, exposure.getFilter().physicalLabel) == ("g", "g_sim")
    assert np.array_equal(exposure.image.array, expected.image.values)
    assert np.array_equal(exposure.variance.array, expected.variance.values)
    names = dict(zip(expected.mask.attrs["flag_meanings"].split(), expected.mask.attrs["flag_masks"], strict=True))
    theirs = planes(exposure.mask.array, exposure.mask.getMaskPlaneDict())
    for name, value in names.items():
        assert np.array_equal(theirs[name] * value, expected.mask.values & value), name
    assert not {"SATURATED", "INTERPOLATED"} & set(exposure.mask.getMaskPlaneDict()), "afw's names, no new planes"
    psf = exposure.getPsf()
    assert isinstance(psf, afw.CoaddPsf)
    assert (psf.getComponentCount(), psf.kernel, psf.cache) == (4, "lanczos3", 100000)
    kernel = psf.computeKernelImage(afw.Point2D(100, 90)).array
    assert kernel.sum() == pytest.approx(1.0)
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (10, 10)
    info = exposure.getInfo()
    assert info.visitInfo.id == 12
    inputs_ = info.coaddInputs.ccds
    assert [(r.columns["tract"], r.columns["patch"]) for r in inputs_] == [(7, p) for p in range(4)]
    assert all(r.getPhotoCalib().getCalibrationMean() == CALIBRATION for r in inputs_)


def test_the_psf_varies_over_the_detector(task: GetDcrTemplateTask, handles: list[afw.Handle], scene: Any) -> None:
    """Each position has the PSFs of the patches under it, as a CoaddPsf knows them."""
    for handle in handles:
        kernel = afw.FixedKernel(afw.ImageD(gaussian(1.5 + 0.5 * handle.dataId["patch"])))
        handle._exposure.setPsf(afw.KernelPsf(kernel, afw.Point2D(0, 0)))
    visit = scene[1][0]
    result = made_of(task, inputs(handles, visit))
    peaks = []
    for x, y in ((5.0, 5.0), (195.0, 5.0), (5.0, 175.0), (195.0, 175.0)):
        theirs = result.template.getPsf().computeKernelImage(afw.Point2D(x, y)).array
        peaks.append(float(theirs.max()))
        assert theirs.max() == pytest.approx(float(kernel_at(result.psf, x, y).max()), rel=0.1)
    assert max(peaks) > 1.5 * min(peaks)


def test_a_psf_of_a_derived_class(handles: list[afw.Handle], scene: Any) -> None:
    """`_makePsf` is given the catalogue of the coadds, in the task's own schema; what it returns is the PSF."""
    seen: list[Any] = []

    class Mine(GetDcrTemplateTask):
        def _makePsf(self, template: Any, catalog: Any, wcs: Any) -> Any:  # noqa: N802
            seen.extend([super()._makePsf(template, catalog, wcs), catalog, wcs, template])
            return catalog[1].getPsf()

    config = GetDcrTemplateConfig()
    config.storage, config.effectiveWavelength, config.bandwidth = "afw", 475.0, 150.0
    task, given = Mine(config=config), inputs(handles, scene[1][0])
    template = made_of(task, given).template
    assert template.getPsf() is seen[1][1].getPsf()
    assert isinstance(seen[0], afw.CoaddPsf)
    assert isinstance(seen[1], afw.ExposureCatalog)
    assert [(r.columns["tract"], r.columns["patch"], r.columns["weight"]) for r in seen[1]] == [
        (7, p, 1.0) for p in range(4)
    ]
    assert task.schema.columns == seen[1].schema.columns
    assert seen[2:] == [given["wcs"], template]


def kernel_at(psf: xr.DataArray, x: float, y: float) -> np.ndarray:
    """Of the nearest node."""
    return psf.values[int(np.argmin(np.hypot(psf.psf_node_x.values - x, psf.psf_node_y.values - y)))]


def test_the_skymap_says_what_overlaps(task: GetDcrTemplateTask, handles: list[afw.Handle], scene: Any) -> None:
    """Of coadds that do not overlap nothing is asked, but for one a tract, of which the WCS."""
    visit = scene[1][1]
    found = task.getOverlappingExposures(inputs(handles, visit))
    assert [d["patch"] for d in found.dataIds] == [0]
    without = task.getOverlappingExposures(inputs(handles, visit, skyMap=None))
    assert without.dataIds == found.dataIds
    for handle in handles:
        handle.components.clear()
    made_of(task, inputs(handles, visit))
    asked = {(h.dataId["patch"], h.dataId["subfilter"]) for h in handles if h.components or h.boxes}
    assert asked == {(0, k) for k in range(3)}


def test_only_the_region_is_read(task: GetDcrTemplateTask, handles: list[afw.Handle], scene: Any) -> None:
    visit = scene[1][0]
    made_of(task, inputs(handles, visit))
    for handle in handles:
        patch = TRACT.patch(handle.dataId["patch"]).bbox
        pixels = sum(b.getWidth() * b.getHeight() for b in handle.boxes)
        assert 0 < pixels < 0.6 * patch.area


def test_where_tracts_overlap_they_are_averaged(stack: None, task: GetDcrTemplateTask, scene: Any) -> None:  # noqa: F811
    """Pixels and PSF: two tracts that show flat skies of different brightness, with PSFs of different width."""
    other = Tract(8, tan(330.0, 310.0, 12.0), TRACT.bbox, TRACT.patch_inner, TRACT.patch_border, TRACT.num_patches)
    made, sigmas = [], {7: 1.5, 8: 2.5}
    for tract, value in ((TRACT, 10.0), (other, 20.0)):
        for patch in tract.patches:
            for k in range(3):
                exposure = afw.ExposureF(afw.box2i(patch.bbox))
                exposure.image.array[:], exposure.variance.array[:] = value, 4.0
                exposure.setWcs(afw.SkyWcs(tract.wcs))
                kernel = afw.FixedKernel(afw.ImageD(gaussian(sigmas[tract.tract])))
                exposure.setPsf(afw.KernelPsf(kernel, afw.Point2D(0, 0)))
                data_id = {"skymap": "t", "tract": tract.tract, "patch": patch.patch, "band": "g", "subfilter": k}
                made.append(afw.Handle(exposure, data_id))
    visit = scene[1][0]
    task.config.combine = "mean"
    both = made_of(task, inputs(made, visit, skyMap=afw.SkyMap(TRACT, other)))
    assert np.allclose(both.template.image.array, 3 * (10.0 + 20.0) / 2, rtol=1e-5)
    assert {tuple(i.split(",")) for i in task.metadata.getArray("patches")} >= {("7", "0"), ("8", "0")}
    alone = [made_of(task, inputs([h for h in made if h.dataId["tract"] == t], visit, skyMap=None)) for t in (7, 8)]
    middle = afw.Point2D(100.0, 90.0)
    kernels = [r.template.getPsf().computeKernelImage(middle).array for r in (both, *alone)]
    size = max(len(k) for k in kernels)
    whole, first, second = (np.pad(k, (size - len(k)) // 2) for k in kernels)
    share = np.linalg.lstsq(np.stack([first.ravel(), second.ravel()], axis=1), whole.ravel(), rcond=None)[0]
    assert share.sum() == pytest.approx(1.0)  # of all patches of both tracts that are there, one as much as another
    assert 0.2 < share[0] < 0.8
    assert np.allclose(whole, share[0] * first + share[1] * second, atol=2e-3 * whole.max())
    assert whole.max() < first.max()


@pytest.mark.parametrize("there", [True, False])
def test_a_psf_in_a_file_that_afw_alone_can_read(tmp_path: Path, request: Any, there: bool) -> None:
    """Such as a CoaddPsf: where there is no afw, the coadd has none, and its pixels all the same."""
    header = fits.Header({"NAXIS": 2, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 53.0, "CRVAL2": -28.0,
                          "CRPIX1": 5.0, "CRPIX2": 5.0, "CD1_1": -5e-5, "CD2_2": 5e-5, "BUNIT": "nJy"})  # fmt: skip
    planes = [fits.ImageHDU(np.ones((30, 30), kind), header, name=name)
              for name, kind in (("IMAGE", "f4"), ("MASK", "i4"), ("VARIANCE", "f4"))]  # fmt: skip
    planes[1].header["MP_BAD"] = 0
    for k in range(3):
        path = tmp_path / f"dcrCoadd_1_0_g_{k}.fits"
        fits.HDUList([fits.PrimaryHDU(header=fits.Header({"PSF_ID": 7})), *planes]).writeto(path)
    if there:
        request.getfixturevalue("stack")
        psf = afw.KernelPsf(afw.FixedKernel(afw.ImageD(gaussian())), afw.Point2D(0, 0))
        reader = lambda name: SimpleNamespace(getPsf=lambda: psf if Path(name).exists() else None)  # noqa: E731
        request.getfixturevalue("monkeypatch").setattr(sys.modules["lsst.afw.image"], "ExposureF", reader)
    store = MemoryStore()
    ingest(open_fits_coadds([tmp_path], Subfilters.even(3, 475.0, 150.0)), store)
    found = open_coadds(store)
    assert found.info(1, 0, "g").num_subfilters == 3
    kernels = found.read_psf(1, 0, "g")
    assert (kernels is not None) == there
    if kernels is not None:
        assert np.allclose(kernels.kernels, gaussian(), atol=1e-7)


def test_exposures_in_memory(task: GetDcrTemplateTask, handles: list[afw.Handle], scene: Any) -> None:
    """`run` takes exposures that are matched already, and leaves them as they are."""
    given = inputs(handles, scene[1][0])
    exposures, ids = [h._exposure for h in handles[::3]], [h.dataId for h in handles[::3]]
    before = [e.image.array.copy() for e in exposures]
    result = task.run(exposures, given["bbox"], given["wcs"], ids)
    assert np.isfinite(result.outputExposure.image.array).all()
    assert all(np.array_equal(e.image.array, b) for e, b in zip(exposures, before, strict=True))


def test_a_wcs_that_is_no_fits(task: GetDcrTemplateTask, handles: list[afw.Handle], scene: Any) -> None:
    visit = scene[1][0]
    plain = made_of(task, inputs(handles, visit)).template.image.array
    other = made_of(task, inputs(handles, visit, wcs=afw.SkyWcs(visit.wcs, fits=False))).template.image.array
    assert np.abs(other - plain).max() < 1e-6 * plain.max()


def test_what_is_missing_or_wrong(task: GetDcrTemplateTask, handles: list[afw.Handle], scene: Any) -> None:
    visit = scene[1][0]
    with pytest.raises(NoWorkFound, match="no WCS"):
        task.getOverlappingExposures(inputs(handles, visit, wcs=None))
    smaller = SimpleNamespace(tract=7, patches=TRACT.patches[:2], patch=TRACT.patch)
    with pytest.raises(InconsistentCoaddsError, match="no tract 7 patch 2 in the skymap"):
        task.getOverlappingExposures(inputs(handles, visit, skyMap=afw.SkyMap(smaller)))
    handles[4]._exposure.setPhotoCalib(afw.PhotoCalib(1.0, constant=False))
    with pytest.raises(InconsistentCoaddsError, match=r"patch 1 band g subfilter 1.*calibration varies"):
        made_of(task, inputs(handles, visit))
    handles[4]._exposure.setPhotoCalib(afw.PhotoCalib(2.0))
    with pytest.raises(RuntimeError, match="the coadds are calibrated differently"):
        made_of(task, inputs(handles, visit))
