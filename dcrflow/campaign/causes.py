"""Summarise many failures in a few lines: each cause, and how often it occurred."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_DATA_ID = re.compile(r"(row \d+ \()?(visit|detector) -?\d+( detector -?\d+)?\)?:? ?")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Cause:
    """A cause of failure that several detector-visits share.

    Parameters
    ----------
    number : int
        Number of detector-visits.
    kind, message : str
        Class and message of the first error.
    """

    number: int
    kind: str
    message: str


def causes(errors: Iterable[tuple[str, str]]) -> list[Cause]:
    """Group errors that differ only in IDs and other numbers; the most frequent comes first.

    Parameters
    ----------
    errors : iterable of (str, str)
        Class and message of each error.
    """
    numbers: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    for kind, message in errors:
        key = kind, _NUMBER.sub("#", _DATA_ID.sub("", message))
        numbers[key] += 1
        first.setdefault(key, message)
    return [Cause(number, key[0], first[key]) for key, number in numbers.most_common()]
