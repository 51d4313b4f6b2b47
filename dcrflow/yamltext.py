"""YAML that others wrote: plain values only, no objects, and an error instead of whatever the parser runs into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

LARGEST = 1 << 20  # bytes of a file; the parser takes some seconds for so much


def parse_yaml(text: str) -> Any:
    """Plain values from YAML text.

    Raises
    ------
    ValueError
        If it is no YAML, asks for objects, or is nested too deep; in one line.
    """
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise ValueError("it is nested too deep: no configuration is") from None
    except Exception as error:  # yaml.YAMLError, and what int(), dates and unhashable keys make of odd values
        raise ValueError(" ".join(str(error).split())) from None


def read_yaml(path: str | Path) -> Any:
    """The same from a file.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, is longer than `LARGEST`, or as `parse_yaml`.
    """
    size = Path(path).stat().st_size
    if size > LARGEST:
        raise ValueError(f"it has {size} bytes, expected {LARGEST} at most: is it the right file?")
    return parse_yaml(Path(path).read_text(encoding="utf-8"))
