"""A template at a glance: a thumbnail, coarse maps of noise and coverage, the corners on the sky.

Made while the pixels are in memory and kept among the template's attributes, so that a report on thousands of templates
reads no pixels.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from io import BytesIO
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dcrflow.base.attributes import objects
from dcrflow.base.masks import NO_DATA, planes_from_attributes
from dcrflow.geometry.box import Box

if TYPE_CHECKING:
    import xarray as xr

SIDE = 96  # pixels of a thumbnail's longer side
CELLS = 12  # of the coarse maps, along each axis
_GREYS = 16
_LONGEST, _LARGEST = 1 << 18, 4 * SIDE  # letters of a thumbnail, and pixels along its side
_SAMPLES = 4  # pixels looked at along each side of a thumbnail's pixel; the rest would not be seen


def preview(template: xr.Dataset) -> dict[str, Any]:
    """Sum a template up: its detector's own pixels, without the border.

    Parameters
    ----------
    template : xarray.Dataset
        With its pixels in memory.

    Returns
    -------
    dict
        As JSON has it. ``image``: a data URL (PNG, y upwards, arcsinh stretch).
        ``noise`` and ``coverage``: lists of `CELLS` rows of `CELLS` numbers, bottom row first: root of the median
        variance (nJy; None without data) and percentage of the pixels that have data. ``corners``: (RA, Dec) of the
        detector's four corners, degrees, from the lower left, counter-clockwise; None without a FITS WCS.
    """
    x0, y0, width, height = template.attrs["bbox"]
    template = template.sel(x=slice(x0, x0 + width - 1), y=slice(y0, y0 + height - 1))
    image, variance = template["image"].values, template["variance"].values
    bit = planes_from_attributes(template["mask"].attrs)[NO_DATA]
    step = max(1, max(image.shape) // (SIDE * _SAMPLES))
    some = np.s_[::step, ::step]
    known = ((template["mask"].values[some] >> bit) & 1) == 0
    image, variance = image[some], variance[some]
    noise, coverage = _coarse(variance, known)
    return {
        "image": _thumbnail(np.where(known, image, np.nan)),
        "noise": noise,
        "coverage": coverage,
        "corners": _corners(template),
    }


def coadd_preview(
    image: NDArray[np.floating], variance: NDArray[np.floating], missing: NDArray[np.bool_], count: NDArray[np.integer]
) -> dict[str, Any]:
    """Sum up the DCR coadd of a patch.

    Parameters
    ----------
    image, variance : ndarray, shape (num_subfilters, height, width)
        nJy and nJy^2.
    missing : ndarray of bool, shape (height, width)
        Pixels without data.
    count : ndarray of int, shape (height, width)
        Visits per pixel.

    Returns
    -------
    dict
        As JSON has it: ``image``, ``noise`` and ``coverage`` as of `preview`, of the sum of the subfilters; ``count``:
        median number of visits of the pixels with data, a coarse map like the others.
    """
    step = max(1, max(missing.shape) // (SIDE * _SAMPLES))
    some = np.s_[..., ::step, ::step]
    known = ~missing[some]
    noise, coverage = _coarse(variance[some].sum(axis=0), known)
    rows, columns = (_cells_along(n) for n in known.shape)
    counts: list[list[Any]] = []
    for row in rows:
        counts.append([])
        for column in columns:
            where = row, column
            good = count[some][where][known[where]]
            counts[-1].append(float(np.median(good)) if good.size else None)
    pixels = np.where(known, image[some].sum(axis=0), np.nan)
    return {"image": _thumbnail(pixels), "noise": noise, "coverage": coverage, "count": counts}


def _corners(template: xr.Dataset) -> list[list[float]] | None:
    if "wcs" not in template.attrs:
        return None
    from dcrflow.geometry.wcs import SkyWcs  # a report that makes no preview needs neither this nor xarray

    ra, dec = SkyWcs.from_any(objects(template.attrs)["wcs"]).pixel_to_sky(*Box(*template.attrs["bbox"]).outline(1))
    corners: list[list[float]] = np.round(np.stack([ra, dec], axis=1), 6).tolist()
    return corners


def _cells_along(length: int) -> list[slice]:
    """The cells of a coarse map along an axis: the first ones are longer by a pixel where it does not come out even."""
    edges = [n * (length // CELLS) + min(n, length % CELLS) for n in range(CELLS + 1)]
    return [slice(*edge) for edge in pairwise(edges)]


def _coarse(variance: NDArray[Any], known: NDArray[np.bool_]) -> tuple[list[list[Any]], list[list[int]]]:
    rows, columns = (_cells_along(n) for n in known.shape)
    noise: list[list[Any]] = []
    coverage: list[list[int]] = []
    for row in rows:
        noise.append([])
        coverage.append([])
        for column in columns:
            where = row, column
            good = variance[where][known[where]].astype(np.float64)
            noise[-1].append(float(f"{np.sqrt(np.median(good)):.4g}") if good.size else None)
            coverage[-1].append(round(100 * good.size / max(1, known[where].size)))
    return noise, coverage


def _thumbnail(image: NDArray[Any]) -> str:
    """A data URL of the image, averaged down; black where there are no data."""
    step = max(1, -(-max(image.shape) // SIDE))
    known = np.isfinite(image)
    rows, columns = (np.arange(0, n, step) for n in image.shape)
    total, count = (
        np.add.reduceat(np.add.reduceat(a, rows, axis=0), columns, axis=1)
        for a in (np.where(known, image, 0.0), known.astype(np.float64))
    )
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    sky = mean[count > 0]
    scatter = 1.4826 * float(np.median(np.abs(sky - np.median(sky)))) if sky.size else 0.0
    level = (np.arcsinh(mean / (3 * scatter or 1.0)) + 1) / (np.arcsinh(100.0) + 1)
    pixels = np.where(count > 0, np.clip(level, 0, 1) * 255, 0).astype(np.uint8)
    return _data_url(Image.fromarray(pixels[::-1]))


def checked_thumbnail(text: object) -> str | None:
    """A thumbnail from a store, decoded and encoded again as `preview` does it; None if it is not an image.

    Whatever else its text may hold is gone. Stores of earlier versions have JPEG.
    """
    if not isinstance(text, str) or len(text) > _LONGEST:
        return None
    kind, comma, content = text.partition(";base64,")
    if not comma or kind not in ("data:image/png", "data:image/jpeg"):
        return None
    try:
        with Image.open(BytesIO(b64decode(content, validate=True)), formats=("PNG", "JPEG")) as image:
            return _data_url(image.convert("L")) if max(image.size) <= _LARGEST else None
    except (OSError, ValueError, SyntaxError, binascii.Error, Image.DecompressionBombError):  # as Pillow has them
        return None


def _data_url(image: Image.Image) -> str:
    """A grey image of `_GREYS` levels as a data URL: of 256 it would be five times as long, to show the same noise."""
    step = 255 / (_GREYS - 1)
    levels = Image.fromarray(np.round(np.asarray(image) / step).astype(np.uint8), "P")
    levels.putpalette(np.repeat(np.round(np.arange(_GREYS) * step).astype(np.uint8), 3).tobytes())
    file = BytesIO()
    levels.save(file, "PNG", bits=4, optimize=True)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
