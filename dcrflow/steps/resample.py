"""Warps without weights of their own: to the nearest pixel, or by the `reproject` package. Slower than compiled ones.

``reproject-interp``, ``reproject-adaptive`` and ``reproject-exact`` are `reproject.reproject_interp` (bilinear),
`reproject.reproject_adaptive` (DeForest 2004, with a Gaussian kernel) and `reproject.reproject_exact` (overlap of
spherical polygons), with their defaults. They work on surface brightness, so their result is multiplied by the
relative area of the pixels. They know neither mask nor variance:

* the mask is the OR over the four pixels around a place, or of ``nearest`` that of the pixel;
* the variance of ``nearest`` is that of the pixel. With ``reproject-interp`` it is spread by the squared weights, times
  what the correlation of the matched pixels' noise makes of it (`dcrflow.steps.noise`). That of ``reproject-adaptive``
  and ``reproject-exact`` is resampled like the image and multiplied by what the detector's middle has of the noise,
  which is found by resampling single bright pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.geometry.mapping import PixelMap, map_pixels
from dcrflow.geometry.pixel_frame import pixel_frame
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.kernels.interpolation import INTERPOLATIONS, Interpolation
from dcrflow.kernels.noise import VarianceFactor
from dcrflow.model.pixels import Pixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps.noise import HALF, correlation_by_weights, factor_of, kept_of, pixel_correlation

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_PROBE = 16  # output pixels a side over which the squared weights are averaged


def resample(plan: TemplatePlan, tract: int, pixels: Pixels, box: Box, no_data: int) -> Pixels:
    """Resample one tract's matched pixels to a tile of the detector; flux is conserved.

    Parameters
    ----------
    plan : TemplatePlan
        Its interpolation is without weights of its own: to the nearest pixel, or by `reproject`.
    tract : int
        Index into ``plan.tracts``.
    pixels : Pixels
        What `shift_subfilters` made, on the region that the tile needs.
    box : Box
        The tile, absolute detector pixels.
    no_data : int
        Value of the NO_DATA mask plane.

    Returns
    -------
    Pixels
        Of the tile; NaN and NO_DATA where the tract has no data.
    """
    interpolation, pixel_map = plan.interpolation, plan.tracts[tract].pixel_map
    x, y, area = _coordinates(pixel_map, box)
    x, y = x - pixels.box.x0, y - pixels.box.y0
    if interpolation.reproject is None:
        image, variance, mask = _nearest(pixels, x, y, no_data)
    else:
        variance, mask = _bilinear(pixels, x, y, no_data, factor_of(plan, tract))
        stack = np.stack([pixels.image, pixels.variance]).astype(np.float64)
        image, resampled = reprojected(interpolation, stack, pixel_map.target, pixels.box, pixel_map.source, box)
        if interpolation.variance != "bilinear":
            variance = resampled * _noise_factor(plan, tract)
    image, variance = area * image, area**2 * variance
    gone = (mask & no_data != 0) | ~np.isfinite(image)
    image[gone], variance[gone] = np.nan, np.nan
    mask[gone] |= no_data
    return Pixels(box, image.astype(np.float32), variance.astype(np.float32), mask)


def reprojected(
    interpolation: Interpolation, images: Float, source: SkyWcs, source_box: Box, target: SkyWcs, box: Box
) -> Float:
    """Images of surface brightness on other pixels, by the `reproject` package.

    Parameters
    ----------
    interpolation : Interpolation
        One that names a function of `reproject`.
    images : ndarray of float64, shape (n, y, x) of `source_box`
        On pixels of `source`.
    source, target : SkyWcs
        From where, to where.
    source_box, box : Box
        Pixels of either.

    Returns
    -------
    ndarray of float64, shape (n, y, x) of `box`
        NaN where the images do not reach.
    """
    import reproject  # with what it imports, it takes longer to import than all that most templates need

    found: Float = getattr(reproject, interpolation.reproject or "")(
        (images, pixel_frame(source, source_box)),
        pixel_frame(target, box),
        shape_out=(len(images), *box.shape),
        return_footprint=False,
    )
    return found


def _coordinates(pixel_map: PixelMap, box: Box) -> tuple[Float, Float, Float]:
    """Tract pixel coordinates x and y of every pixel of a tile, and the pixel's area in tract pixels."""
    grid_y, grid_x, y0, x0 = pixel_map.nodes(box)
    step = pixel_map.step
    j, t = np.divmod(np.arange(y0, y0 + box.height)[:, None], step)
    i, s = np.divmod(np.arange(x0, x0 + box.width), step)
    t, s = t / step, s / step

    def linear(grid: Float) -> tuple[Float, Float, Float]:
        """The value between four nodes, and its derivatives along x and y."""
        a, b, c, d = grid[j, i], grid[j, i + 1], grid[j + 1, i], grid[j + 1, i + 1]
        low, high = a + s * (b - a), c + s * (d - c)
        return low + t * (high - low), ((1 - t) * (b - a) + t * (d - c)) / step, (high - low) / step

    x, x_along, x_up = linear(grid_x)
    y, y_along, y_up = linear(grid_y)
    return x, y, np.abs(x_along * y_up - x_up * y_along)


