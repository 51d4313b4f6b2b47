"""The same work by others: LSST's algorithm with scipy, SWarp, reproject; and the floor below all of them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from astropy.io import fits
from astropy.wcs import WCS
from reproject import reproject_interp
from reproject.mosaicking import reproject_and_coadd
from scipy import ndimage

from benchmarks.scene import Work
from dcrflow.kernels.rounding import round_pixels
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import PatchPixels, Pixels
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.steps import StepResult, make_region, mosaic_tracts, warp_tract
from dcrflow.steps.chunk_rows import ChunkRowReader, needs_of_tile
from dcrflow.stores.zarr.arrays import write_array


def whole_patches(work: Work) -> list[PatchPixels]:
    """All pixels of all patches."""
    plan = plan_template(work.coadds, work.visit)
    return [work.coadds.read(p.tract, p.patch, plan.band, p.bbox, plan.planes) for p in plan.patches]


def lsst_shift(pixels: PatchPixels) -> Callable[[], object]:
    """LSST's DCR of one subfilter of one whole patch: a cubic spline filter, two shifts."""

    def run() -> object:
        spline = ndimage.spline_filter(pixels.image[0], 3, output=np.float32)
        return sum(
            ndimage.shift(spline, shift, output=np.float32, order=3, prefilter=False) / 2
            for shift in ((1.39, -0.9), (0.7, -0.5))
        )

    return run


def lsst_merge_and_warp(work: Work, patches: list[PatchPixels]) -> Callable[[], object]:
    """LSST's rest: weighted means of whole patches on the tract, a Lanczos-3 warp (ours: scipy has none), the mean."""
    plan = plan_template(work.coadds, work.visit, TemplateConfig(warp="lanczos3"))

    def run() -> object:
        warped = []
        for index, tract in enumerate(plan.tracts):
            box = plan.part(index, plan.bbox).region  # type: ignore[union-attr]
            total, weights, spread = (np.zeros(box.shape, np.float32) for _ in range(3))
            mask = np.zeros(box.shape, np.int32)
            for pixels in (p for p in patches if any(p.box == t.bbox for t in tract.patches)):
                common = pixels.box.intersection(box)
                here, there = common.slices(box), (0, *common.slices(pixels.box))
                weight = pixels.variance[there] ** -0.5
                total[here] += weight * pixels.image[there]
                spread[here] += weight * pixels.variance[there]
                weights[here] += weight
                mask[here] |= pixels.mask[there]
            some = weights > 0
            total[some] /= weights[some]
            spread[some] /= weights[some]
            warped.append(warp_tract(plan, index, StepResult(Pixels(box, total, spread, mask)), plan.bbox))
        return mosaic_tracts(plan, plan.bbox, warped)

    return run


def write_fits(work: Work, patches: list[PatchPixels], folder: Path) -> list[Path]:
    """One plain image of each patch as FITS, for programs that read that."""
    plan = plan_template(work.coadds, work.visit)
    paths = []
    for patch, pixels in zip(plan.patches, patches, strict=True):
        header = work.coadds.tracts[patch.tract].wcs.header.copy()
        header["CRPIX1"] -= patch.bbox.x0
        header["CRPIX2"] -= patch.bbox.y0
        paths.append(folder / f"{patch.tract}-{patch.patch}.fits")
        if not paths[-1].exists():
            fits.PrimaryHDU(pixels.image[0], header).writeto(paths[-1])
    return paths


def _target(plan: TemplatePlan) -> fits.Header:
    header = plan.visit.wcs.header.copy()
    header["CRPIX1"] -= plan.bbox.x0
    header["CRPIX2"] -= plan.bbox.y0
    return header


def swarp(work: Work, images: list[Path], folder: Path) -> Callable[[], object] | None:
    """SWarp with Lanczos-3 on one thread; None where it is not installed."""
    program = shutil.which("SWarp") or shutil.which("swarp")
    if program is None:
        return None
    plan = plan_template(work.coadds, work.visit)
    header = _target(plan)
    header["NAXIS"], header["NAXIS1"], header["NAXIS2"] = 2, plan.bbox.width, plan.bbox.height
    (folder / "swarp.head").write_text("\n".join(str(c).rstrip() for c in header.cards) + "\nEND     \n")
    command = [program, *map(str, images), "-c", "/dev/null", "-IMAGEOUT_NAME", str(folder / "swarp.fits")]
    command += ["-WEIGHTOUT_NAME", str(folder / "swarp.weight.fits"), "-RESAMPLE_DIR", str(folder), "-NTHREADS", "1"]
    command += ["-RESAMPLING_TYPE", "LANCZOS3", "-COMBINE_TYPE", "AVERAGE", "-SUBTRACT_BACK", "N", "-WRITE_XML", "N"]
    command += ["-VERBOSE_TYPE", "QUIET", "-MEM_MAX", "4000", "-COMBINE_BUFSIZE", "4000"]
    return lambda: subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def reproject_bicubic(work: Work, images: list[Path]) -> Callable[[], object]:
    """`reproject_and_coadd` with bicubic interpolation."""
    plan = plan_template(work.coadds, work.visit)

    def run() -> object:
        inputs = [(fits.getdata(path), WCS(fits.getheader(path))) for path in images]
        return reproject_and_coadd(
            inputs, WCS(_target(plan)), shape_out=plan.bbox.shape,
            reproject_function=reproject_interp, order="bicubic",
        )  # fmt: skip

    return run


def read_all(work: Work, plan: TemplatePlan) -> None:
    """Read what a detector needs, as it is read when it is made."""
    with ChunkRowReader(work.coadds, plan, [needs_of_tile(plan, tile) for tile in plan.tiles]) as reader:
        for number in range(len(plan.tiles)):
            reader.load(number, number + 4)


def floor(work: Work, plan: TemplatePlan, folder: Path) -> Callable[[], object]:
    """What nobody gets below: decompress the input's chunks, each once, compress the output; nothing in between."""
    made = make_region(work.coadds, plan, plan.bbox).pixels
    round_pixels(made.image, made.variance, float(plan.config.precision or 0))  # as templates are written

    def run() -> None:
        read_all(work, plan)
        group = zarr.create_group(folder / "floor.zarr", overwrite=True)
        for name in ("image", "variance", "mask"):
            write_array(group, name, ("y", "x"), getattr(made, name))

    return run
