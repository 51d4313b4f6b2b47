"""What the steps of a coadd leave for each other: arrays in a folder that all workers see.

A warped visit is larger than what workers should hold or send: it is written once, and mapped into memory cell by cell.
Whatever is here is complete under its name: it is written beside it, and renamed. What is read of a warped visit is
compared with checksums, tile by tile as cells ask for it: one wrong bit would go into the coadds unnoticed.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import CoaddStoreError
from dcrflow.coadding.cell import CellSolution
from dcrflow.coadding.cells import Cell
from dcrflow.coadding.sums import CellSums, KeptVisit
from dcrflow.coadding.visits import VisitOnFrame
from dcrflow.geometry.box import Box
from dcrflow.kernels.checksum import sum_tiles
from dcrflow.stores.zarr.access import words_of

Float = NDArray[np.float64]

_SUMS = ("normal", "right", "data", "weight", "count", "flags", "window")
_KEPT = ("holes", "psf", "displacement")
_LOST = (
    "these sums over visits are gone or damaged, and nothing can be added to them; build the coadds again (--overwrite)"
)
_SOLUTION = ("image", "variance", "mask")
_SMALL = ("psf", "displacement", "tiles")  # arrays of a warped visit that are read as a whole
_TILE = 128  # pixels


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
    check : int
        Checksum of all of these, of the PSF and displacement, and of the checksums of the pixels.
    """

    folder: str
    visit: int
    detector: int
    sigma: float
    gain: float
    digest: str
    pixels: int
    check: int = 0

    def on_frame(self) -> VisitOnFrame:
        """As the solver takes it; the pixels stay on disk until they are looked at, and are not checked.

        Raises
        ------
        CoaddStoreError
            If it is gone or damaged.
        """
        return self.opened()[0]

    def opened(self) -> tuple[VisitOnFrame, PixelCheck]:
        """`on_frame`, and what compares its pixels with their checksums."""
        at, whole = Path(self.folder), dict[str, NDArray[Any]]()
        try:
            image, valid, edges = (np.load(at / f"{n}.npy", mmap_mode="r") for n in ("image", "valid", "edges"))
            whole = {n: np.load(at / f"{n}.npy") for n in _SMALL}
            tiles = _tiles(image)
            if self.check != _check_of(self, whole) or not tiles.shape == whole["tiles"].shape or not (
                image.shape == valid.shape == edges.shape and (image.dtype, valid.dtype, edges.dtype) == _DTYPES
            ):  # fmt: skip
                raise self.lost()
        except CoaddStoreError:
            raise
        except Exception as error:  # of a damaged header numpy raises whatever it meets
            raise self.lost(f" ({words_of(error)})") from error
        visit = VisitOnFrame(
            (self.visit, self.detector), image, valid, self.sigma, self.gain, whole["psf"], whole["displacement"], edges
        )
        return visit, PixelCheck(self, visit, whole["tiles"], tiles)

    def lost(self, why: str = "") -> CoaddStoreError:
        """What to raise if it is gone or damaged."""
        return CoaddStoreError(
            f"{self.folder}: visit {self.visit} detector {self.detector}, warped to a patch, is gone or damaged there; "
            f"build the coadds again, which warps it anew{why}"
        )

    def intact(self) -> bool:
        """Whether all of it is as it was written; what is left is removed otherwise, so that it is warped anew."""
        try:
            visit, pixels = self.opened()
            pixels.check([Box(0, 0, *visit.image.shape[::-1])])
        except CoaddStoreError:
            shutil.rmtree(self.folder, ignore_errors=True)
            return False
        return True


class PixelCheck:
    """Compares the pixels of a warped visit with their checksums, each tile once.

    Parameters
    ----------
    stored : StoredVisit
        Which one.
    visit : VisitOnFrame
        Its pixels.
    sums : ndarray of uint32, shape (num_tiles_y, num_tiles_x)
        The checksums.
    left : ndarray of bool, shape (num_tiles_y, num_tiles_x)
        Tiles that have not been compared; changed.
    """

    def __init__(
        self, stored: StoredVisit, visit: VisitOnFrame, sums: NDArray[np.uint32], left: NDArray[np.bool_]
    ) -> None:  # fmt: skip
        self._stored, self._visit, self._sums, self._left = stored, visit, sums, left

    def check(self, boxes: Iterable[Box]) -> None:
        """Raise CoaddStoreError if a tile that has pixels of a box, of the frame or beyond, is damaged.

        All boxes at once, so that pixels are read row by row: one by one the boxes take three times as long.
        """
        height, width = self._visit.image.shape
        wanted = np.zeros_like(self._left)
        for box in boxes:
            inside = box.intersection(Box(0, 0, width, height))
            wanted[
                inside.y0 // _TILE : -(-inside.y1 // _TILE), inside.x0 // _TILE : -(-inside.x1 // _TILE)
            ] = True  # fmt: skip
        wanted &= self._left
        found = self._sums.copy()
        sum_tiles(*_bits(self._visit.image, self._visit.valid, self._visit.edges), _TILE, wanted, found)
        if not np.array_equal(found, self._sums):
            raise self._stored.lost()
        self._left &= ~wanted


_DTYPES = (np.dtype(np.float32), np.dtype(np.bool_), np.dtype(np.bool_))


def _tiles(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    height, width = image.shape
    return np.ones((-(-height // _TILE), -(-width // _TILE)), np.bool_)


def _bits(image: Any, valid: Any, edges: Any) -> tuple[NDArray[Any], ...]:
    """Pixels as `sum_tiles` takes them; as such that cannot be written to, which are those of a mapped file."""
    found = np.asarray(image).view(np.uint32), np.asarray(valid).view(np.uint8), np.asarray(edges).view(np.uint8)
    for array in found:
        array.flags.writeable = False
    return found


def _check_of(about: StoredVisit, whole: Mapping[str, NDArray[Any]]) -> int:
    """Checksum of what is read as a whole; where it is does not matter."""
    fields = {name: value for name, value in asdict(about).items() if name not in ("folder", "check")}
    found = zlib.crc32(json.dumps(fields, sort_keys=True).encode())
    for name in _SMALL:
        array = np.ascontiguousarray(whole[name])
        found = zlib.crc32(array, zlib.crc32(f"{array.dtype} {array.shape}".encode(), found))
    return found


def stored_visit(folder: Path) -> StoredVisit | None:
    """The warped detector-visit in a folder; None if none was completed there. Its pixels are not checked."""
    try:
        found = json.loads((folder / "about.json").read_text())
        return StoredVisit(**found) if "check" in found else None
    except (OSError, ValueError, TypeError):
        return None


def store_visit(about: StoredVisit, arrays: Mapping[str, NDArray[np.generic]]) -> StoredVisit:
    """Write a warped detector-visit to its folder; returns it with its checksum.

    Parameters
    ----------
    about : StoredVisit
        What to write of it.
    arrays : mapping of str to ndarray
        image, valid, edges, psf and displacement, as of `dcrflow.coadding.visits.VisitOnFrame`.
    """
    wanted = _tiles(arrays["image"])  # type: ignore[arg-type]
    sums = np.zeros(wanted.shape, np.uint32)
    sum_tiles(*_bits(*(arrays[n] for n in ("image", "valid", "edges"))), _TILE, wanted, sums)
    arrays = {**arrays, "tiles": sums}
    about = replace(about, check=_check_of(about, arrays))
    if stored_visit(Path(about.folder)) is None:
        shutil.rmtree(about.folder, ignore_errors=True)  # of an earlier version, or damaged
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
