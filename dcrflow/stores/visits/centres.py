"""Where detectors are on the sky, for many rows of a table at once: to a pixel or so, without their distortions.

It is for putting neighbours next to each other, and for maps. Plans use the whole WCS.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dcrflow.geometry.sphere import from_tangent_plane
from dcrflow.stores.visits.texts import bytes_of

Float = NDArray[np.float64]

_CARD = 80  # letters
_KEYS = (
    "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CDELT1", "CDELT2", "CD1_1", "CD1_2", "CD2_1", "CD2_2",
    "PC1_1", "PC1_2", "PC2_1", "PC2_2",
)  # fmt: skip


def centres(cards: pa.Array, x: Float, y: Float, ra: Float, dec: Float) -> tuple[Float, Float]:
    """RA and Dec of pixels, degrees, by the linear part of each row's WCS.

    Parameters
    ----------
    cards : pyarrow.Array of strings
        FITS cards of each row.
    x, y : ndarray of float64
        A pixel of each row, absolute detector pixels.
    ra, dec : ndarray of float64
        What to return where the cards do not tell: degrees.
    """
    found = card_values(cards)
    nan = np.full(len(cards), np.nan)
    lon, lat = (found.get(f"CRVAL{i}", nan) for i in (1, 2))
    dx, dy = x - (found.get("CRPIX1", nan) - 1), y - (found.get("CRPIX2", nan) - 1)
    scale1, scale2 = (found.get(f"CDELT{i}", np.ones(len(cards))) for i in (1, 2))
    if "CD1_1" in found or "CD2_2" in found:
        zero = np.zeros(len(cards))
        matrix = [found.get(f"CD{i}_{j}", zero) for i in (1, 2) for j in (1, 2)]
    else:
        unit = [found.get(f"PC{i}_{j}", np.full(len(cards), float(i == j))) for i in (1, 2) for j in (1, 2)]
        matrix = [scale1 * unit[0], scale1 * unit[1], scale2 * unit[2], scale2 * unit[3]]
    xi, eta = matrix[0] * dx + matrix[1] * dy, matrix[2] * dx + matrix[3] * dy
    with np.errstate(invalid="ignore"):
        lon, lat = from_tangent_plane(lon, lat, xi, eta)
    known = np.isfinite(lon) & np.isfinite(lat) & (np.abs(found.get("CRVAL2", nan)) <= 90) & _begins_with_ra(cards)
    return np.where(known, lon, ra), np.where(known, lat, dec)


def _begins_with_ra(cards: pa.Array) -> NDArray[np.bool_]:
    """Whether the first axis of each row is right ascension: it may be declination, or galactic."""
    return np.asarray(pc.fill_null(pc.match_substring_regex(cards, "CTYPE1 *= *'RA-"), False), np.bool_)


def card_values(cards: pa.Array) -> Mapping[str, Float]:
    """Numbers of the keywords that the linear part of a WCS has; NaN where a row lacks one that others have."""
    if isinstance(cards, pa.ChunkedArray):
        cards = cards.combine_chunks()
    return _of_like_layout(cards) or _of_any_layout(cards)


def _of_like_layout(cards: pa.Array) -> dict[str, Float] | None:
    """The same where all rows have the same keywords in the same order, as the rows of one camera have; None else."""
    offsets, data = bytes_of(cards)
    lengths = np.diff(offsets)
    if cards.null_count or not len(lengths) or lengths[0] % _CARD or np.any(lengths != lengths[0]) or not lengths[0]:
        return None
    table = np.frombuffer(data, np.uint8).reshape(len(lengths), -1, _CARD)
    names = np.ascontiguousarray(table[:, :, :9]).view("S9")[..., 0]
    if np.any(names != names[0]):
        return None
    found = {}
    for place, name in enumerate(names[0]):
        key = name.decode("ascii", "replace").rstrip("= ")
        if key in _KEYS:
            values = np.ascontiguousarray(table[:, place, 10:30]).view("S20")[:, 0]
            if not np.isin(table[:, place, 30], (ord(" "), ord("/"))).all():  # longer than usual
                return None
            try:
                found[key] = np.char.strip(values).astype(np.float64)
            except ValueError:  # a comment within
                return None
    return found


def _of_any_layout(cards: pa.Array) -> dict[str, Float]:
    found = {}
    for key in _KEYS:
        pattern = rf"{key} *= *(?P<value>[-+0-9.EeDd]+)"
        texts = pc.struct_field(pc.extract_regex(cards, pattern), "value")
        texts = pc.replace_substring_regex(texts, "[Dd]", "E")
        if texts.null_count == len(texts):
            continue
        numbers = [_number(text) for text in texts.to_pylist()]
        found[key] = np.array(numbers, np.float64)
    return found


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")
