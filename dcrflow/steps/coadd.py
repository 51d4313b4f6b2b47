"""The steps of DCR coadds: load_visit, warp_visit, accumulate, calibrate_visits, solve_patch, write_patch.

A detector-visit that cannot be used is left out, with the reason, and the others go on: the first two steps give a
`LeftOut` in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import DcrflowError
from dcrflow.base.masks import TEMPLATE_PLANES
from dcrflow.base.workspace import Workspace
from dcrflow.coadding.basis import SpectralBasis, spectral_basis
from dcrflow.coadding.calibrate import fit_corrections, worth_it
from dcrflow.coadding.cell import VisitReport, solve_cell
from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.output_psf import moffat_stamp
from dcrflow.coadding.patch import PatchSolution, stitch
from dcrflow.coadding.visits import Correction
from dcrflow.geometry.box import Box
from dcrflow.geometry.mapping import PixelMap
from dcrflow.geometry.skymap import Patch, Tract
from dcrflow.model.coadd_config import CoaddConfig
from dcrflow.model.subfilter_noise import SubfilterNoise
from dcrflow.model.visit import DetectorVisit
from dcrflow.model.visit_image import VisitImage
from dcrflow.physics.bandpass import Bandpass, Edges
from dcrflow.physics.dcr import dcr_model, formula, zenith_vectors
from dcrflow.planning.coadds import CoaddBand, LeftOut, grid_of
from dcrflow.steps.coadd_scratch import (
    StoredVisit,
    load_cell,
    load_sums,
    store_cell,
    store_sums,
    store_visit,
    stored_visit,
)
from dcrflow.steps.coadd_suspects import suspects as misfits
from dcrflow.steps.dataset import software
from dcrflow.steps.warp_visit import footprint
from dcrflow.steps.warp_visit import warp_visit as warped
from dcrflow.stores.coadds.writer import open_writer
from dcrflow.stores.visits.images import read_visit_image
from dcrflow.view.thumbnails import coadd_preview

Name = tuple[int, int]
Float = NDArray[np.float64]

ROTATION = "local"  # of the refraction: where the pixels are
_PSF_REACH = 6.0  # FWHM from the middle of the output PSF's stamp to its edge


@dataclass(frozen=True)
class PatchOrder:
    """What every task of a patch needs to know.

    Parameters
    ----------
    tract, patch, frame
        As of `dcrflow.planning.coadds.PatchPlan`.
    band : CoaddBand
        Of the coadds.
    config : CoaddConfig
        How.
    psf_fwhm : float
        Of the coadds, arcsec.
    folder : str
        For what the tasks leave for each other.
    sums : str
        Folder of the sums over visits that are kept; empty: none are.
    kept : str
        Folder of the sums over visits of an earlier run, that are added to; empty: none.
    """

    tract: Tract
    patch: Patch
    frame: Box
    band: CoaddBand
    config: CoaddConfig
    psf_fwhm: float
    folder: str
    sums: str = ""
    kept: str = ""

    @property
    def label(self) -> str:
        """The patch as text, for messages."""
        return f"tract {self.tract.tract} patch {self.patch.patch} band {self.band.name}"

    @property
    def grid(self) -> CellGrid:
        """The cells of the frame."""
        return grid_of(self.frame, self.config)

    def basis(self) -> SpectralBasis:
        """The spectral basis of the band."""
        return _basis(self.band.bandpass, self.band.edges)

    def psf(self) -> NDArray[np.float32]:
        """The PSF of the coadds on the tract's pixels."""
        scale = self.tract.wcs.pixel_scale(*_middle(self.tract.bbox))
        fwhm = self.psf_fwhm / scale
        return moffat_stamp(fwhm, self.config.psf_beta, int(2 * np.ceil(_PSF_REACH * fwhm) + 1))

    def centres(self) -> tuple[Float, Float]:
        """(x, y) of the cells' centres, absolute tract pixels."""
        y, x = np.array([cell.centre for cell in self.grid]).T
        return x + self.frame.x0, y + self.frame.y0


@lru_cache(maxsize=16)
def _basis(bandpass: Bandpass, edges: Edges) -> SpectralBasis:
    return spectral_basis(bandpass, edges)


def _middle(box: Box) -> tuple[float, float]:
    return box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2


def load_visit(order: PatchOrder, visit: DetectorVisit) -> VisitImage | LeftOut | None:
    """Read what a frame needs of a detector-visit; None if it was warped before, and is as it was."""
    before = stored_visit(_folder(order, visit))
    if before is not None and before.intact():
        return None
    try:
        pixel_map = PixelMap.measured(order.tract.wcs, visit.wcs, order.frame)
        return read_visit_image(visit, footprint(pixel_map, visit.bbox))
    except DcrflowError as error:
        return LeftOut(visit.visit, visit.detector, str(error))


