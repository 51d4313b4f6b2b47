"""Units that header cards state: by the FITS convention their comment begins with them, as in ``[deg] Altitude``."""

from __future__ import annotations

import re
import warnings
from functools import cache

from astropy import units as u

_STATED = re.compile(r"^\s*\[([^\]]{1,24})\]")
_EQUINOX = re.compile(r"[BJ]\d{4}(\.\d+)?")  # for astropy J2000 is a power of joule
#: What headers write otherwise than astropy, in lower case.
_NAMES = {
    "c": "deg_C", "degc": "deg_C", "deg c": "deg_C", "deg_c": "deg_C", "celsius": "deg_C", "degrees c": "deg_C",
    "degree c": "deg_C", "centigrade": "deg_C", "f": "deg_F", "degf": "deg_F", "deg f": "deg_F", "deg_f": "deg_F",
    "fahrenheit": "deg_F", "k": "K", "kelvin": "K", "degrees": "deg", "degree": "deg", "degs": "deg",
    "hours": "hourangle", "hour": "hourangle", "hrs": "hourangle", "hr": "hourangle", "h": "hourangle",
    "mb": "mbar", "millibar": "mbar", "millibars": "mbar", "hpa": "hPa", "kpa": "kPa", "pa": "Pa", "pascal": "Pa",
    "mmhg": "133.322387415 Pa", "mm hg": "133.322387415 Pa", "inhg": "3386.389 Pa", "in hg": "3386.389 Pa",
    "atm": "101325 Pa", "percent": "%", "meters": "m", "metres": "m", "meter": "m", "metre": "m", "feet": "ft",
    "arcseconds": "arcsec", "asec": "arcsec", "pixels": "pixel", "pixel": "pixel", "pix": "pixel", "rad": "rad",
    "radian": "rad", "radians": "rad", "s": "s", "sec": "s", "secs": "s", "seconds": "s", "msec": "ms", "msecs": "ms",
    "milliseconds": "ms", "mins": "min", "minutes": "min", "usec": "us", "microseconds": "us", "sec.": "s",
    "days": "d",
}  # fmt: skip


@cache
def unit_named(text: str) -> u.UnitBase:
    """A unit by the name that astropy, its imperial units or headers have for it.

    Raises
    ------
    ValueError
        If there is no such unit.
    """
    name = _NAMES.get(text.lower(), text)
    with warnings.catch_warnings(), u.add_enabled_units(u.imperial):
        warnings.simplefilter("ignore")  # of units that are no longer in use
        try:
            return u.Unit(name)
        except ValueError:
            return u.Unit(name.lower())  # DEG


def stated_unit(comment: str) -> str:
    """The unit that a card's comment begins with, as it is written there; empty if it states none that is known."""
    match = _STATED.match(comment)
    text = match[1].strip() if match else ""
    if not text or _EQUINOX.fullmatch(text):
        return ""
    try:
        return text if unit_named(text) != u.dimensionless_unscaled else ""
    except (ValueError, TypeError):
        return ""


def contradiction(stated: str, given: str, wanted: u.UnitBase | None) -> str:
    """Why a card's unit contradicts the one that a column's values are taken to be in; empty if it does not.

    Parameters
    ----------
    stated : str
        The card's; see `stated_unit`.
    given : str
        The mapping's; empty: none.
    wanted : Unit or None
        The table's, which is meant where the mapping gives none.
    """
    if not stated or wanted is None or given == "airmass":
        return ""
    meant = unit_named(given) if given else wanted
    if given and unit_named(stated) == meant:
        return ""
    if not given and unit_named(stated).is_equivalent(meant, equivalencies=u.temperature()):
        return ""
    return f"its card says [{stated}], {'the mapping' if given else 'the table needs'} {given or wanted}"
