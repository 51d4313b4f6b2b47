"""The objects that do a WCS's work, each for one thread: astropy's of FITS headers, and others of the APE-14 interface.

Positions are ICRS, degrees, whatever frame, order of axes and unit the WCS itself has.
"""

from __future__ import annotations

import pickle
import warnings
from typing import Any, Protocol, Self

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, BarycentricMeanEcliptic, SkyCoord, Supergalactic
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS, FITSFixedWarning, NoConvergence
from astropy.wcs.utils import wcs_to_celestial_frame
from astropy.wcs.wcsapi import HighLevelWCSWrapper
from numpy.typing import NDArray

from dcrflow.base.errors import WcsError

Float = NDArray[np.float64]


class Transform(Protocol):
    """What a WCS object must do; positions in degrees, ICRS."""

    def to_sky(self, x: Float, y: Float) -> tuple[Float, Float]:
        """Pixels to the sky; NaN where there is none."""

    def to_pixel(self, ra: Float, dec: Float) -> tuple[Float, Float]:
        """The sky to pixels; NaN where there is none."""


class FitsTransform:
    """An astropy WCS made from a FITS header, and the HDUs of its lookup tables where it has any.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Of the image.
    hdus : astropy.io.fits.HDUList, optional
        With the tables.
    x0, y0 : float
        Absolute index of the pixel that the header counts as the first.
    """

    def __init__(self, header: fits.Header, hdus: fits.HDUList | None = None, x0: float = 0.0, y0: float = 0.0) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FITSFixedWarning)
                self._take(WCS(header, hdus, fix=True), x0, y0)
        except WcsError as error:
            raise WcsError(f"{error} in these FITS cards: {_beginning(header)}") from error
        except Exception as error:
            raise WcsError(f"no celestial WCS in these FITS cards ({error}): {_beginning(header)}") from error

    @classmethod
    def of(cls, wcs: WCS) -> Self:
        """Of an astropy object itself."""
        made = cls.__new__(cls)
        made._take(wcs, 0.0, 0.0)
        return made

    def _take(self, wcs: WCS, x0: float, y0: float) -> None:
        self._x0, self._y0 = x0, y0
        self._wcs = wcs if wcs.naxis == 2 else wcs.celestial
        if not self._wcs.has_celestial:
            raise WcsError("no celestial WCS")
        frame = _frame_of(self._wcs)
        scales = self._wcs.pixel_scale_matrix
        if not np.all(np.isfinite(scales)) or abs(np.linalg.det(scales)) < 1e-20:
            raise WcsError("unusable WCS, its CD matrix is singular")
        self._swapped = self._wcs.wcs.lng == 1
        self._frame = None if type(frame) is ICRS else frame

    def to_sky(self, x: Float, y: Float) -> tuple[Float, Float]:
        """As `Transform`."""
        first, second = self._wcs.all_pix2world(x - self._x0, y - self._y0, 0)
        lon, lat = (second, first) if self._swapped else (first, second)
        if self._frame is not None:
            sky = SkyCoord(lon * u.deg, lat * u.deg, frame=self._frame).icrs
            lon, lat = sky.ra.deg, sky.dec.deg
        return np.asarray(lon, np.float64), np.asarray(lat, np.float64)

    def to_pixel(self, ra: Float, dec: Float) -> tuple[Float, Float]:
        """As `Transform`; with distortions, NaN where the inverse does not converge."""
        if self._frame is not None:
            sky = SkyCoord(ra * u.deg, dec * u.deg, frame="icrs").transform_to(self._frame)
            ra, dec = sky.data.lon.deg, sky.data.lat.deg
        world = (dec, ra) if self._swapped else (ra, dec)
        if not self._wcs.has_distortion:
            x, y = self._wcs.wcs_world2pix(*world, 0)
            return np.asarray(x) + self._x0, np.asarray(y) + self._y0
        try:
            x, y = self._wcs.all_world2pix(*world, 0, tolerance=1e-7, maxiter=60, adaptive=False)
        except NoConvergence as error:
            good = np.array(error.best_solution, np.float64)
            for bad in (error.divergent, error.slow_conv):
                if bad is not None:
                    good[np.asarray(bad, int)] = np.nan
            x, y = good[:, 0].reshape(np.shape(ra)), good[:, 1].reshape(np.shape(ra))
        return np.asarray(x) + self._x0, np.asarray(y) + self._y0


def _frame_of(wcs: WCS) -> Any:
    """The frame of a WCS's world; with two that astropy's own look-up lacks."""
    kind = str(wcs.wcs.lngtyp).strip()
    if kind == "ELON":
        equinox = wcs.wcs.equinox
        return BarycentricMeanEcliptic(equinox=Time(equinox if np.isfinite(equinox) else 2000.0, format="jyear"))
    if kind == "SLON":
        return Supergalactic()
    return wcs_to_celestial_frame(wcs)


def _beginning(header: fits.Header) -> str:
    return repr(header.tostring(sep="", endcard=False, padding=False)[:240])


class Ape14Transform:
    """Any other object with the APE-14 interface, in whatever frame it states.

    Parameters
    ----------
    pickled : bytes
        Of the object; made by `SkyWcs.from_any` in the caller's own process, never read from a file.
    """

    def __init__(self, pickled: bytes) -> None:
        wcs = pickle.loads(pickled)
        self._low = getattr(wcs, "low_level_wcs", wcs)
        self._high = HighLevelWCSWrapper(self._low)
        self._direct = False
        try:
            (kind, _, keywords), *more = self._low.world_axis_object_classes.values()
            places = [(place, order) for place, order, _ in self._low.world_axis_object_components]
            frame = keywords.get("frame", ICRS())
            if more or not issubclass(kind, SkyCoord):
                raise WcsError(f"its world is a {kind.__name__}, expected a position on the sky")
            frame = frame if not isinstance(frame, str) else SkyCoord(0 * u.deg, 0 * u.deg, frame=frame).frame
            SkyCoord(0 * u.deg, 0 * u.deg, frame=frame).icrs  # noqa: B018, or it raises
            self._direct = (
                type(frame) is ICRS  # offsets from a position are of a subclass
                and [str(unit) for unit in self._low.world_axis_units] == ["deg", "deg"]
                and [order for _, order in places] == [0, 1]
            )
            self.to_sky(np.zeros(1), np.zeros(1))  # it raises where units do not fit
        except WcsError:
            raise
        except Exception as error:  # of many kinds: frames without a way to ICRS, objects without what APE 14 asks for
            said = " ".join(str(error).split()) or type(error).__name__
            raise WcsError(
                f"this {type(wcs).__name__} does not say where on the sky its world is ({said}); expected a frame that "
                "astropy can transform to ICRS"
            ) from error

    def to_sky(self, x: Float, y: Float) -> tuple[Float, Float]:
        """As `Transform`."""
        if self._direct:
            ra, dec = self._low.pixel_to_world_values(x, y)
        else:
            sky = self._high.pixel_to_world(x, y).icrs
            ra, dec = sky.ra.deg, sky.dec.deg
        return np.asarray(ra, np.float64), np.asarray(dec, np.float64)

    def to_pixel(self, ra: Float, dec: Float) -> tuple[Float, Float]:
        """As `Transform`."""
        if self._direct:
            x, y = self._low.world_to_pixel_values(ra, dec)
        else:
            x, y = self._high.world_to_pixel(SkyCoord(ra * u.deg, dec * u.deg, frame="icrs"))
        return np.asarray(x, np.float64), np.asarray(y, np.float64)