def warp_visit(order: PatchOrder, visit: DetectorVisit, image: VisitImage | LeftOut | None) -> StoredVisit | LeftOut:
    """Warp a detector-visit to the frame and leave it in the folder."""
    if isinstance(image, LeftOut):
        return image
    folder = _folder(order, visit)
    before = stored_visit(folder)
    if before is not None:
        return before
    try:
        if image is None:  # what was there when it was loaded is gone
            image = load_visit(order, visit)
            if image is None or isinstance(image, LeftOut):
                return image or LeftOut(visit.visit, visit.detector, "what it was warped to comes and goes")
        pixel_map = PixelMap.measured(order.tract.wcs, visit.wcs, order.frame)
        done = warped(image, visit.bbox, pixel_map, order.centres())
        moved = displacement(order, visit)
    except (DcrflowError, ValueError) as error:
        return LeftOut(visit.visit, visit.detector, f"{visit.label}: {error}")
    about = StoredVisit(
        str(folder), visit.visit, visit.detector, done.sigma, done.gain, image.digest, int(np.count_nonzero(done.valid))
    )
    return store_visit(
        about, {"image": done.image, "valid": done.valid, "edges": done.edges, "psf": done.psf, "displacement": moved}
    )


def displacement(order: PatchOrder, visit: DetectorVisit) -> Float:
    """(dy, dx) by which refraction moves the light of each node of the spectral basis at each cell's centre.

    Returns
    -------
    ndarray of float64, shape (num_cells, num_nodes, 2)
        Tract pixels.
    """
    band = order.band
    model = dcr_model("spectral", band.bandpass, band.edges, band.effective_wavelength, visit.observation)
    x, y = order.centres()
    tan, dy, dx = zenith_vectors(visit.observation, order.tract.wcs, x, y, ROTATION, _middle(order.tract.bbox))
    return model.displacement(tan)[..., None] * np.stack([dy, dx], axis=-1)[:, None, :]


def _folder(order: PatchOrder, visit: DetectorVisit) -> Path:
    return Path(order.folder) / f"{visit.visit}.{visit.detector}"


@dataclass(frozen=True, eq=False)
class Block:
    """Some cells, solved.

    Parameters
    ----------
    files : tuple of (int, str)
        Cell and where its solution is.
    reports, calibration : tuple of mappings
        As of `dcrflow.coadding.cell.CellSolution`, by cell.
    """

    files: tuple[tuple[int, str], ...]
    reports: tuple[Mapping[Name, VisitReport], ...]
    calibration: tuple[Mapping[Name, Float], ...]


Corrections = Mapping[Name, Correction]


def accumulate(
    order: PatchOrder, cells: Sequence[int], visits: Sequence[StoredVisit | LeftOut],
    corrections: Corrections | None = None, before: Block | None = None,
) -> Block:  # fmt: skip
    """Sum up the visits on some cells and solve these.

    Parameters
    ----------
    order : PatchOrder
        Which patch.
    cells : sequence of int
        Which of its cells.
    visits : sequence of StoredVisit or LeftOut
        Of the patch.
    corrections : mapping, optional
        Of `calibrate_visits`.
    before : Block, optional
        These cells without the corrections; they stand where there are none.
    """
    if before is not None and corrections is None:
        return before
    grid, basis, psf = order.grid, order.basis(), order.psf()
    opened = [v.opened() for v in visits if isinstance(v, StoredVisit) and v.pixels]
    on_frame = [one for one, _ in opened]
    every = grid.cells
    for one, pixels in opened:
        one.check(grid, len(basis.wavelength))
        pixels.check(every[index].box for index in cells)
    files, reports, calibration, workspace = [], [], [], Workspace()
    for cell in map(every.__getitem__, cells):
        kept = load_sums(Path(order.kept) / f"{cell.index}.npz", cell) if order.kept else None
        keep = bool(order.sums)
        solution = solve_cell(cell, grid, on_frame, basis, psf, order.config, corrections, kept, keep, workspace)
        path = Path(order.folder) / f"cell-{cell.index}.npz"
        store_cell(path, solution)
        if keep:
            store_sums(Path(order.sums) / f"{cell.index}.npz", cell, solution.sums)
        files.append((cell.index, str(path)))
        reports.append(solution.reports)
        calibration.append(solution.calibration)
    return Block(tuple(files), tuple(reports), tuple(calibration))


def calibrate_visits(
    order: PatchOrder, blocks: Sequence[Block], visits: Sequence[StoredVisit | LeftOut],
    before: Corrections | None, first: bool,
) -> Corrections | None:  # fmt: skip
    """Self-calibration: scale and shift of every visit, fitted over all cells; None where nothing is to be corrected.

    Parameters
    ----------
    order, blocks, visits
        As of `accumulate`.
    before : mapping or None
        What the blocks were made with.
    first : bool
        Whether it is to be decided (config ``self_calibrate: auto``) if anything is worth correcting.
    """
    if not first and before is None:
        return None
    on_frame = [v.on_frame() for v in visits if isinstance(v, StoredVisit) and v.pixels]
    equations = (of_cell for block in blocks for of_cell in block.calibration)
    found = fit_corrections(equations, on_frame, order.basis(), before or {})
    if first and order.config.self_calibrate == "auto" and not worth_it(found):
        return None
    return found


