"""Distortions that a FITS file keeps as tables beside the image: which a header names, and a small file of them.

Paper IV's CPDIS and D2IM as the Hubble telescope's pipelines write them, AXISCORR before them, and -TAB coordinates.
"""

from __future__ import annotations

import re
from io import BytesIO

from astropy.io import fits

from dcrflow.base.errors import WcsError

_NAMES = re.compile(r"(CPDIS|D2IMDIS|DP|D2IM)\d.*|AXISCORR")
_OF_DISTORTIONS = ("WCSDVARR", "D2IMARR")
_LARGEST = 1 << 26  # bytes of all tables


def named_tables(header: fits.Header) -> str:
    """The card by which a header names a lookup table; empty if it names none."""
    for keyword in header:
        if _NAMES.fullmatch(keyword):
            return str(keyword)
        if keyword.startswith("CTYPE") and str(header[keyword]).strip().endswith("-TAB"):
            return str(keyword)
    return ""


def with_tables(header: fits.Header, hdus: fits.HDUList | None) -> bytes:
    """A FITS file of a header and of the tables that it names, if any, without pixels.

    Raises
    ------
    WcsError
        If there is no file to take them from, or they are too large to be what they should.
    """
    if hdus is None and named_tables(header):
        raise WcsError(
            f"unusable WCS: {named_tables(header)} names a lookup table; give the FITS file with the table, too"
        )
    names = {*_OF_DISTORTIONS, *(str(header[k]).strip() for k in header if re.fullmatch(r"PS\d_0", k))}
    tables = [hdu for hdu in (hdus or ())[1:] if hdu.name in names]
    if sum(hdu.size for hdu in tables) > _LARGEST:
        raise WcsError(f"its lookup tables have more than {_LARGEST} bytes, expected that many at most")
    own = header.copy(strip=True)
    file = BytesIO()
    fits.HDUList([fits.PrimaryHDU(header=own), *(hdu.copy() for hdu in tables)]).writeto(
        file, output_verify="silentfix+ignore"
    )
    return file.getvalue()


def hdus_in(content: bytes) -> fits.HDUList:
    """What `with_tables` made, in memory."""
    return fits.HDUList.fromstring(content)
