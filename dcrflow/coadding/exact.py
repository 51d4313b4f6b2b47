"""The exact equations of a cell, including pixels without data, and conjugate gradients to solve them.

    (sum_v w_v T_v^H F H_v F^-1 T_v + L) s = sum_v w_v T_v^H F H_v d_v

H_v is 0 in the holes of visit v (pixels without data) and 1 elsewhere; F is the Fourier transform; d_v is the visit
times a window that falls to 0 towards the edges of the cell's box, so s is the sky times this window. Without holes the
operator is block diagonal in frequency: A + L, which is the preconditioner. It differs from the exact one only by

    A - sum_v w_v T_v^H F H_v F^-1 T_v = sum_v w_v T_v^H F (1 - H_v) F^-1 T_v

so a round needs only the visits that have holes where there is light. As soon as the change that a step makes in the
holes of a visit no longer matters, the visit is left out of further rounds.

When the iteration stops at a sky s with residual r, b = (A + L) s + r are the sums over visits whose pixels without
data are filled with the model's prediction. From then on, the cell is solved as if every pixel had data
(`dcrflow.coadding.ladder`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dcrflow.coadding.cell_visits import CellVisits, Member, Seen
from dcrflow.coadding.ladder import Image, System
from dcrflow.coadding.sums import CellSums
from dcrflow.coadding.transfer import Transform, backward, forward
from dcrflow.kernels.coadd_pixels import add_scaled, keep_holes, largest_around
from dcrflow.kernels.fourier import add_adjoint, predict

RELATIVE = 3e-4  # error of the image that is left, as a fraction of the local light; 1/30 of a star's DCR residual
_SETTLED = 0.1  # noise units of a visit; smaller changes in its holes do not matter
_SETTLED_RELATIVE = 5e-4  # the same as a fraction of the light
_BRIGHT = 2.0  # noise units of a visit; holes with less light are filled well enough by the mean of the visits
_AROUND = 2  # pixels to each side, of the square whose largest light counts


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
        Largest value of `where` in the core.
    where : ndarray of float32, shape (side, side)
        Remaining change at every pixel: the correction that the residual implies for the image of the visit with the
        most DCR. In units of a pixel's noise in an ordinary coadd, plus `RELATIVE` of the local light over the
        tolerance.
    rounds : int
        Rounds over the visits so far.
    """

    sky: Transform
    residual: Transform
    left: float
    where: Image
    rounds: int


class Holes:
    """Which visits still take part in the rounds.

    Parameters
    ----------
    visits : CellVisits
        The visits of the cell.
    light : ndarray of float32, shape (side, side)
        Light at and around each pixel.
    """

    def __init__(self, visits: CellVisits, light: Image) -> None:
        self.visits = visits
        self.light = light
        self.active: dict[int, Member] = {}
        self.spoilt = np.zeros(light.shape, np.bool_)  # by outliers

    def add(self, member: Member) -> bool:
        """Let a visit take part again after some of its pixels were rejected.

        Returns whether other visits have holes there: these were filled by a model that still had the outlier in it.
        """
        self.active[member.place] = member
        pixels = self.visits.rejected[member.place]
        others = any(np.any(pixels & ~self.visits.read(m).valid) for m in self.visits.members if m is not member)
        self.spoilt |= pixels
        if self.visits.kept is None:
            self.light = light_of(self.visits.mean)
        return others

    def matter(self, seen: Seen) -> bool:
        """Whether a visit has holes where there is light, or where there was an outlier."""
        light, spoilt = self.light.ravel()[seen.holes], self.spoilt.ravel()[seen.holes]
        return bool(np.any(light > _BRIGHT * seen.member.sigma) or np.any(spoilt))

    def subtract(self, sky: Transform, out: Transform) -> dict[int, float]:
        """Subtract sum_v w_v T_v^H F (1 - H_v) F^-1 T_v sky from `out`.

        Returns the largest value in the holes of each visit, where 1 is settled.
        """
        seen_as, inside, sizes = np.empty(sky.shape[1:], np.complex64), np.empty_like(self.light), {}
        for place, member in self.active.items():
            seen = self.visits.read(member)
            predict(seen.transfer, sky, seen_as)
            sizes[place] = self.keep(seen, backward(seen_as), inside)
            add_adjoint(seen.transfer, forward(inside), -member.weight, out)
        return sizes

    def keep(self, seen: Seen, image: Image, out: Image) -> float:
        """Copy the holes of an image to `out`, 0 elsewhere; returns the largest value in them, where 1 is settled."""
        noise = _SETTLED * seen.member.sigma
        return float(keep_holes(image, seen.holes, self.light, noise, _SETTLED_RELATIVE, out))

    def settle(self, sizes: dict[int, float], step: float) -> None:
        """Leave out the visits in whose holes a step changes little."""
        for place, size in sizes.items():
            if abs(step) * size < 1.0:
                del self.active[place]


