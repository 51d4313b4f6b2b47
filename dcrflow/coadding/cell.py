"""Solve one cell: make first sums, fill pixels without data, reject outliers, and solve in two steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.masks import NO_DATA, TEMPLATE_PLANES
from dcrflow.coadding.basis import SpectralBasis
from dcrflow.coadding.calibrate import normal_equations
from dcrflow.coadding.cells import Cell, CellGrid
from dcrflow.coadding.exact import CellVisits, Iterate, first_sums, iterate, residual_of
from dcrflow.coadding.ladder import RUNGS, Solution, System, along_ladder, rung_of, two_steps
from dcrflow.coadding.reject import free_shares, residual_round
from dcrflow.coadding.sums import CellSums
from dcrflow.coadding.transfer import Transform, backward, stamp_transform
from dcrflow.coadding.visits import Correction, VisitOnFrame
from dcrflow.model.coadd_config import CoaddConfig

Name = tuple[int, int]

_REJECTING = 4  # largest number of searches for outliers
_FIRST_ROUNDS = 3  # rounds before each search but the last, so that filled pixels do not look like outliers
_SMOOTH_PRIOR, _SMOOTH_RUNG, _SMOOTH_ROUNDS = 1e-5, 4, 3  # flux prior, rung and number of the first rounds


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
        Remaining residual of the equations in the core when the iteration stopped, in units of the noise.
    rounds : int
        Number of rounds over the visits.
    reports : mapping
        A report for each visit that has data here.
    calibration : mapping
        For each of these visits, normal equations of (scale, dy, dx); see `dcrflow.coadding.calibrate`.
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


def solve_cell(
    cell: Cell, grid: CellGrid, visits: Sequence[VisitOnFrame], basis: SpectralBasis, psf: NDArray[np.float32],
    config: CoaddConfig, corrections: Mapping[Name, Correction] | None = None, kept: CellSums | None = None,
) -> CellSolution:  # fmt: skip
    """Solve one cell, independently of its neighbours.

    Parameters
    ----------
    cell, grid
        The cell, and the grid that it belongs to.
    visits : sequence of VisitOnFrame
        Read one at a time, once per round, except those that fit into a fixed memory budget.
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
    """
    members = CellVisits(cell, grid.window(), visits, basis, corrections or {})
    sums = first_sums(members, kept)
    output = stamp_transform(psf, grid.side)
    system = System(sums.normal, output, config.color_prior[: basis.num_terms - 1])
    if sums.num_visits == 0:
        return _nothing(cell, grid.side, basis.num_terms, sums)
    q, now = _fill(members, system, sums, kept, config)
    right = system.apply(now.sky, q) + now.residual
    solution = two_steps(system, right, config.color_deviation)
    sums = _counted(members, sums, right, kept)
    reports, equations = _inspected(members, now)
    return CellSolution(
        cell, _subfilters(basis, solution), _variance(system, basis, solution, sums),
        _mask(members, sums, now, config), sums, now.left, now.rounds, reports, equations,
    )  # fmt: skip


def _fill(
    members: CellVisits, system: System, sums: CellSums, kept: CellSums | None, config: CoaddConfig
) -> tuple[float, Iterate]:
    """Solve the exact equations, including pixels without data; returns q of the prior and the last iterate.

    The first rounds use a prior that suppresses high frequencies. Pixels without data are first filled with the mean of
    the visits, which leaves steps at their edges. Without this prior the steps would turn into ripples that take dozens
    of rounds to disappear.
    """
    rung = _brightest(system, sums.right, members)
    smooth = replace(system, flux_prior=_SMOOTH_PRIOR)
    q = system.lowest * 10.0 ** min(rung, _SMOOTH_RUNG)
    sky = smooth.solve(sums.right, q)
    now = Iterate(sky, sky, np.inf, np.zeros_like(members.window), 2)
    now, _ = _look(members, smooth, q, kept, config, now, None)
    now = iterate(members, smooth, q, kept, now, config.tolerance, _SMOOTH_ROUNDS)
    q = system.lowest * 10.0**rung
    free = free_shares(members, system, q) if config.reject and sums.num_visits > 2 else None
    for look in range(_REJECTING + 1):
        now, rejected = _look(members, system, q, kept, config, now, free if look > 0 else None)
        last = free is None or look == _REJECTING or (look > 0 and not rejected)
        now = iterate(members, system, q, kept, now, config.tolerance, config.max_rounds if last else _FIRST_ROUNDS)
        if last:
            break
    return q, now


def _look(
    members: CellVisits, system: System, q: float, kept: CellSums | None, config: CoaddConfig, now: Iterate,
    free: list[tuple[float, float]] | None,
) -> tuple[Iterate, int]:  # fmt: skip
    """Reject outliers and compute the residual of the current sky from the data; returns also the pixels rejected."""
    residual, rejected = residual_round(members, now.sky, free, config)
    residual += system.apply(now.sky) - system.apply(now.sky, q)
    if kept is not None:
        residual += kept.right - System(kept.normal, system.psf, system.prior).apply(now.sky)
    return Iterate(now.sky, residual, now.left, now.where, now.rounds + 1), rejected


def _brightest(system: System, right: Transform, members: CellVisits) -> int:
    """The rung for the brightest source of the cell."""
    flux = backward(system.psf * system.solve(right, system.lowest)[0])
    rung = rung_of(system, flux, float(system.noise(system.lowest)[0]), 1.0)
    return int(np.clip(np.ceil(rung.max()), 1, RUNGS - 1))


def _counted(members: CellVisits, sums: CellSums, right: Transform, kept: CellSums | None) -> CellSums:
    """The sums, with rejected pixels removed from weight and count."""
    weight, count = sums.weight.copy(), sums.count.copy()
    for member in members.members:
        pixels = members.rejected.get(member.place)
        if pixels is not None:
            out = pixels & members.valid(member)
            weight[out] -= np.float32(member.weight)
            count[out] -= np.int16(1)
    return CellSums(sums.normal, right, np.maximum(weight, 0), sums.total, count, sums.num_visits)


def _subfilters(basis: SpectralBasis, solution: Solution) -> NDArray[np.float32]:
    return np.asarray(np.einsum("kj,jyx->kyx", basis.subfilters.astype(np.float32), solution.terms))


def _variance(system: System, basis: SpectralBasis, solution: Solution, sums: CellSums) -> NDArray[np.float32]:
    """share_k times the variance of the sum of the subfilters, at each pixel's rung of the ladder."""
    if system.num_terms == 1:
        total = np.full(solution.rung.shape, system.noise(system.lowest)[0], np.float32)
    else:
        total = along_ladder(np.array([system.noise(system.lowest * 10.0**i)[0] for i in range(RUNGS)]), solution.rung)
    local = np.divide(sums.total, sums.weight, out=np.full_like(sums.weight, np.inf), where=sums.weight > 0)
    return np.asarray(basis.shares[:, None, None] * (total * local), np.float32)


