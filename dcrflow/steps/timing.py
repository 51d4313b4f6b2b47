"""How long each step took, and what of the coadds was unreadable: carried along with the pixels that are made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import wraps
from time import perf_counter
from typing import Any

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch
from dcrflow.model.pixels import PatchPixels, Pixels, Spent
from dcrflow.planning.template import TilePart

_PIXELS = (PatchPixels, Pixels)


def timed[**P, R: (PatchPixels, Pixels)](step: Callable[P, R]) -> Callable[P, R]:
    """Let a step's result say how long it took and what was unreadable, beside what its inputs say of both.

    What two inputs share counts once.
    """

    @wraps(step)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        began = perf_counter()
        result = step(*args, **kwargs)
        patch = next((f"{a.tract}/{a.patch}" for a in args if isinstance(a, Patch)), "")
        tract = next((a.tract if isinstance(a, TilePart) else a for a in args if isinstance(a, TilePart | int)), -1)
        own = {(step.__name__, patch, tract, result.box): perf_counter() - began}
        inputs = [p for a in args for p in (a if isinstance(a, list | tuple) else (a,)) if isinstance(p, _PIXELS)]
        spent: dict[tuple[str, str, int, Box], float] = {}
        for pixels in inputs:
            spent |= pixels.spent
        return replace(result, spent=spent | own, damage=result.damage.union(*(p.damage for p in inputs)))

    return run


def summary(tiles: Iterable[Pixels]) -> dict[str, Any]:
    """Seconds by step, and of reading each patch (``tract/patch``)."""
    spent: dict[tuple[str, str, int, Box], float] = {}
    for tile in tiles:
        spent |= tile.spent
    return {"steps": _totals(spent, 0), "patches": _totals({k: v for k, v in spent.items() if k[1]}, 1)}


def _totals(spent: Spent, part: int) -> Mapping[str, float]:
    found: dict[str, float] = defaultdict(float)
    for key, seconds in spent.items():
        found[str(key[part])] += seconds
    return {name: round(seconds, 4) for name, seconds in found.items()}
