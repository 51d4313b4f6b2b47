"""The benchmarks' work: one 4072 x 4000 px detector across two tracts and six 4100-px patches, three subfilters.

Written once to a folder and kept; sky noise and stars, rounded as `simulate` and `dcrflow coadd` do it, so that the
pixels compress as a coadd's do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scenes import EDGES, tan, visit

from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.model.visit import DetectorVisit
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds
from dcrflow.stores.coadds.writer import create_coadds

INNER, BORDER = 4000, 50
PRECISION = 16.0  # steps a sigma to which the coadds' pixels are rounded
PATCH = INNER + 2 * BORDER
DETECTOR = Box(0, 0, 4072, 4000)


@dataclass(frozen=True)
class Work:
    """A coadd store and the detector-visit whose template is made of it."""

    coadds: DcrCoadds
    visit: DetectorVisit


def tracts(inner: int = INNER, border: int = BORDER, split: int = 1) -> tuple[Tract, Tract]:
    """One tract of 2 x 2 patches, and one of 2 x 1 with its own tangent point; the detector overlaps all six.

    With `split` each patch is as many by as many.
    """
    size, each = 2 * inner, (inner // split, inner // split)
    second = tan(-0.19 * inner, 1.28 * inner, 8.0, ra=53.3)
    return (
        Tract(1, tan(inner, inner, 0.0), Box(0, 0, size, size), each, border, (2 * split, 2 * split)),
        Tract(2, second, Box(0, 0, size, inner), each, border, (2 * split, split)),
    )


def detector_visit(box: Box = DETECTOR, rotation: float = 25.0, altitude: float = 45.0) -> DetectorVisit:
    """A detector-visit in the middle of the first tract, turned against it; 45 degrees from the zenith."""
    return visit(tan(0.53 * box.width, 0.48 * box.height, rotation), box, altitude=altitude)


def write_coadds(store: object, inner: int = INNER, border: int = BORDER, number: int = 3, split: int = 1) -> None:
    """Write both tracts' patches: noise of variance 4 nJy^2, a star for every 30000 pixels, a few mask bits."""
    rng = np.random.default_rng(1)
    writer = create_coadds(store, "benchmark")
    y, x = np.mgrid[-20:21, -20:21]
    star = ((1 + (x**2 + y**2) / 2.9**2) ** -3.0).astype(np.float32)
    for tract in tracts(inner, border, split):
        writer.write_tract(tract)
        for patch in tract.patches:
            shape = patch.bbox.shape
            image = 2 * rng.standard_normal((number, *shape), np.float32)
            mask = np.zeros(shape, np.int32)
            for _ in range(patch.bbox.area // 30000):
                cy, cx = (int(rng.integers(20, n - 20)) for n in shape)
                flux = rng.pareto(1.2) * 100 * rng.uniform(0.5, 1.5, number)
                where = np.s_[..., cy - 20 : cy + 21, cx - 20 : cx + 21]
                image[where] += star * np.float32(flux)[:, None, None]
                mask[where] |= (star > 0.05) * np.int32(1 << STANDARD_PLANES["DETECTED"])
            variance = rng.uniform(3.9, 4.1, shape).astype(np.float32)
            writer.write_patch(
                tract.tract, patch.patch, "g", image=image, variance=variance, mask=mask, planes=STANDARD_PLANES,
                subfilter_edges=EDGES[:number], effective_wavelength=475.0, bandwidth=150.0, precision=PRECISION,
            )  # fmt: skip


def full_size(folder: Path) -> Work:
    """The work, from `folder`; written there (0.5 GB) if it is not yet."""
    path = folder / "coadds-rounded.zarr"
    if not path.exists():
        unfinished = folder / "coadds-unfinished.zarr"
        create = unfinished if not unfinished.exists() else None
        if create is None:
            raise FileExistsError(f"{unfinished}: an earlier run was cut off; delete it")
        write_coadds(unfinished)
        unfinished.rename(path)
    return Work(open_coadds(path), detector_visit())
