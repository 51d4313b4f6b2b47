"""Mask planes: their names, their bits, and how masks with different bits are merged.

A mask is an int32 array; each bit is a plane, named in CF attributes ``flag_masks`` and ``flag_meanings``. A template
has all planes of its coadds, and all of `TEMPLATE_PLANES`. If these are more than 31, it lacks those that no coadd has,
except the three that dcrflow sets itself. The masks of coadds may have any integer type, and planes in any of its bits.
A plane that is set on a pixel of a coadd is set on every pixel of the template that the light of that pixel reaches.

================== ====================================================================================================
plane              on the template it means
================== ====================================================================================================
NO_DATA            no coadd has data there, or a kernel leaves the data: image and variance are the fill value
HIGH_VARIANCE      the variance, smoothed, is far above its median; set by dcrflow alone (`dcrflow.steps.high_variance`)
INTRP              interpolated in the coadd; or within 10 pixels of a hole, where what it was filled with shows by more
                   than 1e-4 (`dcrflow.steps.prefilter`)
BAD                a defect of the sensor
SAT                saturated
CR                 a cosmic ray
EDGE               too near an edge of the coadd's data for detection
DETECTED           part of a source of the coadd; DETECTED_NEGATIVE of a negative one
SUSPECT            in doubt, such as near saturation
CLIPPED            an input of the coadd was clipped there; REJECTED: left out
CROSSTALK          corrected for crosstalk
INEXACT_PSF        inputs differ from those of the PSF's model, which is then not exact
NOT_DEBLENDED      part of a blend that was too large to take apart
SENSOR_EDGE        the edge of a sensor is among the inputs
STREAK             a satellite's trail
UNMASKEDNAN        not a number in an input, and not flagged there
VIGNETTED          in the shade of the optics
================== ====================================================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import brief

NO_DATA = "NO_DATA"
HIGH_VARIANCE = "HIGH_VARIANCE"

_NAME = re.compile(r"\w[^\s,;'\"`\[\](){}]*")  # of a plane
_BITS, _DTYPE = 32, np.dtype(np.int32)  # of a mask
_SIGNS = tuple(1 << 8 * n - 1 for n in (1, 2, 4, 8))  # bits that make a number of a signed type negative

#: LSST's planes with bits of their own.
STANDARD_PLANES: Mapping[str, int] = {
    "BAD": 0,
    "SAT": 1,
    "INTRP": 2,
    "CR": 3,
    "EDGE": 4,
    "DETECTED": 5,
    "DETECTED_NEGATIVE": 6,
    "SUSPECT": 7,
    NO_DATA: 8,
}

#: The planes that every template has: those of coadds, at the bits that LSST's coadds usually have, and HIGH_VARIANCE.
TEMPLATE_PLANES: Mapping[str, int] = {
    **STANDARD_PLANES,
    "CLIPPED": 9,
    "CROSSTALK": 10,
    "INEXACT_PSF": 11,
    "NOT_DEBLENDED": 12,
    "REJECTED": 13,
    "SENSOR_EDGE": 14,
    "STREAK": 15,
    "UNMASKEDNAN": 16,
    "VIGNETTED": 17,
    HIGH_VARIANCE: 18,
}


#: Planes that lsst.images spells in another way: its name, and afw's, which dcrflow keeps.
_SHORT_NAMES: Mapping[str, str] = {
    "SATURATED": "SAT",
    "INTERPOLATED": "INTRP",
    "COSMIC_RAY": "CR",
    "DETECTION_EDGE": "EDGE",
    "UNMASKED_NAN": "UNMASKEDNAN",
}


def short_name(plane: str) -> str:
    """A plane's name as dcrflow has it, whichever way it is spelled."""
    return _SHORT_NAMES.get(plane, plane)


