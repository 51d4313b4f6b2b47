"""Cost of DCR coadds from visits, scaled to a patch of 4100 px, beside LSST's iteration and SWarp."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits

from benchmarks import coadd_memory, measure
from benchmarks.lsst_coadds import iterate
from dcrflow.base.workspace import Workspace
from dcrflow.coadding.cell import CellSolution, solve_cell
from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.ladder import System, two_steps
from dcrflow.coadding.output_psf import moffat_stamp
from dcrflow.coadding.patch import PatchSolution, stitch
from dcrflow.coadding.transfer import stamp_transform
from dcrflow.coadding.visits import VisitOnFrame
from dcrflow.demo.coadd_scene import CoaddScene, coadd_scene, pointings
from dcrflow.geometry.box import Box
from dcrflow.geometry.layout import PatchLayout
from dcrflow.geometry.mapping import PixelMap
from dcrflow.model.coadd_config import CoaddConfig
from dcrflow.model.pixels import Pixels
from dcrflow.model.visit_image import VisitImage, VisitPsf
from dcrflow.steps.warp_visit import footprint, warp_visit

PATCH, MARGIN = 4100, 60
CORE, VISITS = 513, 16  # pixels of one of the patch's cells; visits
MANY = 64  # the same for the cost of a patch of many visits
SIZE = CORE + 2 * MARGIN
TILES = 7  # scenes down and across: about those of a visit's 4240 px
SWARPED = 3  # of these, down and across, that SWarp takes at once
_BAD = 0.01  # share of bad pixels


def run(folder: Path, repeat: int) -> dict[str, object]:
    """Print and return the figures."""
    scene = scene_of_a_cell()
    visits = [visit_of(scene, n, VISITS) for n in range(VISITS)]
    frame = (PATCH + 2 * MARGIN) ** 2
    runs: dict[str, Callable[[], object]] = {
        "warp": warp_of(visits[0]),
        "solve": solve_of(scene, visits),
        "ladder": _ladder(scene, visits),
        "LSST": lambda: iterate([visits[0].image], [_shifts(scene, 0)], order=3),
    }
    swarp = _swarp(visits, folder)
    if swarp is None:
        print("SWarp: skipped, it is not installed (Debian package swarp)")
    else:
        runs["SWarp"] = swarp
    for first in ("warp", "solve", "ladder"):
        runs[first]()
    # the least of the repetitions: processors that are shared with others take longer, never shorter
    times = {name: min(timing.cpu) for name, timing in measure.interleaved(runs, repeat).items()}
    area, cells = frame / SIZE**2, len(CellGrid((PATCH + 2 * MARGIN,) * 2, margin=MARGIN))
    found = {
        "warp": times["warp"] * area / TILES**2,
        "sums and rounds": (times["solve"] - times["ladder"]) * cells / VISITS,
        "LSST's iteration, cubic": times["LSST"] * area,
    }
    if "SWarp" in times:
        found["SWarp's ordinary coadd"] = times["SWarp"] * area / SWARPED**2 / VISITS
    ours = found["warp"] + found["sums and rounds"]
    print(f"DCR coadds, 3 subfilters, a {PATCH} px patch, {cells} cells, {VISITS} visits, {_BAD:.0%} bad pixels, gaps")
    print(f"{'dcrflow, a visit':28}{ours:8.2f} s of a processor")
    for name, seconds in found.items():
        print(f"{name + ', a visit':28}{seconds:8.2f} s, {seconds / ours:.2f} of dcrflow's")
    print(f"{'solution, a patch':28}{times['ladder'] * cells:8.2f} s", flush=True)
    for number, solve in ((VISITS, times["solve"]), (MANY, _cost_of(MANY, scene))):
        total, aim = found["warp"] * number + solve * cells, 1.5 * number + 10
        found[f"all of a patch, {number} visits"] = total
        print(f"{f'all of a patch, {number} visits':28}{total:8.2f} s; 1.5 s a visit and 10 s a patch: {aim:.0f} s")
    for step, number in (("warp", 1), ("cell", 8), ("cell", 64), ("stitch", 8)):
        peak = coadd_memory.measured(step, number)
        found[f"memory, {step}, {number} visits"] = peak
        print(f"memory of a worker, {step}, {number} visits: at most {peak:.2f} GiB", flush=True)
    print()
    return found | {"dcrflow": ours, "solution, a patch": times["ladder"] * cells}


def scene_of_a_cell() -> CoaddScene:
    """A star every 60 px, a quarter of them of S/N 1400 a visit and the others of 140."""
    return coadd_scene(3, SIZE, ("1e3", "1e4", "1e3", "1e3"), edge=-20)


def visit_of(scene: CoaddScene, number: int, of: int) -> VisitOnFrame:
    """One of several visits of a scene."""
    return scene.visit(number, pointings(3, of)[number], 1.0, 3, valid=_valid(number))


def stitched(cell: CellSolution) -> PatchSolution:
    """A patch whose cells are all alike."""
    grid = CellGrid((PATCH + 2 * MARGIN,) * 2, margin=MARGIN)
    cells = (replace(cell, cell=other) for other in grid)
    return stitch(grid, cells, moffat_stamp(3.75, size=47), CoaddConfig())


def _valid(number: int) -> np.ndarray:
    """Bad pixels everywhere, and a gap through every tenth visit, of which no two have theirs at the same place."""
    random = np.random.default_rng((9, number))
    valid = random.random((SIZE, SIZE)) > _BAD
    if number % 10 == 0:
        gap = (SIZE // 3 + 7 * number) % (SIZE - 24)
        valid[:, gap : gap + 24] = False
    return valid


def solve_of(scene: CoaddScene, visits: list[VisitOnFrame]) -> Callable[[], CellSolution]:
    config = CoaddConfig()
    grid = CellGrid((SIZE, SIZE), config.cell, config.halo, config.taper, MARGIN)
    psf, workspace = moffat_stamp(3.75, size=47), Workspace()  # which a task lends to all of its cells
    return lambda: solve_cell(grid.cells[0], grid, visits, scene.basis, psf, config, workspace=workspace)


def _ladder(scene: CoaddScene, visits: list[VisitOnFrame]) -> Callable[[], object]:
    """From a cell's sums to its subfilters: what does not depend on the number of visits."""
    config = CoaddConfig()
    sums = solve_of(scene, visits)().sums
    system = System(sums.normal, stamp_transform(moffat_stamp(3.75, size=47), len(sums.weight)), config.color_prior[:2])
    workspace = Workspace()
    return lambda: two_steps(system, sums.right, config.color_deviation, workspace)


