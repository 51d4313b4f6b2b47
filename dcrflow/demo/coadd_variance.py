"""Compare the variance of templates, made from coadds of visits, with the scatter over realisations of the noise.

python -m dcrflow.demo.coadd_variance

The visits show empty sky. A detector that is turned by 40 degrees against the tract sees their coadds at several zenith
angles. Without the attribute `subfilter_noise` of the coadds, the noise of their pixels would be taken for independent.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import zarr
from rich.console import Console
from rich.progress import track

from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.output_psf import moffat_stamp
from dcrflow.coadding.patch import PatchSolution, solve_patch
from dcrflow.demo.coadd_scene import PIXEL_SCALE, CoaddScene, pointings
from dcrflow.model.coadd_config import CoaddConfig
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import PatchPixels
from dcrflow.model.subfilter_noise import SubfilterNoise
from dcrflow.planning.template import plan_template
from dcrflow.simulate.scene import StarField, star_field
from dcrflow.simulate.spectra import lsst_band
from dcrflow.steps import make_tile
from dcrflow.stores.coadds.store import open_coadds

ZENITH_ANGLES = (0.0, 30.0, 45.0, 60.0)
FWHM = 0.75  # arcsec, of the coadd
_SIZE = 200  # detector pixels a side
_EDGE = 48  # pixels of coadds beyond the tract, where the solution feels the end of the data


def empty_sky(size: int, number: int, seed: int, realisation: int) -> PatchSolution:
    """The DCR coadd of visits of an empty sky: the same visits for a seed, with other noise for each realisation."""
    scene, config = CoaddScene(size, lsst_band("g", 3), ()), CoaddConfig.make({"self_calibrate": False})
    visits = [scene.visit(n, p, 1.0, 1000 * seed + realisation) for n, p in enumerate(pointings(seed, number))]
    grid = CellGrid((size, size), config.cell, config.halo, config.taper)
    return solve_patch(grid, visits, scene.basis, moffat_stamp(FWHM / PIXEL_SCALE, size=65), config)


def with_coadds(field: StarField, found: PatchSolution, noise: SubfilterNoise | None) -> StarField:
    """A field whose patches hold the middle of a coadd."""
    patches = {}
    for name, patch in field.patches.items():
        rows, columns = patch.box.slices(field.tract.bbox.grown(_EDGE))
        image, variance = found.image[:, rows, columns], found.variance[:, rows, columns]
        patches[name] = PatchPixels(patch.box, image, variance, patch.mask)
    there = replace(field, patches=patches)
    if noise is not None:
        root = zarr.open_group(there.coadds, mode="r+")
        for name in patches:
            patch_group = root[f"{there.tract.tract}/{name}/{there.band.name}"]
            patch_group.attrs["subfilter_noise"] = noise.as_attribute()
    return there


def scatter_over_written(fields: Sequence[StarField]) -> float:
    """Standard deviation of the templates' pixels over the written one."""
    squares = []
    for field in fields:
        coadds = open_coadds(field.coadds)
        plan = plan_template(coadds, field.visit, TemplateConfig.make({}))
        found = make_tile(coadds, plan, field.visit.bbox).pixels
        squares.append(np.nanmean(found.image.astype(np.float64) ** 2 / found.variance))
    return float(np.sqrt(np.mean(squares)))


def measure(
    zenith_angles: Sequence[float], number: int, realisations: int, size: int = _SIZE, seed: int = 5
) -> tuple[dict[float, float], dict[float, float]]:
    """`scatter_over_written` by zenith angle: by pixels taken for independent, and by `SubfilterNoise`.

    Parameters
    ----------
    zenith_angles : sequence of float
        Of the templates' visits, degrees.
    number : int
        Of visits in the coadds.
    realisations : int
        Of their noise.
    size : int
        Detector pixels a side.
    seed : int
        Of the visits.
    """
    fields = {z: star_field(zenith_angle=z, stars_per_side=1, size=size) for z in zenith_angles}
    side = max(max(f.tract.bbox.shape) for f in fields.values()) + 2 * _EDGE
    shares = CoaddScene(1, lsst_band("g", 3), ()).basis.shares
    noise = None
    alone, shared = ({z: list[StarField]() for z in fields} for _ in range(2))
    for realisation in track(range(realisations), "noise", console=Console(stderr=True), transient=True):
        found = empty_sky(side, number, seed, realisation)
        if noise is None and found.sky_correlation is not None:
            noise = SubfilterNoise.of(shares, found.sky_correlation)
        for z, field in fields.items():
            alone[z].append(with_coadds(field, found, None))
            shared[z].append(with_coadds(field, found, noise))
    each = ({z: scatter_over_written(of_one) for z, of_one in made.items()} for made in (alone, shared))
    return next(each), next(each)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visits", type=int, nargs="*", default=[8, 32])
    parser.add_argument("--realisations", type=int, default=20)
    given = parser.parse_args()
    print("| scatter over written | " + " | ".join(f"z = {z:.0f}" for z in ZENITH_ANGLES) + " |")
    print("|" + "---|" * (1 + len(ZENITH_ANGLES)))
    for number in given.visits:
        found = measure(ZENITH_ANGLES, number, given.realisations)
        for words, ratios in zip(("pixels taken for independent", "`subfilter_noise`"), found, strict=True):
            print(f"| {number} visits, {words} | " + " | ".join(f"{r:.3f}" for r in ratios.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
