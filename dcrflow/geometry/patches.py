"""Find the geometry of a tract from the bounding boxes of its patches, where no sky map is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.geometry.wcs import SkyWcs


def fit_tract(tract: int, wcs: SkyWcs, boxes: Mapping[int, Box]) -> Tract:
    """Find the tract whose patches have these boxes; of several, the one with the narrowest border.

    What the boxes do not determine (the far edge of the tract, if no patch there is known) is as small as they allow.

    Parameters
    ----------
    tract : int
        Its id.
    wcs : SkyWcs
        Of the whole tract.
    boxes : mapping of int to Box
        Outer bounding boxes by patch id (iy * nx + ix), tract pixels; one or more.

    Raises
    ------
    ValueError
        If no grid of patches has these boxes.
    """
    best: Tract | None = None
    for nx in range(1, max(boxes) + 3):
        found = _with_columns(tract, wcs, boxes, nx)
        if found is not None and (best is None or found.patch_border < best.patch_border):
            best = found
    if best is None:
        raise ValueError(f"no grid of patches has the bounding boxes of tract {tract}: {dict(sorted(boxes.items()))}")
    return best


def _with_columns(tract: int, wcs: SkyWcs, boxes: Mapping[int, Box], nx: int) -> Tract | None:
    columns: dict[int, tuple[int, int]] = {}
    rows: dict[int, tuple[int, int]] = {}
    for patch, box in boxes.items():
        iy, ix = divmod(patch, nx)
        if columns.setdefault(ix, (box.x0, box.x1)) != (box.x0, box.x1):
            return None
        if rows.setdefault(iy, (box.y0, box.y1)) != (box.y0, box.y1):
            return None
    borders = [b for spans in (columns, rows) if (b := _border(spans)) is not None]
    for border in dict.fromkeys([*borders, 0]):
        for (x0, width, x1), (y0, height, y1) in product(_axes(columns, border, nx), _axes(rows, border, None)):
            ny = -(-(y1 - y0) // height)
            made = Tract(tract, wcs, Box.from_bounds(x0, y0, x1, y1), (width, height), border, (nx, ny))
            if all(p < nx * ny and made.patch(p).bbox == b for p, b in boxes.items()):
                return made
    return None


def _equations(spans: Mapping[int, tuple[int, int]]) -> tuple[list[list[float]], list[float]]:
    """The equations of one axis: first pixel + i * inner width +- border = bound. The far end may be clipped."""
    rows: list[list[float]] = []
    values: list[float] = []
    for i, (low, high) in spans.items():
        rows.append([1.0, i, -1.0 if i else 0.0])  # the first patch is clipped at the tract's edge
        values.append(low)
        if i < max(spans):
            rows.append([1.0, i + 1.0, 1.0])
            values.append(high)
    return rows, values


def _border(spans: Mapping[int, tuple[int, int]]) -> int | None:
    """The border along an axis; None if the boxes do not determine it, or it is negative."""
    rows, values = _equations(spans)
    solution, _, rank, _ = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)
    return round(float(solution[2])) if rank == 3 and solution[2] > -0.5 else None


def _axes(spans: Mapping[int, tuple[int, int]], border: int, number: int | None) -> Iterator[tuple[int, int, int]]:
    """Possible axes for a border and the patches along it: first pixel, inner width, one past the last pixel."""
    last = max(spans)
    high = spans[last][1]
    for reach in (0, border):  # the last known patch ends at the tract's edge; or more patches follow
        rows, values = _equations(spans)
        if len(spans) == 1:
            rows.append([1.0, last + 1.0, 0.0])
            values.append(high - reach)
        matrix = np.array(rows)
        solution = np.linalg.lstsq(matrix[:, :2], np.array(values) - border * matrix[:, 2], rcond=None)[0]
        first, inner = (round(float(v)) for v in solution)
        if inner <= 0:
            continue
        if number is not None and last < number - 1:
            yield first, inner, first + number * inner
        elif high <= first + (last + 1) * inner:
            yield first, inner, high
        elif number is None:
            yield first, inner, first + (last + 2) * inner
