"""Small coadds for tests, made without GalSim: one tract of 2 x 2 patches with whatever pixels a test wants."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from zarr.storage import MemoryStore

from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.observation import Observation
from dcrflow.physics.refraction import Weather
from dcrflow.stores.coadds.writer import create_coadds

EDGES = ((400.0, 450.0), (450.0, 500.0), (500.0, 550.0))
WEATHER = Weather(10.0, 74000.0, 10.0)


def tan(
    x: float = 300.0, y: float = 300.0, rotation: float = 0.0, flip: float = -1.0, ra: float = 53.0, dec: float = -28.0
) -> SkyWcs:
    """A tangent-plane WCS of 0.2 arcsec pixels whose pixel (x, y) is at (ra, dec)."""
    c, s = np.cos(np.deg2rad(rotation)) * 0.2 / 3600, np.sin(np.deg2rad(rotation)) * 0.2 / 3600
    return SkyWcs.from_header(
        {
            "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": x + 1.0, "CRPIX2": y + 1.0,
            "CRVAL1": ra, "CRVAL2": dec,
            "CD1_1": flip * c, "CD1_2": -flip * s, "CD2_1": s, "CD2_2": c, "RADESYS": "ICRS",
        }
    )  # fmt: skip


DETECTOR = Box(0, 0, 200, 180)
TRACT = Tract(7, tan(), Box(0, 0, 600, 600), (300, 300), 30, (2, 2))


def stars(seed: int = 0, number: int = 40, tract: Tract = TRACT) -> np.ndarray:
    """Subfilter images of random Moffat stars over the tract, shape (3, y, x)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: tract.bbox.height, : tract.bbox.width]
    image = np.zeros((3, *tract.bbox.shape))
    for _ in range(number):
        cx, cy = rng.uniform(0, tract.bbox.width), rng.uniform(0, tract.bbox.height)
        profile = 1e4 * (1 + ((x - cx) ** 2 + (y - cy) ** 2) / 2.9**2) ** -3.0
        image += profile * rng.uniform(0.5, 1.5, 3)[:, None, None]
    return image.astype(np.float32)


IMAGE = stars()


def coadds(
    image: np.ndarray,
    variance: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    *,
    tracts: tuple[Tract, ...] = (TRACT,),
    change: Callable[[int, int, dict[str, np.ndarray]], None] | None = None,
    skip: tuple[tuple[int, int], ...] = (),
    store: MemoryStore | str | None = None,
    **attributes: object,
) -> MemoryStore | str:
    """A coadd store whose tracts all show `image`; `change` may alter each patch's arrays before they are written."""
    store = MemoryStore() if store is None else store
    writer = create_coadds(store, "test")
    shape = image.shape[1:]
    variance = np.full(shape, 4.0, np.float32) if variance is None else variance
    mask = np.zeros(shape, np.int32) if mask is None else mask
    edges = attributes.pop("subfilter_edges", EDGES[: len(image)])
    for tract in tracts:
        writer.write_tract(tract)
        for patch in tract.patches:
            if (tract.tract, patch.patch) in skip:
                continue
            where = (..., *patch.bbox.slices(tract.bbox))
            arrays = {"image": image[where].copy(), "variance": variance[where].copy(), "mask": mask[where].copy()}
            if change is not None:
                change(tract.tract, patch.patch, arrays)
            writer.write_patch(
                tract.tract, patch.patch, "g", **arrays, planes=STANDARD_PLANES, subfilter_edges=edges,
                **({"effective_wavelength": 475.0, "bandwidth": 150.0} | attributes),
            )  # fmt: skip
    return store


def visit(
    wcs: SkyWcs | None = None, box: Box = DETECTOR, altitude: float = 45.0, parallactic_angle: float = 33.0,
    rotation_angle: float | None = 0.0, **changes: object,
) -> DetectorVisit:  # fmt: skip
    """A detector-visit in the middle of the tract."""
    wcs = wcs or tan((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, 25.0)
    observation = Observation(53.0, -28.0, altitude, parallactic_angle, WEATHER, -30.0, 2663.0, rotation_angle)
    values = {"instrument": "TestCam", "visit": 12, "detector": 3, "band": "g", "bbox": box, "wcs": wcs}
    return DetectorVisit(**(values | {"observation": observation} | changes))
