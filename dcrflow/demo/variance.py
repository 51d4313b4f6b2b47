"""Compare the variance that a template says with the noise of its pixels: the README's table.

python -m dcrflow.demo.variance

The coadds hold independent noise. A detector that is turned by 40 degrees against the tract sees them at three zenith
angles, by every `dcr` and `warp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
from rich.console import Console
from rich.progress import track

from dcrflow.demo.warpers import WARPERS, with_noise
from dcrflow.model.config import DcrMethod, TemplateConfig
from dcrflow.model.pixels import PatchPixels
from dcrflow.planning.template import plan_template
from dcrflow.simulate.scene import StarField, star_field
from dcrflow.steps import make_tile
from dcrflow.stores.coadds.store import open_coadds

ZENITH_ANGLES = (0, 45, 60)
_SIZE = 400  # detector pixels a side
_RAMP = 10  # pixels over which the variance changes by a factor of four


def with_ramps(field: StarField, seed: int = 0) -> StarField:
    """Noise whose variance rises by a factor of four over 10 pixels along x, twice, and falls likewise, and so on."""
    box = field.tract.bbox
    column = np.abs((np.arange(box.width) + 2 * _RAMP) % (4 * _RAMP) - 2 * _RAMP)
    sigma = np.broadcast_to(2.0 ** (column / _RAMP), box.shape).astype(np.float32)
    noise = np.random.default_rng(seed).normal(0, 1, (len(field.band.subfilter_edges), *box.shape)) * sigma
    patches = {}
    for name, patch in field.patches.items():
        own = patch.box.slices(box)
        patches[name] = PatchPixels(patch.box, noise[:, *own].astype(np.float32), sigma[None][:, *own] ** 2, patch.mask)
    return replace(field, patches=patches)


def written_over_measured(fields: Sequence[StarField], **settings: object) -> float:
    """Written variance over the measured one: the mean of all pixels of the templates of fields without stars.

    Parameters
    ----------
    fields : sequence of StarField
        From `with_noise` or `with_ramps`.
    **settings
        Of the configuration.
    """
    squares = []
    for field in fields:
        coadds = open_coadds(field.coadds)
        found = make_tile(
            coadds, plan_template(coadds, field.visit, TemplateConfig.make(settings)), field.visit.bbox
        ).pixels
        squares.append(np.mean(found.image.astype(np.float64) ** 2 / found.variance))
    return 1 / float(np.mean(squares))


def main() -> None:
    """Print the table."""
    fields = {z: star_field(zenith_angle=float(z), stars_per_side=1, size=_SIZE) for z in ZENITH_ANGLES}
    noise = {z: [with_noise(field, seed=1)] for z, field in fields.items()}
    ramps = [with_ramps(fields[45], seed) for seed in range(3)]
    methods = get_args(DcrMethod)
    names = [f"`{dcr}`, {z}°" for dcr in methods for z in ZENITH_ANGLES]
    print("| `warp` | " + " | ".join([*names, "steep, 45°"]) + " |")
    print("|---" * (len(names) + 2) + "|")
    for warp in track(WARPERS, "measuring", console=Console(stderr=True), transient=True):
        found = [written_over_measured(noise[z], dcr=dcr, warp=warp) for dcr in methods for z in ZENITH_ANGLES]
        found.append(written_over_measured(ramps, warp=warp))
        print(f"| {warp} | " + " | ".join(f"{ratio:.3f}" for ratio in found) + " |")


if __name__ == "__main__":
    main()
