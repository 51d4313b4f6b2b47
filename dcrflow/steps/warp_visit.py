"""warp_visit: from a detector-visit's pixels to a patch's frame, as the solver of DCR coadds takes it.

The image is resampled by a quintic spline, flux conserved; its variance is not: what the solver needs is the noise of
the sky as white noise, and the photons a nJy. Pixels without data are continued smoothly before the spline's filter
runs over them, and so many pixels around them are given up that what they were filled with leaves less than a fifth of
the noise: none beside an empty sky's bad pixel, up to six beside a saturated star.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import VisitImageError
from dcrflow.base.masks import TEMPLATE_PLANES
from dcrflow.geometry.box import Box
from dcrflow.geometry.mapping import PixelMap, map_pixels
from dcrflow.kernels.arrays import CoordinateGrid
from dcrflow.kernels.fill import continue_beyond, fill_missing
from dcrflow.kernels.interpolation import INTERPOLATIONS, filter_radius
from dcrflow.kernels.psf import warp_psf_kernel
from dcrflow.kernels.quintic import warp_quintic
from dcrflow.kernels.recursion import quintic_coefficients
from dcrflow.kernels.usable import mark_felt, usable_pixels
from dcrflow.model.visit_image import VisitImage, VisitPsf

Float = NDArray[np.float64]

WARP = INTERPOLATIONS["spline5"]
_DEGREES = (5,)
MARGIN = filter_radius(_DEGREES) + 4  # detector pixels around a frame's footprint that its warp reads

#: Planes whose pixels are no measurement of the sky.
BAD_PLANES = (
    "BAD", "SAT", "INTRP", "CR", "SUSPECT", "NO_DATA", "CROSSTALK", "STREAK", "UNMASKEDNAN", "VIGNETTED",
)  # fmt: skip

#: What an error of a pixel leaves farther away than 0, 1, 2, ... pixels: of the quintic spline's response.
_RESPONSE = np.array([0.176, 0.071, 0.030, 0.0131, 0.0056, 0.0024, 0.0010])
_LEFT = 0.2  # of the sky's noise, of what a filled pixel may leave
_FILL_REACH = 24  # pixels into a hole
_EDGE = 8  # pixels from a sensor's edge that the plane SENSOR_EDGE marks
_MOST_SHIFT = 0.05  # pixels of `warp_psf_kernel`'s matrix over a cell
_BRIGHT = 20.0  # sigma of the sky, above which pixels tell the photons a nJy
_LARGEST = 2.0**24  # sigma of the sky; single precision rounds larger values by more than the noise
_FEWEST = 100  # pixels, to tell anything from
_BEYOND = filter_radius(_DEGREES) + 4  # pixels by which an image is continued beyond its edges
_ROWS = 256  # that are read and mended while they are in the cache
_NEAR_EDGE = 2  # of these, those whose error is estimated from pixels within
_SAMPLE = 250_000  # pixels at most, from whose rows the noise of the sky is measured


@dataclass(frozen=True, eq=False)
class WarpedVisit:
    """A detector-visit on a frame; see `dcrflow.coadding.visits.VisitOnFrame` for its fields.

    Parameters
    ----------
    image : ndarray of float32, shape (height, width)
    valid, edges : ndarray of bool, shape (height, width)
    sigma, gain : float
    psf : ndarray of float32, shape (num_cells, n, n)
    """

    image: NDArray[np.float32]
    valid: NDArray[np.bool_]
    edges: NDArray[np.bool_]
    sigma: float
    gain: float
    psf: NDArray[np.float32]


def footprint(pixel_map: PixelMap, detector: Box) -> Box:
    """The detector pixels that the warp to a frame needs, margin included; empty where the frame is off the detector.

    Parameters
    ----------
    pixel_map : PixelMap
        From the frame (absolute tract pixels) to the detector's.
    detector : Box
        All pixels of the detector.
    """
    x, y = map_pixels(pixel_map.source, pixel_map.target, *pixel_map.bbox.outline(16))
    return Box.around(x, y).grown(MARGIN).intersection(detector)


def warp_visit(image: VisitImage, detector: Box, pixel_map: PixelMap, centres: tuple[Float, Float]) -> WarpedVisit:
    """Warp a detector-visit to a frame.

    Parameters
    ----------
    image : VisitImage
        Its pixels, at least on `footprint`.
    detector : Box
        All pixels of the detector.
    pixel_map : PixelMap
        From the frame (absolute tract pixels, its bbox) to the detector's pixels.
    centres : (ndarray, ndarray) of float64, shape (num_cells,)
        (x, y) of the cells' centres, absolute tract pixels: where the PSF is wanted.

    Raises
    ------
    VisitImageError
        If too few pixels tell the noise of the sky.
    """
    pixels, frame = image.pixels, pixel_map.bbox
    padded = pixels.box.grown(_BEYOND)
    where = pixels.box.slices(padded)
    known, values = np.zeros(padded.shape, np.bool_), np.zeros(padded.shape, np.float32)
    holes = _Holes(values, known, np.ones(padded.shape, np.uint8), where)
    sky, gain = noise_model(image, known[where], values[where], holes.mend)
    continue_beyond(values, where[0].start, where[0].stop, where[1].start, where[1].stop)
    quintic_coefficients(values)
    out, valid, edges = (
        np.empty(frame.shape, np.float32),
        np.empty(frame.shape, np.bool_),
        np.empty(frame.shape, np.bool_),
    )
    y, x, y0, x0 = pixel_map.nodes(frame)
    inner = detector.grown(-_EDGE)
    warp_quintic(
        values, holes.spoilt, padded.y0, padded.x0, CoordinateGrid(y, x, pixel_map.step, y0, x0),
        (inner.y0, inner.y1, inner.x0, inner.x1), out, valid, edges,
    )  # fmt: skip
    area = _area(pixel_map)
    return WarpedVisit(
        image=out,
        valid=valid,
        edges=edges,
        sigma=float(np.sqrt(sky * area)),
        gain=gain * area,
        psf=warped_psf(image.psf, pixel_map, centres),
    )


def noise_model(
    image: VisitImage, known: NDArray[np.bool_], values: NDArray[np.float32],
    use: Callable[[int, float], None] = lambda rows, noise: None,
) -> tuple[float, float]:  # fmt: skip
    """Find the pixels that measure the sky, and the noise of what they measure.

    Parameters
    ----------
    image : VisitImage
        A detector's pixels.
    known : ndarray of bool, shape (height, width)
        Overwritten: which pixels measure the sky.
    values : ndarray of float32, shape (height, width)
        Overwritten: their values, 0 elsewhere.
    use : callable, optional
        Called while rows are in the cache: with the number of rows that are there, and the noise of the sky.

    Returns
    -------
    (float, float)
        Variance of the sky, nJy^2 a pixel, and variance for each nJy of light, nJy. The variance planes of some
        pipelines do not hold the sources' photons: then the latter is 0.
    """
    pixels = image.pixels
    bad = np.int32(sum(1 << TEMPLATE_PLANES[name] for name in BAD_PLANES))
    largest = float(np.finfo(np.float32).max)
    every = slice(None, None, max(1, known.size // _SAMPLE))
    some = pixels.image[every], pixels.variance[every], pixels.mask[every]
    usable_pixels(*some, bad, largest, largest, 0.0, known[every], values[every])
    sample = known[every]
    light, variance = values[every][sample], pixels.variance[every][sample]
    if len(light) < _FEWEST:
        usable_pixels(pixels.image, pixels.variance, pixels.mask, bad, largest, largest, 0.0, known, values)
        raise VisitImageError(f"only {np.count_nonzero(known)} pixels without a defect, expected {_FEWEST} or more")
    sky = float(np.median(variance))
    faint = np.abs(light - np.median(light)) < 3 * np.sqrt(sky)
    if np.count_nonzero(faint) >= _FEWEST:
        sky = float(np.median(variance[faint]))
    limits, sums = (_BRIGHT * np.sqrt(sky), min(_LARGEST * np.sqrt(sky), largest), sky), np.zeros(3)
    for first in range(0, len(known), _ROWS):
        rows = slice(first, first + _ROWS)
        some = pixels.image[rows], pixels.variance[rows], pixels.mask[rows]
        sums += usable_pixels(*some, bad, *limits, known[rows], values[rows])
        use(min(first + _ROWS, len(known)), float(np.sqrt(sky)))
    number, product, square = sums.tolist()
    return sky, max(product / square, 0.0) if number >= _FEWEST else 0.0


class _Holes:
    """The holes of an image, and what is beyond its edges: `spoilt` is 1 where a place feels what is filled in.

    Parameters
    ----------
    values, known, spoilt : ndarray, shape (height, width)
        An image with a margin that has no data, what is known of it, and ones.
    where : (slice, slice)
        The image without the margin.
    """

    def __init__(
        self, values: NDArray[np.float32], known: NDArray[np.bool_], spoilt: NDArray[np.uint8],
        where: tuple[slice, slice],
    ) -> None:  # fmt: skip
        self.spoilt = spoilt
        spoilt[where] = 0
        near = tuple(slice(part.start - _NEAR_EDGE, part.stop + _NEAR_EDGE) for part in where)
        self._near = values[near], known[near], spoilt[near]
        self._values, self._known = values[where], known[where].view(np.uint8)
        self._marked = self._filled = 0  # rows of those near, and of the image

    def mend(self, rows: int, noise: float) -> None:
        """Fill the holes in place and mark what feels it, as far as can be done with the first `rows` rows."""
        complete = rows == len(self._values)
        values, known, spoilt = self._near
        last = len(values) if complete else rows  # whose window has been read
        mark_felt(values, known, self._marked, last, noise, _RESPONSE, _LEFT, spoilt)
        self._marked = last
        last = rows if complete else max(rows - _FILL_REACH, self._filled)
        first = max(self._filled - _FILL_REACH, 0)
        before = self._values[first : self._filled].copy()  # filled from rows that are not looked at now
        fill_missing(self._values[first:rows], self._known[first:rows], _FILL_REACH)
        self._values[first : self._filled] = before
        self._filled = last


def _area(pixel_map: PixelMap) -> float:
    """Area of a frame's pixel in detector pixels, in the middle."""
    box = pixel_map.bbox
    matrix = _jacobian(pixel_map, box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2)
    return float(abs(np.linalg.det(matrix)))


