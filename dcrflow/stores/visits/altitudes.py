"""The boresight's altitude as a row states it, compared with that of the row's time and place."""

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
_CLOSE = 0.1  # degrees between altitudes within which the quick one needs no second look


def stated_altitude(numbers: Mapping[str, float | None], weather: Weather, latitude: float, visit: int) -> float | None:
    """The altitude of a row, without refraction; None if it states none.

    One that is more than 0.3 degrees off that of time and place is logged, once a visit.

    Parameters
    ----------
    numbers : mapping of str to float or None
        The row's; ``altitude`` has no refraction, ``header_altitude`` may have.
    weather : Weather
        The air at the telescope.
    latitude : float
        Of the telescope, degrees, or what is taken for it.
    visit : int
        To name in what is logged.

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
    """The altitude from time and place, if they are there; to 0.1 degrees where that is enough, unless `exact`."""
    place = [numbers[name] for name in ("ra", "dec", "mjd", "longitude", "latitude")]
    known = [value for value in place if value is not None]
    if len(known) < len(place) or abs(known[1]) > 90 or abs(known[4]) > 90:
        return None
    where = (*known, numbers["height_m"] or 0.0)
    quick = quick_altitude(*where)
    if exact or abs(quick - stated) > _CLOSE:
        with contextlib.suppress(Exception):  # of many kinds, from dates that no table of the Earth's rotation covers
            return altitude_and_parallactic_angle(*where)[0]
    return quick


@lru_cache(maxsize=4096)  # what there is to say of a visit is said once, and not by each of its detectors
def _say(words: str) -> None:
    _LOG.warning(words)
