"""Attributes of a template as they are kept: objects as they are in JSON, or as JSON text, which netCDF can hold too.

Whoever wrote them, they are data. What is not of the kind that it should be is left out and noted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dcrflow.base.errors import brief


def decoded(value: Any) -> Any:
    """An attribute; of JSON text that is an object or a list, what it stands for."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def encoded(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes that netCDF can hold: an object, or a list that is not one of numbers, becomes JSON text."""
    return {str(name): _text_of(value) if _needs_text(value) else _kept(value) for name, value in attributes.items()}


def objects(attributes: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes as JSON has them, whatever kept them: text that is JSON is read, numpy's numbers become Python's."""
    return {str(name): decoded(_plain(value)) for name, value in attributes.items()}


def _needs_text(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return not value or not all(_fits(v) for v in value)
    return value is None or isinstance(value, Mapping) or (isinstance(value, int) and not _fits(value))


def _fits(value: Any) -> bool:
    """Whether it is a number of at most 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or -(1 << 63) <= value < 1 << 63


def _kept(value: Any) -> Any:
    """The value unchanged; in a text, NUL and what UTF-8 cannot encode become escapes."""
    if not isinstance(value, str):
        return value
    return value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _text_of(value: Any) -> str:
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else value


@dataclass(frozen=True)
class Checked:
    """Attributes, each asked for by its kind; None, and a line in `problems`, where one is of another.

    Parameters
    ----------
    attributes : mapping
        From a file or store.
    problems : list of str
        What was not as it should be is added.
    """

    attributes: Mapping[Any, Any]
    problems: list[str] = field(default_factory=list)

    def number(self, name: str) -> float | None:
        """A finite number."""
        value = self.attributes.get(name)
        if value is None or is_number(value):
            return None if value is None else float(value)
        self._not(name, value, "a number")
        return None

    def text(self, name: str) -> str:
        """A text; empty if the value is not a text."""
        value = self.attributes.get(name)
        if value is None or isinstance(value, str):
            return value or ""
        self._not(name, value, "a text")
        return ""

    def object(self, name: str) -> Mapping[str, Any]:
        """A mapping; empty if the value is not a mapping."""
        value = decoded(self.attributes.get(name))
        if value is None or isinstance(value, Mapping):
            return value or {}
        self._not(name, value, "an object")
        return {}

    def numbers(self, name: str, *shape: int | None, gaps: bool = False) -> Any:
        """Nested lists of finite numbers; `shape` has a length for each level, or None for any.

        With `gaps`, numbers may be None.
        """
        value = decoded(self.attributes.get(name))
        if value is None:
            return None
        if _is_of_shape(value, shape, gaps):
            return value
        size = " x ".join("any" if n is None else str(n) for n in shape)
        self._not(name, value, f"lists of numbers, {size}")
        return None

    def _not(self, name: str, value: Any, expected: str) -> None:
        self.problems.append(f"its attribute {name!r} is {brief(value)}, expected {expected}")


def is_number(value: Any) -> bool:
    """Whether it is a finite number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _is_of_shape(value: Any, shape: tuple[int | None, ...], gaps: bool) -> bool:
    if not shape:
        return is_number(value) or (gaps and value is None)
    if not isinstance(value, list | tuple) or shape[0] not in (None, len(value)):
        return False
    return all(_is_of_shape(each, shape[1:], gaps) for each in value)
