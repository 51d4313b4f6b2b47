"""Objects in the archive of a FITS file that afw wrote, by their number: WCS, VisitInfo, PhotoCalib.

The archive's index says, for the number of an object, in which table and rows it is. A table may hold the objects of
many detectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits

from dcrflow.base.errors import VisitTableError


class AfwArchive:
    """The archive of a FITS file.

    Parameters
    ----------
    hdus : astropy.io.fits.HDUList
        The file, open.

    Raises
    ------
    VisitTableError
        If the file has no archive.
    """

    def __init__(self, hdus: fits.HDUList) -> None:
        index = next((h for h in hdus if _kind(h) == "ARCHIVE_INDEX"), None)
        if index is None or index.data is None:
            raise VisitTableError("it has no archive (an extension with EXTTYPE ARCHIVE_INDEX)")
        names = {plain_name(n): n for n in index.columns.names}  # `cat.archive`, or catArchive in older files
        tables = [h for h in hdus if _kind(h) == "ARCHIVE_DATA"]
        self._tables = {int(h.header.get("AR_CATN", place)): h for place, h in enumerate(tables, 1)}
        self._places: dict[int, tuple[int, int, int]] = {}
        for row in index.data:
            number, table, part, first, rows = (
                int(row[names[n]]) for n in ("id", "catarchive", "catpersistable", "row0", "nrows")
            )
            if part == 0:  # the first table of an object of several
                self._places[number] = table, first, rows

    def record(self, number: int, kind: str) -> dict[str, Any] | None:
        """The first row of an object, by names of columns in lower case; None for the number 0, which means none.

        Raises
        ------
        VisitTableError
            If there is no such object.
        """
        if number == 0:
            return None
        place = self._places.get(number)
        table = None if place is None else self._tables.get(place[0])
        if place is None or table is None or table.data is None or not place[1] < len(table.data):
            raise VisitTableError(f"its archive has no {kind} with the number {number}")
        return values_of(table, place[1])


def plain_name(name: str) -> str:
    """The name of a column without dots and underscores, in lower case, as afw's versions differ in them."""
    return name.replace(".", "").replace("_", "").lower()


def values_of(table: Any, row: int) -> dict[str, Any]:
    """A row of a table as a dictionary; keys are the names of columns without dots and underscores, in lower case."""
    return {plain_name(n): table.data[n][row] for n in table.columns.names}


def text_of(value: Any) -> str:
    """Text of a cell: a string, or an array of bytes."""
    if isinstance(value, np.ndarray):
        return value.astype(np.uint8).tobytes().rstrip(b"\0").decode("ascii", "replace")
    return str(value).strip()


def _kind(hdu: Any) -> str:
    return str(hdu.header.get("EXTTYPE", "")).strip().upper()
