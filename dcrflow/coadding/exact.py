"""The equations of a cell with pixels without data: an exact operator, and conjugate gradients to solve it.

    (sum_v w_v T_v^H F M_v F^-1 T_v + L) s = sum_v w_v T_v^H F M_v d_v

M_v is 0 where visit v has no data, and falls to 0 towards the edges of the cell's box; F is the Fourier transform. The
same without M_v is block diagonal in frequency, and is the preconditioner. Where iteration has led to s with residual
r, b = (A + L) s + r are the sums of visits whose pixels without data hold the model's own prediction: from there on
the cell is solved as if nothing were missing (`dcrflow.coadding.ladder`).
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

CACHE = 192 << 20  # bytes of visits and transfer functions that a cell keeps between rounds; the rest is made again


@dataclass(frozen=True, eq=False)
class Member:
    """A visit that has data on a cell.

    Parameters
    ----------
    visit : VisitOnFrame
        It.
    place : int
        Among the visits of the cell.
    weight : float
        w: sigma^-2.
    share : float
        Part of the cell, weighted by the window, on which it has data.
    """

    visit: VisitOnFrame
    place: int
    weight: float
    share: float


@dataclass(frozen=True, eq=False)
class Seen:
    """A member as it is read for a round.

    Parameters
    ----------
    member : Member
        Of whom.
    image : ndarray of float32, shape (side, side)
        Data; 0 where none.
    use : ndarray of float32, shape (side, side)
        M.
    transfer : ndarray of complex64, shape (num_terms, side, side // 2 + 1)
        T.
    """

    member: Member
    image: Image
    use: Image
    transfer: Transform


@dataclass(eq=False)
class CellVisits:
    """The visits of a cell: read one at a time, kept between rounds as far as `CACHE` allows.

    Parameters
    ----------
    cell : Cell
        Which.
    window : ndarray of float32, shape (side, side)
        Of the cell's grid.
    visits : sequence of VisitOnFrame
        Of the frame; those without data here are passed over.
    basis : SpectralBasis
        Of the band.
    corrections : mapping
        Of self-calibration.
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
        """One visit, with its rejected pixels left out."""
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
        """Transfer functions of the member whose light is spread most; of none, where there are no members."""
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
        """Leave pixels of a visit out from now on."""
        before = self.rejected.get(member.place)
        self.rejected[member.place] = pixels if before is None else before | pixels
        if member.place in self._kept:
            self._kept[member.place].use[pixels] = 0

    def __iter__(self) -> Iterator[Seen]:
        return (self.read(member) for member in self.members)


def first_sums(visits: CellVisits, kept: CellSums | None) -> CellSums:
    """Sums with pixels without data filled by the mean of the visits that have data there: to start from."""
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
    """sum_v w_v T_v^H F M_v F^-1 T_v applied to a sky."""
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
    """Where conjugate gradients stand.

    Parameters
    ----------
    sky : ndarray of complex64, shape (num_terms, side, side // 2 + 1)
        s.
    residual : ndarray of complex64
        Right side less left side at s.
    left : float
        Largest change that the residual still asks for in the core, in the image of the visit with the most refraction,
        over the noise of a pixel of an ordinary coadd.
    where : ndarray of float32, shape (side, side)
        That change over the noise, everywhere.
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
        Of the cell.
    system : System
        A of all visits, masked or not, and of those kept.
    q : float
        Of the prior.
    kept : CellSums, optional
        Of visits that are not read again.
    start : Iterate
        Sky and residual to go on from.
    tolerance : float
        Of `Iterate.left`.
    rounds : int
        At most.
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
