"""How well DCR coadds built from simulated visits match visits that are not among them.

python -m dcrflow.demo.coadd_suppression             every case, three seeds
python -m dcrflow.demo.coadd_suppression V32 masks   some of them
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.output_psf import moffat_stamp
from dcrflow.coadding.patch import PatchSolution, solve_patch
from dcrflow.coadding.visits import VisitOnFrame
from dcrflow.demo.coadd_scene import PIXEL_SCALE, CoaddScene, Pointing, coadd_scene, pointings
from dcrflow.model.coadd_config import CoaddConfig

Float = NDArray[np.float64]

FWHM = 0.75  # arcsec, of the coadd
RADIUS = 20  # pixels around a source that count
ZENITH_ANGLES = (30.0, 45.0, 60.0)
HELD_OUT = 123.0  # degrees, parallactic angle of the held-out visits
_EDGE = 40  # pixels at the edges that never count


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Parameters
    ----------
    number : int
        Of visits.
    kinds : sequence of (sequence of str)
        Sources: each of these makes a field of its own, so that bright stars do not decide what is seen of faint ones.
    visits : mapping
        Arguments of `pointings`.
    errors : mapping
        ``astrometry`` (arcsec), ``scale``, ``width``: rms of errors that the solver is not told.
    masked : bool
        3 % bad pixels, a gap of 24 px in every visit, and a third of the visits cut off.
    noisy : bool
        Noise in the images; without it, the solver still expects it.
    config : mapping
        Keys of `CoaddConfig`.
    """

    number: int = 32
    kinds: Sequence[Sequence[str]] = (("1e3",), ("1e4",), ("1e5",))
    visits: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    masked: bool = False
    noisy: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)


CASES: Mapping[str, Case] = {
    "V32": Case(32),
    "V8": Case(8),
    "blends": Case(32, kinds=(("blend", "galaxy"),)),
    "mixed": Case(32, kinds=(("1e3", "1e4", "1e5"),)),
    "one angle": Case(32, visits={"one_angle": True}),
    "shapes": Case(32, visits={"shapes": 0.03, "beta": (2.5, 4.5)}),
    "masks": Case(32, masked=True),
    "masks V8": Case(8, masked=True),
    "small cells": Case(8, kinds=(("1e5",),), config={"cell": 110}),
    "10 mas": Case(32, errors={"astrometry": 0.01}),
    "10 mas, 1 %, 2 %": Case(32, errors={"astrometry": 0.01, "scale": 0.01, "width": 0.02}, noisy=True),
}


