"""Detector-visits that went into a coadd and do not fit the others: named, with what does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from dcrflow.coadding.cell import VisitReport
from dcrflow.planning.coadds import LeftOut

_LARGEST_RESIDUAL = 3.0  # noise units; above it something is wrong with a visit's WCS, PSF or zero point
_LARGEST_SCALE, _LARGEST_SHIFT = 0.05, 0.5  # of the flux, and pixels, that self-calibration corrects without a word


def suspects(reports: Mapping[tuple[int, int], VisitReport]) -> Iterator[LeftOut]:
    """Visits whose residuals, or corrections by self-calibration, say that something is wrong with them.

    A visit that is wrong worsens the residuals of the others: those below half of the largest are not named.

    Parameters
    ----------
    reports : mapping of (visit, detector) to VisitReport
        Of a whole patch.
    """
    least = max([_LARGEST_RESIDUAL, *(r.residual / 2 for r in reports.values() if r.pixels)])
    for (visit, detector), report in sorted(reports.items()):
        if not report.pixels:
            continue
        found = report.correction
        shift = math.hypot(found.dy, found.dx)
        what = []
        if report.residual > least:
            what.append(
                f"its residual is {report.residual:.1f} times the noise ({report.rejected} of {report.pixels} pixels "
                "were rejected): look at its WCS, PSF and zero point"
            )
        if abs(found.scale - 1.0) > _LARGEST_SCALE:
            what.append(f"its flux is {found.scale:.3f} times the others', and was corrected: look at its zero point")
        if shift > _LARGEST_SHIFT:
            what.append(f"its stars are {shift:.2f} px off the others', and were moved: look at its WCS")
        if what:
            yield LeftOut(visit, detector, "; ".join(what))
