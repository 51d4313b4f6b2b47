"""Small HTML cards with a sketch of the sky, for notebooks: what ``_repr_html_`` of stores, plans and visits shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

_STYLES = {
    "tract": "fill:none;stroke:#4a78b5;stroke-width:1.4",
    "patch": "fill:#4a78b5;fill-opacity:.13;stroke:#4a78b5;stroke-opacity:.55;stroke-width:.6",
    "detector": "fill:#d1603d;fill-opacity:.25;stroke:#d1603d;stroke-width:1.2",
    "complete": "fill:#3a9d6a;fill-opacity:.35;stroke:#3a9d6a;stroke-width:.8",
}
_WIDTH, _HEIGHT, _MARGIN = 260.0, 200.0, 8.0


@dataclass(frozen=True)
class Shape:
    """A polygon on the sky.

    Parameters
    ----------
    kind : {"tract", "patch", "detector", "complete"}
        How it is drawn.
    ra, dec : sequence of float
        Corners in order, ICRS degrees.
    label : str
        Shown when the pointer rests on it.
    """

    kind: str
    ra: Sequence[float]
    dec: Sequence[float]
    label: str = ""


def card(title: str, rows: Mapping[str, str], shapes: Iterable[Shape] = ()) -> str:
    """HTML of a title, a table of names and values, and a sketch of the shapes beside it; text is escaped."""
    lines = "".join(
        f'<tr><td style="text-align:left;opacity:.65;padding:1px 12px 1px 0;vertical-align:top">{escape(name)}</td>'
        f'<td style="text-align:left;padding:1px 0">{escape(value)}</td></tr>'
        for name, value in rows.items()
        if value
    )
    return (
        '<div style="display:flex;gap:24px;align-items:flex-start;font-size:13px">'
        f'<div><b>{escape(title)}</b><table style="margin:4px 0 0;border:0">{lines}</table></div>'
        f"{sky_svg(shapes)}</div>"
    )


def sky_svg(shapes: Iterable[Shape]) -> str:
    """An SVG of polygons on a tangent plane about their middle, north up and east left; empty without any."""
    shapes = [s for s in shapes if len(s.ra) and all(map(math.isfinite, (*s.ra, *s.dec)))]
    if not shapes:
        return ""
    plane = _tangent_plane(shapes)
    u = [p[0] for points in plane for p in points]
    v = [p[1] for points in plane for p in points]
    scale = min((_WIDTH - 2 * _MARGIN) / (max(u) - min(u) or 1), (_HEIGHT - 2 * _MARGIN) / (max(v) - min(v) or 1))
    width, height = ((max(w) - min(w)) * scale + 2 * _MARGIN for w in (u, v))
    polygons = []
    for shape, points in zip(shapes, plane, strict=True):
        where = " ".join(
            f"{_MARGIN + (max(u) - x) * scale:.1f},{_MARGIN + (max(v) - y) * scale:.1f}" for x, y in points
        )
        title = f"<title>{escape(shape.label)}</title>" if shape.label else ""
        polygons.append(f'<polygon points="{where}" style="{_STYLES[shape.kind]}">{title}</polygon>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" role="img" '
        f'aria-label="footprint on the sky, north up, east left">{"".join(polygons)}</svg>'
    )


def _tangent_plane(shapes: Sequence[Shape]) -> list[list[tuple[float, float]]]:
    """Gnomonic (east, north) of every corner; what lies beyond 80 degrees of the middle is left out."""
    vectors = [[_vector(ra, dec) for ra, dec in zip(s.ra, s.dec, strict=True)] for s in shapes]
    total = [sum(v[i] for one in vectors for v in one) for i in range(3)]
    length = math.sqrt(sum(t * t for t in total)) or 1.0
    cx, cy, cz = (t / length for t in total)
    flat = math.hypot(cx, cy) or 1.0
    east, north = (-cy / flat, cx / flat, 0.0), (-cz * cx / flat, -cz * cy / flat, flat)
    plane = []
    for one in vectors:
        points = []
        for x, y, z in one:
            depth = x * cx + y * cy + z * cz
            if depth > 0.17:
                u, v = ((x * a + y * b + z * c) / depth for a, b, c in (east, north))
                points.append((u, v))
        plane.append(points)
    return plane


def _vector(ra: float, dec: float) -> tuple[float, float, float]:
    a, d = math.radians(ra), math.radians(dec)
    return math.cos(a) * math.cos(d), math.sin(a) * math.cos(d), math.sin(d)
