"""Variables whose stored numbers are not the values: CF's packing, fill values, and other units."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Mapping
from typing import Any

from dcrflow.base.errors import brief

_UNPACKED = {"scale_factor": 1.0, "add_offset": 0.0}
_NANOJANSKY = frozenset(("njy", "nanojansky", "nanojanskys"))


def packing(attributes: Mapping[str, Any], unit: bool = False) -> str:
    """What of a variable's attributes says that its numbers are not the values; empty if nothing does.

    xarray multiplies by ``scale_factor``, adds ``add_offset``, and reads ``_FillValue`` and ``missing_value`` as NaN.
    zarr does none of this.

    Parameters
    ----------
    attributes : mapping
        Of the variable.
    unit : bool
        Whether ``units``, if present, must be nJy.
    """
    for name, neutral in _UNPACKED.items():
        if name in attributes and attributes[name] != neutral:
            return f"{name} = {brief(attributes[name])}; write it again without packing"
    for name in ("_FillValue", "missing_value"):
        if name in attributes and not _is_nan(attributes[name]):
            return f"{name} = {brief(attributes[name])}; write NaN where there is no data, and no {name}"
    units = attributes.get("units")
    if unit and units is not None and str(units).strip().lower() not in _NANOJANSKY:
        return f"units = {brief(units)}, expected 'nJy'"
    return ""


def _is_nan(value: Any) -> bool:
    """Whether a fill value is NaN: a number, a word, or the base64 text that xarray writes for floats."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    try:
        return math.isnan(float(value))
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        coded = base64.b64decode(value, validate=True)
        return len(coded) in (4, 8) and math.isnan(struct.unpack("<f" if len(coded) == 4 else "<d", coded)[0])
    except (TypeError, ValueError):
        return False
