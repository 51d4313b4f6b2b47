"""What a step returns: its pixels, how long they took, and what of the coadds is missing in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from sys import getsizeof
from time import perf_counter, time
from typing import Any, NamedTuple

from dcrflow.geometry.box import Box
from dcrflow.model.pixels import BandedPixels, PatchPixels, Pixels


class TimingKey(NamedTuple):
    """One run of a step.

    Parameters
    ----------
    step : str
        Its name.
    box : Box
        The region that it made.
    tract : int
        Index into the plan's `tracts`; -1 for a step that is not for one tract.
    patch : str
        ``tract/patch``; empty for a step that is not for one patch.
    began : float
        When it began, seconds since 1970.
    """

    step: str
    box: Box
    tract: int = -1
    patch: str = ""
    began: float = 0.0


#: Seconds by run of a step.
Timing = Mapping[TimingKey, float]


@dataclass(frozen=True, slots=True)
class StepResult[P: PatchPixels | Pixels | BandedPixels]:
    """What a step returns.

    Parameters
    ----------
    pixels : PatchPixels, Pixels or BandedPixels
        What it made.
    timing : mapping of TimingKey to float
        How long the step and all steps before it took, seconds.
    damage : frozenset of str
        What of the coadds could not be read and is missing in the pixels: a line for each chunk.
    """

    pixels: P
    timing: Timing = field(default_factory=dict, compare=False, repr=False)
    damage: frozenset[str] = frozenset()

    def __sizeof__(self) -> int:
        """Bytes, with those of the pixels: by it a dask scheduler knows what it costs to move a result."""
        return object.__sizeof__(self) + getsizeof(self.pixels)


class Recorder:
    """Takes a step's time, and gathers what its inputs say of theirs and of damage. Time runs from its making.

    Parameters
    ----------
    step : str
        The step's name.
    tract, patch : int, str
        As of `TimingKey`.
    """

    def __init__(self, step: str, tract: int = -1, patch: str = "") -> None:
        self._step, self._tract, self._patch = step, tract, patch
        self._timing: dict[TimingKey, float] = {}
        self._damage: frozenset[str] = frozenset()
        self._began, self._began_at = perf_counter(), time()

    def include[P: PatchPixels | Pixels | BandedPixels](self, result: StepResult[P]) -> P:
        """Note an input's timing and damage (what two inputs share counts once); returns its pixels."""
        self._timing.update(result.timing)
        self._damage |= result.damage
        return result.pixels

    def result[P: PatchPixels | Pixels | BandedPixels](
        self, pixels: P, damage: frozenset[str] = frozenset()
    ) -> StepResult[P]:
        """The step's result. `damage` is what the step itself could not read."""
        key = TimingKey(self._step, pixels.box, self._tract, self._patch, self._began_at)
        return StepResult(pixels, self._timing | {key: perf_counter() - self._began}, self._damage | damage)


def combined(results: Iterable[StepResult[Any]]) -> tuple[dict[TimingKey, float], frozenset[str]]:
    """Timing and damage of several results together; what they share counts once."""
    timing: dict[TimingKey, float] = {}
    damage: set[str] = set()
    for result in results:
        timing.update(result.timing)
        damage |= result.damage
    return timing, frozenset(damage)


def timing_summary(tiles: Iterable[StepResult[Pixels]]) -> dict[str, Any]:
    """How long the steps of a template took.

    Returns
    -------
    dict
        ``steps``: seconds by step; ``patches``: seconds of reading by patch (``tract/patch``); ``spans``: name, begin
        and end (seconds since 1970) of each run of a step, in the order of their beginnings.
    """
    timing, _ = combined(tiles)
    return {
        "steps": _totals((key.step, seconds) for key, seconds in timing.items()),
        "patches": _totals((key.patch, seconds) for key, seconds in timing.items() if key.patch),
        "spans": sorted(((key.step, key.began, key.began + s) for key, s in timing.items()), key=lambda span: span[1]),
    }


def pixels_read(tiles: Iterable[StepResult[Pixels]]) -> int:
    """Pixels of coadds that were read for some tiles."""
    timing, _ = combined(tiles)
    return sum(key.box.area for key in timing if key.step == "load_patch")


def _totals(seconds: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for name, number in seconds:
        found[name] += number
    return {name: round(number, 4) for name, number in found.items()}
