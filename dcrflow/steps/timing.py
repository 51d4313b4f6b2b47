"""How long each step took, carried along with the pixels that it made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import wraps
from time import perf_counter
from typing import Any

from dcrflow.geometry.skymap import Patch
from dcrflow.pixels import PatchPixels, Pixels, Spent


def timed[**P, R: (PatchPixels, Pixels)](step: Callable[P, R]) -> Callable[P, R]:
    """Let a step's result say how long it took, beside what its inputs say; what two inputs share counts once."""

    @wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        began = perf_counter()
        result = step(*args, **kwargs)
        patch = next((f"{a.tract}/{a.patch}" for a in args if isinstance(a, Patch)), "")
        own = {(step.__name__, patch, result.box): perf_counter() - began}
        return replace(result, spent=_merged(args) | own)

    return run


def _merged(args: Iterable[Any]) -> dict[tuple[str, str, Any], float]:
    found: dict[tuple[str, str, Any], float] = {}
    for arg in args:
        for pixels in arg if isinstance(arg, list | tuple) else (arg,):
            if isinstance(pixels, PatchPixels | Pixels):
                found |= pixels.spent
    return found


def summary(tiles: Iterable[Pixels]) -> dict[str, Any]:
    """Seconds by step, and of reading each patch (``tract/patch``)."""
    spent: dict[tuple[str, str, Any], float] = {}
    for tile in tiles:
        spent |= tile.spent
    return {"steps": _totals(spent, 0), "patches": _totals({k: v for k, v in spent.items() if k[1]}, 1)}


def _totals(spent: Spent, part: int) -> Mapping[str, float]:
    found: dict[str, float] = defaultdict(float)
    for key, seconds in spent.items():
        found[str(key[part])] += seconds
    return {name: round(seconds, 4) for name, seconds in found.items()}
