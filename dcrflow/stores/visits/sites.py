"""Positions of telescopes, by the name of the site, without a download.

astropy's `EarthLocation.of_site` fetches its list over the network, so the sites of the built-in instruments are listed
here. Other names are looked up in astropy's cached list, if there is one.
"""

from __future__ import annotations

from typing import NamedTuple

from astropy.coordinates import EarthLocation
from astropy.coordinates.errors import UnknownSiteException
from astropy.utils import data

from dcrflow.base.errors import VisitTableError


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


def site(name: str) -> Site:
    """Look a site up by name; case does not matter.

    Raises
    ------
    VisitTableError
        If the site is neither in this module nor in astropy's cached list.
    """
    known = SITES.get(name.strip().lower())
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
    longitude, latitude, height = place.to_geodetic()
    return Site(float(longitude.deg), float(latitude.deg), float(height.to_value("m")))
