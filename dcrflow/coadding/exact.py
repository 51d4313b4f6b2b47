"""The exact equations of a cell, including pixels without data, and conjugate gradients to solve them.

    (sum_v w_v T_v^H F H_v F^-1 T_v + L) s = sum_v w_v T_v^H F H_v d_v

H_v is 0 in the holes of visit v (pixels without data) and 1 elsewhere; F is the Fourier transform; d_v is the visit
times a window that falls to 0 towards the edges of the cell's box, so s is the sky times this window. Without holes the
operator is block diagonal in frequency: A + L. Therefore the holes are filled with values h, and the unknowns are these
values: those of the holes where there is light. Elsewhere the mean of the visits is good enough, and counts as data;
but a visit with many holes, such as one that ends in the cell, has all of them among the unknowns. With C s = what the
visits show of s in these holes, and W their weights,

    (A + L) s = b + C^T W h,      h = C s,      so      (1 - C (A + L)^-1 C^T W) h = C (A + L)^-1 b

which has as many unknowns as there are such holes, and is symmetric in the inner product with W. Nearly all of the
operator is known as a sparse matrix (`dcrflow.coadding.neighbours`). Its inverse is the preconditioner, so that two or
three rounds are enough; where the matrix would be too large, there is no preconditioner.

Where no visit has data, nearly every h is consistent with itself: the equations are all but singular, and rounding
would decide. So the first filling h_0 counts there as a measurement that may be off by as much as the light there:
h = (C s + e h_0) / (1 + e), with e = (sigma / light)^2, at most `RIDGE`. The preconditioner has e = `RIDGE`, for its
matrix is cut off, and what it says of bright light there is wrong otherwise. How much is left is measured elsewhere.

The solution of a cell starts from b + C^T W h as if every pixel had data (`dcrflow.coadding.ladder`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from dcrflow.coadding.cell_visits import CellVisits, Member, Seen
from dcrflow.coadding.holes import Places, Unknowns, Vector
from dcrflow.coadding.ladder import Image, System, smooth
from dcrflow.coadding.neighbours import Neighbours, Responses
from dcrflow.coadding.small_grid import SmallGrid
from dcrflow.coadding.sums import CellSums
from dcrflow.coadding.transfer import Transform, in_blocks
from dcrflow.kernels.coadd_pixels import add_scaled, largest_around

RELATIVE = 5e-5  # change of the image that is left, as a fraction of the local light; 1/200 of a star's DCR residual
_BRIGHT = 0.5  # noise units of a visit; holes with less light are filled well enough by the mean of the visits
_UNSEEN = 4.0  # times as much where no visit has data: the light that counts there is that of pixels farther away
_SMOOTH = 1.5  # pixels; sigma of the Gaussian that light is smoothed with, so that noise is not taken for light
_LARGE = 0.1  # share of the pixels for which there are data; a visit with more holes has all of them filled exactly
_FAR = 50.0  # times the tolerance; what seems to change more is not measured, since another round is needed anyway
RIDGE = 0.1  # largest weight, as a fraction of a visit's, of the first filling where no visit has data
_BLOCK = 8  # pixels; squares that are near to rejected pixels or not
_DARKEST = np.float32(1e-30)
_AROUND = 2  # pixels to each side, of the square whose largest light counts


@dataclass(frozen=True, eq=False)
class Replaced:
    """Pixels of a visit that were rejected, and what they are replaced with for now: the model's prediction."""

    member: Member
    pixels: NDArray[np.bool_]
    places: Places
    values: Vector


@dataclass(eq=False)
class Filled:
    """A cell whose holes are filled.

    Parameters
    ----------
    sky : ndarray of complex64, shape (num_terms, side, side // 2 + 1)
        The solution s.
    right : ndarray of complex64
        Right-hand side of the equations without holes.
    left : float
        Largest value of `where` in the core; infinite if rounds are left to be done.
    where : ndarray of float32, shape (side, side)
        Change by the last round at every pixel, in the image of the visit with the most DCR. In units of a pixel's
        noise in an ordinary coadd, plus `RELATIVE` of the local light over the tolerance.
    rounds : int
        Rounds so far.
    """

    sky: Transform
    right: Transform
    left: float
    where: Image
    rounds: int


