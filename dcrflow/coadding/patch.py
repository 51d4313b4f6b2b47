"""Make the DCR coadd of a patch from the visits on its frame: all cells, on one processor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.masks import NO_DATA, TEMPLATE_PLANES
from dcrflow.base.workspace import Workspace
from dcrflow.coadding.basis import SpectralBasis
from dcrflow.coadding.calibrate import fit_corrections, worth_it
from dcrflow.coadding.cell import CellSolution, VisitReport, solve_cell
from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.sums import CellSums
from dcrflow.coadding.visits import Correction, VisitOnFrame
from dcrflow.geometry.box import Box
from dcrflow.model.coadd_config import CoaddConfig

Name = tuple[int, int]
Equations = Mapping[Name, NDArray[np.float64]]

_BLEND = 12  # pixels on either side of the line between two cores where cells are blended
_CALIBRATIONS = 2  # passes of self-calibration


@dataclass(frozen=True, eq=False)
class PatchSolution:
    """The DCR coadd of a frame: of a patch and its margin.

    Parameters
    ----------
    image, variance : ndarray of float32, shape (num_subfilters, height, width)
        nJy and nJy^2; NaN where NO_DATA is set.
    mask : ndarray of int32, shape (height, width)
        Bits of `dcrflow.base.masks.TEMPLATE_PLANES`.
    count : ndarray of int16, shape (height, width)
        Number of visits that contributed.
    psf : ndarray of float32, shape (n, n)
        The output PSF, the same for all subfilters and positions.
    left : float
        The largest `CellSolution.left` of the cells.
    reports : mapping
        A report for each visit, over all cells.
    sky_correlation : ndarray of float64, shape (2 n + 1, 2 n + 1), or None
        Correlation of the noise of neighbouring pixels of the sum of the subfilters, in empty sky: mean of the cells.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]
    count: NDArray[np.int16]
    psf: NDArray[np.float32]
    left: float
    reports: Mapping[Name, VisitReport]
    sky_correlation: NDArray[np.float64] | None = None


def solve_patch(
    grid: CellGrid, visits: Sequence[VisitOnFrame], basis: SpectralBasis, psf: NDArray[np.float32],
    config: CoaddConfig, kept: Mapping[int, CellSums] | None = None,
) -> PatchSolution:  # fmt: skip
    """Solve every cell with `solve_cell`, self-calibrate the visits if configured, and combine the cells with `stitch`.

    Parameters
    ----------
    grid : CellGrid
        The cells of the frame.
    visits, basis, psf, config
        As for `solve_cell`.
    kept : mapping, optional
        `CellSolution.sums` of earlier visits, by index of the cell.

    Raises
    ------
    ValueError
        If a visit's arrays do not fit the frame.
    """
    for visit in visits:
        visit.check(grid, len(basis.wavelength))
    kept, workspace = kept or {}, Workspace()

    def solved(corrections: Mapping[Name, Correction], equations: list[Equations]) -> PatchSolution:
        def one_by_one() -> Iterator[CellSolution]:
            for cell in grid:
                found = solve_cell(
                    cell, grid, visits, basis, psf, config, corrections, kept.get(cell.index), workspace=workspace
                )
                equations.append(found.calibration)
                yield found

        return stitch(grid, one_by_one(), psf, config)

    equations: list[Equations] = []
    patch = solved({}, equations)
    if config.self_calibrate is False:
        return patch
    corrections: Mapping[Name, Correction] = {}
    for _ in range(_CALIBRATIONS):
        found = fit_corrections(equations, visits, basis, corrections)
        if config.self_calibrate == "auto" and not corrections and not worth_it(found):
            return patch
        corrections, equations = found, []
        patch = solved(corrections, equations)
    return patch


def stitch(
    grid: CellGrid, cells: Iterable[CellSolution], psf: NDArray[np.float32], config: CoaddConfig
) -> PatchSolution:  # fmt: skip
    """Combine cells to a patch, blended over a few pixels where cores meet; an iterator is read one cell at a time.

    The frame's margin, which no cell provides, has no data.
    """
    height, width = grid.shape
    image = variance = np.zeros((0, 0, 0), np.float32)
    share, weight = np.zeros(grid.shape, np.float32), np.zeros(grid.shape, np.float32)
    mask, count = np.zeros(grid.shape, np.int32), np.zeros(grid.shape, np.int16)
    left, reports, correlations = 0.0, dict[Name, VisitReport](), []
    frame_box = Box(0, 0, width, height)
    for found in cells:
        if not image.size:
            image = np.zeros((len(found.image), height, width), np.float32)
            variance = np.zeros_like(image)
        cell = found.cell
        wide = cell.core.grown(_BLEND).intersection(frame_box)
        to, of = wide.slices(frame_box), wide.slices(cell.box)
        ramp = _ramp(cell.core.y0, cell.core.y1, wide.y0, wide.y1)[:, None] * _ramp(
            cell.core.x0, cell.core.x1, wide.x0, wide.x1
        )
        ramp *= np.all(np.isfinite(found.image[(slice(None), *of)]), axis=0)
        share[to] += ramp
        image[(slice(None), *to)] += ramp * np.nan_to_num(found.image[(slice(None), *of)])
        variance[(slice(None), *to)] += ramp * np.nan_to_num(found.variance[(slice(None), *of)], posinf=0.0)
        to, of = cell.core.slices(frame_box), cell.core.slices(cell.box)
        mask[to], count[to], weight[to] = found.mask[of], found.sums.count[of], found.sums.weight[of]
        left = max(left, found.left)
        if found.sky_correlation is not None:
            correlations.append(found.sky_correlation)
        for name, report in found.reports.items():
            reports[name] = _both(reports.get(name), report)
    some = weight[weight > 0]
    poor = (weight <= 0) | (share <= 0)
    if len(some):
        poor |= weight < config.min_weight * np.median(some)
    mask[poor] |= np.int32(1 << TEMPLATE_PLANES[NO_DATA])
    image /= np.where(poor, np.nan, share)
    variance /= np.where(poor, np.nan, share)
    correlation = np.mean(correlations, axis=0) if correlations else None
    return PatchSolution(image, variance, mask, count, psf, left, reports, correlation)


def _ramp(core0: int, core1: int, first: int, last: int) -> NDArray[np.float32]:
    """Weight of a cell along one axis: 1 inside, falling linearly to 0 within `_BLEND` pixels of the core's edge."""
    at = np.arange(first, last) + 0.5
    up = (at - (core0 - _BLEND)) / (2 * _BLEND) if first < core0 else np.ones(len(at))
    down = ((core1 + _BLEND) - at) / (2 * _BLEND) if last > core1 else np.ones(len(at))
    return np.clip(np.minimum(up, down), 0, 1).astype(np.float32)


def _both(one: VisitReport | None, other: VisitReport) -> VisitReport:
    if one is None:
        return other
    used, more = one.pixels - one.rejected, other.pixels - other.rejected
    rms = np.sqrt((one.residual**2 * used + other.residual**2 * more) / max(used + more, 1))
    return replace(one, pixels=one.pixels + other.pixels, rejected=one.rejected + other.rejected, residual=float(rms))
