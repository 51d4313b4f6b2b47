"""World coordinates: absolute pixel indices to ICRS degrees and back, safe between threads and processes.

Astropy's WCS objects are not thread-safe. So a `SkyWcs` keeps only the FITS cards (or a file of them and of lookup
tables, or the pickle of any other APE-14 object), and each thread makes its own WCS object from them. That also makes a
`SkyWcs` hashable, comparable and small to send.
"""

from __future__ import annotations

import pickle
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError, VerifyWarning
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from dcrflow.base.errors import WcsError, brief
from dcrflow.geometry.lookup_tables import hdus_in, named_tables, with_tables
from dcrflow.geometry.sphere import separation
from dcrflow.geometry.transforms import Ape14Transform, FitsTransform, Transform

Float = NDArray[np.float64]

_THREAD = threading.local()
_KEEP = 64  # WCS objects that a thread keeps; a detector-visit needs a few

_SKIP_CARDS = ("NAXIS", "NAXIS1", "NAXIS2", "SIMPLE", "BITPIX", "XTENSION", "PCOUNT", "GCOUNT", "EXTEND", "")
#: Cards that must be numbers. For any other value astropy silently takes a default, such as 0 for a reference pixel.
_NUMBERS = re.compile(
    r"(CRPIX|CRVAL|CDELT|CROTA)[12]|(CD|PC)[12]_[12]|PV[12]_\d+|[AB]P?_\d_\d|(LON|LAT)POLE|[AB]P?_ORDER|WCSAXES"
)
_MOST = 1e15  # the largest number in any card, in any unit
_NEEDED = "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"
#: Cards that say something of the sky: those of the standard, its older ways, and SIP, TNX, ZPX, TPV and TPD.
_OF_WCS = re.compile(
    r"WCS(AXES|NAME)|(CTYPE|CRPIX|CRVAL|CDELT|CUNIT|CROTA|CNAME)\d|(CD|PC)(\d_\d|\d{6})|P[VS]\d_\d+|PROJP\d+"
    r"|RADE(SYS|CSYS)|EQUINOX|EPOCH|(LON|LAT)POLE|(MJD|DATE)-(OBS|AVG|BEG)|MJDREF[IF]?|WAT\d_\d+"
    r"|[AB]P?_(ORDER|\d+_\d+|DMAX)|CQ(DIS|ERR)\d|DQ\d.*"
)
_SAME = 1e-3  # pixels
#: The largest value of each: astropy allocates tables of that size before it reads what is in them.
_LARGEST = {"WCSAXES": 9} | {f"{name}_ORDER": 9 for name in ("A", "B", "AP", "BP")}


