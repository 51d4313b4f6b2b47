"""Data IDs of many detector-visits in few words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

DataId = tuple[int, int]


def ranges(numbers: Iterable[int]) -> str:
    """Increasing numbers in short: 0, 2-5, 9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def data_ids(pairs: Sequence[DataId], most: int | None = None) -> str:
    """Detector-visits in short: ``visit 12 detectors 0-3, 7; visit 13 detector 2; and 5 more``.

    Parameters
    ----------
    pairs : sequence of (int, int)
        Visit and detector; negative for a row of a table whose data ID cannot be read.
    most : int, optional
        Name at most so many, and say how many more there are.
    """
    named = sorted({pair for pair in pairs if min(pair) >= 0})
    rows = sum(min(pair) < 0 for pair in pairs)
    shown = named if most is None else named[:most]
    by_visit: dict[int, list[int]] = {}
    for visit, detector in shown:
        by_visit.setdefault(visit, []).append(detector)
    words = [f"visit {v} detector{'s' * (len(d) > 1)} {ranges(d)}" for v, d in by_visit.items()]
    if rows:
        words.append(f"{rows} row{'s' * (rows > 1)} without a visit and detector that can be read")
    if len(named) > len(shown):
        words.append(f"and {len(named) - len(shown)} more")
    return "; ".join(words)


def label(visit: int, detector: int) -> str:
    """A data ID as text; ``a row of the table`` where it could not be read."""
    return f"visit {visit} detector {detector}" if min(visit, detector) >= 0 else "a row of the table"
