"""Further checks of DCR coadds from simulated visits, besides `dcrflow.demo.coadd_suppression`.

python -m dcrflow.demo.coadd_checks                 every check
python -m dcrflow.demo.coadd_checks shares tiles    some of them

rotated: suppression with visits that are warped from detectors rotated against the tract.
shares: errors of the fluxes of stars and of the subfilters' shares in them, without noise.
noise: noise of templates relative to that of an ordinary coadd of the same visits in empty sky, there and around stars.
kernel: residuals after a free kernel of 7 x 7 pixels was fitted to either template, as in image subtraction.
tiles: residuals of a coadd in small cells relative to those of a coadd in one cell.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.output_psf import moffat_stamp
from dcrflow.coadding.patch import solve_patch
from dcrflow.coadding.visits import VisitOnFrame
from dcrflow.demo.coadd_scene import PIXEL_SCALE, CoaddScene, Pointing, coadd_scene, pointings, psf_stamp
from dcrflow.demo.coadd_suppression import (
    CASES,
    FWHM,
    HELD_OUT,
    ZENITH_ANGLES,
    Case,
    near,
    solved,
    suppression,
    template,
)  # fmt: skip
from dcrflow.demo.subtraction import subtract
from dcrflow.geometry.box import Box
from dcrflow.geometry.layout import PatchLayout
from dcrflow.geometry.mapping import PixelMap, map_pixels
from dcrflow.model.coadd_config import CoaddConfig
from dcrflow.model.pixels import Pixels
from dcrflow.model.visit_image import VisitImage, VisitPsf
from dcrflow.steps.warp_visit import warp_visit

Float = NDArray[np.float64]

_CENTRE = (53.0, -28.0)  # ra, dec of the middle of the frame, degrees
_STAMP = 91  # pixels, of the PSFs
_REALISATIONS = 8  # of the noise
_INNER = 40  # pixels at the edges that do not count


@dataclass(frozen=True)
class Setting:
    """What is measured with.

    Parameters
    ----------
    seed : int
        Of sky, visits and noise.
    size : int
        Side of the frames, pixels.
    visits : int
        Visits of a coadd.
    """

    seed: int = 11
    size: int = 300
    visits: int = 32


def warped_visit(scene: CoaddScene, number: int, pointing: Pointing, rotation: float) -> VisitOnFrame:
    """A visit without noise, drawn on a detector that is turned by some degrees, and warped to the frame."""
    side = int(np.ceil(scene.size * np.sqrt(2))) + 80
    frame, middle = Box(0, 0, scene.size, scene.size), ((side - 1) / 2 + 0.3, (side - 1) / 2 - 0.2)
    tract = PatchLayout(PIXEL_SCALE).wcs(_CENTRE, ((scene.size - 1) / 2, (scene.size - 1) / 2))
    to_detector = PixelMap.measured(
        tract, PatchLayout(PIXEL_SCALE, rotation=rotation).wcs(_CENTRE, middle), frame
    )  # fmt: skip

    def moved(y: float, x: float) -> tuple[float, float]:
        u, v = map_pixels(to_detector.source, to_detector.target, np.array([x]), np.array([y]))
        return float(v[0]), float(u[0])

    angle = np.deg2rad(pointing.parallactic_angle)
    half = (scene.size - 1) / 2
    (y0, x0), (y1, x1) = moved(half, half), moved(half + np.cos(angle), half - np.sin(angle))
    turned = replace(pointing, parallactic_angle=float(np.rad2deg(np.arctan2(x0 - x1, y1 - y0))))
    sources = []
    for source in scene.sources:
        y, x = moved(source.y, source.x)
        sources.append(replace(source, y=y, x=x))  # single points, which have no shape to turn
    image = CoaddScene(side, scene.band, tuple(sources)).draw(turned).astype(np.float32)
    ones, no_mask = np.ones(image.shape, np.float32), np.zeros(image.shape, np.int32)
    psf = VisitPsf(psf_stamp(pointing, _STAMP)[None].astype(np.float64), np.array([middle[0]]), np.array([middle[1]]))
    detector = Box(0, 0, side, side)
    done = warp_visit(
        VisitImage(Pixels(detector, image, ones, no_mask), psf, ""), detector, to_detector,
        (np.array([half]), np.array([half])),
    )  # fmt: skip
    displacement = scene.displacements(pointing, scene.basis.wavelength)[None]
    return VisitOnFrame((number, 0), done.image, done.valid, done.sigma, 0.0, done.psf, displacement)


def rotated(setting: Setting) -> Iterator[str]:
    """Rows of the table: suppression with visits warped from detectors that are rotated by any angle."""
    scenes = [coadd_scene(setting.seed, setting.size, (kind,)) for kind in ("1e3", "1e4", "1e5")]
    turns = np.random.default_rng(setting.seed).uniform(0, 360, setting.visits)
    for scene in scenes:
        at = pointings(setting.seed, setting.visits)
        visits = [warped_visit(scene, n, p, float(turns[n])) for n, p in enumerate(at)]
        found = suppression(_image(scene, visits), scene)
        yield _row(
            f"rotated, {scene.sources[0].kind}", [found[key][0] / found[key][1] for key in sorted(found)], "{:.0f}"
        )


def shares(setting: Setting) -> Iterator[str]:
    """Rows: rms error of the subfilters' shares and of the flux of isolated stars, without noise."""
    for kind in ("1e3", "1e4"):
        scene = coadd_scene(setting.seed, setting.size, (kind,))
        image = solved(Case(setting.visits), scene, setting.seed).image
        y, x = np.mgrid[: scene.size, : scene.size]
        of_shares, of_flux = [], []
        for source in scene.sources:
            around = (y - source.y) ** 2 + (x - source.x) ** 2 < 25**2
            alone = replace(source, points=((0.0, 0.0, 1.0, source.points[0][3]),))
            profile = CoaddScene(scene.size, scene.band, (alone,)).draw(Pointing(0, 0, FWHM))[around]
            flux = image[:, around] @ profile / np.sum(profile**2)
            of_shares.append(flux / flux.sum() - np.sum(scene.band.photons(source.points[0][3]), axis=1))
            of_flux.append(flux.sum() / float(kind) - 1)
        rms, bias, spread = np.sqrt(np.mean(np.square(of_shares))), np.mean(of_flux), np.std(of_flux)
        most = np.max(np.abs(of_shares))
        yield f"| shares, {kind} | rms {rms:.4f} | largest {most:.4f} | flux {bias:+.1e}, {spread:.0e} rms |"


