"""One detector-visit in the report. Its attributes are checked, because any program may have written them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dcrflow.base.attributes import Checked, decoded, is_number
from dcrflow.base.texts import one_line
from dcrflow.stores.templates.store import TemplateStore
from dcrflow.view.thumbnails import CELLS, checked_thumbnail, preview

_EXACT = 1 << 53  # what JavaScript's numbers count to
_MOST_PIXELS = 1 << 28  # of a template that has no preview yet


def row_of(store: TemplateStore, entry: Mapping[str, Any], took: Any, notes: list[str]) -> dict[str, Any]:
    """What the page shows of one detector-visit, with only what it has.

    Parameters
    ----------
    store : TemplateStore
        For templates without a preview, whose pixels are read.
    entry : mapping
        Its attributes.
    took : mapping
        From `TemplateStore.timings`; empty where no run tells.
    notes : list of str
        What is not as it should be is added, a line each.
    """
    about = Checked(entry)
    row: dict[str, Any] = {**named(entry["visit"], entry["detector"]), "status": entry["status"]}
    if about.text("band"):
        row["band"] = about.text("band")
    error = Checked(about.object("error"), about.problems)
    if error.attributes:
        row["error"] = one_line(f"{error.text('type')}: {error.text('message')}".strip(": "))
    damage = decoded(entry.get("damage"))
    if isinstance(damage, list) and damage:
        row["damage"] = [one_line(line) for line in damage]
    if entry["status"] == "complete":
        row |= _of_template(store, about, Checked(took if isinstance(took, Mapping) else {}, about.problems))
    notes += [f"visit {entry['visit']} detector {entry['detector']}: {line}" for line in about.problems]
    return row


def named(visit: int, detector: int) -> dict[str, Any]:
    """A data ID, as text where it is beyond JavaScript's numbers; null for a row of a table whose ID cannot be read."""
    if min(visit, detector) < 0:
        return {"visit": None, "detector": None}
    return {
        "visit": visit if visit < _EXACT else str(visit),
        "detector": detector if detector < _EXACT else str(detector),
    }


def _of_template(store: TemplateStore, about: Checked, took: Checked) -> dict[str, Any]:
    seen = Checked(_preview(store, about), about.problems)
    dcr = Checked(about.object("dcr"), about.problems)
    cells = seen.numbers("noise", CELLS, CELLS, gaps=True), seen.numbers("coverage", CELLS, CELLS)
    noise = [value for line in cells[0] or () for value in line if value is not None]
    image = checked_thumbnail(seen.attributes.get("image"))
    if image is None and "image" in seen.attributes:
        about.problems.append("its thumbnail is no PNG or JPEG, and is not shown")
    arrow, spread = _arrow(Checked(dcr.object("spread"), about.problems))
    patches = about.numbers("patches", None, 2)
    return {
        "coverage": _rounded(about.number("coverage"), 5),
        "sigma": _rounded(sorted(noise)[len(noise) // 2], 3) if noise else None,
        "zenith": _rounded(dcr.number("zenith_angle"), 2),
        "direction": _rounded(dcr.number("direction"), 2),
        "patches": ", ".join(f"{t}/{p}" for t, p in patches or ()),
        "seconds": _seconds(took),
        "reading": _numbers_in(took.object("patches")),
        "image": image,
        "noise": cells[0] or [],
        "cells": cells[1] or [],
        "corners": seen.numbers("corners", 4, 2),
        "arrow": arrow,
        "spread": spread,
    }


def _preview(store: TemplateStore, about: Checked) -> Mapping[str, Any]:
    if about.attributes.get("preview") is not None:
        return about.object("preview")
    try:
        template = store.read(about.attributes["visit"], about.attributes["detector"])
        if math.prod(template.sizes[d] for d in ("y", "x")) > _MOST_PIXELS:
            raise ValueError(f"it has {dict(template.sizes)} pixels")
        return preview(template.compute())
    except Exception as error:  # whatever a damaged store makes of the libraries that read it
        about.problems.append(f"it has no preview, and none can be made: {type(error).__name__}: {one_line(error)}")
        return {}


def _seconds(took: Checked) -> dict[str, float]:
    whole = took.number("seconds")
    return {} if whole is None else {"begin to end": whole, **_numbers_in(took.object("steps"))}


def _numbers_in(values: Mapping[str, Any]) -> dict[str, float]:
    return {str(name): float(value) for name, value in values.items() if is_number(value)}


def _arrow(spread: Checked) -> tuple[list[float] | None, float | None]:
    """From the reddest to the bluest light, detector pixels (x, y); and its length."""
    wavelengths, shifts = spread.numbers("wavelength", None), spread.numbers("shift", None, 2)
    if not wavelengths or not shifts or len(wavelengths) != len(shifts):
        return None, None
    ends = [shift for _, shift in sorted(zip(wavelengths, shifts, strict=True))]
    dy, dx = (ends[0][i] - ends[-1][i] for i in (0, 1))
    return [round(dx, 3), round(dy, 3)], _rounded(math.hypot(dx, dy), 3)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)