def _mask(members: CellVisits, sums: CellSums, now: Iterate, config: CoaddConfig) -> NDArray[np.int32]:
    bit = {name: np.int32(1 << at) for name, at in TEMPLATE_PLANES.items()}
    mask = np.zeros(sums.count.shape, np.int32)
    mask[sums.count == 0] |= bit[NO_DATA]
    mask[now.where > config.tolerance] |= bit["INEXACT_PSF"]
    for member in members.members:
        pixels = members.rejected.get(member.place)
        if pixels is not None:
            mask[pixels & members.valid(member)] |= bit["CLIPPED"]
        mask[~members.valid(member)] |= bit["REJECTED"]
        edges = members.edges(member)
        if edges is not None:
            mask[edges] |= bit["SENSOR_EDGE"]
    return mask


def _inspected(members: CellVisits, now: Iterate) -> tuple[dict[Name, VisitReport], dict[Name, NDArray[np.float64]]]:
    """The report and the calibration equations of each visit; takes one more round over the visits."""
    reports, equations = {}, {}
    core = members.cell.core.slices(members.cell.box)
    for seen in members:
        visit, member = seen.member.visit, seen.member
        residual, model = residual_of(seen, now.sky)
        residual, model, use = residual[core], model[core], seen.use[core]
        pixels, used = int(np.count_nonzero(members.valid(member)[core])), int(np.count_nonzero(use))
        rms = float(np.sqrt(np.sum(residual.astype(np.float64) ** 2) / max(used, 1))) / visit.sigma
        correction = members.corrections.get(visit.name, Correction())
        reports[visit.name] = VisitReport(pixels, pixels - used, rms, correction)
        equations[visit.name] = normal_equations(residual, model, use, visit.sigma)
    return reports, equations


def _nothing(cell: Cell, side: int, num: int, sums: CellSums) -> CellSolution:
    blank = np.full((num, side, side), np.nan, np.float32)
    mask = np.full((side, side), 1 << TEMPLATE_PLANES[NO_DATA], np.int32)
    return CellSolution(cell, blank, blank.copy(), mask, sums, 0.0, 0, {}, {})
