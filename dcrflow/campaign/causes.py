"""Summarise many failures in a few lines: each cause, how often and where it occurred."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_DATA_ID = re.compile(r"(row \d+ \()?(visit|detector) -?\d+( detector -?\d+)?\)?:? ?")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Cause[Where]:
    """A cause of failure that several detector-visits, or patches, share.

    Parameters
    ----------
    kind, message : str
        Class and message of the first error.
    where : tuple
        All places where it occurred, such as (visit, detector), in the order of the errors.
    """

    kind: str
    message: str
    where: tuple[Where, ...]

    @property
    def number(self) -> int:
        """How often it occurred."""
        return len(self.where)

    @property
    def words(self) -> str:
        """Class and message of the first error."""
        return f"{self.kind}: {self.message}".strip(": ")


def causes[Where](errors: Iterable[tuple[str, str, Where]]) -> list[Cause[Where]]:
    """Group errors that differ only in IDs and other numbers; the most frequent comes first.

    Parameters
    ----------
    errors : iterable of (str, str, any)
        Class and message of each error, and where it occurred.
    """
    places: dict[tuple[str, str], list[Where]] = {}
    first: dict[tuple[str, str], str] = {}
    for kind, message, where in errors:
        key = kind, _NUMBER.sub("#", _DATA_ID.sub("", message))
        places.setdefault(key, []).append(where)
        first.setdefault(key, message)
    found = [Cause(key[0], first[key], tuple(where)) for key, where in places.items()]
    return sorted(found, key=lambda cause: -cause.number)