def merged_planes(several: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """One table of planes and bits that holds every plane of all tables, and of `TEMPLATE_PLANES` if they fit.

    `STANDARD_PLANES` keep their bits. The planes of the tables follow and keep their bits where these are free. The
    sign bit is used if all others are.

    Raises
    ------
    ValueError
        If there are more planes than the 32 bits of an int32 mask.
    """
    tables = list(several)
    found = {name for table in tables for name in table}
    planes, last = dict(STANDARD_PLANES), TEMPLATE_PLANES
    if len(found | set(TEMPLATE_PLANES)) >= _BITS:
        last = {name: TEMPLATE_PLANES[name] for name in (NO_DATA, "INTRP", HIGH_VARIANCE)}
        planes = {
            name: bit for name, bit in TEMPLATE_PLANES.items() if name in STANDARD_PLANES and name in found | set(last)
        }
        planes[HIGH_VARIANCE] = last[HIGH_VARIANCE]
    for table in (*tables, last):
        for name, bit in table.items():
            if name in planes:
                continue
            used = set(planes.values())
            planes[name] = bit if bit not in used and bit < _BITS - 1 else next(i for i in range(64) if i not in used)
    if max(planes.values()) >= _BITS:
        raise ValueError(f"{len(planes)} mask planes do not fit the 32 bits of a mask: {', '.join(sorted(planes))}")
    return planes


def flag_attributes(planes: Mapping[str, int]) -> dict[str, Any]:
    """CF attributes ``flag_masks`` (list of int) and ``flag_meanings`` (blank-separated) of a mask variable."""
    ordered = sorted(planes.items(), key=lambda item: item[1])
    return {
        "flag_masks": [int(flag_of(bit)) for _, bit in ordered],
        "flag_meanings": " ".join(name for name, _ in ordered),
    }


def flag_of(bit: int, dtype: np.dtype[Any] = _DTYPE) -> Any:
    """The value of a bit in a mask, of the mask's type; the sign bit's is negative."""
    signed = dtype.kind == "i" and bit == 8 * dtype.itemsize - 1
    return dtype.type(-1 << bit if signed else 1 << bit)


def planes_from_attributes(attributes: Mapping[str, Any]) -> dict[str, int]:
    """Plane names and bits from CF attributes; an empty dict if there are none.

    ``flag_meanings`` may be one text, its names apart by blanks or commas, or a list of names; ``flag_masks`` a list of
    numbers, one number, or a text of them; the sign bit's number is negative, or that of the unsigned type. LSST's
    planes may be in lower case, or begin with ``MP_`` as in headers.

    Raises
    ------
    ValueError
        If the two attributes differ in length, a name occurs twice or is not a name, a flag is not a single bit, or two
        planes have one bit. Also if ``flag_values`` says that the bits together are a number.
    """
    masks, together = _items(attributes.get("flag_masks", []), "flag_masks"), attributes.get("flag_values")
    if together is not None and _items(together, "flag_values") != masks:
        raise ValueError(f"it has flag_values {brief(together)}, expected flag_masks alone: a bit for each plane")
    names = [_plane_named(name) for name in _items(attributes.get("flag_meanings", ""), "flag_meanings")]
    values = [_flag(value) for value in masks]
    if len(names) != len(values):
        raise ValueError(f"{len(names)} flag_meanings but {len(values)} flag_masks")
    for name, value in zip(names, values, strict=True):
        if value == 0 or (value < 0 and -value not in _SIGNS) or abs(value) & (abs(value) - 1) or abs(value) >> 64:
            raise ValueError(f"flag_masks of plane {name} is {value}, not a single bit of an integer type")
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"flag_meanings has {', '.join(twice)} twice")
    by_bit: dict[int, str] = {}
    for name, value in zip(names, values, strict=True):
        other = by_bit.setdefault(abs(value), name)
        if short_name(other) != short_name(name):
            raise ValueError(f"flag_masks has {value} for {other} and for {name}, expected a bit for each plane")
    return {name: abs(value).bit_length() - 1 for name, value in zip(names, values, strict=True)}


def _items(value: Any, what: str) -> list[Any]:
    """The members of a list, of a text of them, or of JSON text of a list; one value is a list of itself."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"{what} is {brief(value)}, expected names apart by blanks") from None
    if isinstance(value, str):
        return [item for item in re.split(r"[\s,;]+", value) if item]
    if isinstance(value, list | tuple | np.ndarray):
        return list(np.asarray(value, object).ravel()) if isinstance(value, np.ndarray) else list(value)
    return [value]


def _plane_named(value: Any) -> str:
    if not isinstance(value, str) or not _NAME.fullmatch(value.strip()):
        raise ValueError(f"flag_meanings has {brief(value)}, expected a name without blanks and quotes")
    name = value.strip()
    known = name.upper().removeprefix("MP_")
    return known if known in TEMPLATE_PLANES else name


def _flag(value: Any) -> int:
    try:
        number = int(value)
        if isinstance(value, bool) or (not isinstance(value, str) and number != value):
            raise ValueError
    except (TypeError, ValueError, ArithmeticError):
        raise ValueError(f"flag_masks has {brief(value)}, expected the number of a bit's value") from None
    return number


def named_bits(planes: Mapping[str, int]) -> int:
    """The OR of all planes' flags, as of an unsigned type."""
    return sum(1 << bit for bit in set(planes.values()))


def translate(mask: NDArray[Any], found: Mapping[str, int], wanted: Mapping[str, int]) -> NDArray[np.int32]:
    """Move the planes of a mask, of any integer type, to the bits of another table.

    Bits without a name are dropped. An int32 array in which nothing moves is returned itself.
    """
    if all(wanted.get(name) == bit for name, bit in found.items()):
        mask = mask.astype(np.int32, copy=False)
        named = np.bitwise_or.reduce([flag_of(bit) for bit in found.values()] or [np.int32(0)])
        return mask if not np.any(mask & ~named) else mask & named
    out = np.zeros(mask.shape, np.int32)
    for name, bit in found.items():
        out |= ((mask >> bit) & 1).astype(np.int32) << wanted[name]
    return out
