"""Measure what each warper does to stars and to noise: the README's table.

python -m dcrflow.demo.warpers

Isolated stars (Moffat, 0.2" pixels) are resampled from a tract to a detector that is turned by 40 degrees, without DCR,
and compared with the same stars drawn on the detector by GalSim; white noise goes the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from dcrflow.kernels.interpolation import INTERPOLATIONS
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import PatchPixels, Pixels
from dcrflow.planning.template import plan_template
from dcrflow.simulate._galsim import galsim
from dcrflow.simulate.scene import StarField, star_field
from dcrflow.steps import make_tile
from dcrflow.stores.coadds.store import open_coadds

Float = NDArray[np.float64]

WARPERS = tuple(INTERPOLATIONS)

_STAMP = 20  # pixels to each side of a star
_NOISE = 1.0  # nJy, of a subfilter's pixel


@dataclass(frozen=True)
class Measured:
    """What a warper does, over all stars of a field.

    Parameters
    ----------
    flux : float
        Rms change of a star's flux, of its own.
    centroid : float
        Rms displacement of a star's centroid, pixels.
    width : float
        Mean change of a star's width (adaptive moments), of its own.
    residual : float
        Largest residual of any star, of its peak.
    noise : float
        Standard deviation of white noise afterwards, of its own.
    variance : float
        Written variance over that of the pixels.
    """

    flux: float
    centroid: float
    width: float
    residual: float
    noise: float
    variance: float


def unrefracted(field: StarField) -> StarField:
    """The field as seen at the zenith: its science image too has no DCR."""
    observation = replace(field.visit.observation, altitude=90.0, rotation_angle=0.0)
    there = replace(field, visit=replace(field.visit, observation=observation))
    return replace(there, science=there.draw(dcr=False))


def with_noise(field: StarField, seed: int = 0) -> StarField:
    """White noise in place of the stars."""
    rng = np.random.default_rng(seed)
    box = field.tract.bbox
    noise = rng.normal(0, _NOISE, (len(field.band.subfilter_edges), *box.shape)).astype(np.float32)
    patches = {
        name: PatchPixels(p.box, noise[:, *p.box.slices(box)], np.full_like(p.variance, _NOISE**2), p.mask)
        for name, p in field.patches.items()
    }
    return replace(field, patches=patches)


def measure(field: StarField, warp: str) -> Measured:
    """Measure one warper on a field without DCR."""
    image, noise = warped(field, warp).image, warped(with_noise(field), warp)
    stars = [_compare(field, image, x, y) for x, y in zip(*field.star_pixels, strict=True)]
    flux, dx, dy, width, residual = np.array(stars).T
    spread = float(noise.image.std(dtype=np.float64))
    return Measured(
        flux=float(np.sqrt(np.mean(flux**2))),
        centroid=float(np.sqrt(np.mean(dx**2 + dy**2))),
        width=float(width.mean()),
        residual=float(residual.max()),
        noise=spread / (_NOISE * len(field.band.subfilter_edges) ** 0.5),
        variance=float(noise.variance.mean(dtype=np.float64)) / spread**2,
    )


def warped(field: StarField, warp: str) -> Pixels:
    """The template of the field, without border."""
    coadds = open_coadds(field.coadds)
    settings = {"num_subfilters": len(field.band.subfilter_edges), "rotation": "boresight", "dcr": "midpoint"}
    plan = plan_template(coadds, field.visit, TemplateConfig.make(settings | {"warp": warp}))
    return make_tile(coadds, plan, field.visit.bbox).pixels


def _compare(field: StarField, image: NDArray[np.float32], x: float, y: float) -> tuple[float, ...]:
    """Change of a star's flux, displacement of its centroid, change of its width, largest residual."""
    box = field.visit.bbox
    column, row = round(x) - box.x0, round(y) - box.y0
    stamp = np.s_[row - _STAMP : row + _STAMP + 1, column - _STAMP : column + _STAMP + 1]
    true, found = field.science[stamp], image[stamp].astype(np.float64)
    (true_x, true_y, true_width), (found_x, found_y, found_width) = _moments(true), _moments(found)
    return (
        found.sum() / true.sum() - 1,
        found_x - true_x,
        found_y - true_y,
        found_width / true_width - 1,
        float(np.abs(found - true).max() / true.max()),
    )


def _moments(stamp: Float) -> tuple[float, float, float]:
    """Centroid and width (sigma) by GalSim's adaptive moments, pixels."""
    gs = galsim()
    found = gs.hsm.FindAdaptiveMom(gs.Image(np.ascontiguousarray(stamp)))
    return found.moments_centroid.x, found.moments_centroid.y, found.moments_sigma


def main() -> None:
    """Print the table."""
    field = unrefracted(star_field())
    print("| `warp` | flux, rms | centroid, rms px | width | residual, of peak | noise | variance, written over true |")
    print("|---|---|---|---|---|---|---|")
    for warp in track(WARPERS, "measuring", console=Console(stderr=True), transient=True):
        m = measure(field, warp)
        print(
            f"| {warp} | {100 * m.flux:.3f} % | {m.centroid:.4f} | {100 * m.width:+.2f} % | {100 * m.residual:.2f} % | "
            f"{m.noise:.2f} | {m.variance:.2f} |"
        )


if __name__ == "__main__":
    main()
