"""Read detector-visits from the headers of LSST-style FITS exposures; no pixels are read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.io import fits

from dcrflow.base.errors import VisitTableError, WcsError
from dcrflow.base.fits_files import open_fits
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.stores.visits.header_values import measured, mjd_of, scale_named
from dcrflow.stores.visits.summaries.from_fits import is_summary, summary_rows

_SUFFIXES = (".fits", ".fits.gz", ".fits.fz", ".fit", ".fits.bz2")
_KEYWORDS = {  # column: keyword of LSST's VisitInfo, in our units
    "ra": "BORE-RA", "dec": "BORE-DEC", "header_altitude": "BORE-ALT", "rotation_angle": "BORE-ROTANG",
    "parallactic_angle": "PARANGLE", "longitude": "OBS-LONG", "latitude": "OBS-LAT", "height_m": "OBS-ELEV",
    "temperature": "AIRTEMP", "pressure": "AIRPRESS", "humidity": "HUMIDITY",
}  # fmt: skip
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_FROM_NAME = re.compile(r"_(\d+)_(\d+)\.fit")


def exposure_files(source: Any) -> list[Path] | None:
    """The FITS files that a source of detector-visits names; None if it is another kind of source.

    Raises
    ------
    VisitTableError
        If the source is a directory without FITS files.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.name.lower().endswith(_SUFFIXES))
            if not found:
                raise VisitTableError(f"{path} is a directory without FITS files; expected exposures or a table")
            return found
        return [path] if path.name.lower().endswith(_SUFFIXES) and path.exists() else None
    if isinstance(source, Iterable) and not hasattr(source, "columns"):
        paths = [Path(p) for p in source if isinstance(p, str | Path)]
        return paths or None
    return None


def read_exposure_row(path: Path) -> dict[str, Any]:
    """Read the one row of a file with one detector; see `read_exposure_rows`."""
    rows = read_exposure_rows(path)
    if len(rows) > 1:
        raise VisitTableError(f"it has {len(rows)} detectors, expected one")
    return rows[0]


