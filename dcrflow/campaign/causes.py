"""Many failures in few lines: what happened, and how often."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_DATA_ID = re.compile(r"(row \d+ \()?(visit|detector) -?\d+( detector -?\d+)?\)?:? ?")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Cause:
    """What happened to some detector-visits.

    Parameters
    ----------
    number : int
        Of detector-visits.
    kind, message : str
        Of the error of the first of them.
    """

    number: int
    kind: str
    message: str


def causes(errors: Iterable[tuple[str, str]]) -> list[Cause]:
    """Group errors that differ in nothing but IDs and other numbers, the most frequent first.

    Parameters
    ----------
    errors : iterable of (str, str)
        Kind and message of each.
    """
    numbers: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    for kind, message in errors:
        key = kind, _NUMBER.sub("#", _DATA_ID.sub("", message))
        numbers[key] += 1
        first.setdefault(key, message)
    return [Cause(number, key[0], first[key]) for key, number in numbers.most_common()]