class Filling:
    """The holes of a cell's visits, and what they are filled with.

    Parameters
    ----------
    visits : CellVisits
        The visits of the cell.
    system : System
        The system whose A is the sum over all visits, with holes or without.
    sums : CellSums
        The first sums.
    q : float
        Local power q in the prior L(q).
    """

    def __init__(self, visits: CellVisits, system: System, sums: CellSums, q: float) -> None:
        self.visits, self.system = visits, system
        self.light = visits.light()
        self._smooth_light = np.empty_like(self.light)
        largest_around(np.abs(smooth(visits.mean, _SMOOTH)), _AROUND, self._smooth_light)
        unseen = visits.unseen
        self._smooth_light[unseen] = self.light[unseen] / _UNSEEN
        self.right = sums.right
        self._known = sums.weight > 0
        self._values: dict[int, tuple[Places, Vector]] = {}  # of the unknowns
        self._first: dict[int, Vector] = {}  # what these were before they were solved for
        self._predicted: dict[int, tuple[Places, Vector]] = {}  # of the first holes, with visits of an earlier run
        self._responses: Responses | None = None
        self._open: _State | None = None  # with rounds left to be done
        self._shown: dict[int, Vector] = {}  # by the sky at that time
        self._spoilt = np.zeros(self.light.shape, np.bool_)  # where pixels were rejected last
        if visits.kept is not None:
            self._predict(sums, q)
        for member in visits.members:
            seen = visits.read(member)
            chosen = self._lit(seen)
            known = self._known.ravel()[seen.holes]
            if np.count_nonzero(known) > _LARGE * np.count_nonzero(self._known):
                chosen |= known
            self._add(seen, chosen)

    def _predict(self, sums: CellSums, q: float) -> None:
        """Fill all holes with what the first solution predicts: the mean is only that of the visits of this run."""
        visits, kept = self.visits, self.visits.kept
        assert kept is not None, "only with visits of an earlier run"
        sky = self.system.solve(sums.right, q)
        blocks, inside = in_blocks(sky), np.empty_like(visits.window)
        self.right = sums.right + (kept.data - kept.right)
        image = visits.read(visits.most_refracted()).transfer.shown(blocks)
        for one, light in ((image, self.light), (smooth(image, _SMOOTH), self._smooth_light)):
            largest_around(np.abs(one), _AROUND, inside)
            np.maximum(light, inside, out=light)
        for member in visits.members:
            seen = visits.read(member)
            if not seen.holes.size:
                continue
            some = self._known.ravel()[seen.holes] | self._lit(seen)
            values = seen.transfer.shown(blocks).ravel()[seen.holes] * some
            self._predicted[member.place] = seen.holes, values
            inside[...] = 0
            inside.ravel()[seen.holes] = values
            if member.visit is not None:
                inside.ravel()[seen.holes] -= seen.image.ravel()[seen.holes]
            seen.transfer.add_adjoint(inside, member.weight, self.right)

    def _lit(self, seen: Seen) -> NDArray[np.bool_]:
        """Which holes of a visit are where there is light."""
        light = self._smooth_light.ravel()[seen.holes] * self.visits.window.ravel()[seen.holes]
        return np.asarray(light > _BRIGHT * seen.member.sigma)

    def _add(self, seen: Seen, chosen: NDArray[np.bool_]) -> None:
        """Make some of a visit's holes unknowns, with what they are filled with now."""
        place = seen.member.place
        if place in self._values:
            chosen = chosen & ~np.isin(seen.holes, self._values[place][0])
        if np.any(chosen):
            some = seen.holes[chosen]
            if place in self._predicted:
                holes, values = self._predicted[place]
                self._append(place, some, values[np.searchsorted(holes, some)])
            else:
                self._append(place, some, seen.image.ravel()[some])

    def _append(self, place: int, places: Places, values: Vector) -> None:
        old, first = self._values.get(place), values.copy()
        if old is not None:
            places, values = np.concatenate([old[0], places]), np.concatenate([old[1], values])
            first = np.concatenate([self._first[place], first])
        self._values[place], self._first[place] = (places, values), first

    def replace(self, found: Sequence[Replaced]) -> None:
        """Make rejected pixels unknowns, and holes of other visits there: these were filled with the outlier, too."""
        spoilt = self._spoilt = np.zeros(self.light.shape, np.bool_)
        for one in found:
            self._append(one.member.place, one.places, one.values)
            spoilt |= one.pixels
        for member in self.visits.members:
            seen = self.visits.read(member)
            self._add(seen, spoilt.ravel()[seen.holes])

    def solve(
        self, q: float, tolerance: float, rounds: int, done: int, looked_at: bool = False, near: Filled | None = None
    ) -> Filled:
        """Solve for the holes and the sky.

        Parameters
        ----------
        q : float
            Local power q in the prior L(q).
        tolerance : float
            `Filled.left` at which it is done.
        rounds : int
            Largest number of rounds.
        done : int
            Rounds before.
        looked_at : bool
            Whether all visits will be compared with the sky, which tells `shown` what they show in the holes. Then
            only the first round may be done, `Filled.left` is infinite, and `finish` does the others.
        near : Filled, optional
            The solution before the last pixels were rejected. Only holes near to these are solved for, then; the
            others keep their values, and what their rounds left counts in `Filled.where`.
        """
        sky, self._open = self.system.solve(self.right, q), None
        if not self._values:
            return Filled(sky, self.right, 0.0, np.zeros_like(self.light), done)
        chosen = self._chosen(near is not None)
        places = {n: self._values[n][0][some] for n, some in chosen.items()}
        unknowns = Unknowns(self.visits, places, self.small)
        if not len(unknowns):
            return Filled(sky, self.right, 0.0, np.zeros_like(self.light), done)
        value = np.concatenate([self._values[n][1][some] for n, some in chosen.items()])
        unseen = self.unseen().ravel()[unknowns.places]
        light = self.light.ravel()[unknowns.places]
        ridge = np.minimum(np.float32(RIDGE), 1 / np.maximum(unknowns.weights * light * light, _DARKEST)) * unseen
        neighbours = None
        if near is None or self._responses is not None:  # without these, a few rounds for a few holes cost less
            damping = np.float32(RIDGE) * unseen
            neighbours = Neighbours.of(unknowns, self.small, self.system, q, damping, self._responses)
            self._responses = neighbours.responses if neighbours is not None else None
        first = np.concatenate([self._first[n][some] for n, some in chosen.items()])
        state = _State(
            unknowns, chosen, neighbours, Change(self, tolerance), q, tolerance, value, ridge, first,
            np.empty_like(value), self.right.copy(), sky, rounds, done,
        )  # fmt: skip
        state.see(unknowns.seen(sky))
        if looked_at and rounds > 1 and neighbours is not None and self.visits.kept is None:
            step = neighbours.solve(state.rest)
            if state.change.seems(state.damped(step) - state.rest, unknowns) > _FAR * tolerance:
                spread = unknowns.spread(step)
                effect = self.system.solve(spread, q)
                state.move(1.0, step, spread, effect)
                state.rounds, state.done, self._open = rounds - 1, done + 1, state
                self._keep(state)
                return Filled(sky, self.right, np.inf, np.zeros_like(self.light), state.done)
        now = self._rounds(state)[0]
        if near is not None:
            np.maximum(now.where, near.where, out=now.where)
        return now

    def _chosen(self, near: bool) -> dict[int, NDArray[np.bool_] | slice]:
        """Which unknowns of each visit are solved for: all, or those near to pixels that were rejected last."""
        if not near:
            return dict.fromkeys(self._values, np.s_[:])
        side, blocks = len(self._spoilt), -(-len(self._spoilt) // _BLOCK)
        padded = np.zeros((blocks * _BLOCK, blocks * _BLOCK), np.bool_)
        padded[:side, :side] = self._spoilt
        coarse = padded.reshape(blocks, _BLOCK, blocks, _BLOCK).any(axis=(1, 3))
        around = maximum_filter(coarse, 2 * -(-self.small.reach // _BLOCK) + 1)
        out: dict[int, NDArray[np.bool_] | slice] = {}
        for place, (places, _) in self._values.items():
            y, x = np.divmod(places, np.int32(side))
            out[place] = around[y // _BLOCK, x // _BLOCK]
        return out

    def shown(self, member: Member, model: Image) -> None:
        """Take what a visit shows of the sky in its holes from an image of all that it shows."""
        if self._open is not None and member.place in self._values:
            self._shown[member.place] = model.ravel()[self._values[member.place][0]]

    def finish(self) -> tuple[Filled, float]:
        """Do the rounds that `solve` left to be done after `shown`; also returns what the first of them changed."""
        state, self._open = self._open, None
        assert state is not None, "solve has left rounds to be done"
        state.see(np.concatenate([self._shown[p.member.place] for p in state.unknowns.pixels]))
        return self._rounds(state)

    @cached_property
    def small(self) -> SmallGrid:
        """The visits on a small grid."""
        return SmallGrid(self.visits)

    def unseen(self) -> NDArray[np.bool_]:
        """Where no visit has data, neither of this run nor of an earlier one."""
        kept, unseen = self.visits.kept, self.visits.unseen
        return unseen if kept is None else unseen & (kept.weight <= 0)

    def _keep(self, state: _State) -> None:
        for pixels, part in state.unknowns.parts(state.value):
            place = pixels.member.place
            self._values[place][1][state.chosen[place]] = part
        self.right = state.right

    def _rounds(self, state: _State) -> tuple[Filled, float]:
        """Conjugate gradients; also returns what the first round changed, infinite if that was not measured."""
        unknowns, neighbours, change, q = state.unknowns, state.neighbours, state.change, state.q
        weight, rest, moved = unknowns.weights, state.rest, np.nan
        direction, product, along = np.zeros_like(rest), np.zeros_like(rest), 1.0
        to_right, to_sky = np.zeros_like(self.right), np.zeros_like(state.sky)
        while True:
            step = rest if neighbours is None else neighbours.solve(rest)
            far = neighbours is not None and state.rounds > 1
            far = far and change.seems(state.damped(step) - rest, unknowns) > _FAR * state.tolerance
            spread = unknowns.spread(step)
            effect = self.system.solve(spread, q)
            state.done, state.rounds = state.done + 1, state.rounds - 1
            if not far:
                where, left = change.of(effect)
                moved = left if np.isnan(moved) else moved
                if left <= state.tolerance or state.rounds <= 0:
                    state.move(1.0, step, spread, effect)
                    break
            moved = np.inf if np.isnan(moved) else moved
            seen = state.damped(step) - unknowns.seen(effect)
            back = np.float32(_inner(weight, seen, direction) / along)  # the preconditioner need not be linear
            direction, product = step - back * direction, seen - back * product
            add_scaled(to_right, -back, spread, to_right)
            add_scaled(to_sky, -back, effect, to_sky)
            along = _inner(weight, direction, product)
            if along <= 0:  # rounding
                where, left = change.of(effect)
                break
            size = _inner(weight, rest, direction) / along
            state.move(size, direction, to_right, to_sky)
            rest = rest - np.float32(size) * product
        self._keep(state)
        return Filled(state.sky, state.right, left, where, state.done), moved


@dataclass(eq=False)
class _State:
    """The unknowns of a cell, their values, and the sky that belongs to these."""

    unknowns: Unknowns
    chosen: dict[int, NDArray[np.bool_] | slice]  # which of all, of each visit
    neighbours: Neighbours | None
    change: Change
    q: float
    tolerance: float
    value: Vector
    ridge: Vector  # weight of `first`: where no visit has data
    first: Vector
    rest: Vector  # by how much the values are not what the visits show in the unknowns
    right: Transform
    sky: Transform
    rounds: int  # which are left
    done: int

    def see(self, shown: Vector) -> None:
        """Take what the visits show in the unknowns."""
        self.rest = shown - self.value + self.ridge * (self.first - self.value)

    def damped(self, step: Vector) -> Vector:
        """(1 + e) step."""
        return step + self.ridge * step

    def move(self, size: float, step: Vector, spread: Transform, effect: Transform) -> None:
        """Change the values, and with them the right-hand side and the sky."""
        self.value += np.float32(size) * step
        add_scaled(spread, size, self.right, self.right)
        add_scaled(effect, size, self.sky, self.sky)


class Change:
    """Measures a change of the sky in the image of the visit with the most DCR.

    Parameters
    ----------
    filling : Filling
        The cell.
    tolerance : float
        At which `RELATIVE` of the light counts as much as the noise.
    """

    def __init__(self, filling: Filling, tolerance: float) -> None:
        visits = filling.visits
        self._core = visits.cell.core.slices(visits.cell.box)
        self._probe = visits.read(visits.most_refracted()).transfer
        noise = float(np.sqrt(filling.system.noise[0, 0]))
        self._limit = np.float32(noise) + np.float32(RELATIVE / tolerance) * filling.light
        self._limit[filling.unseen()] = np.inf  # there will be NO_DATA

    def of(self, change: Transform) -> tuple[Image, float]:
        """`Filled.where` and `Filled.left` of a change of the sky."""
        where = np.abs(self._probe.shown(in_blocks(change))) / self._limit
        return where, float(where[self._core].max())

    def seems(self, seen: Vector, unknowns: Unknowns) -> float:
        """A rough upper estimate of `left`, from the change of what visits show in the unknowns."""
        return float(np.max(np.abs(seen) / self._limit.ravel()[unknowns.places]))


def _inner(weight: Vector, one: Vector, other: Vector) -> float:
    return float(np.dot(weight * one, other))