def solve_patch(order: PatchOrder, blocks: Sequence[Block]) -> PatchSolution:
    """Put the cells' solutions together."""
    cells = order.grid.cells
    paths = sorted(file for block in blocks for file in block.files)
    found = stitch(order.grid, (load_cell(Path(p), cells[i]) for i, p in paths), order.psf(), order.config)
    return replace(found, reports=_merged(r for b in blocks for r in b.reports))


def _merged(reports: Iterable[Mapping[Name, VisitReport]]) -> dict[Name, VisitReport]:
    """One report a visit, of all cells; residuals weighted by their pixels."""
    gathered: dict[Name, list[VisitReport]] = {}
    for cell in reports:
        for name, report in cell.items():
            gathered.setdefault(name, []).append(report)
    out = {}
    for name, several in gathered.items():
        pixels = sum(r.pixels for r in several)
        squares = sum(r.pixels * r.residual**2 for r in several if np.isfinite(r.residual))
        out[name] = VisitReport(
            pixels, sum(r.rejected for r in several), float(np.sqrt(squares / max(pixels, 1))), several[0].correction
        )
    return out


@dataclass(frozen=True)
class PatchRecord:
    """What was written of a patch.

    Parameters
    ----------
    tract, patch : int
        The data ID.
    visits : tuple of (int, int, str)
        Visit, detector, digest of its pixels: all that went in, now or before.
    left_out : tuple of LeftOut
        Those that did not.
    suspects : tuple of LeftOut
        Those that went in and do not fit: what the reason says.
    residual : float
        What is left of the equations' residual, noise units.
    coverage : float
        Share of the patch's pixels that have data.
    """

    tract: int
    patch: int
    visits: tuple[tuple[int, int, str], ...]
    left_out: tuple[LeftOut, ...]
    suspects: tuple[LeftOut, ...]
    residual: float
    coverage: float


def write_patch(
    order: PatchOrder, store: str, about: Mapping[str, object], before: Sequence[tuple[int, int, str]],
    visits: Sequence[StoredVisit | LeftOut], solution: PatchSolution,
) -> PatchRecord:  # fmt: skip
    """Write a patch's coadds.

    Parameters
    ----------
    order : PatchOrder
        Which patch.
    store : str
        The DCR-coadd store.
    about : mapping
        Attributes that the caller adds.
    before : sequence of (int, int, str)
        Visits in the sums of an earlier run.
    visits : sequence of StoredVisit or LeftOut
        Of this run.
    solution : PatchSolution
        Of the frame.
    """
    config, patch = order.config, order.patch
    where = patch.bbox.slices(order.frame)
    used = sorted(
        [*before, *((v.visit, v.detector, v.digest) for v in visits if isinstance(v, StoredVisit) and v.pixels)]
    )
    left_out = tuple(v for v in visits if isinstance(v, LeftOut))
    suspects = tuple(misfits(solution.reports))
    count = np.ascontiguousarray(solution.count[where])
    mask = np.ascontiguousarray(solution.mask[where])
    no_data = (mask >> TEMPLATE_PLANES["NO_DATA"]) & 1
    record = PatchRecord(
        order.tract.tract, patch.patch, tuple(used), left_out, suspects, float(solution.left),
        float(1.0 - no_data.mean()),
    )  # fmt: skip
    band = order.band
    image, variance = (np.ascontiguousarray(a[(..., *where)]) for a in (solution.image, solution.variance))
    open_writer(store).write_patch(
        order.tract.tract,
        patch.patch,
        band.name,
        image=image,
        variance=variance,
        mask=mask,
        planes=dict(TEMPLATE_PLANES),
        subfilter_edges=band.edges,
        effective_wavelength=band.effective_wavelength,
        bandwidth=band.bandwidth,
        transmission=None
        if band.is_top_hat
        else {"wavelength": band.bandpass.wavelength, "throughput": band.bandpass.throughput},
        psf=(solution.psf / solution.psf.sum())[None],
        psf_nodes=([_middle(patch.bbox)[0]], [_middle(patch.bbox)[1]]),
        precision=config.precision,
        count=count,
        about={
            "refraction": formula(ROTATION),
            "visits": [list(v) for v in used],
            "left_out": [v.as_list() for v in left_out],
            "suspects": [v.as_list() for v in suspects],
            "psf_model": {"kind": "moffat", "fwhm": order.psf_fwhm, "beta": config.psf_beta, "unit": "arcsec"},
            "residual": record.residual,
            "preview": coadd_preview(image, variance, no_data != 0, count),
            "software": software(),
            **_noise(order, solution),
            **about,
        },
        overwrite=True,
    )
    return record


def _noise(order: PatchOrder, solution: PatchSolution) -> dict[str, object]:
    found = solution.sky_correlation
    return {} if found is None else {"subfilter_noise": SubfilterNoise.of(order.basis().shares, found).as_attribute()}