def warp_of(visit: VisitOnFrame) -> Callable[[], object]:
    """A rotated detector of as many pixels as the frame."""
    side = TILES * SIZE
    detector, frame = Box(0, 0, side, side), Box(1000, 2000, side, side)
    middle = side / 2
    pixel_map = PixelMap.measured(
        PatchLayout(0.2).wcs((53.0, -28.0), (1000 + middle, 2000 + middle)),
        PatchLayout(0.2, rotation=37.0).wcs((53.0, -28.0), (middle, middle)), frame,
    )  # fmt: skip
    tiled = np.tile(visit.image, (TILES, TILES))
    mask = np.tile(np.where(visit.valid, 0, 1), (TILES, TILES)).astype(np.int32)
    pixels = Pixels(detector, tiled, np.ones(tiled.shape, np.float32), mask)
    psf = VisitPsf(visit.psf, np.array([middle]), np.array([middle]))
    image = VisitImage(pixels.part(footprint(pixel_map, detector)), psf, "")
    centres = np.array([1000.0 + middle]), np.array([2000.0 + middle])
    return lambda: warp_visit(image, detector, pixel_map, centres)


def _cost_of(number: int, scene: CoaddScene) -> float:
    """Seconds of a processor for a cell of so many visits."""
    solve = solve_of(scene, [visit_of(scene, n, number) for n in range(number)])
    solve()
    return min(measure.interleaved({"solve": solve}, 3)["solve"].cpu)


def _shifts(scene: CoaddScene, number: int) -> np.ndarray:
    pointing = pointings(3, VISITS)[number]
    return scene.basis.weights.T @ scene.displacements(pointing, scene.basis.wavelength)


def _swarp(visits: list[VisitOnFrame], folder: Path) -> Callable[[], object] | None:
    """SWarp's ordinary coadd of the same visits, each turned by another angle; None where it is not installed."""
    program = shutil.which("SWarp") or shutil.which("swarp")
    if program is None:
        return None
    place = folder / "coadd-visits"
    place.mkdir(exist_ok=True)
    paths, side = [], SWARPED * SIZE
    for number, visit in enumerate(visits):
        header = PatchLayout(0.2, rotation=15.0 * number).wcs((53.0, -28.0), (side / 2, side / 2)).header
        paths.append(place / f"{number}.fits")
        tiled = np.tile(np.where(visit.valid, visit.image, 0), (SWARPED, SWARPED))
        fits.PrimaryHDU(tiled, header).writeto(paths[-1], overwrite=True)
    command = [program, *map(str, paths), "-c", "/dev/null", "-IMAGEOUT_NAME", str(place / "out.fits")]
    command += ["-WEIGHTOUT_NAME", str(place / "weight.fits"), "-RESAMPLE_DIR", str(place), "-NTHREADS", "1"]
    command += ["-RESAMPLING_TYPE", "LANCZOS3", "-COMBINE_TYPE", "WEIGHTED", "-SUBTRACT_BACK", "N", "-WRITE_XML", "N"]
    command += ["-VERBOSE_TYPE", "QUIET", "-IMAGE_SIZE", f"{side},{side}"]
    return lambda: subprocess.run(command, check=True, cwd=place, capture_output=True)
