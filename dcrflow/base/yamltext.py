"""YAML that others wrote: plain values only, no objects, and an error instead of whatever the parser runs into."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

LARGEST = 1 << 20  # bytes of a file; the parser takes some seconds for so much


_DEEPEST = 100  # brackets within brackets


def _depth(text: str) -> int:
    """How deep brackets are within each other, whatever they are for."""
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
        If it is no YAML, asks for objects, or is nested too deep; in one line.
    """
    too_deep = ValueError("it is nested too deep: no configuration is")
    if _depth(text) > _DEEPEST:  # or the parser takes long to find out
        raise too_deep
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise too_deep from None
    except Exception as error:  # yaml.YAMLError, and what int(), dates and unhashable keys make of odd values
        raise ValueError(" ".join(str(error).split())) from None


def read_yaml(path: str | Path) -> Any:
    """The same from a file.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, is longer than `LARGEST`, or as `parse_yaml`.
    """
    return parse_yaml(read_text(path, LARGEST))


def read_text(path: str | Path, largest: int) -> str:
    """The text of a file, or of a pipe or device, which know no size and may have no end.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, is no UTF-8, or has more than `largest` bytes.
    """
    content = bytearray()
    with Path(path).open("rb") as file:
        while len(content) <= largest and (some := file.read(1 << 16)):
            content += some
    if len(content) > largest:
        raise ValueError(f"it has more than {largest} bytes, expected that many at most: is it the right file?")
    return content.decode("utf-8")
