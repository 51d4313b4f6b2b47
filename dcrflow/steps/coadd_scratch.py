"""What the steps of a coadd leave for each other: arrays in a folder that all workers see.

A warped visit is larger than what workers should hold or send: it is written once, and mapped into memory cell by cell.
Whatever is here is complete under its name: it is written beside it, and renamed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import CoaddStoreError
from dcrflow.coadding.cell import CellSolution
from dcrflow.coadding.cells import Cell
from dcrflow.coadding.sums import CellSums, KeptVisit
from dcrflow.coadding.visits import VisitOnFrame
from dcrflow.stores.zarr.access import words_of

Float = NDArray[np.float64]

_SUMS = ("normal", "right", "data", "weight", "count", "flags", "window")
_KEPT = ("holes", "psf", "displacement")
_LOST = (
    "these sums over visits are gone or damaged, and nothing can be added to them; build the coadds again (--overwrite)"
)
_SOLUTION = ("image", "variance", "mask")


@dataclass(frozen=True)
class StoredVisit:
    """A warped detector-visit in a folder.

    Parameters
    ----------
    folder : str
        Where.
    visit, detector : int
        The data ID.
    sigma, gain : float
        As of `dcrflow.coadding.visits.VisitOnFrame`.
    digest : str
        Of the pixels and the PSF that were read.
    pixels : int
        That are valid.
    """

    folder: str
    visit: int
    detector: int
    sigma: float
    gain: float
    digest: str
    pixels: int

    def on_frame(self) -> VisitOnFrame:
        """As the solver takes it; the pixels stay on disk until they are looked at."""
        at = Path(self.folder)
        image, valid, edges = (np.load(at / f"{n}.npy", mmap_mode="r") for n in ("image", "valid", "edges"))
        psf, displacement = (np.load(at / f"{n}.npy") for n in ("psf", "displacement"))
        return VisitOnFrame((self.visit, self.detector), image, valid, self.sigma, self.gain, psf, displacement, edges)


def stored_visit(folder: Path) -> StoredVisit | None:
    """The warped detector-visit in a folder; None if none was completed there."""
    try:
        return StoredVisit(**json.loads((folder / "about.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def store_visit(about: StoredVisit, arrays: Mapping[str, NDArray[np.generic]]) -> StoredVisit:
    """Write a warped detector-visit to its folder."""
    with _whole(Path(about.folder)) as place:
        for name, array in arrays.items():
            np.save(place / f"{name}.npy", array)
        (place / "about.json").write_text(json.dumps(asdict(about)))
    return about


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to write to that takes its name when it is complete; one that is there already stays."""
    place = folder.parent / f".{uuid4().hex}.part"
    place.mkdir(parents=True)
    try:
        yield place
        try:
            place.rename(folder)
        except OSError:  # another worker was as fast
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(place, ignore_errors=True)


def store_cell(path: Path, solution: CellSolution) -> None:
    """Write the pixels of a cell's solution; its reports travel otherwise."""
    arrays = {n: getattr(solution, n) for n in _SOLUTION}
    if solution.sky_correlation is not None:
        arrays["sky_correlation"] = solution.sky_correlation
    _save(path, left=np.array(solution.left), count=solution.sums.count, weight=solution.sums.weight, **arrays)


def load_cell(path: Path, cell: Cell) -> CellSolution:
    """Read what `store_cell` wrote; of the sums count and weight alone, and no reports."""
    with np.load(path, allow_pickle=False) as found:
        arrays = {n: found[n] for n in _SOLUTION}
        sums = replace(CellSums.empty(1, 1), count=found["count"], weight=found["weight"])
        arrays["sky_correlation"] = found.get("sky_correlation")
        left = float(found["left"])
    return CellSolution(cell=cell, sums=sums, left=left, rounds=0, reports={}, calibration={}, **arrays)


def store_sums(path: Path, cell: Cell, sums: CellSums) -> None:
    """Write a cell's sums over visits."""
    arrays = {n: getattr(sums, n) for n in _SUMS}
    for place, visit in enumerate(sums.visits):
        arrays |= {f"{n}-{place}": getattr(visit, n) for n in _KEPT}
    about = [[*v.name, v.sigma, *v.correction] for v in sums.visits]
    _save(
        path, total=np.array(sums.total), visits=np.array(about, np.float64).reshape(-1, 6), place=_place(cell),
        **arrays,
    )  # fmt: skip


def _place(cell: Cell) -> NDArray[np.int64]:
    """Core and box of a cell."""
    return np.array([(b.x0, b.y0, b.width, b.height) for b in (cell.core, cell.box)])


def load_sums(path: Path, cell: Cell) -> CellSums:
    """Read a cell's sums.

    Raises
    ------
    CoaddStoreError
        If the file is gone or damaged, is of a version that did not keep all that is needed, or had other cells.
    """
    if not path.is_file():
        raise CoaddStoreError(f"{path}: {_LOST}")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
            missing = {"visits", "place", "window"} - set(found)
            if missing or not np.array_equal(found["place"], _place(cell)):
                raise CoaddStoreError(
                    f"{path}: these sums were kept by an earlier version of dcrflow, and nothing can be added to them; "
                    "build the coadds again with --overwrite"
                )  # fmt: skip
            arrays = {n: found[n] for n in _SUMS}
            visits = tuple(
                KeptVisit(
                    (int(visit), int(detector)), sigma, correction=(scale, dy, dx),
                    **{n: found[f"{n}-{place}"] for n in _KEPT},
                )
                for place, (visit, detector, sigma, scale, dy, dx) in enumerate(found["visits"].tolist())
            )  # fmt: skip
            return CellSums(total=float(found["total"]), visits=visits, **arrays)
    except CoaddStoreError:
        raise
    except Exception as error:  # of a damaged file zipfile and numpy raise whatever they meet, TokenError among them
        raise CoaddStoreError(f"{path}: {_LOST} ({words_of(error)})") from error


def _save(path: Path, **arrays: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid4().hex}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
