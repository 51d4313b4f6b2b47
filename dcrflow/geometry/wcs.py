"""World coordinates: absolute pixel indices to ICRS degrees and back, safe between threads and processes.

Astropy's WCS objects are not thread-safe, so a `SkyWcs` keeps only the FITS cards (or the pickle of any other
APE-14 object) and makes the object that does the work once a thread. That also makes it small to send, hashable
and comparable.
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
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord
from astropy.io import fits
from astropy.io.fits.verify import VerifyError, VerifyWarning
from astropy.wcs import WCS, FITSFixedWarning, NoConvergence
from astropy.wcs.utils import wcs_to_celestial_frame
from numpy.typing import ArrayLike, NDArray

from dcrflow.base.errors import WcsError, brief

Float = NDArray[np.float64]

_THREAD = threading.local()
_KEEP = 64  # live WCS objects a thread; a detector-visit needs a handful

_SKIP_CARDS = ("NAXIS", "NAXIS1", "NAXIS2", "SIMPLE", "BITPIX", "XTENSION", "PCOUNT", "GCOUNT", "EXTEND", "")
#: Cards of numbers. Where one is none, such as a text, astropy takes a default (0 for a reference pixel), unsaid.
_NUMBERS = re.compile(
    r"(CRPIX|CRVAL|CDELT|CROTA)[12]|(CD|PC)[12]_[12]|PV[12]_\d+|[AB]P?_\d_\d|(LON|LAT)POLE|[AB]P?_ORDER|WCSAXES"
)
_MOST = 1e15  # in any card, in whatever unit
_NEEDED = "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"
#: The largest that each may be: astropy makes tables of that size before it looks for what is in them.
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
        Pickle of an object with the APE-14 interface (``pixel_to_world_values``, ``world_to_pixel_values``) whose
        world axes are ICRS longitude and latitude in degrees.
    """

    cards: str
    pickled: bytes = b""

    @classmethod
    def from_cards(cls, text: str) -> Self:
        """Read FITS cards: one string of 80-character cards, or one card a line.

        Raises
        ------
        WcsError
            If the text holds no celestial WCS.
        """
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
            If there is no celestial WCS in it, it is singular, or a card is none that FITS can have.

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
                warnings.simplefilter("ignore", VerifyWarning)  # what it mends in a card is refused, or not of a WCS
                return cls._from_cards_of(header)
        except WcsError:
            raise
        except Exception as error:  # of many kinds, from words for numbers, numbers for words, infinities
            raise WcsError(f"unusable FITS cards of a WCS: {type(error).__name__}: {brief(str(error))}") from error

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
        if any(v is not None for v in matrix):  # wcslib would silently take the unit matrix for an all-zero one
            a, b, c, d = (float(v or 0.0) for v in matrix)
            if not np.isfinite(a * d - b * c) or a * d == b * c:
                raise WcsError(f"unusable WCS, its CD matrix is singular: {matrix}")
        made = cls(header.tostring(sep="", endcard=False, padding=False))
        made._object()
        missing = [key for key in _NEEDED if key not in header]
        if missing:  # 0 is what FITS takes, and never what is meant
            raise WcsError(f"unusable WCS, it lacks {', '.join(missing)}")
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
            return cls.from_header(wcs.to_header(relax=True))
        low: Any = getattr(wcs, "low_level_wcs", wcs)
        if hasattr(low, "pixel_to_world_values") and hasattr(low, "world_to_pixel_values"):
            if (low.pixel_n_dim, low.world_n_dim) != (2, 2):
                raise WcsError(
                    f"a WCS of 2 pixel and 2 world axes is needed, found {low.pixel_n_dim} and {low.world_n_dim}"
                )
            return cls("", pickle.dumps(wcs, protocol=5))
        raise WcsError(
            f"not a WCS: {type(wcs).__name__}; give FITS cards, a header or an object with the APE-14 interface"
        )

    @cached_property
    def key(self) -> str:
        """A digest that names this WCS: equal cards, equal key."""
        return blake2b(self.cards.encode() + self.pickled, digest_size=16).hexdigest()

    @property
    def header(self) -> fits.Header:
        """The FITS cards as a header.

        Raises
        ------
        WcsError
            If this WCS did not come from FITS cards.
        """
        if not self.cards:
            raise WcsError("this WCS is no FITS WCS and has no header")
        return fits.Header.fromstring(self.cards, sep="")

    def _object(self) -> _Transform:
        """This thread's own object for this WCS."""
        cache: OrderedDict[str, _Transform] = _THREAD.__dict__.setdefault("cache", OrderedDict())
        found = cache.get(self.key)
        if found is None:
            found = _FitsTransform(self.cards) if self.cards else _Ape14Transform(self.pickled)
            cache[self.key] = found
            while len(cache) > _KEEP:
                cache.popitem(last=False)
        else:
            cache.move_to_end(self.key)
        return found

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
        ra, dec = self.pixel_to_sky([x, x + 1, x], [y, y, y + 1])
        dx = (ra - ra[0] + 180.0) % 360.0 - 180.0
        cosdec = np.cos(np.deg2rad(dec[0]))
        area = cosdec * abs(dx[1] * (dec[2] - dec[0]) - dx[2] * (dec[1] - dec[0]))
        return float(np.sqrt(area) * 3600.0)


