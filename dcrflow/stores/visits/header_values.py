"""Values as headers of many cameras have them: angles, times, weather."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Protocol

from astropy import units as u
from astropy.coordinates import Angle
from astropy.time import Time

from dcrflow.base.errors import brief
from dcrflow.stores.visits.card_units import stated_unit, unit_named

Look = Callable[[str], Any]

_SEXAGESIMAL = re.compile(r"^[+-]?\d+(h|:| +)\s*\d+")
_UNKNOWN = re.compile(r"(?i)^(n/?a|none|null|nan|unknown|undefined|undef|not available|-+|\?+)$")
_NO_MEASUREMENT = (-999.0, -9999.0, -99.0, 9999.0, 99999.0)  # what instruments write where a sensor is silent
_ANGLES = {"altitude", "header_altitude", "parallactic_angle", "rotation_angle", "longitude", "latitude"}
_OLD_DATE = re.compile(r"^(\d\d)/(\d\d)/(\d\d)$")  # DD/MM/YY of the years 1900 to 1999, FITS standard 4.4.2.1
_FIRST_JD = 2_400_000.5  # a larger number of days is a Julian date
_LONGEST = 1e6  # s of an exposure
_SCALES = {"ut": "utc", "gmt": "utc", "z": "utc", "iat": "tai", "tdt": "tt", "et": "tt"}
_KNOWN_SCALES = tuple(scale for scale in Time.SCALES if scale != "local")  # no other scale can be made from that


class TimeSource(Protocol):
    """How a mapping describes a time."""

    @property
    def scale(self) -> str:
        """The time scale; empty takes that of TIMESYS, or UTC."""

    @property
    def format(self) -> str:
        """As astropy names it; empty: told by the value."""

    @property
    def time(self) -> tuple[str, ...]:
        """Keywords of the time of day."""

    @property
    def exposure(self) -> tuple[str, ...]:
        """Keywords of the exposure time."""


def is_sexagesimal(value: Any) -> bool:
    """Whether it is a text such as 12:34:56.7, 12 34 56.7 or 12h34m56.7s."""
    return isinstance(value, str) and _SEXAGESIMAL.match(value) is not None


def is_unknown(value: Any) -> bool:
    """Whether a header says by this value that there is no measurement."""
    if isinstance(value, str):
        if _UNKNOWN.match(value.strip()):
            return True
        try:
            value = float(value)
        except ValueError:
            return False
    return isinstance(value, int | float) and (not math.isfinite(value) or value in _NO_MEASUREMENT)


def measured(column: str, value: Any, positive: bool = False) -> Any:
    """A header's value of an optional column; None if it says that there is no measurement.

    Parameters
    ----------
    column : str
        The column that it is for: -99 is an angle, but no temperature.
    value : object
        The header's value.
    positive : bool
        Whether a number of 0 or less says so too, as for a width.
    """
    if not is_unknown(value):
        return None if positive and isinstance(value, int | float) and value <= 0 else value
    return value if value == -99 and column in _ANGLES and not positive else None


def in_unit(value: Any, unit: str, wanted: u.UnitBase | None) -> float:
    """A number in the wanted unit; an angle may be a sexagesimal text.

    Parameters
    ----------
    value : number or str
        The header's value.
    unit : str
        Its unit, see `unit_named`; ``airmass`` is a unit of altitudes; empty: the wanted one.
    wanted : Unit or None
        The table's unit.

    Raises
    ------
    ValueError, UnitConversionError
        If it is no number, or its unit cannot be converted.
    """
    if isinstance(value, bool):
        raise ValueError(f"{value} is no number")
    if wanted == u.deg and unit == "airmass":
        return _altitude_of_airmass(float(value))
    if wanted == u.deg and isinstance(value, str):
        return float(Angle(value, unit=unit_named(unit or "deg")).deg)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{brief(value)} is no number") from None
    if not math.isfinite(number) or not unit or wanted is None:
        return number
    return float(u.Quantity(number, unit_named(unit)).to_value(wanted, equivalencies=u.temperature()))


def _altitude_of_airmass(airmass: float) -> float:
    """Altitude in degrees: headers have the secant of the zenith angle, or what differs from it by less than 0.5 %."""
    if not 1 - 1e-3 <= airmass < 40:
        raise ValueError(f"{airmass:g} is no airmass, expected 1 to 40")
    return math.degrees(math.asin(min(1.0, 1 / airmass)))


def mjd_of(source: TimeSource, value: Any, look: Look) -> float:
    """MJD (TAI) of the middle of the exposure.

    Parameters
    ----------
    source : TimeSource
        Its description in the mapping.
    value : number or str
        A modified Julian date, a Julian date, or a date with or without time of day.
    look : callable
        Looks a keyword up.

    Raises
    ------
    ValueError
        If it is no time, or the time of day or the exposure time is missing.
    """
    time = Time(*_given(source, value, look), scale=_scale(source, look))
    if source.exposure:
        time = time + _exposure_time(source, look) / 2 * u.s
    return float(time.tai.mjd)


def _exposure_time(source: TimeSource, look: Look) -> float:
    """Seconds, from what the card says its unit is."""
    keyword = next((keyword for keyword in source.exposure if look(keyword) is not None), None)
    if keyword is None:
        raise ValueError(f"the exposure time {' or '.join(source.exposure)} is missing")
    comment = getattr(look, "comment", None)
    stated = stated_unit(comment(keyword)) if comment is not None else ""
    unit = unit_named(stated) if stated else u.s
    unit = u.hour if unit == u.hourangle else unit
    number = in_unit(look(keyword), "", u.s)
    try:
        seconds = float(u.Quantity(number, unit).to_value(u.s))
    except u.UnitConversionError:
        raise ValueError(f"the card of the exposure time {keyword} says [{stated}], expected a time") from None
    if not 0 <= seconds < _LONGEST:
        raise ValueError(f"the exposure time {keyword} is {seconds:g} s, expected 0 to {_LONGEST:g} s")
    return seconds


def _given(source: TimeSource, value: Any, look: Look) -> tuple[Any, None, str | None]:
    """Arguments of `Time`: the value, nothing, and its format."""
    try:
        value = float(value)
    except (TypeError, ValueError):
        date = str(value).strip().rstrip("Zz")
    else:
        return value, None, source.format or ("jd" if value > _FIRST_JD else "mjd")
    old = _OLD_DATE.match(date)
    if old:
        date = f"19{old[3]}-{old[2]}-{old[1]}"
    if re.match(r"^\d{4}-\d\d-\d\d$", date):
        clock = next((t for t in map(look, source.time) if t is not None), None)
        if clock is None:
            what = f"{' or '.join(source.time)} is missing" if source.time else "no keyword of it is given (time: UT)"
            raise ValueError(f"{brief(value)} has no time of day, and {what}")
        date = f"{date}T{str(clock).strip().rstrip('Zz')}"
    try:
        Time(date, format=source.format or None)
    except ValueError:
        raise ValueError(
            f"{brief(value)} is no time: expected a (modified) Julian date or 2026-01-02T03:04:05"
        ) from None
    return date, None, source.format or None


def _scale(source: TimeSource, look: Look) -> str:
    try:
        return scale_named(source.scale or look("TIMESYS") or "utc")
    except ValueError as error:
        raise ValueError(f"{error}; set scale") from None


def scale_named(name: Any) -> str:
    """A time scale as astropy names it; a realization after it, as in TT(TAI), changes nothing.

    Raises
    ------
    ValueError
        If there is no such scale, or it is local.
    """
    scale = str(name).partition("(")[0].strip().lower()
    scale = _SCALES.get(scale, scale)
    if scale not in _KNOWN_SCALES:
        raise ValueError(f"the time scale {brief(name)} is not one of {', '.join(_KNOWN_SCALES)}")
    return scale
