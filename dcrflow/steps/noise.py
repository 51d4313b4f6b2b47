"""The noise of a template: what its steps make of the coadds' noise.

The noise of the coadds' pixels is taken to be independent, unless the store says how it is correlated.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.mapping import map_pixels
from dcrflow.kernels.interpolation import INTERPOLATIONS, Interpolation
from dcrflow.kernels.noise import VarianceFactor, autocorrelation, lags_of, noise_correlation, variance_factor
from dcrflow.kernels.warp import weight_table
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps.cells import taps_at, together

Float = NDArray[np.float64]

_LAGS = 12  # pixels of the tract; beyond is nothing of a DCR kernel's autocorrelation that matters
HALF = 3  # pixels to each side of the middle of the noise's correlation
_NEAREST = Interpolation("nearest", 2, weight=lambda distance: (np.abs(distance) <= 0.5).astype(np.float64))


def pixel_correlation(plan: TemplatePlan, tract: int) -> Float:
    """Autocorrelation of the matched pixels' noise at the detector's middle, of a tract by its index; 1 at lag zero."""
    found = _correlation(plan, tract, (plan.model.degree,))
    return found / _middle_of(found)


def table_of(plan: TemplatePlan, tract: int) -> NDArray[np.float32]:
    """`dcrflow.kernels.warp.weight_table` of a plan's interpolation on a tract, variance's weights included."""
    kept = kept_of(plan, tract)
    if "table" not in kept:
        factor = None if plan.margins.lsst_edges else factor_of(plan, tract)  # LSST's squares weights
        kept["table"] = weight_table(plan.interpolation, factor)
    return kept["table"]  # type: ignore[no-any-return]


def factor_of(plan: TemplatePlan, tract: int) -> VarianceFactor:
    """What a variance that was spread by normalised weights is multiplied by, to be that of the whole chain.

    It is computed with the DCR at the detector's middle, so that it is the same for all tiles.
    """
    kept = kept_of(plan, tract)
    if "factor" not in kept:
        interpolation, degrees = _weights_of(plan)
        correlation = _correlation(plan, tract, degrees)
        kept["factor"] = variance_factor(correlation, interpolation, _spread(plan, tract))
    return kept["factor"]  # type: ignore[no-any-return]


def correlation_by_weights(plan: TemplatePlan) -> Float:
    """`dcrflow.steps.resample.correlation_of`, for all interpolations whose weights are known."""
    interpolation, degrees = _weights_of(plan)
    correlation = _correlation(plan, 0, degrees)
    return noise_correlation(correlation, interpolation, jacobian_of(plan, 0), HALF)


def jacobian_of(plan: TemplatePlan, tract: int) -> Float:
    """d(x, y) of a tract's pixels by d(x, y) of the detector's, at its middle."""
    x, y = _middle(plan)
    pixel_map = plan.tracts[tract].pixel_map
    u, v = map_pixels(pixel_map.source, pixel_map.target, x + np.array([-1.0, 1, 0, 0]), y + np.array([0.0, 0, -1, 1]))
    return np.array([[u[1] - u[0], u[3] - u[2]], [v[1] - v[0], v[3] - v[2]]]) / 2


def _middle(plan: TemplatePlan) -> tuple[float, float]:
    box = plan.visit.bbox
    return box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2


def _weights_of(plan: TemplatePlan) -> tuple[Interpolation, tuple[int, ...]]:
    """The interpolation by whose weights the noise is computed, and the splines undone before it."""
    degree, interpolation = plan.model.degree, plan.interpolation
    if interpolation.weight is None:
        stands_for = INTERPOLATIONS["bilinear"] if interpolation.reproject else _NEAREST
        return stands_for, (degree,)
    return interpolation, (degree,) if interpolation.degree is None else (degree, interpolation.degree)


def _correlation(plan: TemplatePlan, tract: int, degrees: tuple[int, ...]) -> Float:
    """Autocorrelation of the filters at the detector's middle; of the noise behind them, if the subfilters share it."""
    kept = kept_of(plan, tract)
    if degrees not in kept:
        (taps, y_low, x_low), shared = _taps(plan, tract), plan.info.subfilter_noise
        lags = max(_LAGS, lags_of(plan.interpolation))
        if shared is None:
            kept[degrees] = autocorrelation(taps, degrees, lags)
        else:
            from scipy.signal import fftconvolve  # takes as long to import as the rest of the steps

            noise = np.array(shared.correlation)
            one = together(taps * np.array(shared.shares)[:, None, None], y_low, x_low)[0]
            filters = autocorrelation(one, degrees, lags + len(noise) // 2)
            kept[degrees] = fftconvolve(filters, noise, mode="valid")
    return kept[degrees]  # type: ignore[no-any-return]


def _spread(plan: TemplatePlan, tract: int) -> float:
    """What the squared kernels make of the subfilters' variances, in units of these, or of that of their sum."""
    taps, shared = _taps(plan, tract)[0], plan.info.subfilter_noise
    shares = np.ones(len(taps)) if shared is None else np.array(shared.shares)
    each = [_middle_of(autocorrelation(one[None], (plan.model.degree,), 0)) for one in taps]
    return float(shares @ each)


def _taps(plan: TemplatePlan, tract: int) -> tuple[Float, NDArray[np.int64], NDArray[np.int64]]:
    """`dcrflow.steps.cells.taps_at` of the detector's middle."""
    here = plan.tracts[tract]
    x, y = map_pixels(here.pixel_map.source, here.pixel_map.target, *(np.array([m]) for m in _middle(plan)))
    return taps_at(plan, here, float(x[0]), float(y[0]))


def _middle_of(correlation: Float) -> float:
    """The value at lag zero."""
    lags = correlation.shape[0] // 2
    return float(correlation[lags, lags])


def kept_of(plan: TemplatePlan, tract: int) -> dict[Any, Any]:
    """What was found so far in this process of the noise of a plan's tract, by name."""
    return _kept(plan.digest, tract)


@lru_cache(maxsize=8)
def _kept(plan: str, tract: int) -> dict[Any, Any]:
    """What was found so far in this process of a plan and tract: the tiles of a template share it."""
    return {}
