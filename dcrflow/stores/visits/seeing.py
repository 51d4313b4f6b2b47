"""The seeing of detector-visits, measured from their PSFs; no pixels are read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

import numpy as np

from dcrflow.base.errors import VisitImageError
from dcrflow.model.visit import DetectorVisit
from dcrflow.model.visit_image import width_of
from dcrflow.stores.visits.images import read_visit_psf

_MOST = 400  # detector-visits whose PSFs are read
_FEW = 40  # the same, where a rough value is enough
_THREADS = 4


def seeing_of(visit: DetectorVisit) -> float:
    """FWHM of a detector-visit's PSF, arcsec; raises `VisitImageError` if it cannot be read."""
    psf = read_visit_psf(visit)
    box = visit.bbox
    scale = visit.wcs.pixel_scale(box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2)
    return scale * float(np.median([width_of(kernel) for kernel in psf.kernels]))


def best_seeing(visits: Sequence[DetectorVisit]) -> float | None:
    """Smallest FWHM among the PSFs of a sample, arcsec; None if no PSF can be read."""
    chosen = visits[:: -(-len(visits) // _FEW)] if visits else []
    with ThreadPoolExecutor(_THREADS) as pool:
        found = [v for v in pool.map(_seeing_or_error, chosen) if isinstance(v, float)]
    return min(found, default=None)


def median_seeing(visits: Sequence[DetectorVisit]) -> float:
    """Median FWHM of the PSFs, arcsec, rounded to 0.01; if there are many visits, a sample is used.

    Raises
    ------
    VisitImageError
        If no PSF can be read; this is the error of the first.
    """
    chosen = visits[:: -(-len(visits) // _MOST)] if visits else []
    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(_seeing_or_error, chosen))
    good = [v for v in found if isinstance(v, float)]
    if not good:
        errors = [v for v in found if isinstance(v, VisitImageError)]
        raise errors[0] if errors else VisitImageError("there are no visits")
    return round(float(np.median(good)), 2)


def _seeing_or_error(visit: DetectorVisit) -> float | VisitImageError:
    try:
        return seeing_of(visit)
    except VisitImageError as error:
        return error


def size_and_time(visit: DetectorVisit) -> tuple[int, int]:
    """Size (bytes) and modification time (ns) of an image's file, or a zarr group's metadata; zeros if unknown.

    A dataset of a Butler never changes: its UUID stands for both.
    """
    if visit.image.startswith("butler:"):
        return 0, int.from_bytes(blake2b(visit.image.partition("#")[2].encode(), digest_size=7).digest())
    if not visit.image or "://" in visit.image:
        return 0, 0
    path = Path(visit.image)
    try:
        found = os.stat(path / "zarr.json" if path.is_dir() else path)
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns
