"""Numbers of a campaign as text."""

from __future__ import annotations


def duration(seconds: float | None) -> str:
    """Seconds as hours and minutes, or minutes and seconds."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def rate(per_minute: float) -> str:
    """A rate to two digits."""
    return f"{per_minute:.0f}" if per_minute >= 10 else f"{per_minute:.2g}"


def size(number: float) -> str:
    """Bytes with a unit."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if number < 999.5:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} PB"
