"""Positions of telescopes, by the name of the site, without a download.

astropy's `EarthLocation.of_site` fetches its list over the network, so the sites of the built-in instruments are listed
here. Other names are looked up in astropy's cached list, if there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from astropy.coordinates import EarthLocation
from astropy.coordinates.errors import UnknownSiteException
from astropy.utils import data

from dcrflow.base.errors import VisitTableError
from dcrflow.stores.visits.header_values import measured


class Site(NamedTuple):
    """Geodetic longitude and latitude (degrees, east positive) and height above the ellipsoid (m)."""

    longitude: float
    latitude: float
    height_m: float


#: Accurate to about 100 m, which moves the zenith by 3 arcsec.
SITES = {
    "rubin": Site(-70.74942, -30.24464, 2663.0),
    "ctio": Site(-70.80653, -30.16966, 2214.0),
    "las campanas": Site(-70.69167, -29.01500, 2380.0),
    "la silla": Site(-70.73367, -29.25667, 2347.0),
    "paranal": Site(-70.40333, -24.62500, 2635.0),
    "palomar": Site(-116.86305, 33.35642, 1706.0),
    "kitt peak": Site(-111.59680, 31.96390, 2096.0),
    "apache point": Site(-105.82000, 32.78000, 2788.0),
    "mcdonald": Site(-104.02160, 30.67170, 2075.0),
    "lick": Site(-121.63720, 37.34140, 1283.0),
    "mauna kea": Site(-155.47611, 19.82556, 4139.0),
    "subaru": Site(-155.47611, 19.82556, 4139.0),
    "cfht": Site(-155.46917, 19.82528, 4204.0),
    "haleakala": Site(-156.25600, 20.70740, 3055.0),
    "la palma": Site(-17.88000, 28.75800, 2350.0),
    "sutherland": Site(20.81090, -32.37960, 1760.0),
    "siding spring": Site(149.06119, -31.27194, 1165.0),
}


_ALIASES = {
    "lsst": "rubin", "cerro pachon": "rubin", "vera c. rubin observatory": "rubin", "cerro tololo": "ctio",
    "kpno": "kitt peak", "apo": "apache point", "saao": "sutherland", "sso": "siding spring", "maunakea": "mauna kea",
    "orm": "la palma", "roque de los muchachos": "la palma", "vlt": "paranal", "lasilla": "la silla",
}  # fmt: skip


def site_of_header(look: Callable[[str], Any]) -> Site | None:
    """The site of the FITS standard's OBSGEO keywords, geocentric (X, Y, Z, m) or geodetic (L, B, H).

    None without them, or if one of them says that it is not known; a telescope at the centre of the Earth is none.

    Raises
    ------
    ValueError
        If they are no numbers.
    """
    geodetic = [measured("longitude", look(f"OBSGEO-{axis}")) for axis in "LBH"]
    if None not in geodetic:
        return Site(*map(float, geodetic))
    geocentric = [measured("", look(f"OBSGEO-{axis}")) for axis in "XYZ"]
    if None in geocentric or not any(map(float, geocentric)):
        return None
    return _geodetic(EarthLocation.from_geocentric(*map(float, geocentric), unit="m"))


def _geodetic(place: EarthLocation) -> Site:
    longitude, latitude, height = place.to_geodetic()
    return Site(float(longitude.deg), float(latitude.deg), float(height.to_value("m")))


def site(name: str) -> Site:
    """Look a site up by name; case does not matter.

    Raises
    ------
    VisitTableError
        If the site is neither in this module nor in astropy's cached list.
    """
    plain = " ".join(name.replace("_", " ").replace("-", " ").lower().split())
    known = SITES.get(_ALIASES.get(plain, plain))
    if known is not None:
        return known
    try:
        with data.conf.set_temp("allow_internet", False):
            place = EarthLocation.of_site(name)
    except (UnknownSiteException, OSError):
        raise VisitTableError(
            f"no site {name!r} is known here; known are {', '.join(sorted(SITES))}; or give longitude, latitude and "
            "height_m"
        ) from None
    return _geodetic(place)
