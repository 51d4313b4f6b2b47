"""How far DCR matching suppresses residuals around noise-free stars: the README's tables.

The refraction of the science images is that of rays traced through the air (`dcrflow.simulate.air`).

python -m dcrflow.demo.suppression
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from dcrflow.model.config import TemplateConfig
from dcrflow.planning.template import plan_template
from dcrflow.simulate.scene import StarField, star_field
from dcrflow.steps import make_tile
from dcrflow.stores.coadds.store import open_coadds

RADIUS = 20  # pixels around a star that count


def template_of(field: StarField, **settings: Any) -> NDArray[np.float64]:
    """The template of a star field's detector, without border, shape of its bbox."""
    coadds = open_coadds(field.coadds)
    config = TemplateConfig.make({"num_subfilters": len(field.band.subfilter_edges)} | settings)
    plan = plan_template(coadds, field.visit, config)
    return make_tile(coadds, plan, field.visit.bbox).pixels.image.astype(np.float64)


def unmatched_template_of(field: StarField) -> NDArray[np.float64]:
    """The same without any DCR: the same steps, seen at the zenith."""
    observation = dataclasses.replace(field.visit.observation, altitude=90.0, rotation_angle=0.0)
    there = dataclasses.replace(field, visit=dataclasses.replace(field.visit, observation=observation))
    return template_of(there, rotation="boresight")


def suppression(field: StarField, **settings: Any) -> float:
    """Residual rms around the stars, of the unmatched over the matched template."""
    box = field.visit.bbox
    y, x = np.mgrid[box.y0 : box.y1, box.x0 : box.x1]
    near = np.zeros(box.shape, np.bool_)
    for cx, cy in zip(*field.star_pixels, strict=True):
        near |= (x - cx) ** 2 + (y - cy) ** 2 < RADIUS**2
    templates = unmatched_template_of(field), template_of(field, **settings)
    without, matched = (np.sqrt(np.mean((field.science - t)[near] ** 2)) for t in templates)
    return float(without / matched)


def main() -> None:
    """Print the tables: by zenith angle in g, and by band at zenith angle 45."""
    numbers: tuple[int, ...] = (2, 3, 6)
    methods: dict[str, dict[str, str]] = {
        "": {},
        ", `split`": {"dcr": "split", "warp": "lanczos3"},
    }
    console = Console(stderr=True)
    rows = []
    for angle in track((30, 45, 60, 65), "by zenith angle", console=console):
        fields = [star_field(zenith_angle=angle, num_subfilters=n) for n in numbers]
        rows.append((f"{angle}°", [suppression(f, **settings) for settings in methods.values() for f in fields]))
    print(_table(["zenith angle", *(f"N = {n}{name}" for name in methods for n in numbers)], rows))
    numbers = (1, 2, 3, 6)
    rows = []
    for band in track("ugrizy", "by band", console=console):
        rows.append((band, [suppression(star_field(band=band, num_subfilters=n)) for n in numbers]))
    print()
    print(_table(["band", *(f"N = {n}" for n in numbers)], rows))


def _table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, values in rows:
        lines.append(f"| {name} | " + " | ".join(f"{v:.0f}" if v >= 10 else f"{v:.1f}" for v in values) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
