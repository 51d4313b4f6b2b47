"""Mask planes as LSST spells them: the short names of afw, which dcrflow keeps, and the long ones of lsst.images."""

from __future__ import annotations

from collections.abc import Mapping

#: Short name to long name. Other planes have the same name in both.
LONG_NAMES: Mapping[str, str] = {
    "SAT": "SATURATED",
    "INTRP": "INTERPOLATED",
    "CR": "COSMIC_RAY",
    "EDGE": "DETECTION_EDGE",
    "UNMASKEDNAN": "UNMASKED_NAN",
}
_SHORT_NAMES = {long: short for short, long in LONG_NAMES.items()}

_DESCRIPTIONS = {
    "BAD": "Bad pixel in the instrument, including bad amplifiers.",
    "SAT": "Pixel is saturated, or was on an input that was.",
    "INTRP": "Pixel value was interpolated, or lies near one that was.",
    "CR": "A cosmic ray affected this pixel.",
    "EDGE": "Pixel is too near an edge to be detected on.",
    "DETECTED": "Pixel was part of a detected source.",
    "DETECTED_NEGATIVE": "Pixel was part of a detected source that is negative.",
    "SUSPECT": "Pixel was close to the saturation level.",
    "NO_DATA": "No data was available for this pixel.",
    "HIGH_VARIANCE": "Variance is unusually high for this template.",
}


def short_name(plane: str) -> str:
    """The name of a plane in dcrflow, from either spelling."""
    return _SHORT_NAMES.get(plane, plane)


def long_name(plane: str) -> str:
    """The name of a plane in lsst.images."""
    return LONG_NAMES.get(plane, plane)


def description(plane: str) -> str:
    """The meaning of a plane in one sentence, or its name if the meaning is not known."""
    return _DESCRIPTIONS.get(plane, plane)
