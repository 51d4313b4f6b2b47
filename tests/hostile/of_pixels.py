"""Pixels that are no light of the sky, and masks of other programs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import zarr

from hostile.spoil import Case, Spoil, all_of, attributes, pixels, put, variable
from hostile.survey import PATCH, Place

_CORNER = np.s_[..., 100:160, 100:160]
_BITS = {"DETECTED": 0, "NO_DATA": 3, "STREAK": 5}


def _variance(value: float, where: object = _CORNER) -> Spoil:
    return pixels("variance", put(where, value))


def _as(name: str, kind: str, change: Callable[[np.ndarray], None] = lambda _: None) -> Spoil:
    """The same variable with another type, and then changed."""

    def spoil(place: Place) -> None:
        array = zarr.open_group(place.coadds, path=PATCH, mode="r")[name]
        values, names, about = array[...].astype(kind), array.metadata.dimension_names, array.attrs.asdict()
        change(values)
        variable(name, values, names, **about)(place)

    return spoil


def _renumbered(place: Place) -> None:
    """The same planes at other bits, and the mask accordingly."""
    pixels("mask", lambda mask: np.where(mask & (1 << 5), 1 << 0, 0).astype(np.int32))(place)
    flags = {"flag_masks": [1 << bit for bit in _BITS.values()], "flag_meanings": " ".join(_BITS)}
    attributes(f"{PATCH}/mask", **flags)(place)


CASES = (
    Case("image not a number, a part", pixels("image", put(_CORNER, np.nan))),
    Case("image not a number, a part of one subfilter", pixels("image", put((1, *_CORNER[1:]), np.nan))),
    Case("image not a number, all of it", pixels("image", put(..., np.nan))),
    Case("image infinite, a part", pixels("image", put(_CORNER, np.inf))),
    Case("image -infinite, one pixel of one subfilter", pixels("image", put((0, 130, 130), -np.inf))),
    Case("image 3 10^38, a part", pixels("image", put(_CORNER, 3e38)), changes=True),
    Case("image of float64, 10^300 in a part", _as("image", "f8", put(_CORNER, 1e300))),
    Case("image 10^38, one pixel", pixels("image", put((0, 130, 130), 1e38)), changes=True),
    Case("variance 0, a part", _variance(0.0)),
    Case("variance 0, all of it", _variance(0.0, ...)),
    Case("variance negative, a part", _variance(-1.0)),
    Case("variance infinite, a part", _variance(np.inf)),
    Case("variance 10^-40, a part", _variance(1e-40)),
    Case("variance 10^38, a part", _variance(1e38), changes=True),
    Case("variance not a number, a part", _variance(np.nan)),
    Case("variance not a number, all of it", _variance(np.nan, ...)),
    Case("mask NO_DATA, a part", pixels("mask", put(_CORNER, 1 << 8))),
    Case("mask NO_DATA, all of it", pixels("mask", put(..., 1 << 8))),
    Case("mask -1: all planes, and bits without a name", pixels("mask", put(_CORNER, -1))),
    Case("mask of 64 bits, the 41st without a name", _as("mask", "i8", put(_CORNER, 1 << 40))),
    Case("mask of 8 bits, and planes beyond", _as("mask", "u1")),
    Case("mask with unknown planes", attributes(f"{PATCH}/mask", flag_masks=[1, 2], flag_meanings="FOO BAR")),
    Case("mask of planes at other bits", _renumbered),
    Case("mask without planes", attributes(f"{PATCH}/mask", flag_masks=None, flag_meanings=None)),
    Case("psf not a number", pixels("psf", put(..., np.nan))),
    Case("psf infinite, one pixel", pixels("psf", put((0, 3, 3), np.inf))),
    Case("psf 0", pixels("psf", put(..., 0.0))),
    Case("psf negative", pixels("psf", put(..., -1.0))),
    Case("psf at no place", all_of(pixels("psf_node_x", put(..., np.nan)))),
)  # fmt: skip
