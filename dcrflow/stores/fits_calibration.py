"""The flux calibration of a FITS file: from afw's PhotoCalib in its archive, its unit, or a zero point."""

from __future__ import annotations

import math
import re
from typing import Any

from astropy import units as u
from astropy.io import fits

from dcrflow.base.errors import brief

_NJY_OF_ZERO_MAGNITUDE = 10 ** (31.4 / 2.5)
_ZERO_POINTS = ("MAGZERO", "MAGZP", "ZEROPT", "PHOTZP", "MAGZPT", "ZP")
_COUNTS = re.compile(  # or their rate
    r"(adus?|dn|counts?|cts?|electrons?|e-?|photons?|none)?(\s*/\s*s(ec(onds?)?)?|[\s.*]*s(\*\*|\^)?-1)?"
)
_UNITS = {  # what astropy does not know, in lower case; mjy may be 10^-3 or 10^6 Jy
    "njy": "nJy", "ujy": "uJy", "jy": "Jy", "nanojansky": "nJy", "nanojanskys": "nJy", "microjansky": "uJy",
    "microjanskys": "uJy", "jansky": "Jy", "janskys": "Jy",
}  # fmt: skip
_VERSIONS = (0, 1)  # of afw's PhotoCalib
FAINTEST = 60.0  # AB magnitude of one unit of an image, at most


class CalibrationError(ValueError):
    """What the pixel values of a file are in nJy cannot be told."""


def nanojansky(file: fits.HDUList, header: fits.Header, zero_point: float | None = None) -> float:
    """Return nJy per unit of an image's pixel values.

    Parameters
    ----------
    file : astropy.io.fits.HDUList
        The file, with its archive.
    header : astropy.io.fits.Header
        Header of the image.
    zero_point : float, optional
        AB magnitude of one unit, for a file that does not say what its counts are.

    Raises
    ------
    CalibrationError
        If the calibration varies over the image, or there is none.
    """
    tables = [hdu for hdu in file if "PhotoCalib" in _names_of(hdu) or str(hdu.name).strip() == "PHOTOCALIB"]
    if tables and _archive_id(file) != 0:  # 0 is an image without one: those that are there are of a coadd's inputs
        return _of_photo_calib(file, tables)
    unit = str(header.get("BUNIT") or file[0].header.get("BUNIT", "")).strip()
    if not _COUNTS.fullmatch(unit.lower()):
        factor = _linear(unit)
        if factor is not None:
            return factor
        if _zero_point(file, header) is None:
            raise CalibrationError(
                f"BUNIT is {brief(unit)}, expected a flux density such as nJy, or counts with a zero point"
            )
    flux = _number("FLUXMAG0", math.inf, file[0].header, header)
    if flux is not None:
        return _NJY_OF_ZERO_MAGNITUDE / flux
    found = _zero_point(file, header)
    magnitude = zero_point if found is None else found
    if magnitude is None:
        raise CalibrationError(
            f"its pixels are in {unit or 'no unit (BUNIT)'}, and it has neither a PhotoCalib nor a zero point "
            f"(FLUXMAG0, {', '.join(_ZERO_POINTS)}); calibrate its pixels to nJy, or say what they are"
        )
    return float(10 ** ((31.4 - magnitude) / 2.5))


def _linear(unit: str) -> float | None:
    """A unit of flux density in nJy; None for other units, and for magnitudes, which are logarithms of it."""
    try:
        found = u.Unit(_UNITS.get(unit.lower(), unit))
        factor = float(found.to(u.nJy)) if isinstance(found, u.UnitBase) else math.nan
    except (ValueError, TypeError):
        return None
    return factor if 0 < factor < math.inf else None


def _zero_point(file: fits.HDUList, header: fits.Header) -> float | None:
    """AB magnitude of one unit; None if no keyword gives one."""
    found = (_number(key, FAINTEST, header, file[0].header) for key in _ZERO_POINTS)
    return next((value for value in found if value is not None), None)


def _number(key: str, most: float, *headers: fits.Header) -> float | None:
    """The first number between 0 and a limit, both excluded: 0 or -99 says that it was not measured."""
    for header in headers:
        value = header.get(key)
        try:
            number = math.nan if isinstance(value, bool) else float(value)  # some write it as a text
        except (TypeError, ValueError):
            continue
        if 0 < number < most:
            return number
    return None


