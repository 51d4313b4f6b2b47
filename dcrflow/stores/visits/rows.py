"""Check one row of a detector-visit table and convert it to a `DetectorVisit`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from astropy import units as u

from dcrflow.base.errors import brief
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.model.visit import DetectorVisit, check_id
from dcrflow.physics.observation import Observation, altitude_and_parallactic_angle, check_mjd
from dcrflow.physics.refraction import Weather
from dcrflow.stores.fits_calibration import FAINTEST
from dcrflow.stores.visits.altitudes import stated_altitude

REQUIRED = ("instrument", "visit", "detector", "band", "x0", "y0", "width", "height", "wcs", "ra", "dec")
_WIDEST_PSF = 60.0  # arcsec

UNITS = {
    "ra": u.deg, "dec": u.deg, "mjd": u.day, "altitude": u.deg, "parallactic_angle": u.deg, "rotation_angle": u.deg,
    "longitude": u.deg, "latitude": u.deg, "height_m": u.m, "temperature": u.deg_C, "pressure": u.Pa,
    "humidity": u.percent, "psf_fwhm": u.arcsec, "zero_point": u.mag,
    "x0": u.pix, "y0": u.pix, "width": u.pix, "height": u.pix,
}  # fmt: skip

#: Assumed if altitude and parallactic angle are given but no site; it changes the refraction by 0.3 %.
_SITE = {"latitude": 45.0, "height_m": 0.0}

_LONGEST_NAME = 200  # characters
_EXACT = 1 << 53  # largest integer up to which floating-point numbers are exact
_MOST_PIXELS = 1 << 28  # of a detector
_FARTHEST = 1 << 31  # pixels from the origin


def detector_visit(row: Mapping[str, Any]) -> DetectorVisit:
    """Convert one row to a detector-visit.

    The row maps columns to values in the units of the table; a missing value is None or absent. Instead of ``altitude``
    a row may have ``header_altitude`` (deg): the altitude in a header, with or without refraction. If it differs by
    more than 0.3 deg from the altitude computed from time and site, that is logged once per visit.

    Raises
    ------
    ValueError, DcrflowError
        If the row cannot be used; names the column, what was found and what was expected.
    """
    for name in REQUIRED:
        if row.get(name) is None:
            raise ValueError(f"{name} is missing")
    integers = _integers(row)
    numbers = {name: _number(name, row.get(name)) for name in (*UNITS, "header_altitude") if name not in integers}
    _check_names(row)
    observation = _observation(numbers, integers["visit"])
    wcs, box = SkyWcs.from_any(row["wcs"]), Box(*(integers[n] for n in ("x0", "y0", "width", "height")))
    psf_fwhm = _number("psf_fwhm", row.get("psf_fwhm"))
    if psf_fwhm is not None and not 0 < psf_fwhm < _WIDEST_PSF:
        raise ValueError(f"psf_fwhm is {psf_fwhm:g} arcsec, expected 0 to {_WIDEST_PSF:g}")
    zero_point = _number("zero_point", row.get("zero_point"))
    if zero_point is not None and not 0 < zero_point < FAINTEST:
        raise ValueError(f"zero_point is {zero_point:g} mag, expected 0 to {FAINTEST:g}")
    return DetectorVisit(
        instrument=str(row["instrument"]),
        visit=integers["visit"],
        detector=integers["detector"],
        band=str(row["band"]),
        bbox=box,
        wcs=wcs,
        observation=observation,
        physical_filter=str(row.get("physical_filter") or ""),
        mjd=numbers["mjd"],
        image=str(row.get("image") or ""),
        psf_fwhm=psf_fwhm,
        zero_point=zero_point,
    )


def _integers(row: Mapping[str, Any]) -> dict[str, int]:
    """The data ID and the bounding box of a row, checked against their limits."""
    integers = {name: _integer(name, row[name]) for name in ("visit", "detector", "x0", "y0", "width", "height")}
    for name in ("width", "height"):
        if integers[name] < 1:
            raise ValueError(f"{name} is {integers[name]}, expected at least 1 pixel")
    if integers["width"] * integers["height"] > _MOST_PIXELS:
        raise ValueError(
            f"width and height are {brief(integers['width'])} and {brief(integers['height'])}, "
            f"expected {_MOST_PIXELS} pixels at most"
        )
    for name in ("visit", "detector"):
        check_id(name, integers[name])
    for name in ("x0", "y0"):
        if abs(integers[name]) > _FARTHEST:
            raise ValueError(f"{name} is {brief(integers[name])}, expected -{_FARTHEST} to {_FARTHEST}")
    return integers


def _check_names(row: Mapping[str, Any]) -> None:
    """Check the strings of a row."""
    band = str(row["band"])
    if not band or "/" in band:
        raise ValueError(f"band is {brief(band)}, expected a name without '/'")
    for name in ("instrument", "band", "physical_filter"):
        text = str(row.get(name) or "")
        if len(text) > _LONGEST_NAME:
            raise ValueError(f"{name} is {brief(text)} of {len(text)} letters, expected {_LONGEST_NAME} at most")


def _observation(numbers: Mapping[str, float | None], visit: int) -> Observation:
    """The observation of a row; missing values are computed from time and site, or assumed."""
    mjd = numbers["mjd"]
    site = {name: numbers[name] for name in ("longitude", "latitude", "height_m")}
    height = site["height_m"] if site["height_m"] is not None else _SITE["height_m"]
    latitude = site["latitude"] if site["latitude"] is not None else _SITE["latitude"]
    ra, dec = numbers["ra"], numbers["dec"]
    if ra is None or dec is None:
        raise ValueError(f"{'ra' if ra is None else 'dec'} is missing")
    if mjd is not None:
        check_mjd(mjd)
    weather = Weather.measured(numbers["temperature"], numbers["pressure"], numbers["humidity"], height)
    altitude, parallactic = stated_altitude(numbers, weather, latitude, visit), numbers["parallactic_angle"]
    if altitude is None or parallactic is None:
        if mjd is None or site["longitude"] is None or site["latitude"] is None:
            raise ValueError("found neither altitude and parallactic_angle nor mjd, longitude and latitude")
        try:
            found = altitude_and_parallactic_angle(ra, dec, mjd, site["longitude"], site["latitude"], height)
        except Exception as error:  # dates outside the Earth rotation tables raise errors of many classes
            raise ValueError(
                f"no altitude and parallactic_angle can be found for mjd {mjd:g} and this site "
                f"({type(error).__name__}: {error}); give both"
            ) from error
        altitude = found[0] if altitude is None else altitude
        parallactic = found[1] if parallactic is None else parallactic
    return Observation(
        ra=ra,
        dec=dec,
        altitude=altitude,
        parallactic_angle=parallactic,
        weather=weather,
        latitude=latitude,
        height=height,
        rotation_angle=numbers["rotation_angle"],
    )


def integer_or(value: Any, default: int) -> int:
    """The value as an integer, or the default if it is not one."""
    try:
        return _integer("", value)
    except ValueError:
        return default


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool):  # for Python a number
        raise ValueError(f"{name} is {value}, expected an integer")
    try:
        number = int(value)
        if not isinstance(value, str) and number != value:
            raise ValueError
    except (TypeError, ValueError, ArithmeticError):
        raise ValueError(f"{name} is {brief(value)}, expected an integer") from None
    if isinstance(value, float) and abs(number) >= _EXACT:
        raise ValueError(
            f"{name} is {value!r}, a floating-point number, which does not hold such an integer exactly; give it in a "
            "column of integers"
        )
    return number


def _number(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool):  # for Python a number
        raise ValueError(f"{name} is {value}, expected a number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is {brief(value)}, expected a number") from None
    if math.isnan(number):
        return None
    if math.isinf(number):
        raise ValueError(f"{name} is {number}, expected a finite number")
    return number
