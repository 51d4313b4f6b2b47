"""Reject outliers: light that only one visit shows, such as transients, satellites and cosmic rays.

The residual of each visit is matched with its own PSF. Its significance is that of a *leave-one-out* prediction, which
needs no second solution: a visit pulls the model towards itself by its leverage h(f), so a source of flux F that only
this visit has leaves F P (1 - h) in its residual. The flux and its error are

    F = (P * r) / sum |P|^2 (1 - h),      var F = sigma^2 / sum |P|^2 (1 - h)

and the residuals of the other visits are much smaller, with opposite sign. At each position only the visit with the
largest deviation is rejected, and near a large deviation no much smaller one. The others are tested in the next round,
with a model without the rejected pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter  # scipy's is the fastest where squares are large

from dcrflow.coadding.cell_visits import CellVisits, Member, Seen
from dcrflow.coadding.exact import Replaced
from dcrflow.coadding.ladder import Image, System
from dcrflow.coadding.transfer import Blocks, Transform, in_blocks, sampled
from dcrflow.coadding.windows import Squares
from dcrflow.kernels.coadd_pixels import largest_around, note_by_square, subtract_model, sums_by_square
from dcrflow.kernels.fourier import free_power
from dcrflow.model.coadd_config import CoaddConfig

Name = tuple[int, int]
Bounds = tuple[int, int, int, int]

MODEL_ERROR = 0.01  # error of the model as a fraction of its light; limits the weight of stars in self-calibration
_NEIGHBOURS = 25  # pixels; side of the square in which only one visit is rejected per round
_SHADOW, _OVERSHADOWED = 60, 0.2  # pixels; peaks this near, and so much smaller, may be errors that a peak causes
_REACH = 40  # pixels; significant pixels of the same visit this near to a rejected peak are rejected too
_BEYOND = 12  # pixels around a core in which outliers are looked for; farther out the window is felt
_LEAST_FREE = 0.05  # fraction of a visit's information not absorbed by the model; below it, no outlier can be found
_SAMPLE = 6  # the scatter is estimated from every 6th pixel along each axis
_FELT = 1.0  # standard errors of a point source's flux; where the model changes by more, all visits are compared again
_ROUGHLY = 1.5  # times as much as some of the visits show of a change is what others may show
_PROBES = 8  # visits with rejected pixels; with more, all visits are compared everywhere
_WORTH = 0.7  # of the cost of a look at all of all visits; above it, this is what is done
_MEDIAN = 0.6745  # median of the absolute value of a standard normal deviate


@dataclass(eq=False)
class Look:
    """What is found when the visits are compared with the model.

    After the first look at all of them, `again` compares only where something may have changed: where pixels were
    rejected, where the model changed by what matters to any visit, and where a visit was so near to the threshold that
    the change may take it there. What is found elsewhere stays as it was.

    Parameters
    ----------
    visits : CellVisits
        The visits; outliers are added to their rejected pixels.
    system : System
        The system of the cell.
    q : float
        Local power of the prior.
    config : CoaddConfig
        Thresholds.
    squares : dict
        Sum of the squares of the residual and number of pixels in the core, for each visit of this run.
    equations : dict
        Normal equations of self-calibration of each of these visits, shape (4, 5).
    """

    visits: CellVisits
    system: System
    q: float
    config: CoaddConfig
    squares: dict[Name, tuple[float, int]] = field(default_factory=dict)
    equations: dict[Name, NDArray[np.float64]] = field(default_factory=dict)
    _free: dict[int, tuple[float, float]] = field(default_factory=dict)
    _sky: Transform | None = None  # at the last look at all visits
    _parts: dict[int, _Parts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._cut = Squares(self.visits, _bounds(self.visits, _BEYOND), _bounds(self.visits, 0))

    def set_prior(self, q: float) -> None:
        """Change the local power of the prior."""
        if q != self.q:
            self.q, self._sky = q, None
            self._free.clear()

    def at(
        self, sky: Transform, right: Transform, reject: bool, shown: Callable[[Member, Image], None] | None = None
    ) -> list[Replaced]:
        """Compare the visits with a sky, and reject outliers.

        Parameters
        ----------
        sky : ndarray of complex64, shape (num_terms, side, side // 2 + 1)
            The sky s.
        right : ndarray of complex64
            Right-hand side of the equations; what is rejected in it is replaced with the model's prediction.
        reject : bool
            Whether to reject anything.
        shown : function, optional
            Told what each visit shows of the sky.

        Returns
        -------
        list of Replaced
            Visits of which pixels were rejected.
        """
        visits, blocks = self.visits, in_blocks(sky)
        found = _Found.nothing(visits, self._light(blocks) if reject else np.zeros_like(visits.window))
        rest = np.empty_like(visits.window)
        self._sky = sky.copy()
        for member in visits.new:
            seen = visits.read(member)
            model = self._compare(seen, blocks, rest)
            if shown is not None:
                shown(member, model)
            parts = self._parts[member.place] = _Parts.nothing(len(self._cut))
            parts.add(rest, model, seen, self._cut.core, np.s_[:])
            flux = self._flux(seen, rest) if reject else None
            if flux is not None:
                parts.scatter = self._scatter(seen, flux)
                flux /= np.float32(parts.scatter)
                self._note(member, flux, found, parts.most)
            self._told(member)
        return self._rejected(blocks, right, found) if reject else []

    def again(self, sky: Transform, right: Transform, reject: bool) -> list[Replaced]:
        """The same after the sky has changed, and pixels were rejected; compares where this may matter."""
        blocks = in_blocks(sky)
        light = self._light(blocks) if reject else np.zeros_like(self.visits.window)
        which = self._changed(sky, light, reject)
        if which is None or sum(map(np.count_nonzero, which.values())) * self._cut.cost > _WORTH * len(which):
            return self.at(sky, right, reject)
        found = _Found.nothing(self.visits, light)
        skies = self._cut.skies(sky, np.flatnonzero(np.any(list(which.values()), axis=0)).tolist())
        for member in self.visits.new:
            numbers = np.flatnonzero(which[member.place])
            if numbers.size:
                window, parts = self._cut.see(member), self._parts[member.place]
                for number in numbers.tolist():
                    window.compare(number, skies[number])
                    core = self._cut.inside(number, self._cut.core)
                    parts.add(window.rest, window.model, window.seen, core, np.s_[number : number + 1], window.good)
                    if reject and parts.scatter:
                        flux = window.flux(1 / (self._error(member) * self._free_of(member)[0] * parts.scatter))
                        self._note(member, flux, found, parts.most, number)
                self._told(member)
        return self._rejected(blocks, right, found) if reject else []

    def _changed(self, sky: Transform, light: Image, reject: bool) -> dict[int, NDArray[np.bool_]] | None:
        """The squares in which each visit is to be compared again; None if all of them.

        No visit shows more of an outlier that was rejected than that of which it was, with the same weight: the
        leverage of a visit on itself is the largest. Two more visits stand for what has changed otherwise.
        """
        visits, before, new = self.visits, self._sky, self.visits.new
        probes = [m for m in new if np.any(self._parts[m.place].touched)] if self._parts else []
        if before is None or not self._cut.side or len(probes) > _PROBES:
            return None
        change = in_blocks(sky - before)
        felt = np.zeros_like(light)
        for probe in {m.place: m for m in (*probes, self._widest(), visits.most_refracted())}.values():
            np.maximum(felt, np.abs(self._source(change, probe)), out=felt)
        felt /= np.hypot(np.float32(min(map(self._error, new))), np.float32(self.config.reject_model_error) * light)
        most, which = _ROUGHLY * self._cut.largest(felt), {}
        for member in new:
            free, all_of_it = self._free_of(member)
            by, parts = most * np.float32(all_of_it / max(free, _LEAST_FREE * all_of_it)), self._parts[member.place]
            which[member.place] = parts.touched | (by > _FELT)
            if reject:
                which[member.place] |= parts.most + by > self.config.reject_threshold
        return which

    def _rejected(self, sky: Blocks, right: Transform, found: _Found) -> list[Replaced]:
        visits, out = self.visits, []
        rest = np.empty_like(visits.window)
        for member, peaks in _peaks(visits, found.largest, found.whose, self.config.reject_threshold):
            seen = visits.read(member)
            self._compare(seen, sky, rest)
            pixels = self._outliers(seen, rest, found.light, peaks)
            seen.transfer.add_adjoint(np.where(pixels, rest, 0), -member.weight, right)
            places = np.flatnonzero(pixels & seen.valid).astype(np.int32)
            if len(places):
                out.append(Replaced(member, pixels, places, (seen.image - rest).ravel()[places]))
            visits.reject(member, pixels)
            self._parts[member.place].touched |= self._cut.touched(pixels)
        return out

    def _told(self, member: Member) -> None:
        parts = self._parts[member.place]
        self.squares[member.name] = float(np.sum(parts.total)), int(np.sum(parts.used))
        self.equations[member.name] = np.sum(parts.equations, axis=0)

    def _compare(self, seen: Seen, sky: Blocks, rest: Image) -> Image:
        model = seen.transfer.shown(sky)
        subtract_model(seen.image, seen.valid, model, rest)
        return model

    def _widest(self) -> Member:
        return min(self.visits.new, key=lambda m: self._free_of(m)[1])

    def _light(self, sky: Blocks) -> Image:
        """Flux of a point source in the model at each pixel, as the visit with the widest PSF sees it."""
        flux = self._source(sky, self._widest())
        out = np.empty_like(flux)
        largest_around(np.maximum(flux, 0), 1, out)
        return out

    def _source(self, sky: Blocks, member: Member) -> Image:
        """Flux of a point source in a sky at each pixel, as a visit sees it."""
        transfer = self.visits.read(member).transfer
        return transfer.matched(transfer.shown(sky), 1 / self._free_of(member)[1])

    def _free_of(self, member: Member) -> tuple[float, float]:
        """sum |P|^2 (1 - h) and sum |P|^2, from some of the frequencies; these do not depend on pixel values."""
        if not self._free:
            new = self.visits.new
            normal, prior = sampled(self.system.normal).copy(), self.system.precision(self.q)
            weights = np.array([m.weight for m in new])
            found = free_power(normal, prior, self.visits.transfers_sampled(new), weights)
            self._free = {m.place: (float(free), float(power)) for m, (free, power) in zip(new, found, strict=True)}
        return self._free[member.place]

    def _error(self, member: Member) -> float:
        """Standard error of the flux of a point source that only a visit shows."""
        free, all_of_it = self._free_of(member)
        return float(member.sigma / np.sqrt(max(free, _LEAST_FREE * all_of_it)))

    def _flux(self, seen: Seen, rest: Image) -> Image | None:
        """Flux of a point source in the residual, in standard errors; None if unknown."""
        free, all_of_it = self._free_of(seen.member)
        if free < _LEAST_FREE * all_of_it:
            return None
        return seen.transfer.matched(rest, 1 / (free * self._error(seen.member)))

    def _scatter(self, seen: Seen, flux: Image) -> float:
        """Scatter of the flux in its standard errors, at least 1.

        While iteration goes on, a visit's noise is not yet in the model, and its residual scatters more than it will.
        """
        y0, y1, x0, x1 = _bounds(self.visits, _BEYOND)
        sample = np.s_[y0:y1:_SAMPLE, x0:x1:_SAMPLE]
        some = np.abs(flux[sample][seen.valid[sample]])
        return max(1.0, float(np.median(some)) / _MEDIAN) if len(some) else 1.0

    def _note(self, member: Member, flux: Image, found: _Found, most: Image, number: int | None = None) -> None:
        """Keep what deviates most in the squares, or in one of them, whose window the flux is that of."""
        config, scale = self.config, self._error(member)
        least = config.reject_threshold - _FELT
        light, largest, whose, squares = found.light, found.largest, found.whose, self._cut.bounds
        if number is not None:
            inside, most = self._cut.inside(number, squares), most[number : number + 1]
            y0, y1, x0, x1 = (int(n) for n in inside[0])
            flux, squares = flux[y0:y1, x0:x1], np.array([[0, y1 - y0, 0, x1 - x0]])
            y0, y1, x0, x1 = (int(n) for n in self._cut.bounds[number])
            light, largest, whose = light[y0:y1, x0:x1], largest[y0:y1, x0:x1], whose[y0:y1, x0:x1]
        note_by_square(
            flux, light, scale, least, config.reject_model_error, member.gain, member.place, squares, largest, whose,
            most,
        )  # fmt: skip

    def _outliers(self, seen: Seen, rest: Image, light: Image, peaks: list[tuple[int, int]]) -> NDArray[np.bool_]:
        """Pixels of a visit that are significant, near to its peaks, grown."""
        alone = _Found.nothing(self.visits, light)
        flux = self._flux(seen, rest)
        assert flux is not None, "it has peaks"
        flux /= np.float32(self._scatter(seen, flux))
        self._note(seen.member, flux, alone, np.empty(len(self._cut), np.float32))
        near, grow = np.zeros(light.shape, np.bool_), self.config.reject_grow
        for y, x in peaks:
            near[max(y - _REACH, 0) : y + _REACH + 1, max(x - _REACH, 0) : x + _REACH + 1] = True
        pixels = near & (alone.largest > self.config.reject_threshold)
        if grow and pixels.any():  # with the scatter of now there may be none
            rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
            part = pixels[
                max(rows[0] - grow, 0) : rows[-1] + grow + 1, max(columns[0] - grow, 0) : columns[-1] + grow + 1
            ]
            part[...] = binary_dilation(part, _disc(grow))
        return pixels


@dataclass(eq=False)
class _Parts:
    """What is known of a visit in each square."""

    equations: NDArray[np.float64]
    total: NDArray[np.float64]  # of the squares of the residual in the core
    used: NDArray[np.int64]
    most: Image  # the largest deviation, standard errors
    touched: NDArray[np.bool_]  # where pixels were rejected since the last look at all visits
    scatter: float = 0.0  # 0: outliers were not looked for

    @classmethod
    def nothing(cls, num: int) -> _Parts:
        return cls(
            np.zeros((num, 4, 5)), np.zeros(num), np.zeros(num, np.int64), np.zeros(num, np.float32),
            np.zeros(num, np.bool_),
        )  # fmt: skip

    def add(
        self, rest: Image, model: Image, seen: Seen, squares: NDArray[np.int64], which: slice,
        valid: NDArray[np.bool_] | None = None,
    ) -> None:  # fmt: skip
        """Set the sums of some squares."""
        sums_by_square(
            rest, model, seen.valid if valid is None else valid, squares, seen.member.sigma**2, MODEL_ERROR,
            self.equations[which], self.total[which], self.used[which],
        )  # fmt: skip


@dataclass(eq=False)
class _Found:
    """The largest deviation at each pixel, the visit that it is of, and the light there."""

    light: Image
    largest: Image
    whose: NDArray[np.int32]

    @classmethod
    def nothing(cls, visits: CellVisits, light: Image) -> _Found:
        return cls(light, np.zeros_like(visits.window), np.full(visits.window.shape, -1, np.int32))


def _bounds(visits: CellVisits, beyond: int) -> Bounds:
    """(y0, y1, x0, x1) of the core of a cell, grown, in its box."""
    rows, columns = visits.cell.core.grown(beyond).slices(visits.cell.box)
    return rows.start, rows.stop, columns.start, columns.stop


def _peaks(
    visits: CellVisits, largest: Image, whose: NDArray[np.int32], threshold: float
) -> Iterator[tuple[Member, list[tuple[int, int]]]]:
    """For each visit, the peaks at which it deviates more than all others; visits without such peaks are omitted."""
    if not np.any(largest > threshold):
        return
    peak = (largest > threshold) & (largest == maximum_filter(largest, _NEIGHBOURS))
    peak &= largest > _OVERSHADOWED * maximum_filter(largest, 2 * _SHADOW + 1)
    places = np.argwhere(peak)
    for place in np.unique(whose[peak]):
        yield visits.members[place], [(int(y), int(x)) for y, x in places if whose[y, x] == place]


def _disc(radius: int) -> NDArray[np.bool_]:
    axis = np.arange(-radius, radius + 1)
    return axis[:, None] ** 2 + axis**2 <= radius * radius