def _names_of(hdu: Any) -> set[str]:
    """The classes of the objects in a table: its name is that of the last one, and it has a card for each."""
    cards = hdu.header.cards if "AR_NAME" in hdu.header else ()
    return {str(hdu.name).strip(), *(str(card.value).strip() for card in cards if card.keyword == "AR_NAME")}


def _archive_id(file: fits.HDUList) -> int | None:
    """The ID of the image's PhotoCalib in the archive; None if the file does not say."""
    header = file[0].header
    found = header.get("PHOTOCALIB_ID", header.get("ARCHIVE_ID_PHOTOCALIB"))
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _of_photo_calib(file: fits.HDUList, tables: list[Any]) -> float:
    table, row = _photo_calib(file, tables)
    if row >= len(table.data):
        raise CalibrationError(f"its table of PhotoCalib has {len(table.data)} rows, expected {row + 1} or more")
    record, names = table.data[row], table.columns.names
    if not _is_constant(table, record, names):
        raise CalibrationError("the photometric calibration varies over the image; calibrate its pixels to nJy")
    mean = float(record["calibrationMean"])
    if not (math.isfinite(mean) and mean > 0):
        raise CalibrationError(f"its PhotoCalib has a mean of {mean}, expected a positive number")
    version = int(record["version"]) if "version" in names else 0
    if version not in _VERSIONS:
        raise CalibrationError(f"its PhotoCalib has version {version}, expected {' or '.join(map(str, _VERSIONS))}")
    return mean if version > 0 else mean * _NJY_OF_ZERO_MAGNITUDE  # the first version counted maggies


def _photo_calib(file: fits.HDUList, tables: list[Any]) -> tuple[Any, int]:
    """The table and row of the image's PhotoCalib: by the archive's index, as afw does, or the only one there is."""
    wanted, (index, catalogs) = _archive_id(file), _archive(file)
    if wanted is not None and index is not None:
        names = {re.sub(r"[._]", "", name).lower(): name for name in index.columns.names}  # cat.archive, cat_archive
        for entry in index.data:
            number, persistable, row = (
                int(entry[names[key]]) if key in names else 0 for key in ("catarchive", "catpersistable", "row0")
            )
            if int(entry["id"]) == wanted and persistable == 0:
                numbered = [h for h in catalogs if h.header.get("AR_CATN") == number] or catalogs[number - 1 : number]
                if numbered and any(numbered[0] is table for table in tables):
                    return numbered[0], row
    if sum(len(table.data) for table in tables) > 1:
        raise CalibrationError(
            f"it has several PhotoCalibs, and PHOTOCALIB_ID is {wanted}, expected the image's in the archive's index"
        )
    return next((table for table in tables if len(table.data)), tables[0]), 0


def _archive(file: fits.HDUList) -> tuple[Any, list[Any]]:
    """The index of the image's archive, None without one, and its catalogs: a file may have other archives."""
    kinds = [str(hdu.header.get("EXTTYPE", "")).strip() for hdu in file]
    first = file[0].header.get("AR_HDU")  # counts from 1
    at = first - 1 if isinstance(first, int) and 0 < first <= len(file) else -1
    if at < 0 or kinds[at] != "ARCHIVE_INDEX":
        at = kinds.index("ARCHIVE_INDEX") if "ARCHIVE_INDEX" in kinds else -1
    if at < 0:
        return None, []
    more = range(at + 1, len(file))
    end = next((place for place in more if kinds[place] == "ARCHIVE_INDEX"), len(file))
    return file[at], [file[place] for place in more if place < end and kinds[place] == "ARCHIVE_DATA"]


def _is_constant(table: Any, record: Any, names: list[str]) -> bool:
    """The flag ``isConstant``; if it is absent, whether the record refers to no field."""
    flags = [table.header.get(f"TFLAG{i}") for i in range(1, 9)]
    if "flags" in names and "isConstant" in flags:
        return bool(record["flags"][flags.index("isConstant")])
    return int(record["field"]) == 0 if "field" in names else True