def _header_of(cards: Mapping[Any, Any]) -> fits.Header:
    """FITS keyword to value as a header."""
    header = fits.Header()
    for key, value in cards.items():
        try:
            header[key] = value
        except Exception as error:
            raise WcsError(f"its {brief(key)} is {brief(value)}, expected what a FITS card can hold") from error
    return header


def _check_numbers(cards: Mapping[Any, Any]) -> None:
    """Check that the cards that ought to be finite numbers are, and that none asks for more than any sky needs."""
    for key in cards:
        if not isinstance(key, str) or not _NUMBERS.fullmatch(key.upper()):
            continue
        try:
            value = cards[key]
        except VerifyError:  # of a header: NaN, which FITS does not have, or 1,5
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it says that it makes a text of it
                value = cards.copy().cards[key].image.partition("=")[2].strip("' ")  # type: ignore[attr-defined]
        is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
        if not is_number or not abs(value) < _MOST:
            expected = "degrees" if key.upper().startswith("CRVAL") else "a finite number"
            raise WcsError(f"unusable WCS, its {key} is {brief(value)}, expected {expected}")
        largest = _LARGEST.get(key.upper())
        if largest is not None and not (0 <= value <= largest and value == int(value)):
            raise WcsError(f"unusable WCS, its {key} is {brief(value)}, expected an integer from 0 to {largest}")


class _Transform:
    """What a WCS object must do; positions in degrees, ICRS."""

    def to_sky(self, x: Float, y: Float) -> tuple[Float, Float]:
        raise NotImplementedError

    def to_pixel(self, ra: Float, dec: Float) -> tuple[Float, Float]:
        raise NotImplementedError


class _FitsTransform(_Transform):
    """An astropy WCS made from FITS cards."""

    def __init__(self, cards: str) -> None:
        header = fits.Header.fromstring(cards, sep="")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FITSFixedWarning)
                self._wcs = WCS(header, fix=True).celestial
                frame = wcs_to_celestial_frame(self._wcs)
                singular = not np.all(np.isfinite(self._wcs.pixel_scale_matrix)) or (
                    abs(np.linalg.det(self._wcs.pixel_scale_matrix)) < 1e-20
                )
        except Exception as error:
            raise WcsError(f"no celestial WCS in these FITS cards ({error}): {cards[:160]!r}") from error
        if not self._wcs.has_celestial or singular:
            what = "its CD matrix is singular" if singular else "no celestial axes"
            raise WcsError(f"unusable WCS, {what}: {cards[:240]!r}")
        self._frame = None if isinstance(frame, ICRS) else frame
        self._iterative = self._wcs.sip is not None or self._wcs.det2im1 is not None or self._wcs.cpdis1 is not None

    def to_sky(self, x: Float, y: Float) -> tuple[Float, Float]:
        ra, dec = self._wcs.all_pix2world(x, y, 0)
        if self._frame is not None:
            sky = SkyCoord(ra * u.deg, dec * u.deg, frame=self._frame).icrs
            ra, dec = sky.ra.deg, sky.dec.deg
        return np.asarray(ra, np.float64), np.asarray(dec, np.float64)

    def to_pixel(self, ra: Float, dec: Float) -> tuple[Float, Float]:
        if self._frame is not None:
            sky = SkyCoord(ra * u.deg, dec * u.deg, frame="icrs").transform_to(self._frame)
            ra, dec = sky.data.lon.deg, sky.data.lat.deg
        if not self._iterative:
            x, y = self._wcs.wcs_world2pix(ra, dec, 0)
            return np.asarray(x), np.asarray(y)
        try:
            x, y = self._wcs.all_world2pix(ra, dec, 0, tolerance=1e-7, maxiter=60, adaptive=False)
        except NoConvergence as error:
            good = np.array(error.best_solution, np.float64)
            for bad in (error.divergent, error.slow_conv):
                if bad is not None:
                    good[np.asarray(bad, int)] = np.nan
            x, y = good[:, 0].reshape(np.shape(ra)), good[:, 1].reshape(np.shape(ra))
        return np.asarray(x), np.asarray(y)


class _Ape14Transform(_Transform):
    """Any other object with the APE-14 interface."""

    def __init__(self, pickled: bytes) -> None:
        wcs = pickle.loads(pickled)  # made by `SkyWcs.from_any` in the caller's own process, never read from a file
        self._wcs = getattr(wcs, "low_level_wcs", wcs)

    def to_sky(self, x: Float, y: Float) -> tuple[Float, Float]:
        ra, dec = self._wcs.pixel_to_world_values(x, y)
        return np.asarray(ra, np.float64), np.asarray(dec, np.float64)

    def to_pixel(self, ra: Float, dec: Float) -> tuple[Float, Float]:
        x, y = self._wcs.world_to_pixel_values(ra, dec)
        return np.asarray(x, np.float64), np.asarray(y, np.float64)
