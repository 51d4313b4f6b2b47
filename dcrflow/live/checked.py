"""Values of events, checked: anybody may have written a journal, or sent something to a scheduler.

A value of another type than expected, or beyond the bounds here, is left out. So whatever an event says, the state of a
campaign can be written as JSON that browsers read, and takes a bounded amount of memory. `dcrflow.base.attributes`
checks the attributes of stores: it notes what is wrong with them and sets no bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeGuard

from dcrflow.base.attributes import is_number
from dcrflow.base.texts import one_line

#: JavaScript's numbers are exact below it.
EXACT = 1 << 53
_LONGEST = 2000  # letters of a message
_LONGEST_NAME = 200  # letters of a step, patch or worker
_NUMBERS = 100  # steps, or patches, of an event
_LONGEST_TIME = 1e9  # s
_LATEST = 2e11  # s since 1970: the year 8307
_LARGEST_ID = 1 << 128  # rows whose data ID cannot be read have large negative ones
_CORNERS = 100  # of an outline
_LARGEST_IMAGE = 1 << 18  # letters
_IMAGES = ("data:image/png;base64,", "data:image/jpeg;base64,")


def text(value: object) -> str:
    """One line of at most 2000 letters; empty for None."""
    return "" if value is None else one_line(str(value)[:_LONGEST])


def count(value: object, otherwise: int = 0) -> int:
    """An integer from 0 on that JavaScript holds exactly, or `otherwise`."""
    return int(value) if _is_integer(value) and 0 <= value < EXACT else otherwise


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def whole(value: object, below: int) -> int | None:
    """An integer from 0 on and below another, or None."""
    return int(value) if _is_integer(value) and 0 <= value < below else None


def data_id(visit: object, detector: object) -> tuple[int, int] | None:
    """Visit and detector, or None."""
    if _is_integer(visit) and _is_integer(detector) and max(abs(visit), abs(detector)) < _LARGEST_ID:
        return int(visit), int(detector)
    return None


def exact(number: int) -> int | str:
    """A data ID for JSON: as text where a browser would round it."""
    return number if -EXACT < number < EXACT else str(number)


def named(which: tuple[int, int], names: tuple[str, str] = ("visit", "detector")) -> dict[str, int | str | None]:
    """A data ID by the names of its parts; None for a row whose data ID cannot be read."""
    known = min(which) >= 0
    return {each: exact(number) if known else None for each, number in zip(names, which, strict=True)}


def times(values: object) -> dict[str, float]:
    """Seconds by name, at most 100 of them."""
    if not isinstance(values, Mapping):
        return {}
    some = values.items() if len(values) <= _NUMBERS else list(values.items())[:_NUMBERS]
    return {str(k)[:_LONGEST_NAME]: float(v) for k, v in some if k and is_number(v) and 0 <= v <= _LONGEST_TIME}


def name(value: object) -> str:
    """A name of at most 200 letters; empty if it is no text."""
    return value[:_LONGEST_NAME] if isinstance(value, str) else ""


def seconds_of(time: object) -> float | None:
    """Seconds since 1970 of an ISO 8601 time; None if the text is not one."""
    if not isinstance(time, str):
        return None
    try:
        found = datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError):
        return None
    return found if 0 <= found < _LATEST else None


def items(value: object) -> Sequence[Any]:
    """A list, or nothing."""
    return value if isinstance(value, list | tuple) else ()


def rows(value: object, width: int) -> Iterable[Sequence[Any]]:
    """The elements of a list that are lists of this length."""
    return [row for row in items(value) if len(items(row)) == width]


def corners(value: object) -> list[Sequence[float]]:
    """Pairs of finite numbers; empty if one of them is something else, or if there are more than 100."""
    found = items(value)
    good = len(found) <= _CORNERS and all(len(items(each)) == 2 and all(map(is_number, each)) for each in found)
    return list(found) if good else []


def thumbnail(value: object, names: tuple[str, str] = ("visit", "detector")) -> dict[str, Any] | None:
    """Its data ID by the names of its parts, ``band``, ``coverage`` and ``image``; None without a picture."""
    if not isinstance(value, Mapping):
        return None
    first, second = names
    which, image, covered = data_id(value.get(first), value.get(second)), value.get("image"), value.get("coverage")
    if which is None or not isinstance(image, str) or len(image) > _LARGEST_IMAGE or not image.startswith(_IMAGES):
        return None
    return {
        **named(which, names), "band": name(value.get("band")),
        "coverage": covered if is_number(covered) else None, "image": image,
    }  # fmt: skip