def light_of(image: Image) -> Image:
    """Largest light around each pixel."""
    out = np.empty_like(image)
    largest_around(np.abs(image), _AROUND, out)
    return out


def first_iterate(visits: CellVisits, system: System, sums: CellSums, q: float) -> tuple[Iterate, Holes]:
    """Solve with the first sums, and compute the residual of the exact equations there."""
    sky = system.solve(sums.right, q)
    holes = Holes(visits, light_of(visits.mean))
    seen_as = np.empty(sky.shape[1:], np.complex64)
    if visits.kept is not None:
        probe = visits.most_refracted()
        predict(probe, sky, seen_as)
        holes.light = np.maximum(holes.light, light_of(backward(seen_as)))
    residual = residual_at(visits, system, sums, q, sky, holes)
    return Iterate(sky, residual, np.inf, np.zeros_like(visits.window), 2), holes


def residual_at(
    visits: CellVisits, system: System, sums: CellSums, q: float, sky: Transform, holes: Holes
) -> Transform:  # fmt: skip
    """The residual of the exact equations at a sky; the visits that matter take part in the rounds that follow."""
    seen_as, inside = np.empty(sky.shape[1:], np.complex64), np.empty_like(visits.window)
    holes.active.clear()
    residual = sums.right - system.apply(sky, q)
    if visits.kept is not None:
        residual += visits.kept.data - visits.kept.right
    for member in visits.members:
        seen = visits.read(member)
        old = member.visit is None
        if not seen.holes.size or not (old or visits.kept is not None or holes.matter(seen)):
            continue
        predict(seen.transfer, sky, seen_as)
        image = backward(seen_as)
        if not old:
            image -= seen.image
        size = holes.keep(seen, image, inside)
        add_adjoint(seen.transfer, forward(inside), member.weight, residual)
        if old or size > 1.0:
            holes.active[member.place] = member
    return residual


def iterate(
    visits: CellVisits, system: System, q: float, holes: Holes, start: Iterate, tolerance: float, rounds: int
) -> Iterate:  # fmt: skip
    """Preconditioned conjugate gradients, until the residual is below the noise.

    Parameters
    ----------
    visits : CellVisits
        The visits of the cell.
    system : System
        The system whose A is the sum over all visits, with holes or without.
    q : float
        Local power q in the prior L(q).
    holes : Holes
        The visits that take part; changed.
    start : Iterate
        Sky and residual to start from.
    tolerance : float
        The iteration stops when `Iterate.left` is below this.
    rounds : int
        Largest number of rounds.
    """
    core = visits.cell.core.slices(visits.cell.box)
    probe, image = visits.most_refracted(), np.empty(start.sky.shape[1:], np.complex64)
    noise = float(np.sqrt(system.noise[0, 0]))
    limit = np.float32(noise) + np.float32(RELATIVE / tolerance) * holes.light
    sky, residual = start.sky.copy(), start.residual.copy()
    change = system.solve(residual, q)
    direction, power = change.copy(), inner(residual, change)
    done = start.rounds
    while True:
        predict(probe, change, image)
        where = np.asarray(np.abs(backward(image)) / limit, np.float32)
        left = float(where[core].max())
        if left <= tolerance or done - start.rounds >= rounds or power <= 0:
            return Iterate(sky, residual, left, where, done)
        product = system.apply(direction, q)
        sizes = holes.subtract(direction, product)
        step = power / inner(direction, product)
        add_scaled(direction, step, 1.0, sky)
        add_scaled(product, -step, 1.0, residual)
        holes.settle(sizes, step)
        change = system.solve(residual, q)
        before, power = power, inner(residual, change)
        add_scaled(change, 1.0, power / before, direction)
        done += 1


def inner(one: Transform, other: Transform) -> float:
    """Real inner product of two images, from their transforms."""
    side = one.shape[-2]
    ends = [0] if side % 2 else [0, -1]
    total = 2 * float(np.vdot(one, other).real)
    return total - float(np.vdot(one[..., ends], other[..., ends]).real)
