"""check_visits: leave out visits that do not show the stars of the others where they should be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dcrflow.coadding.agreement import Agreement, agreement
from dcrflow.coadding.cells import Cell
from dcrflow.planning.coadds import LeftOut
from dcrflow.steps.coadd import PatchOrder
from dcrflow.steps.coadd_scratch import StoredVisit

_CELLS = 4  # of a patch that are looked at
_LARGEST_SHIFT = 2.5  # pixels; DCR moves the mean of many stars by less, and self-calibration corrects less
_LARGEST_SCALE = 1.2


def check_visits(order: PatchOrder, visits: Sequence[StoredVisit | LeftOut]) -> list[StoredVisit | LeftOut]:
    """The visits of a patch, with a `LeftOut` in the place of those that contradict the others.

    Parameters
    ----------
    order : PatchOrder
        Which patch.
    visits : sequence of StoredVisit or LeftOut
        Of the patch.
    """
    opened, cells = [v.opened() for v in visits if isinstance(v, StoredVisit) and v.pixels], _chosen(order)
    for _, pixels in opened:
        pixels.check(cell.box for cell in cells)
    found = agreement([visit for visit, _ in opened], cells)
    wrong = {name: why for name, one in found.items() if (why := _contradiction(one, order))}
    if 2 * len(wrong) >= len(found):  # there is no majority to trust
        return list(visits)
    return [
        LeftOut(v.visit, v.detector, f"visit {v.visit} detector {v.detector}: {wrong[v.visit, v.detector]}")
        if (v.visit, v.detector) in wrong
        else v
        for v in visits
    ]


def _chosen(order: PatchOrder) -> list[Cell]:
    """A few cells, spread evenly over the patch."""
    every = order.grid.cells
    return [every[i] for i in np.unique(np.linspace(0, len(every) - 1, min(_CELLS, len(every))).round().astype(int))]


def _contradiction(one: Agreement, order: PatchOrder) -> str:
    """What is wrong with a visit; empty if nothing is."""
    shift = math.hypot(one.dy, one.dx)
    if shift > _LARGEST_SHIFT:
        box = order.tract.bbox
        scale = order.tract.wcs.pixel_scale(box.x0 + box.width / 2, box.y0 + box.height / 2)
        return (
            f"its stars are {shift:.1f} px ({shift * scale:.2f} arcsec) from those of the other visits, expected "
            f"{_LARGEST_SHIFT} px at most: its WCS is wrong"
        )
    if not 1 / _LARGEST_SCALE < one.scale < _LARGEST_SCALE:
        return (
            f"its stars have {one.scale:.2f} times the flux that they have in the other visits, expected "
            f"{1 / _LARGEST_SCALE:.2f} to {_LARGEST_SCALE}: its zero point or its PSF is wrong"
        )
    return ""