def noise(setting: Setting) -> Iterator[str]:
    """Rows: scatter of templates over that of an ordinary coadd of the same visits in empty sky."""
    for kind in ("", "1e3", "1e4"):
        scene = coadd_scene(setting.seed, setting.size, (kind or "1e3",))
        plain = coadd_scene(setting.seed, setting.size, (kind or "1e3",), num_subfilters=1)
        if not kind:
            scene, plain = replace(scene, sources=()), replace(plain, sources=())
        inner = np.zeros((scene.size, scene.size), np.bool_)
        inner[_INNER:-_INNER, _INNER:-_INNER] = True
        where = near(scene, kind) if kind else inner
        at = pointings(setting.seed, setting.visits)
        seen: list[list[Float]] = []
        ordinary = []
        for realisation in range(_REALISATIONS):
            seed = 1000 * setting.seed + realisation
            image = _image(scene, [scene.visit(n, p, 1.0, seed, stamp=_STAMP) for n, p in enumerate(at)])
            seen.append([template(image, scene, Pointing(z, HELD_OUT, FWHM))[where] for z in ZENITH_ANGLES])
            empty = replace(plain, sources=())
            visits = [empty.visit(n, p, 1.0, seed, stamp=_STAMP) for n, p in enumerate(at)]
            ordinary.append(_image(empty, visits)[0][inner])
        least = np.sqrt(np.mean(np.var(ordinary, axis=0, ddof=1)))
        scatter = [np.sqrt(np.mean(np.var([s[i] for s in seen], axis=0, ddof=1))) for i in range(len(ZENITH_ANGLES))]
        yield _row(f"noise, {kind or 'empty sky'}", [s / least for s in scatter], "{:.2f}")


