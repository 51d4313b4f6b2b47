"""Solve one cell: make first sums, fill pixels without data, reject outliers, and solve in two steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.masks import NO_DATA, TEMPLATE_PLANES
from dcrflow.base.workspace import Workspace
from dcrflow.coadding.basis import SpectralBasis
from dcrflow.coadding.cell_visits import CellVisits
from dcrflow.coadding.cells import Cell, CellGrid
from dcrflow.coadding.exact import Filled, Filling
from dcrflow.coadding.ladder import POWER_WIDTH, RUNGS, Solution, System, along_ladder, smooth, two_steps
from dcrflow.coadding.reject import Look
from dcrflow.coadding.sums import FLAGS, CellSums
from dcrflow.coadding.transfer import Transform, backward, stamp_transform
from dcrflow.coadding.visits import Correction, VisitOnFrame
from dcrflow.kernels.coadd_pixels import largest_around
from dcrflow.model.coadd_config import CoaddConfig

Name = tuple[int, int]

_NEARBY = 3  # pixels to each side of a pixel whose visits count for it, too
_LOOKS = 5  # comparisons of the visits with the model; the last one rejects nothing
_STANDS = 10.0  # times the tolerance; where the sky changes by more after a comparison, there is another one


@dataclass(frozen=True, eq=False)
class VisitReport:
    """How a visit was used.

    Parameters
    ----------
    pixels : int
        Number of valid pixels in the cores of the cells.
    rejected : int
        How many of these were rejected as outliers.
    residual : float
        RMS of (visit - model) / sigma over the accepted pixels; about 1 if model and noise are right.
    correction : Correction
        The correction that was applied.
    """

    pixels: int
    rejected: int
    residual: float
    correction: Correction


@dataclass(frozen=True, eq=False)
class CellSolution:
    """The DCR coadd on the box of one cell.

    Parameters
    ----------
    cell : Cell
        The cell; the arrays cover its box.
    image : ndarray of float32, shape (num_subfilters, side, side)
        nJy, with the output PSF.
    variance : ndarray of float32, shape (num_subfilters, side, side)
        nJy^2; the share of each subfilter in the variance of their sum.
    mask : ndarray of int32, shape (side, side)
        Bits of `dcrflow.base.masks.TEMPLATE_PLANES`. NO_DATA is set where no visit has data; `stitch` also sets it
        where too few visits have.
    sums : CellSums
        Sums over all visits, with pixels without data filled with the model's prediction, and the weight and number of
        visits of each pixel. An incremental build keeps them.
    left : float
        Change by the last round in the core, in units of the noise.
    rounds : int
        Number of rounds over the pixels without data.
    reports : mapping
        A report for each visit that has data here.
    calibration : mapping
        For each of these visits, normal equations of (scale, dy, dx); see `dcrflow.coadding.calibrate`.
    sky_correlation : ndarray of float64, shape (2 n + 1, 2 n + 1), or None
        `System.sky_correlation`; None where no visit has data.
    """

    cell: Cell
    image: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]
    sums: CellSums
    left: float
    rounds: int
    reports: Mapping[Name, VisitReport]
    calibration: Mapping[Name, NDArray[np.float64]]
    sky_correlation: NDArray[np.float64] | None = None


def solve_cell(
    cell: Cell, grid: CellGrid, visits: Sequence[VisitOnFrame], basis: SpectralBasis, psf: NDArray[np.float32],
    config: CoaddConfig, corrections: Mapping[Name, Correction] | None = None, kept: CellSums | None = None,
    keep: bool = False, workspace: Workspace | None = None,
) -> CellSolution:  # fmt: skip
    """Solve one cell, independently of its neighbours.

    Parameters
    ----------
    cell, grid
        The cell, and the grid that it belongs to.
    visits : sequence of VisitOnFrame
        Read one at a time, for the sums and for each look, except those that fit into a fixed memory budget.
    basis : SpectralBasis
        Basis of the band.
    psf : ndarray of float32, shape (n, n)
        The output PSF.
    config : CoaddConfig
        How to solve.
    corrections : mapping, optional
        Corrections of visits, from `dcrflow.coadding.calibrate.fit_corrections`.
    kept : CellSums, optional
        Sums over earlier visits, which are not in `visits`; they are included but not read again.
    keep : bool
        Whether the sums of the solution shall be complete, so that visits can be added to them.
    workspace : Workspace, optional
        Lends memory; pass the same one for cells that are solved one after the other.
    """
    workspace = workspace or Workspace()
    members = CellVisits(cell, grid, visits, basis, corrections or {}, kept, workspace)
    if not members.members:
        return _nothing(cell, grid.side, basis.num_terms)
    sums = members.first_sums()
    output = stamp_transform(psf, grid.side)
    system = System(sums.normal, output, config.color_prior[: basis.num_terms - 1])
    now, look = _fill(members, system, sums, config)
    solution = two_steps(system, now.right, config.color_deviation, workspace)
    sums = members.last_sums(sums, now.right, keep)
    few = _too_few(sums, basis.num_terms)
    return CellSolution(
        cell, _subfilters(basis, solution, few), _variance(system, basis, solution, sums),
        _mask(sums, now, few, config), sums, now.left, now.rounds, _reports(members, look), look.equations,
        system.sky_correlation(),
    )  # fmt: skip


def _fill(members: CellVisits, system: System, sums: CellSums, config: CoaddConfig) -> tuple[Filled, Look]:
    """Fill pixels without data and reject outliers; returns the result and the last look."""
    q = system.lowest * 10.0 ** _brightest(system, sums.right)
    look = Look(members, system, q, config)
    filling = Filling(members, system, sums, q)
    now = filling.solve(q, config.tolerance, config.max_rounds, 0, True)
    reject = config.reject and len(members.members) > 2 and bool(members.new)
    rejected = look.at(now.sky, filling.right, reject, filling.shown)
    for left in reversed(range(_LOOKS - 1)):
        moved = 0.0
        if not np.isfinite(now.left):
            now, moved = filling.finish()
        if rejected:
            filling.replace(rejected)
            # an outlier may have been the brightest source: without it, the prior is that of the other sources
            before, q = q, system.lowest * 10.0 ** _brightest(system, filling.right)
            look.set_prior(q)
            near = now if q == before and now.left <= config.tolerance else None
            now = filling.solve(q, config.tolerance, config.max_rounds, now.rounds, near=near)
        elif moved <= _STANDS * config.tolerance:
            break
        rejected = look.again(now.sky, filling.right, reject and left > 0)
    return now, look


def _brightest(system: System, right: Transform) -> int:
    """The rung for the brightest source of the cell."""
    flux = backward(system.psf * system.solve(right, system.lowest)[0])
    power = system.area * (largest_mean(flux * flux, POWER_WIDTH) - float(system.noise[0, 0]))
    return int(np.clip(np.ceil(np.log10(max(power / system.lowest, 1.0))), 1, RUNGS - 1))


def largest_mean(image: NDArray[np.float32], sigma: float) -> float:
    """The largest mean of an image in Gaussian windows, on every other pixel: within 1 % if sigma is 5 pixels."""
    half = len(image) // 2
    pairs = image[: 2 * half, : 2 * half].reshape(half, 2, half, 2)
    few = (pairs[:, 0, :, 0] + pairs[:, 0, :, 1] + pairs[:, 1, :, 0] + pairs[:, 1, :, 1]) / np.float32(4)
    return float(smooth(few, np.sqrt(sigma**2 - 0.25) / 2).max())


def _too_few(sums: CellSums, num_terms: int) -> NDArray[np.bool_]:
    """Where there are fewer visits than subfilters, also around a pixel: a bad pixel of one visit is no such place."""
    around = np.empty(sums.count.shape, np.float32)
    largest_around(sums.count.astype(np.float32), _NEARBY, around)
    return around < num_terms


def _subfilters(basis: SpectralBasis, solution: Solution, few: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The subfilters; those of a flat spectrum where there are too few visits: shares of the ordinary coadd."""
    image = np.asarray(np.einsum("kj,jyx->kyx", basis.subfilters.astype(np.float32), solution.terms))
    image[:, few] = basis.shares.astype(np.float32)[:, None] * solution.terms[0][few]
    return image


