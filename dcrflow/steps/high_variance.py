"""map_variance: where the variance of a template is far above its median. Needs the whole detector.

As LSST's pipeline does it, to the pixel: medians in bins of about 32 x 32 pixels, of the pixels without a source or
defect; a median filter of 3 x 3 bins; linear interpolation between the bins' centres. HIGH_VARIANCE is where that is
above `high_variance_threshold` times its median. (The background estimators of photutils and sep cut, clip or
extrapolate differently, and need the pixels of the whole detector where the bins are enough.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from dcrflow.base.masks import HIGH_VARIANCE, NO_DATA
from dcrflow.geometry.box import Box
from dcrflow.kernels.binned import binned_median
from dcrflow.model.pixels import Pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps.results import StepResult

Float = NDArray[np.float64]
Int = NDArray[np.int64]

BIN = 32  # pixels a side at most; all bins of a detector are of the same size, to a pixel
_IGNORED = ("BAD", "EDGE", "DETECTED", "DETECTED_NEGATIVE", NO_DATA)
_ROWS = 256
_SAMPLES = 1 << 20  # pixels from which the median of the interpolated map is taken; all of a small detector


@dataclass(frozen=True, eq=False)
class VarianceMap:
    """The variance of a template, smoothed.

    Parameters
    ----------
    y, x : ndarray of float64, shape (ny,) and (nx,)
        Centres of the bins, absolute detector pixels.
    values : ndarray of float64, shape (ny, nx)
        Filtered medians, nJy^2.
    threshold : float
        Above which the variance is high, nJy^2.
    """

    y: Float
    x: Float
    values: Float
    threshold: float

    def is_high(self, box: Box) -> NDArray[np.bool_]:
        """Where the smoothed variance is above the threshold, shape of `box`."""
        high: NDArray[np.bool_] = self.at(np.arange(box.y0, box.y1), np.arange(box.x0, box.x1)) > self.threshold
        return high

    def reaches_threshold(self, box: Box) -> bool:
        """Whether any pixel of a box is above the threshold; looks only at pixels where the map can be highest."""
        rows, columns = (
            np.unique(np.clip(np.concatenate([np.floor(c), np.ceil(c), [first, last]]), first, last)).astype(np.int64)
            for c, first, last in ((self.y, box.y0, box.y1 - 1), (self.x, box.x0, box.x1 - 1))
        )
        return bool(np.any(self.at(rows, columns) > self.threshold))

    def at(self, rows: Int, columns: Int) -> Float:
        """The smoothed variance at rows and columns of pixels, shape (len(rows), len(columns)).

        Linear between the centres of the bins, and on beyond the outermost. Pixel by pixel, so that a pixel's value
        does not depend on which others are asked for.
        """
        j, y_share = _cells(self.y, rows)
        i, x_share = _cells(self.x, columns)
        along = self.values[:, i] * (1 - x_share) + self.values[:, np.minimum(i + 1, len(self.x) - 1)] * x_share
        y_share = y_share[:, None]
        return along[j] * (1 - y_share) + along[np.minimum(j + 1, len(self.y) - 1)] * y_share


def map_variance(plan: TemplatePlan, tiles: Sequence[StepResult[Pixels]]) -> VarianceMap | None:
    """Smooth the variance of a whole template.

    Parameters
    ----------
    plan : TemplatePlan
        Gives the mask planes and the threshold.
    tiles : sequence of StepResult of Pixels
        From `mosaic_tracts`; together all of ``plan.bbox``.

    Returns
    -------
    VarianceMap or None
        None if less than ``high_variance_min_fraction`` of the pixels can be used: then nothing is flagged.
    """
    factor = plan.config.high_variance_threshold
    if factor is None:
        return None
    whole = Pixels.joined(plan.bbox, [tile.pixels for tile in tiles])
    edges_y, edges_x = (_edges(n) for n in plan.bbox.shape)
    medians = np.empty((len(edges_y) - 1, len(edges_x) - 1))
    ignored = sum(1 << plan.planes[name] for name in _IGNORED if name in plan.planes)
    usable = binned_median(whole.variance, whole.mask, ignored, edges_y, edges_x, medians)
    if usable == 0 or usable < plan.config.high_variance_min_fraction * plan.bbox.area:
        return None
    medians[np.isnan(medians)] = np.nanmedian(medians)
    values = median_filter(medians, 3, mode="reflect")
    centres = [first + (e[1:] + e[:-1] - 1) / 2 for first, e in ((plan.bbox.y0, edges_y), (plan.bbox.x0, edges_x))]
    smooth = VarianceMap(centres[0], centres[1], values, np.inf)
    step = max(1, round((plan.bbox.area / _SAMPLES) ** 0.5))
    rows, columns = np.arange(plan.bbox.y0, plan.bbox.y1, step), np.arange(plan.bbox.x0, plan.bbox.x1, step)
    return VarianceMap(centres[0], centres[1], values, float(factor * np.median(smooth.at(rows, columns))))


def flag_high_variance(plan: TemplatePlan, tile: StepResult[Pixels], smooth: VarianceMap | None) -> NDArray[np.int32]:
    """The mask of a tile with HIGH_VARIANCE set on its pixels with data where the smoothed variance is high."""
    pixels = tile.pixels
    if smooth is None or not smooth.reaches_threshold(pixels.box):
        return pixels.mask
    mask, box = pixels.mask.copy(), pixels.box
    no_data, high = np.int32(1 << plan.planes[NO_DATA]), np.int32(1 << plan.planes[HIGH_VARIANCE])
    for y0 in range(box.y0, box.y1, _ROWS):  # a few rows at a time: the map is of float64
        rows = Box.from_bounds(box.x0, y0, box.x1, min(y0 + _ROWS, box.y1))
        part = mask[rows.slices(box)]
        part[smooth.is_high(rows) & (part & no_data == 0)] |= high
    return mask


def _edges(length: int) -> Int:
    """First pixel of each bin, and one past the last: bins of at most `BIN` pixels, rounded as LSST does."""
    number = -(-length // BIN)
    return (np.arange(number + 1) * length + number // 2) // number


def _cells(centres: Float, places: Int) -> tuple[Int, Float]:
    """For each place the bin below it (of those that have one above), and how far it is on the way to the next."""
    if len(centres) == 1:
        return np.zeros(len(places), np.int64), np.zeros(len(places))
    below = np.clip(np.searchsorted(centres, places) - 1, 0, len(centres) - 2)
    return below, (places - centres[below]) / (centres[below + 1] - centres[below])
