"""Reject outliers: light that only one visit shows, such as transients, satellites and cosmic rays.

The residual of each visit is matched with its own PSF. Its significance is that of a *leave-one-out* prediction, which
needs no second solution: a visit pulls the model towards itself by its leverage h(f), so a source of flux F that only
this visit has leaves F P (1 - h) in its residual. The flux and its error are

    F = (P * r) / sum |P|^2 (1 - h),      var F = sigma^2 / sum |P|^2 (1 - h)

and the residuals of the other visits are much smaller, with opposite sign. At each position only the visit with the
largest deviation is rejected. The other visits are tested in the next round, with a model without the rejected pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter

from dcrflow.coadding.exact import CellVisits, Member, Seen, residual_of
from dcrflow.coadding.ladder import Image, System
from dcrflow.coadding.transfer import Transform, backward, forward
from dcrflow.kernels.fourier import add_adjoint, free_power
from dcrflow.model.coadd_config import CoaddConfig

_NEIGHBOURS = 25  # pixels; side of the square in which only one visit is rejected per round
_REACH = 40  # pixels; significant pixels of the same visit this near to a rejected peak are rejected too
_LEAST_FREE = 0.05  # fraction of a visit's information not absorbed by the model; below it, no outlier can be found
_SAMPLE = 3  # the scatter is estimated from every 3rd pixel along each axis
_MEDIAN = 0.6745  # median of the absolute value of a standard normal deviate
_EVERY = 4  # the leverage is evaluated at every 4th frequency


def free_shares(visits: CellVisits, system: System, q: float) -> list[tuple[float, float]]:
    """sum |P|^2 (1 - h) and sum |P|^2 of each member; these do not depend on pixel values."""
    return [_free(seen, system, q) for seen in visits]


def _free(seen: Seen, system: System, q: float) -> tuple[float, float]:
    transfer, prior = seen.transfer, system.precision(q)
    free = free_power(system.normal, prior, transfer, seen.member.weight, transfer[0], _EVERY)
    return free, float(free_power(system.normal, prior, transfer, 0.0, transfer[0], _EVERY))


def significance(seen: Seen, residual: Image, model: Image, free: tuple[float, float], config: CoaddConfig) -> Image:
    """Deviation of a visit at each pixel, in standard errors of a point source's flux; 0 if it cannot be measured."""
    if free[0] < _LEAST_FREE * free[1]:
        return np.zeros_like(residual)
    matched = np.conj(seen.transfer[0])
    flux = backward(matched * forward(residual)) / np.float32(free[0])
    light = np.maximum(backward(matched * forward(model)), 0) / np.float32(free[1])
    variance = seen.member.visit.sigma**2 / free[0] + (config.reject_model_error * light) ** 2
    variance += seen.member.visit.gain * light
    found = np.asarray(np.abs(flux) / np.sqrt(variance), np.float32)
    # while iteration goes on, a visit's noise is not yet in the model, and its residual scatters more than it will
    some = found[::_SAMPLE, ::_SAMPLE][seen.use[::_SAMPLE, ::_SAMPLE] > 0]
    return found / np.float32(max(1.0, float(np.median(some)) / _MEDIAN)) if len(some) else found


def residual_round(
    visits: CellVisits, sky: Transform, free: list[tuple[float, float]] | None, config: CoaddConfig
) -> tuple[Transform, int]:
    """Reject outliers; returns the residual sum_v w_v T_v^H F M_v (d_v - model) and the number of pixels rejected.

    Parameters
    ----------
    visits : CellVisits
        The visits; outliers are added to their rejected pixels.
    sky : ndarray of complex64, shape (num_terms, side, side // 2 + 1)
        The sky s.
    free : list, optional
        From `free_shares`; None to reject nothing.
    config : CoaddConfig
        Threshold and other settings.
    """
    out = np.zeros_like(sky)
    largest = np.zeros_like(visits.window)
    whose = np.full(largest.shape, -1, np.int32)
    for seen in visits:
        residual, model = residual_of(seen, sky)
        add_adjoint(seen.transfer, forward(residual), seen.member.weight, out)
        if free is not None:
            found = significance(seen, residual, model, free[seen.member.place], config)
            more = found > largest
            largest[more], whose[more] = found[more], seen.member.place
    if free is None:
        return out, 0
    rejected = 0
    for member, peaks in _peaks(visits, largest, whose, config.reject_threshold):
        seen = visits.read(member)
        residual, model = residual_of(seen, sky)
        found = significance(seen, residual, model, free[member.place], config)
        near = np.zeros(found.shape, np.bool_)
        for y, x in peaks:
            near[max(y - _REACH, 0) : y + _REACH + 1, max(x - _REACH, 0) : x + _REACH + 1] = True
        pixels = near & (found > config.reject_threshold)
        if config.reject_grow:
            pixels = binary_dilation(pixels, _disc(config.reject_grow))
        rejected += int(np.count_nonzero(pixels & (seen.use > 0)))
        add_adjoint(seen.transfer, forward(np.where(pixels, residual, 0)), -member.weight, out)
        visits.reject(member, pixels)
    return out, rejected


def _peaks(
    visits: CellVisits, largest: Image, whose: NDArray[np.int32], threshold: float
) -> Iterator[tuple[Member, list[tuple[int, int]]]]:
    """For each visit, the peaks at which it deviates more than all others; visits without such peaks are omitted."""
    if not np.any(largest > threshold):
        return
    peak = (largest > threshold) & (largest == maximum_filter(largest, _NEIGHBOURS))
    places = np.argwhere(peak)
    for place in np.unique(whose[peak]):
        yield visits.members[place], [(int(y), int(x)) for y, x in places if whose[y, x] == place]


def _disc(radius: int) -> NDArray[np.bool_]:
    axis = np.arange(-radius, radius + 1)
    return axis[:, None] ** 2 + axis**2 <= radius * radius