@dataclass(frozen=True)
class SkyWcs:
    """A celestial WCS of two pixel axes, in absolute pixel indices.

    The pixel with absolute index (0, 0) is FITS pixel (1, 1). Make one with `from_cards`, `from_header` or
    `from_any`.

    Parameters
    ----------
    cards : str
        FITS cards, 80 characters each, without newlines; empty if `pickled` is given.
    pickled : bytes
        Pickle of an object with the APE-14 interface that says in which frame its world is.
    tables : bytes
        A FITS file of the header and of the lookup tables that it names, where it names any; cards are empty then.
    offset : (float, float)
        Absolute index (x0, y0) of the pixel that the header in `tables` counts as the first.
    """

    cards: str
    pickled: bytes = b""
    tables: bytes = b""
    offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def from_cards(cls, text: str) -> Self:
        """Read FITS cards: one string of 80-character cards, or one card a line.

        Raises
        ------
        WcsError
            If the text holds no celestial WCS.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)  # three of each card that is none: the error says it
            try:
                separator = "\n" if "\n" in text.strip("\n") else ""
                header = fits.Header.fromstring(text.strip("\n") if separator else text, sep=separator)
            except Exception as error:
                raise WcsError(f"the WCS is not a list of FITS cards ({error}): {text[:80]!r}") from error
            return cls.from_header(header)

    @classmethod
    def from_header(cls, header: fits.Header | dict[str, Any]) -> Self:
        """Take the WCS from a FITS header, or from a mapping of keyword to value.

        Raises
        ------
        WcsError
            If it has no celestial WCS, if the WCS is singular, or if a card is not valid FITS.

        Examples
        --------
        >>> import dcrflow
        >>> wcs = dcrflow.SkyWcs.from_header({
        ...     "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 53.0, "CRVAL2": -28.0, "CRPIX1": 101.0,
        ...     "CRPIX2": 91.0, "CDELT1": -5.6e-5, "CDELT2": 5.6e-5})
        >>> ra, dec = wcs.pixel_to_sky(100.0, 90.0)
        >>> print(f"{ra:.3f} {dec:.3f}")
        53.000 -28.000
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", VerifyWarning)  # those cards that matter are checked here
                return cls._from_cards_of(header)
        except WcsError:
            raise
        except Exception as error:  # of many kinds: text for a number, a number for text, infinities
            raise WcsError(f"unusable FITS cards of a WCS: {type(error).__name__}: {brief(str(error))}") from error

    @classmethod
    def from_image(cls, header: fits.Header, hdus: fits.HDUList | None = None, x0: float = 0, y0: float = 0) -> Self:
        """Take the WCS of an image in a FITS file: of its whole header, and of the lookup tables beside it.

        Parameters
        ----------
        header : astropy.io.fits.Header
            Of the image; its reference pixel counts from the array's first.
        hdus : astropy.io.fits.HDUList, optional
            The file, for distortions by lookup table (CPDIS, D2IM, -TAB).
        x0, y0 : float
            Absolute index of the array's first pixel.

        Raises
        ------
        WcsError
            As `from_header`, or if a table that the header names is not there.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", VerifyWarning)
                return cls._from_image(header, hdus, float(x0), float(y0))
        except WcsError:
            raise
        except Exception as error:
            raise WcsError(f"unusable FITS cards of a WCS: {type(error).__name__}: {brief(str(error))}") from error

    @classmethod
    def _from_image(cls, header: fits.Header, hdus: fits.HDUList | None, x0: float, y0: float) -> Self:
        _check_numbers(header)
        if "PLTRAH" not in header:  # plates have their own keywords of the place
            _check_place(header)
        if named_tables(header):
            made = cls("", tables=with_tables(header, hdus), offset=(x0, y0))
            made._object()
            return made
        whole = header.copy()
        for axis, first in ((1, x0), (2, y0)):
            whole[f"CRPIX{axis}"] = header.get(f"CRPIX{axis}", 0.0) + first
        kept = fits.Header([card for card in whole.cards if _OF_WCS.fullmatch(card.keyword)])
        made = cls.from_header(kept)
        try:
            image = FitsTransform(header, None, x0, y0)
        except WcsError:  # of cards that say nothing of the sky
            return made
        size = (float(header.get("NAXIS1", 0) or 1000), float(header.get("NAXIS2", 0) or 1000))
        off = _difference(image, made._object(), x0, y0, *size)
        if off <= _SAME:
            return made
        made = cls("", tables=with_tables(header, None), offset=(x0, y0))  # cards that `_OF_WCS` does not know: plates
        made._object()
        return made

    @classmethod
    def _from_cards_of(cls, cards: fits.Header | dict[str, Any]) -> Self:
        if not isinstance(cards, Mapping):  # as a fits.Header is
            raise WcsError(f"expected FITS keyword -> value, found a {type(cards).__name__}: {brief(cards)}")
        _check_numbers(cards)
        header = cards.copy() if isinstance(cards, fits.Header) else _header_of(cards)
        for key in _SKIP_CARDS:
            header.remove(key, ignore_missing=True, remove_all=True)
        if not len(header):
            raise WcsError("the WCS has no FITS cards at all")
        matrix = [header.get(f"CD{i}_{j}") for i in (1, 2) for j in (1, 2)]
        if any(v is not None for v in matrix):  # wcslib silently takes the unit matrix for one of zeros
            a, b, c, d = (float(v or 0.0) for v in matrix)
            if not np.isfinite(a * d - b * c) or a * d == b * c:
                raise WcsError(f"unusable WCS, its CD matrix is singular: {matrix}")
        tables = named_tables(header)
        if tables:
            raise WcsError(
                f"unusable WCS: {tables} names a lookup table, which cards cannot carry; give the FITS file with it"
            )
        made = cls(header.tostring(sep="", endcard=False, padding=False))
        made._object()
        _check_place(header)
        return made

    @classmethod
    def from_any(cls, wcs: object) -> Self:
        """Accept a `SkyWcs`, FITS cards, a header, an astropy WCS or any object with the APE-14 interface."""
        if isinstance(wcs, cls):
            return wcs
        if isinstance(wcs, str):
            return cls.from_cards(wcs)
        if isinstance(wcs, fits.Header | dict):
            return cls.from_header(wcs)
        if isinstance(wcs, WCS):
            return cls._from_astropy(wcs)
        low: Any = getattr(wcs, "low_level_wcs", wcs)
        if hasattr(low, "pixel_to_world_values") and hasattr(low, "world_to_pixel_values"):
            if (low.pixel_n_dim, low.world_n_dim) != (2, 2):
                raise WcsError(
                    f"a WCS of 2 pixel and 2 world axes is needed, found {low.pixel_n_dim} and {low.world_n_dim}"
                )
            made = cls("", pickle.dumps(wcs, protocol=5))
            made._object()
            return made
        raise WcsError(
            f"not a WCS: {type(wcs).__name__}; give FITS cards, a header or an object with the APE-14 interface"
        )

    @classmethod
    def _from_astropy(cls, wcs: WCS) -> Self:
        """Of an astropy object, its tables included; if what is kept does not do what the object does, an error."""
        if not wcs.has_celestial:
            raise WcsError(f"unusable WCS, no celestial axes: {brief(wcs)}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # astropy says what no header can carry; we look whether that matters
            hdus = wcs.to_fits(relax=True)
        made = cls.from_image(hdus[0].header, hdus)
        width, height = wcs.pixel_shape[:2] if wcs.pixel_shape is not None else (1000, 1000)
        off = _difference(FitsTransform.of(wcs), made._object(), 0, 0, width or 1000, height or 1000)
        if off > _SAME:
            raise WcsError(
                f"this astropy WCS cannot be kept: what it writes of itself is {off:.3g} pixels off what it says; give "
                "the FITS header or file that it was made of"
            )
        return made

    @cached_property
    def key(self) -> str:
        """A digest that names this WCS: equal cards, equal key."""
        content = self.cards.encode() + self.pickled + self.tables
        return blake2b(content + (repr(self.offset).encode() if self.tables else b""), digest_size=16).hexdigest()

    @property
    def header(self) -> fits.Header:
        """The FITS cards as a header.

        Raises
        ------
        WcsError
            If this WCS did not come from FITS cards.
        """
        if self.tables:
            raise WcsError("this WCS has lookup tables, which no header can carry")
        if not self.cards:
            raise WcsError("this WCS is not a FITS WCS and has no header")
        return fits.Header.fromstring(self.cards, sep="")

    def _object(self) -> Transform:
        """This thread's own object for this WCS."""
        cache: OrderedDict[str, Transform] = _THREAD.__dict__.setdefault("cache", OrderedDict())
        found = cache.get(self.key)
        if found is None:
            found = self._made()
            cache[self.key] = found
            while len(cache) > _KEEP:
                cache.popitem(last=False)
        else:
            cache.move_to_end(self.key)
        return found

    def _made(self) -> Transform:
        if self.tables:
            hdus = hdus_in(self.tables)
            return FitsTransform(hdus[0].header, hdus, *self.offset)
        if self.cards:
            return FitsTransform(fits.Header.fromstring(self.cards, sep=""))
        return Ape14Transform(self.pickled)

    def pixel_to_sky(self, x: ArrayLike, y: ArrayLike) -> tuple[Float, Float]:
        """Map pixel coordinates to the sky.

        Parameters
        ----------
        x, y : array-like
            Absolute pixel coordinates, 0-based, pixel centres at integers.

        Returns
        -------
        ra, dec : ndarray of float64
            ICRS, degrees; NaN where the projection has no sky.
        """
        return self._object().to_sky(np.asarray(x, np.float64), np.asarray(y, np.float64))

    def sky_to_pixel(self, ra: ArrayLike, dec: ArrayLike) -> tuple[Float, Float]:
        """Map the sky to absolute pixel coordinates.

        Parameters
        ----------
        ra, dec : array-like
            ICRS, degrees.

        Returns
        -------
        x, y : ndarray of float64
            NaN where the sky position has no pixel (or, with distortions, where the inverse does not converge).
        """
        return self._object().to_pixel(np.asarray(ra, np.float64), np.asarray(dec, np.float64))

    def pixel_scale(self, x: float, y: float) -> float:
        """Local pixel scale, arcsec: the root of the area of a pixel at (x, y)."""
        ra, dec = (np.deg2rad(v) for v in self.pixel_to_sky([x, x + 1, x], [y, y, y + 1]))
        points = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
        area = np.linalg.norm(np.cross(points[1] - points[0], points[2] - points[0]))  # also at a pole
        return float(np.rad2deg(np.sqrt(area)) * 3600.0)


