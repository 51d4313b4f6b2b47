"""Rows of a detector-visit table from the FITS form of LSST's ``visitSummary``: an ExposureCatalog of afw.

The catalog has a row a detector. Its columns ``wcs`` and ``visitInfo`` are numbers of objects in the file's archive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from dcrflow.base.errors import DcrflowError, VisitTableError
from dcrflow.base.fits_files import open_fits
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.stores.visits.summaries.archive import AfwArchive, text_of, values_of
from dcrflow.stores.visits.summaries.ast_wcs import wcs_of_ast

FWHM_OF_SIGMA = 2 * math.sqrt(2 * math.log(2))
_UNIX_EPOCH = 40587.0  # MJD
_OF_THE_SKY = 1  # RotType of a rotation angle on the sky
_VISIT_INFO = {  # column: afw's name of it, and whether it is an angle in radians
    "ra": ("boresightradecra", True), "dec": ("boresightradecdec", True),
    "header_altitude": ("boresightazaltalt", True), "longitude": ("longitude", True), "latitude": ("latitude", True),
    "height_m": ("elevation", False), "temperature": ("airtemperature", False), "pressure": ("airpressure", False),
    "humidity": ("humidity", False),
}  # fmt: skip
_NEEDED = ("id", "visit", "band", "bboxminx", "bboxminy", "bboxmaxx", "bboxmaxy", "wcs", "visitinfo")


def is_summary(hdus: fits.HDUList) -> bool:
    """Whether a FITS file is an ExposureCatalog of afw."""
    return _catalog(hdus) is not None


def is_summary_file(path: Path) -> bool:
    """Whether a file is an ExposureCatalog of afw; False for a file that cannot be read."""
    try:
        with open_fits(path) as hdus:
            return is_summary(hdus)
    except (OSError, ValueError, TypeError, IndexError):
        return False


def _catalog(hdus: fits.HDUList) -> Any:
    return next((h for h in hdus[1:2] if str(h.header.get("AFW_TYPE", "")).strip() == "EXPOSURE"), None)


def summary_rows(hdus: fits.HDUList) -> list[dict[str, Any]]:
    """The rows of a visit summary; where a row's WCS cannot be used, it is the error that says why.

    Raises
    ------
    VisitTableError
        If the file lacks a column or its archive.
    """
    table = _catalog(hdus)
    if table.data is None or not len(table.data):
        raise VisitTableError("this visit summary has no rows")
    rows = [values_of(table, i) for i in range(len(table.data))]
    missing = [name for name in _NEEDED if name not in rows[0]]
    if missing:
        raise VisitTableError(
            f"this catalog of afw lacks the columns {', '.join(missing)}; expected a visitSummary, found "
            f"{', '.join(table.columns.names)}"
        )
    archive = AfwArchive(hdus)
    return [_row(record, archive) for record in rows]


def _row(record: Mapping[str, Any], archive: AfwArchive) -> dict[str, Any]:
    x0, y0, x1, y1 = (int(record[f"bbox{n}"]) for n in ("minx", "miny", "maxx", "maxy"))
    box = Box.from_bounds(x0, y0, x1 + 1, y1 + 1)  # afw's bounds belong to the box
    try:
        wcs: Any = _wcs(record, archive, box)
        seen = archive.record(int(record["visitinfo"]), "VisitInfo")
    except DcrflowError as error:
        wcs, seen = VisitTableError(str(error)), None
    fwhm = None
    if isinstance(wcs, SkyWcs) and (sigma := _number(record, "psfsigma")) is not None:
        scale = _number(record, "pixelscale") or wcs.pixel_scale(x0 + box.width / 2, y0 + box.height / 2)
        fwhm = sigma * scale * FWHM_OF_SIGMA
    return {
        **_observed({} if seen is None else seen),
        "visit": int(record["visit"]),
        "detector": int(record["id"]),
        "band": text_of(record["band"]) or None,
        "physical_filter": text_of(record.get("physicalfilter", "")),
        "x0": x0, "y0": y0, "width": box.width, "height": box.height,
        "wcs": wcs,
        "psf_fwhm": fwhm,
        "zero_point": _number(record, "zeropoint"),
        "image": "",
    }  # fmt: skip


def _wcs(record: Mapping[str, Any], archive: AfwArchive, box: Box) -> SkyWcs:
    found = archive.record(int(record["wcs"]), "WCS")
    if found is None:
        raise VisitTableError("it has no WCS: its astrometry failed")
    if "wcs" not in found:
        raise VisitTableError(f"its WCS is stored as {', '.join(found)}, expected the text of a SkyWcs")
    return wcs_of_ast(text_of(found["wcs"]), box)


def _observed(seen: Mapping[str, Any]) -> dict[str, Any]:
    """What a VisitInfo of the archive says."""
    row: dict[str, Any] = {"instrument": text_of(seen.get("instrumentlabel", "")) or "unknown"}
    for column, (name, angle) in _VISIT_INFO.items():
        value = _number(seen, name)
        row[column] = math.degrees(value) if angle and value is not None else value
    if row["ra"] is not None:
        row["ra"] %= 360.0
    rotation = _number(seen, "boresightrotangle")
    if rotation is not None and int(seen.get("rottype", 0)) == _OF_THE_SKY:
        row["rotation_angle"] = math.degrees(rotation)
    nanoseconds = int(seen.get("tai", 0))
    row["mjd"] = _UNIX_EPOCH + nanoseconds / 86400e9 if nanoseconds > 0 else None
    return row


def _number(record: Mapping[str, Any], name: str) -> float | None:
    value = record.get(name)
    return None if value is None or not np.isfinite(value) else float(value)
