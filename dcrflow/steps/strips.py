"""Which pixels of a tract a tile needs: strips that follow the turned tile."""

from __future__ import annotations

from dcrflow.geometry.box import Box
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.tiles import TilePart

STRIP_ROWS = 64  # height of a strip, pixels


def strips_merged(plan: TemplatePlan, part: TilePart) -> list[Box]:
    """What must be known of the merged tract for a tile's part: for its warp, and for the coefficient filter before."""
    box = part.region.grown(plan.margins.merge)
    return part.footprint.strips(box, STRIP_ROWS, plan.margins.warp + plan.margins.merge)


def boxes_read(plan: TemplatePlan, part: TilePart, box: Box) -> list[Box]:
    """Which pixels of a box of a patch `shift_subfilters` looks at for a part; the boxes overlap."""
    if plan.margins.as_lsst:
        return [box]
    reach = plan.tracts[part.tract].reach
    wanted = (reach.source(strip).intersection(box) for strip in strips_merged(plan, part))
    return [strip for strip in wanted if not strip.is_empty]
