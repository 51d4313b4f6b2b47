"""Detector-visits from the headers of LSST-style FITS exposures; no pixels are read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from astropy.io import fits
from astropy.time import Time

from dcrflow.base.errors import VisitTableError

_SUFFIXES = (".fits", ".fits.gz", ".fits.fz", ".fit", ".fits.bz2")
_KEYWORDS = {  # column: keyword of LSST's VisitInfo, in our units
    "ra": "BORE-RA", "dec": "BORE-DEC", "header_altitude": "BORE-ALT", "rotation_angle": "BORE-ROTANG",
    "parallactic_angle": "PARANGLE", "longitude": "OBS-LONG", "latitude": "OBS-LAT", "height_m": "OBS-ELEV",
    "temperature": "AIRTEMP", "pressure": "AIRPRESS", "humidity": "HUMIDITY",
}  # fmt: skip
_FROM_NAME = re.compile(r"_(\d+)_(\d+)\.fit")


def exposure_files(source: Any) -> list[Path] | None:
    """The FITS files that a source of detector-visits stands for; None if it stands for something else.

    Raises
    ------
    VisitTableError
        If it is a directory without FITS files.
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
    """Read what a detector-visit table would say of one exposure.

    Parameters
    ----------
    path : Path
        A FITS file with VisitInfo keywords in its primary header and the WCS in that of its image.

    Raises
    ------
    VisitTableError
        If a header cannot be read or says too little; names the file and what is missing.
    """
    try:
        return _row_of(path)
    except VisitTableError:
        raise
    except Exception as error:  # of many kinds: astropy has its own for cards that are none
        said = " ".join(str(error.args[0] if isinstance(error, KeyError) else error).split()) or type(error).__name__
        raise VisitTableError(f"cannot read its headers: {said}") from error


def _row_of(path: Path) -> dict[str, Any]:
    try:
        with fits.open(path, memmap=False, lazy_load_hdus=True) as hdus:
            primary = hdus[0].header
            index = next(i for i, h in enumerate(hdus) if h.header.get("NAXIS", 0) == 2 and "CRVAL1" in h.header)
            header = hdus[index].header.copy()
            names = {k: _keyword(primary, header, *keys) for k, keys in _NAMES.items()}
            if names["band"] is None:
                names |= _filter_label(hdus)
    except StopIteration:
        raise VisitTableError("no image with a celestial WCS in it") from None
    for name, number in id_in_name(path).items():
        names[name] = number if names[name] is None else names[name]
    row: dict[str, Any] = {**names, "instrument": names["instrument"] or "unknown"}
    for name in ("visit", "detector", "band"):
        if row[name] is None:
            raise VisitTableError(
                f"no {name}: none of the keywords {', '.join(_NAMES[name])} is there; give a table instead"
            )
    x0, y0 = origin(header)
    row |= {
        "x0": x0,
        "y0": y0,
        "width": header["NAXIS1"],
        "height": header["NAXIS2"],
        "wcs": absolute_cards(header, x0, y0),
    }
    for column, keyword in _KEYWORDS.items():
        row[column] = _keyword(primary, header, keyword)
    date = _keyword(primary, header, "DATE-AVG")
    scale = str(_keyword(primary, header, "TIMESYS") or "TAI").lower()
    row["mjd"] = None if date is None else float(Time(str(date), scale=scale).tai.mjd)
    return row


def origin(header: fits.Header) -> tuple[int, int]:
    """Absolute index (x0, y0) of an array's first pixel, as LSST's files say it."""
    x0, y0 = (round(float(header.get(f"CRVAL{i}A", -header.get(f"LTV{i}", 0)))) for i in (1, 2))
    return x0, y0


def id_in_name(path: Path) -> dict[str, int]:
    """Visit and detector from a file name ``..._<visit>_<detector>.fits``; empty if it is not of that form."""
    match = _FROM_NAME.search(path.name)
    return {"visit": int(match[1]), "detector": int(match[2])} if match else {}


_NAMES = {
    "instrument": ("INSTRUME", "INSTRUMENT"),
    "visit": ("VISIT", "EXPID", "IDNUM"),
    "detector": ("DETECTOR", "CCDNUM", "CCD", "DET-ID"),
    "band": ("BAND",),
    "physical_filter": ("FILTER", "FILTNAM", "PHYSICAL_FILTER"),
}


def _keyword(primary: fits.Header, header: fits.Header, *keys: str) -> Any:
    for where in (primary, header):
        for key in keys:
            if key in where and not isinstance(where[key], fits.card.Undefined):
                return where[key]
    return None


def _filter_label(hdus: fits.HDUList) -> dict[str, Any]:
    """Band and physical filter from LSST's archive table of them."""
    if "FilterLabel" not in hdus:
        return {}
    row = hdus["FilterLabel"].data[0]
    found = {
        name.lower(): str(row[name]).strip()
        for name in hdus["FilterLabel"].columns.names
        if name.lower() in ("band", "physical")
    }
    return {"band": found.get("band") or None, "physical_filter": found.get("physical") or ""}


def absolute_cards(header: fits.Header, x0: int, y0: int) -> str:
    """The WCS cards for absolute pixels: the header's are relative to the array's first pixel."""
    keep = fits.Header()
    wanted = re.compile(
        r"^(WCSAXES|CTYPE[12]|CRPIX[12]|CRVAL[12]|CD[12]_[12]|PC[12]_[12]|CDELT[12]|CUNIT[12]|RADESYS|EQUINOX|LONPOLE|LATPOLE"
        r"|PV[12]_\d+|(A|B|AP|BP)_(ORDER|\d+_\d+|DMAX))$"
    )
    for card in header.cards:
        if wanted.match(card.keyword):
            keep.append(card)
    keep["CRPIX1"], keep["CRPIX2"] = keep["CRPIX1"] + x0, keep["CRPIX2"] + y0
    return str(keep.tostring(sep="", endcard=False, padding=False))
