"""Whether a photometric calibration of LSST's afw is the same over the whole image.

Why
    A calibration that varies over the image cannot be applied as one factor.
Public ways tried
    Evaluating ``instFluxToNanojansky`` at several points shows that a calibration varies, but not that it does not.
    LSST's own pipelines ask this attribute too.
Versions
    afw of weekly 2026_43; tests use a stand-in with the same attribute.
Remove when
    `lsst.afw.image.PhotoCalib` has a public property for it.
"""

from __future__ import annotations

from typing import Any


def is_constant(calibration: Any) -> bool:
    """Whether a `lsst.afw.image.PhotoCalib` has one factor for all pixels."""
    return bool(calibration._isConstant)