def _nearest(pixels: Pixels, x: Float, y: Float, no_data: int) -> tuple[Float, Float, NDArray[np.int32]]:
    """Image, variance and mask of the pixel that each place lies on."""
    (row, column), outside = _within(np.floor(y + 0.5), np.floor(x + 0.5), pixels)
    mask = pixels.mask[row, column]
    mask[outside] = no_data
    return pixels.image[row, column].astype(np.float64), pixels.variance[row, column].astype(np.float64), mask


def _bilinear(
    pixels: Pixels, x: Float, y: Float, no_data: int, factor: VarianceFactor
) -> tuple[Float, NDArray[np.int32]]:
    """Variance spread by the squared bilinear weights; OR of the mask over the four pixels around each place."""
    row, column = np.floor(y), np.floor(x)
    v, u = y - row, x - column
    variance, mask = np.zeros(x.shape), np.zeros(x.shape, np.int32)
    for down, weight_y in ((0, 1 - v), (1, v)):
        for right, weight_x in ((0, 1 - u), (1, u)):
            (j, i), outside = _within(row + down, column + right, pixels)
            variance += (weight_y * weight_x) ** 2 * pixels.variance[j, i]
            mask |= np.where(outside, np.int32(no_data), pixels.mask[j, i])
    for axis, fraction in enumerate((v, u)):
        variance *= factor.at(axis, fraction) / ((1 - fraction) ** 2 + fraction**2)
    return variance, mask


def _within(row: Float, column: Float, pixels: Pixels) -> tuple[tuple[Int, Int], NDArray[np.bool_]]:
    """Indices of pixels, and which of them are outside; those are moved to the edge."""
    height, width = pixels.box.shape
    outside = ~((row >= 0) & (row < height) & (column >= 0) & (column < width))
    j, i = (np.clip(np.nan_to_num(a), 0, n - 1).astype(np.int64) for a, n in ((row, height), (column, width)))
    return (j, i), outside


def correlation_of(plan: TemplatePlan) -> Float:
    """Correlation of the noise of neighbouring pixels at the detector's middle, shape (7, 7), axes (y, x)."""
    if plan.interpolation.reproject is None or plan.interpolation.variance == "bilinear":
        return correlation_by_weights(plan)
    found = probed_covariance(plan, 0)
    return np.asarray(found / found[HALF, HALF])


def _noise_factor(plan: TemplatePlan, tract: int) -> float:
    """Mean variance at the middle of the detector, of matched pixels whose own is 1 and whose noise is correlated."""
    return float(probed_covariance(plan, tract)[HALF, HALF])


