"""Units that header cards state: by the FITS convention their comment begins with them, as in ``[deg] Altitude``."""

from __future__ import annotations

import re
import warnings

from astropy import units as u

_STATED = re.compile(r"^\s*\[([^\]]{1,24})\]")
#: What headers write otherwise than astropy, in lower case.
_NAMES = {
    "c": "deg_C", "degc": "deg_C", "deg c": "deg_C", "deg_c": "deg_C", "celsius": "deg_C", "degrees c": "deg_C",
    "degree c": "deg_C", "kelvin": "K", "degrees": "deg", "degree": "deg", "hours": "hourangle", "hour": "hourangle",
    "hr": "hourangle", "h": "hourangle", "mb": "mbar", "millibar": "mbar", "millibars": "mbar", "hpa": "hPa",
    "pascal": "Pa", "percent": "%", "meters": "m", "metres": "m", "arcseconds": "arcsec", "asec": "arcsec",
    "pixels": "pixel", "pixel": "pixel", "pix": "pixel", "rad": "rad", "radian": "rad", "radians": "rad",
}  # fmt: skip


def stated_unit(comment: str) -> str:
    """The unit that a card's comment begins with, as astropy names it; empty if it states none that is known."""
    match = _STATED.match(comment)
    if match is None:
        return ""
    text = match[1].strip()
    name = _NAMES.get(text.lower(), text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of units that are no longer in use
            return name if u.Unit(name) != u.dimensionless_unscaled else ""
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
    meant = u.Unit(given) if given else wanted
    if given and u.Unit(stated) == meant:
        return ""
    if not given and u.Unit(stated).is_equivalent(meant, equivalencies=u.temperature()):
        return ""
    return f"its card says [{stated}], {'the mapping' if given else 'the table needs'} {given or wanted}"