def _jacobian(pixel_map: PixelMap, x: float, y: float) -> Float:
    """d(x, y) of the detector by d(x, y) of the tract at a tract position."""
    half = np.array([0.5, -0.5, 0.0, 0.0])
    u, v = map_pixels(pixel_map.source, pixel_map.target, x + half, y + np.roll(half, 2))
    return np.array([[u[0] - u[1], u[2] - u[3]], [v[0] - v[1], v[2] - v[3]]])


def warped_psf(psf: VisitPsf, pixel_map: PixelMap, centres: tuple[Float, Float]) -> NDArray[np.float32]:
    """The PSF of the warped image at some places of the frame.

    Returns
    -------
    ndarray of float32, shape (num_places or 1, n, n)
        One where the PSF has one node, and the map hardly turns or stretches over the frame. Each sums to the share of
        a star's light inside.
    """
    x, y = centres
    matrices = np.array([_jacobian(pixel_map, float(a), float(b)) for a, b in zip(x, y, strict=True)])
    half = psf.kernels.shape[1] // 2
    if len(psf.x) == 1 and half * float(np.max(np.abs(matrices - matrices.mean(axis=0)))) < _MOST_SHIFT:
        x, y, matrices = x.mean(keepdims=True), y.mean(keepdims=True), matrices.mean(axis=0, keepdims=True)
    stretch = float(np.sqrt(np.abs(np.linalg.det(matrices)).mean()))
    size = 2 * int(np.ceil(half / stretch)) + 1
    u, v = map_pixels(pixel_map.source, pixel_map.target, x, y)
    found = []
    for a, b, matrix in zip(u, v, matrices, strict=True):
        kernel = psf.at(float(a), float(b))
        found.append(kernel.sum() * warp_psf_kernel(kernel, (float(a), float(b)), matrix, size, WARP))
    return np.array(found, np.float32)
