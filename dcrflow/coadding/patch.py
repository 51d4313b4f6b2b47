"""From the visits on a frame to the DCR coadd of its patch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.basis import SpectralBasis
from dcrflow.coadding.cells import Cell, CellGrid
from dcrflow.coadding.sums import CellSums
from dcrflow.coadding.visits import Correction, VisitOnFrame
from dcrflow.model.coadd_config import CoaddConfig

Name = tuple[int, int]


@dataclass(frozen=True, eq=False)
class VisitReport:
    """What became of a visit in a patch.

    Parameters
    ----------
    pixels : int
        Valid pixels in the cores of the cells.
    rejected : int
        Of these, rejected as outliers.
    residual : float
        Rms of (visit - model) / noise over its valid, accepted pixels; 1 where model and noise are right.
    correction : Correction
        Of self-calibration; as given or none where it is off.
    """

    pixels: int
    rejected: int
    residual: float
    correction: Correction


@dataclass(frozen=True, eq=False)
class CellSolution:
    """The DCR coadd on the core of one cell, with a rim to blend with its neighbours.

    Parameters
    ----------
    cell : Cell
        Whose box the arrays below cover.
    image : ndarray of float32, shape (num_subfilters, side, side)
        nJy, at the output PSF.
    variance : ndarray of float32, shape (num_subfilters, side, side)
        nJy^2.
    mask : ndarray of int32, shape (side, side)
        Bits of `dcrflow.base.masks.TEMPLATE_PLANES`.
    count : ndarray of int16, shape (side, side)
        Visits that contributed.
    sums : CellSums
        Of all visits, pixels without data filled with the model's prediction: what an incremental build keeps.
    residual : float
        What is left of the equations' residual when iteration stopped, in units of the noise; `CoaddConfig.tolerance`
        was to be reached.
    reports : mapping
        For each visit: see `VisitReport`.
    calibration : mapping
        For each visit, the normal equations of (scale, dy, dx, background): 4 x 5, the right side last.
    """

    cell: Cell
    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]
    count: NDArray[np.int16]
    sums: CellSums
    residual: float
    reports: Mapping[Name, VisitReport]
    calibration: Mapping[Name, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class PatchSolution:
    """The DCR coadd of a frame: of a patch and its margin.

    Parameters
    ----------
    image, variance, mask, count
        As of `CellSolution`, shape (..., height, width) of the frame; image and variance NaN where NO_DATA.
    psf : ndarray of float32, shape (n, n)
        The output PSF: of every subfilter, everywhere.
    residual : float
        The largest of the cells'.
    reports : mapping
        For each visit, of all cells.
    """

    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]
    count: NDArray[np.int16]
    psf: NDArray[np.float32]
    residual: float
    reports: Mapping[Name, VisitReport]


def solve_cell(
    cell: Cell, grid: CellGrid, visits: Sequence[VisitOnFrame], basis: SpectralBasis, psf: NDArray[np.float32],
    config: CoaddConfig, corrections: Mapping[Name, Correction] | None = None, kept: CellSums | None = None,
) -> CellSolution:  # fmt: skip
    """Solve one cell: all rounds, without its neighbours.

    Parameters
    ----------
    cell, grid
        Of which frame.
    visits : sequence of VisitOnFrame
        Read one at a time, once a round.
    basis : SpectralBasis
        Of the band's subfilters.
    psf : ndarray of float32, shape (n, n)
        The output PSF, from `dcrflow.coadding.output_psf`.
    config : CoaddConfig
        How.
    corrections : mapping, optional
        Of visits, from `fit_corrections`.
    kept : CellSums, optional
        Of visits that are not among `visits`: they count, and are not read.
    """
    raise NotImplementedError


def fit_corrections(cells: Iterable[CellSolution], config: CoaddConfig) -> dict[Name, Correction]:
    """Scale and shift of every visit, from the normal equations of all cells (of one patch, or of many)."""
    raise NotImplementedError


def stitch(grid: CellGrid, cells: Iterable[CellSolution], psf: NDArray[np.float32]) -> PatchSolution:
    """One patch from its cells: cores side by side, blended over a few pixels; consumes an iterator one at a time."""
    raise NotImplementedError


def solve_patch(
    grid: CellGrid, visits: Sequence[VisitOnFrame], basis: SpectralBasis, psf: NDArray[np.float32],
    config: CoaddConfig, kept: Mapping[int, CellSums] | None = None,
) -> PatchSolution:  # fmt: skip
    """`solve_cell` for every cell, self-calibration where it is asked for, `stitch`: all on one processor."""
    raise NotImplementedError
