"""Reading YAML files from users: plain values only, never objects, and every failure is a `ValueError`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

LARGEST = 1 << 20  # bytes of a file; the parser takes seconds for that many


_DEEPEST = 100  # nesting of brackets
_MOST = LARGEST  # values, each counted as often as aliases repeat it


class _Loader(yaml.SafeLoader):
    """Plain values; 5e-5 is a number, as in YAML 1.2 and JSON."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _count(value: Any, known: dict[int, float]) -> float:
    """How many values there are; infinite if one is within itself."""
    if not isinstance(value, dict | list):
        return 1.0
    if id(value) not in known:
        known[id(value)] = float("inf")
        known[id(value)] = 1.0 + sum(_count(v, known) for v in (value.values() if isinstance(value, dict) else value))
    return known[id(value)]


def _depth(text: str) -> int:
    """How deep brackets are nested, in strings and comments too."""
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def parse_yaml(text: str) -> Any:
    """Plain values from YAML text.

    Raises
    ------
    ValueError
        If it is not YAML, asks for objects, or is nested too deep; the message is one line.
    """
    too_deep = ValueError("it is nested too deep, expected 100 brackets at most")
    if _depth(text) > _DEEPEST:  # the parser takes long before it gives up
        raise too_deep
    try:
        found = yaml.load(text, _Loader)
        if _count(found, {}) > _MOST:
            raise ValueError(f"its aliases (*name) repeat values to more than {_MOST}; write them out")
        return found
    except RecursionError:
        raise too_deep from None
    except Exception as error:  # yaml.YAMLError, and what int(), dates and unhashable keys make of odd values
        raise ValueError(" ".join(str(error).split())) from None


def read_yaml(path: str | Path) -> Any:
    """Plain values from a YAML file.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, is longer than `LARGEST`, or as `parse_yaml`.
    """
    return parse_yaml(read_text(path, LARGEST))


def read_text(path: str | Path, largest: int) -> str:
    """The text of a file; see `read_bytes`.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, is not UTF-8, or has more than `largest` bytes.
    """
    return read_bytes(path, largest).decode("utf-8")


def read_bytes(path: str | Path, largest: int) -> bytes:
    """The content of a file. Reading stops at the limit, since a pipe or a device may never end.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or has more than `largest` bytes.
    """
    content = bytearray()
    with Path(path).open("rb") as file:
        while len(content) <= largest and (some := file.read(1 << 16)):
            content += some
    if len(content) > largest:
        raise ValueError(f"it has more than {largest} bytes, expected that many at most: is it the right file?")
    return bytes(content)