def defects(seed: int, number: int, size: int) -> NDArray[np.bool_]:
    """Which pixels of a visit have data: see `Case.masked`."""
    random = np.random.default_rng((seed, number, 7))
    valid = random.random((size, size)) > 0.015
    for y, x in random.integers(0, size - 5, (int(size * size * 0.015 / 25), 2)):
        valid[y : y + 5, x : x + 5] = False
    gap = int(random.integers(0, size - 24))
    valid[gap : gap + 24] = False
    if random.random() < 1 / 3:
        valid[:, : int(random.integers(40, size // 2))] = False
    return np.ascontiguousarray(np.rot90(valid, int(random.integers(4))))


def visits_of(case: Case, scene: CoaddScene, seed: int) -> list[VisitOnFrame]:
    """The case's visits on a scene."""
    random = np.random.default_rng((seed, 2))
    shift, scale, width = (case.errors.get(k, 0.0) for k in ("astrometry", "scale", "width"))
    out = []
    for number, pointing in enumerate(pointings(seed, case.number, **case.visits)):
        wrong = replace(
            pointing, offset=tuple(random.normal(0, shift / PIXEL_SCALE, 2)), scale=1 + random.normal(0, scale),
            width=1 + random.normal(0, width),
        )  # fmt: skip
        valid = defects(seed, number, scene.size) if case.masked else None
        out.append(scene.visit(number, wrong, 1.0, seed if case.noisy else None, valid))
    return out


def solved(case: Case, scene: CoaddScene, seed: int) -> PatchSolution:
    """The DCR coadd of a case."""
    values = {"num_subfilters": scene.band.num_subfilters, "reject": False, "self_calibrate": False}
    config = CoaddConfig.make(values | dict(case.config))
    grid = CellGrid((scene.size, scene.size), config.cell, config.halo, config.taper)
    psf = moffat_stamp(FWHM / PIXEL_SCALE, size=91)
    return solve_patch(grid, visits_of(case, scene, seed), scene.basis, psf, config)


def template(image: NDArray[np.floating], scene: CoaddScene, pointing: Pointing) -> Float:
    """The subfilters of a coadd, seen through the air of a visit: DCR by Fourier transforms of the padded frame."""
    basis = scene.basis
    displacement = scene.displacements(pointing, basis.wavelength)
    rim = np.minimum(1, np.sin(np.pi / 2 * np.minimum(1, (np.arange(scene.size) + 0.5) / 16)) ** 2)
    rim = np.outer(rim * rim[::-1], rim * rim[::-1])  # a sharp edge would ring
    padded = np.pad(rim * np.nan_to_num(image.astype(np.float64)), ((0, 0), (24, 24), (24, 24)))
    size = padded.shape[-1]
    y, x = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)
    total = np.zeros((size, size // 2 + 1), np.complex128)
    for sub, weight in zip(np.fft.rfft2(padded), basis.weights.T, strict=True):
        for (dy, dx), w in zip(displacement, weight, strict=True):
            total += w * np.exp(-2j * np.pi * dy * y) * np.exp(-2j * np.pi * dx * x) * sub
    return np.fft.irfft2(total, s=(size, size))[24:-24, 24:-24]


def near(scene: CoaddScene, kind: str) -> NDArray[np.bool_]:
    """Pixels around the sources of a kind."""
    y, x = np.mgrid[: scene.size, : scene.size]
    out = np.zeros((scene.size, scene.size), np.bool_)
    for source in scene.sources:
        if source.kind == kind:
            out |= (y - source.y) ** 2 + (x - source.x) ** 2 < RADIUS**2
    out[:_EDGE], out[-_EDGE:], out[:, :_EDGE], out[:, -_EDGE:] = False, False, False, False
    return out


def suppression(image: NDArray[np.floating], scene: CoaddScene) -> dict[tuple[str, float], tuple[float, float]]:
    """Rms of the residuals around each kind of source at each zenith angle: of a zenith image, and of the template."""
    kinds = sorted({s.kind for s in scene.sources})
    zenith = scene.draw(Pointing(0.0, 0.0, FWHM))
    out = {}
    for angle in ZENITH_ANGLES:
        held = Pointing(angle, HELD_OUT, FWHM)
        truth, matched = scene.draw(held), template(image, scene, held)
        for kind in kinds:
            where = near(scene, kind)
            rms = [float(np.sqrt(np.mean((truth - other)[where] ** 2))) for other in (zenith, matched)]
            out[kind, angle] = rms[0], rms[1]
    return out


def measure(case: Case, seeds: Sequence[int], size: int = 300) -> dict[tuple[str, float], float]:
    """Suppression of a case over seeds: ratio of the rms over all of them."""
    out = {}
    for kinds in case.kinds:
        found = []
        for seed in seeds:
            scene = coadd_scene(seed, size, kinds)
            found.append(suppression(solved(case, scene, seed).image, scene))
        for key in found[0]:
            without, matched = np.sqrt(np.sum([np.square(f[key]) for f in found], axis=0))
            out[key] = float(without / matched)
    return out


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=CASES, metavar="case", help="of %(choices)s; all if none is given")
    parser.add_argument("--seeds", type=int, nargs="*", default=[11, 12, 13])
    parser.add_argument("--size", type=int, default=300, help="side of the frame, pixels")
    given = parser.parse_args()
    print("| case | source | " + " | ".join(f"z = {a:.0f}" for a in ZENITH_ANGLES) + " |")
    print("|" + "---|" * (2 + len(ZENITH_ANGLES)))
    for name in given.cases or CASES:
        found = measure(CASES[name], given.seeds, given.size)
        for kind in sorted({k for k, _ in found}):
            print(
                f"| {name} | {kind} | " + " | ".join(f"{found[kind, a]:.0f}" for a in ZENITH_ANGLES) + " |", flush=True
            )


if __name__ == "__main__":
    main()
