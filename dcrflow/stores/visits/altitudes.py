"""Compare the boresight altitude that a row gives with the one computed from its time and site."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from functools import lru_cache

from dcrflow.physics.observation import (
    altitude_and_parallactic_angle,
    altitude_of_header,
    check_altitude,
    quick_altitude,
)
from dcrflow.physics.refraction import Weather

_LOG = logging.getLogger(__name__)
_CLOSE = 0.1  # degrees; if the fast altitude is this close to the stated one, the exact one is not computed


def stated_altitude(numbers: Mapping[str, float | None], weather: Weather, latitude: float, visit: int) -> float | None:
    """The altitude that a row gives, without refraction; None if it gives none.

    If it differs by more than 0.3 degrees from the altitude computed from time and site, that is logged once per visit.

    Parameters
    ----------
    numbers : mapping of str to float or None
        Numbers of the row. ``altitude`` is without refraction; ``header_altitude`` may include it.
    weather : Weather
        The air at the telescope.
    latitude : float
        Latitude of the telescope, known or assumed, degrees.
    visit : int
        Visit to name in the log.

    Raises
    ------
    ObservationError
        If the altitude is likely to be in radians.
    """
    of_header = numbers["altitude"] is None
    stated = numbers["header_altitude"] if of_header else numbers["altitude"]
    if stated is None:
        return None
    computed = _computed(numbers, stated, exact=of_header)
    said = check_altitude(stated, computed)
    if said:
        _say(f"visit {visit}: {said}; the stated one is used")
    return altitude_of_header(stated, computed, weather, latitude) if of_header else stated


def _computed(numbers: Mapping[str, float | None], stated: float, exact: bool) -> float | None:
    """The altitude from time and site, if they are known; only to 0.1 degrees if that is enough and not `exact`."""
    place = [numbers[name] for name in ("ra", "dec", "mjd", "longitude", "latitude")]
    known = [value for value in place if value is not None]
    if len(known) < len(place) or abs(known[1]) > 90 or abs(known[4]) > 90:
        return None
    where = (*known, numbers["height_m"] or 0.0)
    quick = quick_altitude(*where)
    if exact or abs(quick - stated) > _CLOSE:
        with contextlib.suppress(Exception):  # dates outside the Earth rotation tables raise errors of many classes
            return altitude_and_parallactic_angle(*where)[0]
    return quick


@lru_cache(maxsize=4096)  # log a message once per visit, not once per detector
def _say(words: str) -> None:
    _LOG.warning(words)
