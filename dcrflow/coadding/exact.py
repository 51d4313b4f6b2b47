"""The exact equations of a cell, including pixels without data, and conjugate gradients to solve them.

    (sum_v w_v T_v^H F M_v F^-1 T_v + L) s = sum_v w_v T_v^H F M_v d_v

M_v is 0 where visit v has no data, and falls to 0 towards the edges of the cell's box; F is the Fourier transform.
Without M_v the operator is block diagonal in frequency. In this form, A + L, it is the preconditioner.

When the iteration stops at a sky s with residual r, b = (A + L) s + r are the sums over visits whose pixels without
data are filled with the model's prediction. From then on, the cell is solved as if every pixel had data
(`dcrflow.coadding.ladder`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.basis import SpectralBasis
from dcrflow.coadding.cells import Cell, cut
from dcrflow.coadding.ladder import Image, System
from dcrflow.coadding.sums import CellSums, merge
from dcrflow.coadding.transfer import Transform, backward, forward, transfer_functions
from dcrflow.coadding.visits import Correction, VisitOnFrame
from dcrflow.kernels.fourier import add_adjoint, predict

Name = tuple[int, int]

CACHE = 192 << 20  # bytes of visits and transfer functions that a cell keeps between rounds; others are recomputed


@dataclass(frozen=True, eq=False)
class Member:
    """A visit that has data on a cell.

    Parameters
    ----------
    visit : VisitOnFrame
        The visit.
    place : int
        Its index among the visits of the cell.
    weight : float
        Its weight w = sigma^-2.
    share : float
        Fraction of the cell, weighted by the window, where it has data.
    """

    visit: VisitOnFrame
    place: int
    weight: float
    share: float


@dataclass(frozen=True, eq=False)
class Seen:
    """The data of a member, read for one round.

    Parameters
    ----------
    member : Member
        The member.
    image : ndarray of float32, shape (side, side)
        Image d; 0 where there are no data.
    use : ndarray of float32, shape (side, side)
        Weights M of the pixels.
    transfer : ndarray of complex64, shape (num_terms, side, side // 2 + 1)
        Transfer functions T.
    """

    member: Member
    image: Image
    use: Image
    transfer: Transform


@dataclass(eq=False)
class CellVisits:
    """The visits of a cell, read one at a time and kept between rounds as far as `CACHE` allows.

    Parameters
    ----------
    cell : Cell
        The cell.
    window : ndarray of float32, shape (side, side)
        The window of the cell's grid.
    visits : sequence of VisitOnFrame
        The visits of the frame; those without data here are skipped.
    basis : SpectralBasis
        Basis of the band.
    corrections : mapping
        Corrections from self-calibration.
    """

    cell: Cell
    window: Image
    visits: Sequence[VisitOnFrame]
    basis: SpectralBasis
    corrections: Mapping[Name, Correction]
    members: list[Member] = field(default_factory=list)
    rejected: dict[int, NDArray[np.bool_]] = field(default_factory=dict)
    _kept: dict[int, Seen] = field(default_factory=dict)
    _bytes: int = 0

    def __post_init__(self) -> None:
        total = float(self.window.sum())
        for visit in self.visits:
            on = visit.on(self.cell)
            share = 0.0 if on is None else float(np.sum(self.window[on.valid])) / total
            if share > 1e-3:
                self.members.append(Member(visit, len(self.members), visit.sigma**-2, share))

    def read(self, member: Member) -> Seen:
        """Read one visit, without its rejected pixels."""
        if member.place in self._kept:
            return self._kept[member.place]
        on = member.visit.on(self.cell)
        assert on is not None, "members have data"
        use = self.window * on.valid
        if member.place in self.rejected:
            use[self.rejected[member.place]] = 0
        transfer = transfer_functions(on, self.basis, len(use), self.corrections.get(member.visit.name))
        seen = Seen(member, on.image, use, transfer)
        size = on.image.nbytes + use.nbytes + transfer.nbytes
        if self._bytes + size <= CACHE:
            self._kept[member.place] = seen
            self._bytes += size
        return seen

    def most_refracted(self) -> Transform:
        """Transfer functions of the member with the most DCR; zero if there are no members."""
        if not self.members:
            return np.zeros((self.basis.num_terms, len(self.window), len(self.window) // 2 + 1), np.complex64)
        return self.read(max(self.members, key=lambda m: float(np.ptp(m.visit.displacement, axis=1).max()))).transfer

    def valid(self, member: Member) -> NDArray[np.bool_]:
        """Pixels of a visit that have data, rejected or not, shape (side, side)."""
        return np.asarray(cut(member.visit.valid, self.cell.box, False), np.bool_)

    def edges(self, member: Member) -> NDArray[np.bool_] | None:
        """Pixels of a visit near the edge of a sensor, shape (side, side)."""
        edges = member.visit.edges
        return None if edges is None else np.asarray(cut(edges, self.cell.box, False), np.bool_)

    def reject(self, member: Member, pixels: NDArray[np.bool_]) -> None:
        """Exclude pixels of a visit from now on."""
        before = self.rejected.get(member.place)
        self.rejected[member.place] = pixels if before is None else before | pixels
        if member.place in self._kept:
            self._kept[member.place].use[pixels] = 0

    def __iter__(self) -> Iterator[Seen]:
        return (self.read(member) for member in self.members)


def first_sums(visits: CellVisits, kept: CellSums | None) -> CellSums:
    """First sums: pixels without data are filled with the mean of the visits that have data there."""
    side = len(visits.window)
    sums = CellSums.empty(visits.basis.num_terms, side)
    light, weight = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    for seen in visits:
        w = np.float32(seen.member.weight) * (seen.use > 0)
        light += w * seen.image
        weight += w
    mean = np.divide(light, weight, out=np.zeros_like(light), where=weight > 0)
    for seen in visits:
        filled, member = np.where(seen.use > 0, seen.image, mean), seen.member
        sums = sums.with_visit(filled, seen.use > 0, seen.transfer, member.weight, member.share)
    return sums if kept is None else merge(sums, kept)


def masked_product(visits: CellVisits, sky: Transform) -> Transform:
    """Apply sum_v w_v T_v^H F M_v F^-1 T_v to a sky."""
    out = np.zeros_like(sky)
    seen_as = np.empty(sky.shape[1:], np.complex64)
    for seen in visits:
        predict(seen.transfer, sky, seen_as)
        image = backward(seen_as)
        image *= seen.use
        add_adjoint(seen.transfer, forward(image), seen.member.weight, out)
    return out


def residual_of(seen: Seen, sky: Transform) -> tuple[Image, Image]:
    """M (d - model) of a visit, and the model."""
    seen_as = np.empty(sky.shape[1:], np.complex64)
    predict(seen.transfer, sky, seen_as)
    model = backward(seen_as)
    return seen.use * (seen.image - model), model


@dataclass(eq=False)
class Iterate:
    """State of the conjugate gradients.

    Parameters
    ----------
    sky : ndarray of complex64, shape (num_terms, side, side // 2 + 1)
        Current solution s.
    residual : ndarray of complex64
        Right-hand side minus left-hand side at s.
    left : float
        Largest remaining change in the core: the correction that the residual implies for the image of the visit with
        the most DCR, in units of a pixel's noise in an ordinary coadd.
    where : ndarray of float32, shape (side, side)
        This change, in the same units, at every pixel.
    rounds : int
        Rounds over the visits so far.
    """

    sky: Transform
    residual: Transform
    left: float
    where: Image
    rounds: int


def iterate(
    visits: CellVisits, system: System, q: float, kept: CellSums | None, start: Iterate, tolerance: float, rounds: int
) -> Iterate:  # fmt: skip
    """Preconditioned conjugate gradients, until the residual is below the noise.

    Parameters
    ----------
    visits : CellVisits
        The visits of the cell.
    system : System
        The system whose A is the sum over all visits, masked or not, including those in `kept`.
    q : float
        Local power q in the prior L(q).
    kept : CellSums, optional
        Sums over visits that are not read again.
    start : Iterate
        Sky and residual to start from.
    tolerance : float
        The iteration stops when `Iterate.left` is below this.
    rounds : int
        Largest number of rounds.
    """
    noise = np.float32(np.sqrt(system.noise(system.lowest)[0]))
    probe, image = visits.most_refracted(), np.empty(start.sky.shape[1:], np.complex64)
    core = visits.cell.core.slices(visits.cell.box)
    sky, residual = start.sky.copy(), start.residual.copy()
    change = system.solve(residual, q)
    direction, power = change.copy(), inner(residual, change)
    done = start.rounds
    prior = np.asarray(system.precision(q), np.float32)[:, None, None]
    while True:
        predict(probe, change, image)
        where = np.asarray(np.abs(backward(image)) / noise, np.float32)
        left = float(where[core].max())
        if left <= tolerance or done - start.rounds >= rounds or power <= 0:
            return Iterate(sky, residual, left, where, done)
        product = masked_product(visits, direction) + prior * direction
        if kept is not None:
            product += System(kept.normal, system.psf, system.prior).apply(direction)
        step = np.float32(power / inner(direction, product))
        sky += step * direction
        residual -= step * product
        change = system.solve(residual, q)
        before, power = power, inner(residual, change)
        direction *= np.float32(power / before)
        direction += change
        done += 1


def inner(one: Transform, other: Transform) -> float:
    """Real inner product of two images, from their transforms."""
    side = one.shape[-2]
    total = 0.0
    for a, b in zip(one, other, strict=True):
        total += 2 * float(np.sum((a.real * b.real + a.imag * b.imag), dtype=np.float64))
        ends = [0] if side % 2 else [0, -1]
        total -= float(np.sum(a[:, ends].real * b[:, ends].real + a[:, ends].imag * b[:, ends].imag, dtype=np.float64))
    return total
