"""A plan as text, and as a card in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcrflow.geometry.skymap import sketched
from dcrflow.view.cards import card

if TYPE_CHECKING:
    from dcrflow.planning.template import TemplatePlan


def plan_text(plan: TemplatePlan) -> str:
    """The plan in a few lines of text."""
    lines = [
        f"template of {plan.visit.label}, band {plan.band}: {plan.bbox.width} x {plan.bbox.height} px "
        f"from ({plan.bbox.x0}, {plan.bbox.y0}), border {plan.config.border}",
    ]
    for t in plan.tracts:
        names = ", ".join(str(p.patch) for p in t.patches)
        lines.append(
            f"  tract {t.tract.tract}: patches {names}; coordinates exact every {t.pixel_map.step} px "
            f"(error {t.pixel_map.error:.1e} px)"
        )
    dcr = plan.applied
    lines.append(
        f"  dcr {dcr['method']}: zenith angle {dcr['zenith_angle']:.2f} deg, direction {dcr['direction']:.1f} deg, "
        f"shifts {_shifts(plan)} px"
    )
    lines.append(
        f"  {len(plan.tiles)} tiles, {plan.num_tasks} tasks, reads {plan.bytes_read / 1e6:.0f} MB, "
        f"writes {plan.bytes_written / 1e6:.0f} MB"
    )
    return "\n".join(lines)


def plan_card(plan: TemplatePlan) -> str:
    """The plan as HTML: a table, and a sketch of tracts, patches and detector on the sky."""
    shapes = [
        *(sketched("tract", t.tract.wcs, t.tract.bbox, f"tract {t.tract.tract}") for t in plan.tracts),
        *(
            sketched("patch", t.tract.wcs, p.bbox, f"tract {p.tract} patch {p.patch}")
            for t in plan.tracts
            for p in t.patches
        ),
        sketched("detector", plan.visit.wcs, plan.bbox, plan.visit.label),
    ]
    dcr = plan.applied
    rows = {
        "pixels": f"{plan.bbox.width} x {plan.bbox.height} px, border {plan.config.border} of them",
        "patches": "; ".join(
            f"tract {t.tract.tract}: {', '.join(str(p.patch) for p in t.patches)}" for t in plan.tracts
        ),
        "zenith": f"{dcr['zenith_angle']:.2f} deg away, in direction {dcr['direction']:.1f} deg (N through E)",
        "shifts": f"{_shifts(plan)} px (dy, dx) of the tract",
        "method": f"dcr {plan.config.dcr}, warp {plan.config.warp}",
        "work": f"{len(plan.tiles)} tiles, {plan.num_tasks} tasks",
        "reads, writes": f"{plan.bytes_read / 1e6:.0f} MB, {plan.bytes_written / 1e6:.0f} MB (uncompressed)",
    }
    return card(f"plan of the template of {plan.visit.label}, band {plan.band}", rows, shapes)


def _shifts(plan: TemplatePlan) -> str:
    return ", ".join(f"({dy:+.2f}, {dx:+.2f})" for dy, dx in plan.applied["shift"])