def read_exposure_rows(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a detector-visit table for the detectors of one exposure, or of LSST's summary of a visit.

    Parameters
    ----------
    path : Path
        A FITS file with VisitInfo keywords in its primary header and the WCS in that of each detector's image; or a
        ``visitSummary``. In a row of the latter whose WCS cannot be used, ``wcs`` is the error that says why.

    Raises
    ------
    VisitTableError
        If a header cannot be read or lacks a value, or if no keyword distinguishes the images; names the file and what
        is missing.
    """
    try:
        with open_fits(path) as hdus:
            if is_summary(hdus):
                return summary_rows(hdus)
            images = _detectors(hdus)
            return [_row_of(path, hdus, image, len(images) == 1) for image in images]
    except VisitTableError:
        raise
    except Exception as error:  # of many kinds: astropy has its own for cards that are none
        said = " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split()) or type(error).__name__
        raise VisitTableError(f"cannot read its headers: {said}") from error


def detector_images(hdus: fits.HDUList) -> list[Any]:
    """The detector images: one HDU per position on the sky, without masks and variances of the same detector.

    Raises
    ------
    VisitTableError
        If there is none.
    """
    images: list[Any] = []
    seen: dict[tuple[Any, ...], set[str]] = {}
    for hdu in hdus:
        header = hdu.header
        if header.get("NAXIS", 0) != 2 or not _is_on_sky(header):
            continue
        kinds = {str(hdu.name).strip().upper(), str(header.get("EXTTYPE", "")).strip().upper()}
        place = tuple(str(header.get(key)) for key in _PLACE)
        number = _keyword(header, header, *_NAMES["detector"])
        known = seen.get(place, set())
        if images and (kinds & _NOT_PIXELS or known & {str(number), "None"} or (known and number is None)):
            continue
        images.append(hdu)
        seen[place] = known | {str(number)}
    if not images:
        raise VisitTableError("no image with a celestial WCS in it")
    return images


def _detectors(hdus: fits.HDUList) -> list[Any]:
    """The same; raises VisitTableError if no keyword tells several of them apart."""
    images = detector_images(hdus)
    found = [_keyword(hdu.header, hdu.header, *_NAMES["detector"]) for hdu in images]
    _refuse_cubes(hdus, found)
    if len(images) == 1:
        return images
    labels = [f"{hdu.name or number}" for number, hdu in enumerate(images)]
    if None in found or len(set(map(str, found))) < len(found):
        what = "is the same in two of them" if None not in found else "is missing in some of them"
        some = f"{', '.join(labels[:4])}{', ...' if len(images) > 4 else ''}"
        raise VisitTableError(
            f"it has {len(images)} images ({some}), and what tells detectors apart "
            f"({', '.join(_NAMES['detector'])} in each image's header) {what}; give a table, or one file per detector"
        )
    return images


def _refuse_cubes(hdus: fits.HDUList, numbers: Sequence[Any]) -> None:
    """Raise for a detector that has no image of two axes, for it would be left out beside others."""
    for hdu in hdus:
        number = _keyword(hdu.header, hdu.header, *_NAMES["detector"])
        missing = number is not None and str(number) not in map(str, numbers)
        if missing and hdu.header.get("NAXIS", 0) > 2 and _is_on_sky(hdu.header):
            raise VisitTableError(
                f"detector {number} ({hdu.name}) has an array of {hdu.header['NAXIS']} axes, expected an image of 2; "
                "give a file of images, or a table"
            )


def _is_on_sky(header: fits.Header) -> bool:
    return "CRVAL1" in header or "PLTRAH" in header


_PLACE = ("NAXIS1", "NAXIS2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CD1_1", "CD1_2", "CDELT1", "PC1_1", "PC1_2")
_NOT_PIXELS = {
    "MASK", "SCI_MASK", "BPM", "DQ", "DQM", "FLAG", "FLAGS", "VARIANCE", "VAR", "IVAR", "INVVAR", "WEIGHT", "WGT",
    "WHT", "ERR", "ERROR", "SIGMA", "UNCERT", "NOISE", "BACKGROUND", "BKG", "PSF", "PSF_NODES", "CONTEXT", "EXPMAP",
}  # fmt: skip


def _row_of(path: Path, hdus: fits.HDUList, image: Any, alone: bool) -> dict[str, Any]:
    primary, header = hdus[0].header, image.header.copy()
    names = {k: _keyword(primary, header, *keys) for k, keys in _NAMES.items()}
    if not alone:
        names["detector"] = _keyword(header, header, *_NAMES["detector"])
    if names["band"] is None:
        names |= filter_label(hdus)
    for name, number in id_in_name(path).items():
        names[name] = number if names[name] is None else names[name]
    row: dict[str, Any] = {**names, "instrument": names["instrument"] or "unknown"}
    for name in ("visit", "detector", "band"):
        if row[name] is None:
            raise VisitTableError(
                f"no {name}: none of the keywords {', '.join(_NAMES[name])} is there; give a table instead"
            )
    x0, y0 = origin(header)
    try:
        wcs = SkyWcs.from_image(header, hdus, x0, y0)
    except WcsError as error:
        raise VisitTableError(str(error)) from error
    row |= {"x0": x0, "y0": y0, "width": header["NAXIS1"], "height": header["NAXIS2"], "wcs": wcs}
    for column, keyword in _KEYWORDS.items():
        value = _keyword(primary, header, keyword)
        row[column] = value if column in ("ra", "dec") else measured(column, value)
    date = _keyword(primary, header, "DATE-AVG")
    row["mjd"] = None if date is None else _mid_exposure(date, _keyword(primary, header, "TIMESYS"))
    return row


@dataclass(frozen=True)
class _MidExposure:
    """How DATE-AVG is meant."""

    scale: str
    format: str = ""
    exposure: tuple[str, ...] = ()
    time: tuple[str, ...] = ()


def _mid_exposure(date: Any, scale: Any) -> float | None:
    """MJD (TAI) of a DATE-AVG in the scale of TIMESYS; None if it has no time of day, which is not midnight.

    LSST's own are in TAI; a Z at the end says UTC.
    """
    if _DAY.fullmatch(str(date).strip()):
        return None
    try:
        known = scale or ("UTC" if str(date).strip().endswith(("Z", "z")) else "TAI")
        return mjd_of(_MidExposure(scale_named(known)), date, lambda _: None)
    except ValueError as error:
        raise VisitTableError(f"DATE-AVG: {error}") from None


def origin(header: fits.Header) -> tuple[int, int]:
    """Absolute index (x0, y0) of an array's first pixel, as given in LSST files."""
    x0, y0 = (round(float(header.get(f"CRVAL{i}A", -header.get(f"LTV{i}", 0)))) for i in (1, 2))
    return x0, y0


def id_in_name(path: Path) -> dict[str, int]:
    """Visit and detector from a file name ``..._<visit>_<detector>.fits``; empty for any other name."""
    match = _FROM_NAME.search(path.name)
    return {"visit": int(match[1]), "detector": int(match[2])} if match else {}


_NAMES = {
    "instrument": ("INSTRUME", "INSTRUMENT"),
    "visit": ("VISIT", "EXPID", "IDNUM", "EXPNUM"),
    "detector": ("DETECTOR", "CCDNUM", "CCD", "DET-ID", "IMAGEID"),
    "band": ("BAND",),
    "physical_filter": ("FILTER", "FILTNAM", "PHYSICAL_FILTER"),
}


def _keyword(primary: fits.Header, header: fits.Header, *keys: str) -> Any:
    for where in (primary, header):
        for key in keys:
            if key in where and not isinstance(where[key], fits.card.Undefined):
                return where[key]
    return None


def filter_label(hdus: fits.HDUList) -> dict[str, Any]:
    """Band and physical filter from the filter label in LSST's archive."""
    if "FilterLabel" not in hdus:
        return {}
    row = hdus["FilterLabel"].data[0]
    found = {
        name.lower(): str(row[name]).strip()
        for name in hdus["FilterLabel"].columns.names
        if name.lower() in ("band", "physical")
    }
    return {"band": found.get("band") or None, "physical_filter": found.get("physical") or ""}