def _header_of(cards: Mapping[Any, Any]) -> fits.Header:
    """A header from a mapping of FITS keyword to value."""
    header = fits.Header()
    for key, value in cards.items():
        try:
            header[key] = value
        except Exception as error:
            raise WcsError(f"its {brief(key)} is {brief(value)}, expected what a FITS card can hold") from error
    return header


def _check_place(header: fits.Header) -> None:
    """Raise WcsError if a keyword of the reference point is missing: FITS takes 0, which is never meant."""
    missing = [key for key in _NEEDED if key not in header]
    if missing:
        raise WcsError(f"unusable WCS, it lacks {', '.join(missing)}")


def _check_numbers(cards: Mapping[Any, Any]) -> None:
    """Check that the cards that must be finite numbers are, and that none is larger than any WCS needs."""
    for key in cards:
        if not isinstance(key, str) or not _NUMBERS.fullmatch(key.upper()):
            continue
        try:
            value = cards[key]
        except VerifyError:  # from a header: NaN, which FITS does not have, or 1,5
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the value becomes a text
                value = cards.copy().cards[key].image.partition("=")[2].strip("' ")  # type: ignore[attr-defined]
        is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not is_number or not abs(value) < _MOST:
            expected = "degrees" if key.upper().startswith("CRVAL") else "a finite number"
            raise WcsError(f"unusable WCS, its {key} is {brief(value)}, expected {expected}")
        largest = _LARGEST.get(key.upper())
        if largest is not None and not (0 <= value <= largest and value == int(value)):
            raise WcsError(f"unusable WCS, its {key} is {brief(value)}, expected an integer from 0 to {largest}")


def _difference(one: Transform, other: Transform, x0: float, y0: float, width: float, height: float) -> float:
    """By how many pixels two WCS differ over an image; infinite where one has sky and the other has none."""
    x, y = (v.ravel() for v in np.meshgrid(x0 + np.linspace(0, width - 1, 5), y0 + np.linspace(0, height - 1, 5)))
    (ra, dec), (other_ra, other_dec) = one.to_sky(x, y), other.to_sky(x, y)
    if not np.array_equal(np.isnan(ra), np.isnan(other_ra)):
        return float("inf")
    off = separation(ra, dec, other_ra, other_dec)
    step = separation(*one.to_sky(x, y), *one.to_sky(x + 1, y + 1)) / np.sqrt(2)
    known = np.isfinite(off) & np.isfinite(step) & (step > 0)
    return float(np.max(off[known] / step[known], initial=0.0))
