"""The visits of a cell: read one at a time, kept between rounds as far as memory allows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.workspace import NEW_MEMORY, Workspace
from dcrflow.coadding.basis import SpectralBasis
from dcrflow.coadding.cells import Cell, CellGrid, cut
from dcrflow.coadding.sums import FLAGS, CellSums, KeptVisit
from dcrflow.coadding.transfer import (
    SAMPLED,
    Optics,
    TransferFunctions,
    Transform,
    blocks_shape,
    rows_in_blocks,
    transfer_functions,
)
from dcrflow.coadding.visits import Correction, VisitOnCell, VisitOnFrame
from dcrflow.coadding.window import window_nodes, window_of
from dcrflow.kernels.blocks import add_visits, from_blocks
from dcrflow.kernels.coadd_pixels import add_pixels, holes_of, largest_around
from dcrflow.kernels.first_fill import fill_holes
from dcrflow.kernels.transforms import plan

Name = tuple[int, int]
Image = NDArray[np.float32]
Bool = NDArray[np.bool_]
Places = NDArray[np.int32]

_TOGETHER = (8, 4, 1)  # visits that are added to the sums at a time, as many as there are
_NEAR = 16  # pixels around a core in which a visit must have data to be used
_INSIDE, _SOME = 0.1, 0.01  # least window and least weight, relative to a visit's, for which a mean is computed
_AROUND, _BEYOND = 2, 8  # pixels to each side, of the square whose largest light counts; the same without any data

CACHE = 320 << 20  # bytes of visits and transfer functions that a cell keeps between rounds; others are recomputed


@dataclass(frozen=True, eq=False)
class Member:
    """A visit on a cell.

    Parameters
    ----------
    place : int
        Its number among the visits of the cell.
    name : tuple of (int, int)
        Visit and detector.
    sigma, gain : float
        Noise of the sky and photon noise.
    visit : VisitOnFrame or None
        Where its pixels are; None if they are only in the sums of an earlier run.
    """

    place: int
    name: Name
    sigma: float
    gain: float
    visit: VisitOnFrame | None

    @property
    def weight(self) -> float:
        """Weight w = sigma^-2."""
        return self.sigma**-2


@dataclass(frozen=True, eq=False)
class Seen:
    """What one round needs of a member.

    Parameters
    ----------
    member : Member
        The member.
    image : ndarray of float32, shape (side, side)
        Image times window, holes filled with a first prediction; empty for a visit of an earlier run.
    valid : ndarray of bool, shape (side, side)
        False in holes: pixels without data, and rejected ones.
    holes : ndarray of int32
        Where it is False: indices of the flattened image.
    transfer : TransferFunctions
        Transfer functions T.
    """

    member: Member
    image: Image
    valid: Bool
    holes: Places
    transfer: TransferFunctions


@dataclass(eq=False)
class CellVisits:
    """The visits of a cell and those of earlier runs.

    Parameters
    ----------
    cell : Cell
        The cell.
    grid : CellGrid
        The grid that it belongs to.
    visits : sequence of VisitOnFrame
        The visits of the frame; those without data near the core are skipped.
    basis : SpectralBasis
        Basis of the band.
    corrections : mapping
        Corrections from self-calibration.
    kept : CellSums, optional
        Sums over earlier visits, whose pixels are not read again.
    workspace : Workspace
        Lends the memory of what is kept between rounds.
    """

    cell: Cell
    grid: CellGrid
    visits: Sequence[VisitOnFrame]
    basis: SpectralBasis
    corrections: Mapping[Name, Correction]
    kept: CellSums | None = None
    workspace: Workspace = NEW_MEMORY
    members: list[Member] = field(default_factory=list)
    rejected: dict[int, Bool] = field(default_factory=dict)
    window: Image = field(init=False)  # of the first sums
    mean: Image = field(init=False)
    _filler: Image = field(init=False)  # the mean that holes are filled with: that before anything was rejected
    _weight: Image = field(init=False)
    _cache: dict[int, Seen] = field(default_factory=dict)
    _fresh: dict[int, tuple[VisitOnCell, Places]] = field(default_factory=dict)  # read for the mean alone so far
    _sampled: dict[int, Transform] = field(default_factory=dict)
    _coarse: dict[int, Transform] = field(default_factory=dict)
    _bytes: int = 0

    def __post_init__(self) -> None:
        near = self.cell.core.grown(_NEAR)
        for visit in self.visits:
            if np.any(cut(visit.valid, near, False)):
                self.members.append(Member(len(self.members), visit.name, visit.sigma, visit.gain, visit))
        for old in self.kept.visits if self.kept is not None else ():
            self.members.append(Member(len(self.members), old.name, old.sigma, 0.0, None))

    @property
    def new(self) -> list[Member]:
        """The members whose pixels can be read."""
        return [m for m in self.members if m.visit is not None]

    @property
    def side(self) -> int:
        """Side of the cell's box."""
        return self.grid.side

    def read(self, member: Member) -> Seen:
        """Read one visit; rejected pixels are not valid."""
        if member.place in self._cache:
            return self._cache[member.place]
        on, holes = self._on(member)
        shape, valid = blocks_shape(self.basis.num_terms, self.side), on.valid
        size = on.image.nbytes + valid.nbytes + 4 * math.prod(shape)
        kept = self._bytes + size <= CACHE
        memory = self.workspace if kept else NEW_MEMORY
        blocks = memory.array(f"cell: transfer functions {member.place}", shape, np.float32)
        transfer = transfer_functions(self.optics(member), self.basis, blocks)
        if member.visit is not None:
            fill_holes(on.image, holes, valid, self._filler, self.window)
        if member.place in self.rejected:
            valid &= ~self.rejected[member.place]
            holes = holes_of(valid)
        if member.place not in self._sampled:
            self._sampled[member.place] = transfer.every(SAMPLED)
            self._coarse[member.place] = transfer.every(self.step)
        seen = Seen(member, on.image, valid, holes, transfer)
        if kept:
            self._cache[member.place] = seen
            self._bytes += size
        return seen

    def transfers_sampled(self, members: Sequence[Member]) -> Transform:
        """Transfer functions of some members, `sampled`, shape (num_members, num_terms, ny, nh)."""
        return self._all(self._sampled, members)

    def transfers_of_points(self) -> Transform:
        """The same of all members at every `step`-th frequency."""
        return self._all(self._coarse, self.members)

    def _all(self, of: dict[int, Transform], members: Sequence[Member]) -> Transform:
        for member in members:
            if member.place not in of:
                self.read(member)
        return np.stack([of[member.place] for member in members])

    def correction(self, member: Member) -> Correction:
        """The correction of a visit; that which was applied, for one of an earlier run."""
        if member.visit is None:
            return Correction(*self._old(member).correction)
        return self.corrections.get(member.name, Correction())

    def optics(self, member: Member) -> Optics:
        """PSF, DCR and correction of a visit on this cell."""
        if member.visit is None:
            old = self._old(member)
            return Optics(old.psf, old.displacement, self.correction(member))
        on = member.visit
        of_psf, of_dcr = (self.cell.index if len(a) > 1 else 0 for a in (on.psf, on.displacement))
        return Optics(on.psf[of_psf], on.displacement[of_dcr], self.correction(member))

    def _old(self, member: Member) -> KeptVisit:
        assert self.kept is not None, "members without pixels are those of an earlier run"
        return self.kept.visits[member.place - (len(self.members) - len(self.kept.visits))]

    def _on(self, member: Member) -> tuple[VisitOnCell, Places]:
        """A visit's pixels, and where it has holes."""
        if member.place in self._fresh:
            return self._fresh.pop(member.place)
        if member.visit is not None:
            on = member.visit.on(self.cell)
            assert on is not None, "members have data"
            return on, holes_of(on.valid)
        old = self._old(member)
        holes = np.unpackbits(old.holes, count=self.side**2).reshape(self.side, self.side).astype(np.bool_)
        nothing = np.zeros((0, 0), np.float32)
        on = VisitOnCell(old.name, nothing, ~holes, old.sigma, 0.0, old.psf, old.displacement)
        return on, holes_of(on.valid)

    def most_refracted(self) -> Member:
        """The member with the most DCR."""

        def refraction(member: Member) -> float:
            all_cells = self._old(member).displacement[None] if member.visit is None else member.visit.displacement
            return float(np.ptp(all_cells, axis=1).max())

        return max(self.members, key=refraction)

    @cached_property
    def step(self) -> int:
        """Every which frequency is enough for what a visit spreads a point of the sky over."""
        least, side = max(2 * max(self.optics(m).reach for m in self.members) + 2, 96), self.side
        return next((n for n in range(side // least, 1, -1) if side % (2 * n) == 0), 1)

    @property
    def unseen(self) -> Bool:
        """Where none of the visits of this run has data."""
        return np.asarray(self._weight <= 0)

    def light(self) -> Image:
        """Largest light around each pixel in the mean of the visits of this run.

        Where none of them has data, the light farther away counts, too.
        """
        out, bright, none = np.empty_like(self.mean), np.abs(self.mean), self.unseen
        largest_around(bright, _AROUND, out)
        if none.any():
            far = np.empty_like(out)
            largest_around(bright, _BEYOND, far)
            out[none] = far[none]
        return out

    def reject(self, member: Member, pixels: Bool) -> None:
        """Exclude pixels of a visit from now on, also from the mean."""
        seen = self.read(member)
        before = self.rejected.get(member.place)
        self.rejected[member.place] = pixels if before is None else before | pixels
        out = pixels & seen.valid & (self.window > _INSIDE)
        left = self._weight[out] - np.float32(member.weight)
        lost = np.float32(member.weight) * seen.image[out] / self.window[out]
        rest = self.mean[out] * self._weight[out] - lost
        self.mean[out] = np.where(left > _SOME * member.weight, rest / np.maximum(left, _SOME * member.weight), 0)
        self._weight[out] = left
        seen.valid[pixels] = False
        if member.place in self._cache:
            self._cache[member.place] = replace(seen, holes=holes_of(seen.valid))

    def measured(self, member: Member) -> Bool:
        """Pixels of a visit that have data, rejected or not, shape (side, side)."""
        assert member.visit is not None, "only visits of this run are asked"
        return np.asarray(cut(member.visit.valid, self.cell.box, False), np.bool_)

    def first_sums(self) -> CellSums:
        """Sums over all visits, with holes filled by the mean of the visits and what is near; those kept included."""
        sums = CellSums.empty(self.basis.num_terms, self.side)
        light, weight, count = np.zeros((self.side, self.side), np.float32), sums.weight, sums.count
        lacked, total = np.zeros(light.shape), 0.0  # float64: one visit may count far more than another
        for member in self.new:
            on, holes = self._on(member)
            add_pixels(on.image, holes, member.weight, light, lacked, count)  # `count` of those that lack it, for now
            total += member.weight
            if (len(self._fresh) + 1) * (on.image.nbytes + on.valid.nbytes) < CACHE // 4:
                self._fresh[member.place] = on, holes
        np.subtract(len(self.new), count, out=count)
        weight[...] = np.where(count == 0, 0, total - lacked)
        self.mean = np.divide(light, weight, out=np.zeros_like(light), where=weight > 0)
        self._filler, self._weight = self.mean.copy(), weight.copy()
        nodes = self._set_window()
        left, shape = self.new, blocks_shape(self.basis.num_terms, self.side)
        normal = self.workspace.array("cell: normal", (len(sums.normal), *shape[1:]), np.float32)
        right = self.workspace.array("cell: right", shape, np.float32)
        normal[:], right[:] = 0, 0
        while left:
            number = next(n for n in _TOGETHER if n <= len(left))
            some, left = [self.read(m) for m in left[:number]], left[number:]
            weights = np.array([seen.member.weight for seen in some], np.float32)
            images = self.workspace.array("cell: transforms", (number, *shape[1:]), np.float32)
            for seen, image in zip(some, images, strict=True):
                rows_in_blocks(seen.image, image)
            transfers = tuple(seen.transfer.blocks for seen in some)
            add_visits((1,) * len(right), transfers, images, weights, *plan(self.side), normal, right)
        from_blocks(normal, False, sums.normal)
        from_blocks(right, False, sums.right)
        kept = self.kept
        if kept is None:
            return CellSums(
                sums.normal, sums.right, sums.data, weight, total, sums.count, sums.flags, window=nodes
            )  # fmt: skip
        return CellSums(
            sums.normal + kept.normal, sums.right + kept.right, sums.data, weight + kept.weight, total + kept.total,
            sums.count + kept.count, kept.flags.copy(), window=nodes,
        )  # fmt: skip

    def _set_window(self) -> Image:
        """Fit the window to the mean of the visits, unless it is that of kept sums; returns its nodes."""
        taper = self.grid.taper
        if self.kept is not None and self.kept.window.size:
            nodes = self.kept.window
        else:
            some = self._weight[self._weight > 0]
            noise = float(np.median(some)) ** -0.5 if len(some) else 1.0
            nodes = window_nodes(self.mean, noise, taper)
        self.window = window_of(nodes, self.side, taper)
        return nodes

    def last_sums(self, first: CellSums, right: Transform, keep: bool) -> CellSums:
        """The sums to be kept: holes filled by the model in `right`, 0 in `data`; rejected pixels are not counted.

        Without `keep`, `data` and `visits` lack the visits of this run, and nothing can be added.
        """
        weight, count, flags, data = first.weight.copy(), first.count.copy(), first.flags.copy(), first.data
        kept = list(self.kept.visits) if self.kept is not None else []
        if self.kept is not None:
            data += self.kept.data
        new = []
        for member in self.new:
            measured, pixels = self.measured(member), self.rejected.get(member.place)
            flags |= np.where(measured, np.uint8(0), np.uint8(FLAGS["REJECTED"]))
            if pixels is not None:
                out = pixels & measured
                weight[out] -= np.float32(member.weight)
                count[out] -= np.int16(1)
                flags[out] |= np.uint8(FLAGS["CLIPPED"])
            assert member.visit is not None
            if member.visit.edges is not None:
                flags[np.asarray(cut(member.visit.edges, self.cell.box, False), np.bool_)] |= FLAGS["SENSOR_EDGE"]
            if keep:
                seen = self.read(member)
                seen.transfer.add_adjoint(seen.image * seen.valid, member.weight, data)
                new.append(self._keep(seen))
        return CellSums(
            first.normal, right, data, np.maximum(weight, 0), first.total, count, flags, (*kept, *new), first.window
        )  # fmt: skip

    def _keep(self, seen: Seen) -> KeptVisit:
        member, optics = seen.member, self.optics(seen.member)
        correction = optics.correction
        return KeptVisit(
            member.name, member.sigma, np.packbits(~seen.valid), optics.psf, optics.displacement,
            (correction.scale, correction.dy, correction.dx),
        )  # fmt: skip

    def __iter__(self) -> Iterator[Seen]:
        return (self.read(member) for member in self.members)