def probed_covariance(plan: TemplatePlan, tract: int) -> Float:
    """Covariance of neighbouring output pixels, as `_noise_factor`; shape (7, 7), axes (y, x)."""
    kept = kept_of(plan, tract)
    if "probed" not in kept:
        kept["probed"] = _probed(plan, tract)
    found: Float = kept["probed"]
    return found


def _probed(plan: TemplatePlan, tract: int) -> Float:
    from scipy.signal import fftconvolve

    pixel_map, interpolation = plan.tracts[tract].pixel_map, plan.interpolation
    middle = pixel_map.bbox
    box = Box(middle.x0 + middle.width // 2, middle.y0 + middle.height // 2, _PROBE, _PROBE)
    reach = interpolation.support
    places = map_pixels(pixel_map.source, pixel_map.target, *box.outline())
    source_box = Box.around(*places).grown(reach)
    y, x = np.mgrid[: source_box.height, : source_box.width]
    number = y % reach * reach + x % reach  # which of the combs a pixel is a tooth of
    combs = (number == np.arange(reach**2)[:, None, None]).astype(np.float64)
    weights = reprojected(interpolation, combs, pixel_map.target, source_box, pixel_map.source, box)
    columns, rows = np.meshgrid(np.arange(box.x0, box.x1), np.arange(box.y0, box.y1))
    u, v = map_pixels(pixel_map.source, pixel_map.target, columns.ravel().astype(float), rows.ravel().astype(float))
    own = np.zeros((u.size, *source_box.shape))  # the weights of each output pixel: of each comb the nearest tooth
    near = np.abs(y - (v - source_box.y0)[:, None, None]) <= reach / 2
    near &= np.abs(x - (u - source_box.x0)[:, None, None]) <= reach / 2
    which, j, i = np.nonzero(near)
    own[which, j, i] = weights.reshape(reach**2, -1)[number[j, i], which]
    correlated = fftconvolve(own, pixel_correlation(plan, tract)[None], mode="same", axes=(1, 2))
    by_pair = (own.reshape(u.size, -1) @ correlated.reshape(u.size, -1).T).reshape([_PROBE] * 4)
    inner = slice(HALF, _PROBE - HALF)
    lags = range(-HALF, HALF + 1)
    moved = (np.roll(by_pair, (-dy, -dx), axis=(2, 3))[inner, inner, inner, inner] for dy in lags for dx in lags)
    found = np.array([np.einsum("yxyx->", m) for m in moved]).reshape(len(lags), len(lags)) / (_PROBE - 2 * HALF) ** 2
    return np.asarray((found + found[::-1, ::-1]) / 2)  # of a pair either pixel may be the first


def resample_psf_kernel(interpolation: Interpolation, kernel: Float, matrix: Float, size: int) -> Float:
    """The PSF of a star in the middle of a pixel, as `dcrflow.kernels.psf.warp_psf_kernel`; of ``nearest`` bilinear."""
    if interpolation.reproject is None:
        interpolation = INTERPOLATIONS["reproject-interp"]
    padded = np.pad(kernel, interpolation.support)
    source_box, box = (Box(-(w // 2), -(h // 2), w, h) for h, w in (padded.shape, (size, size)))
    found = reprojected(interpolation, padded[None], _plane(np.eye(2)), source_box, _plane(matrix), box)[0]
    normalised: Float = np.nan_to_num(found) / np.nansum(found)
    return normalised


def _plane(matrix: Float) -> SkyWcs:
    """A tangent plane whose pixel (0, 0) is the tangent point; pixels of 0.2 arcsec, turned by a matrix."""
    cards = {f"CD{i + 1}_{j + 1}": 0.2 / 3600 * float(matrix[i, j]) for i in (0, 1) for j in (0, 1)}
    tangent = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 1.0, "CRPIX2": 1.0, "CRVAL1": 10.0, "CRVAL2": 0.0}
    return SkyWcs.from_header(tangent | cards)