def kernel(setting: Setting) -> Iterator[str]:
    """Rows: how many times smaller the matched template's residuals are, after a free kernel was fitted to either."""
    for words, errors in (("nothing wrong", CASES["V32"]), ("10 mas, 1 %, 2 %", CASES["10 mas, 1 %, 2 %"])):
        for calibrate in (False, True):
            case = replace(errors, number=setting.visits, config={"self_calibrate": calibrate})
            scene = coadd_scene(setting.seed, setting.size, ("1e4",))
            matched = solved(case, scene, setting.seed).image
            one = coadd_scene(setting.seed, setting.size, ("1e4",), num_subfilters=1)
            ordinary = solved(case, one, setting.seed).image[0].astype(np.float64)
            zenith = scene.draw(Pointing(0.0, 0.0, FWHM))
            gains: Mapping[str, list[float]] = {"a perfect zenith image": [], "an ordinary coadd": []}
            for z in ZENITH_ANGLES:
                held = Pointing(z, HELD_OUT, FWHM)
                science, where = scene.draw(held), near(scene, "1e4")
                left = _left(science, template(matched, scene, held), where)
                gains["a perfect zenith image"].append(_left(science, zenith, where) / left)
                gains["an ordinary coadd"].append(_left(science, ordinary, where) / left)
            for other, gain in gains.items():
                said = "self-calibrated" if calibrate else "not calibrated"
                yield _row(f"free kernel, {words}, {said}, against {other}", gain, "{:.1f}")


def tiles(setting: Setting) -> Iterator[str]:
    """Rows: residuals of a coadd in cells of 110 px over those of a coadd in one cell."""
    for kind in ("1e3", "1e4", "1e5"):
        scene = coadd_scene(setting.seed, 420, (kind,))
        whole, small = (
            suppression(solved(Case(8, config={"cell": cell}), scene, setting.seed).image, scene) for cell in (432, 110)
        )
        yield _row(f"tiles, {kind}", [small[key][1] / whole[key][1] for key in sorted(whole)], "{:.2f}")


CHECKS: Mapping[str, Callable[[Setting], Iterator[str]]] = {
    "rotated": rotated, "shares": shares, "noise": noise, "kernel": kernel, "tiles": tiles,
}  # fmt: skip


def _image(scene: CoaddScene, visits: list[VisitOnFrame]) -> NDArray[np.float32]:
    """The subfilters of a DCR coadd of some visits."""
    config = CoaddConfig.make(
        {"num_subfilters": scene.band.num_subfilters, "reject": False, "self_calibrate": False}
    )  # fmt: skip
    grid = CellGrid((scene.size, scene.size), config.cell, config.halo, config.taper)
    psf = moffat_stamp(FWHM / PIXEL_SCALE, size=_STAMP)
    return solve_patch(grid, visits, scene.basis, psf, config).image


def _left(science: Float, other: Float, where: NDArray[np.bool_]) -> float:
    """Rms of what is left around stars after a free kernel was fitted to a template."""
    found = subtract(science, np.nan_to_num(other), np.ones_like(science), where)
    difference = (science - found.template)[where]
    return float(np.sqrt(np.nanmean(difference**2)))


def _row(name: str, values: list[float], form: str) -> str:
    return f"| {name} | {' | '.join(form.format(v) for v in values)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "checks", nargs="*", choices=CHECKS, metavar="check", help="of %(choices)s; all if none is given"
    )
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--visits", type=int, default=32)
    given = parser.parse_args()
    setting = Setting(given.seed, visits=given.visits)
    print("| check | " + " | ".join(f"z = {a:.0f}" for a in ZENITH_ANGLES) + " |")
    print("|" + "---|" * (1 + len(ZENITH_ANGLES)))
    for name in given.checks or CHECKS:
        for row in CHECKS[name](setting):
            print(row, flush=True)


if __name__ == "__main__":
    main()
