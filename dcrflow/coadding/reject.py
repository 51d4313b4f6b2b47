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
from dcrflow.kernels.coadd_pixels import calibration_sums, largest_around, note_deviation, subtract_model
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
_MEDIAN = 0.6745  # median of the absolute value of a standard normal deviate


@dataclass(eq=False)
class Look:
    """What is found when every visit is compared with the model.

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

    def set_prior(self, q: float) -> None:
        """Change the local power of the prior."""
        if q != self.q:
            self.q = q
            self._free.clear()

    def at(
        self, sky: Transform, right: Transform, reject: bool, shown: Callable[[Member, Image], None]
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
        shown : function
            Told what each visit shows of the sky.

        Returns
        -------
        list of Replaced
            Visits of which pixels were rejected.
        """
        visits, core = self.visits, _bounds(self.visits, 0)
        largest = np.zeros_like(visits.window)
        whose = np.full(largest.shape, -1, np.int32)
        blocks, rest = in_blocks(sky), np.empty_like(largest)
        light = self._light(blocks) if reject else largest
        for member in visits.new:
            seen = visits.read(member)
            model = self._compare(seen, blocks, rest)
            shown(member, model)
            sums = np.empty((4, 5))
            square = calibration_sums(rest, model, seen.valid, core, member.sigma**2, MODEL_ERROR, sums)
            used = int(np.count_nonzero(seen.valid[core[0] : core[1], core[2] : core[3]]))
            self.squares[member.name], self.equations[member.name] = (square, used), sums
            if reject:
                self._note(seen, rest, light, largest, whose)
        out = []
        for member, peaks in _peaks(visits, largest, whose, self.config.reject_threshold) if reject else ():
            seen = visits.read(member)
            self._compare(seen, blocks, rest)
            pixels = self._outliers(seen, rest, light, peaks)
            seen.response.add_adjoint(np.where(pixels, rest, 0), -member.weight, right)
            places = np.flatnonzero(pixels & seen.valid).astype(np.int32)
            if len(places):
                out.append(Replaced(member, pixels, places, (seen.image - rest).ravel()[places]))
            visits.reject(member, pixels)
        return out

    def _compare(self, seen: Seen, sky: Blocks, rest: Image) -> Image:
        model = seen.response.shown(sky)
        subtract_model(seen.image, seen.valid, model, rest)
        return model

    def _light(self, sky: Blocks) -> Image:
        """Flux of a point source in the model at each pixel, as the visit with the widest PSF sees it."""
        visits = self.visits
        widest = visits.read(min(visits.new, key=lambda m: self._free_of(m)[1]))
        power = self._free_of(widest.member)[1]
        flux = widest.response.matched(widest.response.shown(sky), 1 / power)
        out = np.empty_like(flux)
        largest_around(np.maximum(flux, 0), 1, out)
        return out

    def _free_of(self, member: Member) -> tuple[float, float]:
        """sum |P|^2 (1 - h) and sum |P|^2, from some of the frequencies; these do not depend on pixel values."""
        if not self._free:
            new = self.visits.new
            normal, prior = sampled(self.system.normal).copy(), self.system.precision(self.q)
            weights = np.array([m.weight for m in new])
            found = free_power(normal, prior, self.visits.transfers_sampled(new), weights)
            self._free = {m.place: (float(free), float(power)) for m, (free, power) in zip(new, found, strict=True)}
        return self._free[member.place]

    def _flux(self, seen: Seen, rest: Image) -> tuple[Image, float] | None:
        """Flux of a point source in the residual, in standard errors, and the standard error; None if unknown."""
        free, all_of_it = self._free_of(seen.member)
        if free < _LEAST_FREE * all_of_it:
            return None
        scale = seen.member.sigma / np.sqrt(free)
        flux = seen.response.matched(rest, 1 / (free * scale))
        # while iteration goes on, a visit's noise is not yet in the model, and its residual scatters more than it will
        y0, y1, x0, x1 = _bounds(self.visits, _BEYOND)
        sample = np.s_[y0:y1:_SAMPLE, x0:x1:_SAMPLE]
        some = np.abs(flux[sample][seen.valid[sample]])
        if len(some):
            flux /= np.float32(max(1.0, float(np.median(some)) / _MEDIAN))
        return flux, float(scale)

    def _note(self, seen: Seen, rest: Image, light: Image, largest: Image, whose: NDArray[np.int32]) -> None:
        found = self._flux(seen, rest)
        if found is not None:
            flux, scale = found
            note_deviation(
                flux, light, scale, self.config.reject_threshold, self.config.reject_model_error, seen.member.gain,
                seen.member.place, _bounds(self.visits, _BEYOND), largest, whose,
            )  # fmt: skip

    def _outliers(self, seen: Seen, rest: Image, light: Image, peaks: list[tuple[int, int]]) -> NDArray[np.bool_]:
        """Pixels of a visit that are significant, near to its peaks, grown."""
        alone = np.zeros_like(light)
        self._note(seen, rest, light, alone, np.zeros(light.shape, np.int32))
        near = np.zeros(light.shape, np.bool_)
        for y, x in peaks:
            near[max(y - _REACH, 0) : y + _REACH + 1, max(x - _REACH, 0) : x + _REACH + 1] = True
        pixels = near & (alone > self.config.reject_threshold)
        if self.config.reject_grow:
            pixels = binary_dilation(pixels, _disc(self.config.reject_grow))
        return np.asarray(pixels)


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