def _variance(system: System, basis: SpectralBasis, solution: Solution, sums: CellSums) -> NDArray[np.float32]:
    """share_k times the variance of the sum of the subfilters, at each pixel's rung of the ladder."""
    if system.num_terms == 1:
        total = np.full(solution.rung.shape, system.noise[0, 0], np.float32)
    else:
        total = along_ladder(system.noise[:, 0], solution.rung)
    local = np.divide(sums.total, sums.weight, out=np.full_like(sums.weight, np.inf), where=sums.weight > 0)
    return np.asarray(basis.shares[:, None, None] * (total * local), np.float32)


def _mask(sums: CellSums, now: Filled, few: NDArray[np.bool_], config: CoaddConfig) -> NDArray[np.int32]:
    bit = {name: np.int32(1 << at) for name, at in TEMPLATE_PLANES.items()}
    mask = np.zeros(sums.count.shape, np.int32)
    mask[sums.count == 0] |= bit[NO_DATA]
    mask[(now.where > config.tolerance) | few] |= bit["INEXACT_PSF"]
    for name, flag in FLAGS.items():
        mask[(sums.flags & flag) != 0] |= bit[name]
    return mask


def _reports(members: CellVisits, look: Look) -> dict[Name, VisitReport]:
    core, reports = members.cell.core.slices(members.cell.box), {}
    for member in members.new:
        square, used = look.squares[member.name]
        pixels = int(np.count_nonzero(members.measured(member)[core]))
        rms = float(np.sqrt(square / max(used, 1))) / member.sigma
        reports[member.name] = VisitReport(pixels, pixels - used, rms, members.correction(member))
    return reports


def _nothing(cell: Cell, side: int, num: int) -> CellSolution:
    blank = np.full((num, side, side), np.nan, np.float32)
    mask = np.full((side, side), 1 << TEMPLATE_PLANES[NO_DATA], np.int32)
    return CellSolution(cell, blank, blank.copy(), mask, CellSums.empty(num, side), 0.0, 0, {}, {})
