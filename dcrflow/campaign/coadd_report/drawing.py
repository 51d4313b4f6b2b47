"""Patches on the sky, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from dcrflow.campaign.coadd_report.facts import Corners, PatchFacts

WIDTH, HEIGHT = 900, 460  # of the drawing, its own units
_MARGIN = 24
_SMALLEST = 34  # units; a patch that is smaller has no words in it
_FEW, _MANY = (214, 229, 247), (24, 72, 150)  # colours of the least and the most visits
_COLOURS = {"failed": "#c0392b", "missing": "none"}

Point = tuple[float, float]


def sky_map(patches: Sequence[PatchFacts], tracts: Iterable[tuple[int, Corners]]) -> str:
    """Draw the patches of one band, coloured by their number of visits; north up, east left.

    Parameters
    ----------
    patches : sequence of PatchFacts
        Those without corners are not drawn.
    tracts : iterable of (int, corners)
        Outlines to draw; those without any patch are passed over.

    Returns
    -------
    str
        SVG; empty if there is nothing to draw.
    """
    drawn = [p for p in patches if p.corners]
    if not drawn:
        return ""
    centre = _centre([c for p in drawn for c in p.corners])
    flat = {id(p): [_plane(*c, centre) for c in p.corners] for p in drawn}
    place = _fitted([point for points in flat.values() for point in points])
    visits = [p.visits for p in drawn if p.status == "complete"]
    low, high = (min(visits), max(visits)) if visits else (0, 0)
    used = {p.tract for p in drawn}
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Patches on the sky">']
    for patch in drawn:
        points = [place(p) for p in flat[id(patch)]]
        colour = _COLOURS.get(patch.status) or _between(patch.visits, low, high)
        dashed = ' stroke-dasharray="4 3"' if patch.status == "missing" else ""
        parts.append(
            f'<polygon points="{_points(points)}" fill="{colour}" stroke="#7a8494"{dashed}>'
            f"<title>{escape(_words(patch))}</title></polygon>"
        )
        parts.append(_label(patch, points, (low + high) / 2))
    for number, corners in tracts:
        if number in used:
            points = [place(_plane(*c, centre)) for c in corners]
            parts.append(
                f'<polygon points="{_points(points)}" fill="none" stroke="#b98a1d" stroke-width="1.5">'
                f"<title>tract {number}</title></polygon>"
            )
    return "\n".join([*(p for p in parts if p), "</svg>"])


def legend(patches: Iterable[PatchFacts]) -> tuple[tuple[str, str], ...]:
    """(colour, words) of what the map shows."""
    every = list(patches)
    visits = sorted({p.visits for p in every if p.status == "complete"})
    shown = visits if len(visits) <= 4 else [visits[0], visits[len(visits) // 2], visits[-1]]
    rows = [(_between(n, visits[0], visits[-1]), f"{n} visit{'s' * (n != 1)}") for n in shown]
    return tuple(rows + [(_COLOURS["failed"], "failed")] * any(p.status == "failed" for p in every))


def _words(patch: PatchFacts) -> str:
    where = f"tract {patch.tract} patch {patch.patch} band {patch.band}"
    if patch.status != "complete":
        return f"{where}: {patch.status} {patch.error}".strip()
    return f"{where}: {patch.visits} visits, {patch.detector_visits} detector-visits"


def _label(patch: PatchFacts, points: Sequence[Point], middle: float) -> str:
    xs, ys = zip(*points, strict=True)
    if min(max(xs) - min(xs), max(ys) - min(ys)) < _SMALLEST:
        return ""
    x, y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    light = patch.status == "failed" or (patch.status == "complete" and patch.visits >= middle)
    second = f"{patch.visits} visits" if patch.status == "complete" else patch.status
    return (
        f'<text x="{x:.1f}" y="{y - 3:.1f}" class="{"light" if light else "dark"}">{patch.tract}/{patch.patch}</text>'
        f'<text x="{x:.1f}" y="{y + 12:.1f}" class="{"light" if light else "dark"} small">{second}</text>'
    )


def _between(visits: int, low: int, high: int) -> str:
    share = 1.0 if high == low else (visits - low) / (high - low)
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(_FEW, _MANY, strict=True))


def _centre(corners: Iterable[Point]) -> Point:
    """Mean direction, degrees."""
    x = y = z = 0.0
    for ra, dec in corners:
        a, d = math.radians(ra), math.radians(dec)
        x, y, z = x + math.cos(d) * math.cos(a), y + math.cos(d) * math.sin(a), z + math.sin(d)
    return math.degrees(math.atan2(y, x)), math.degrees(math.atan2(z, math.hypot(x, y)))


def _plane(ra: float, dec: float, centre: Point) -> Point:
    """Zenithal equidistant projection, degrees east and north of the centre: it holds the whole sky."""
    a, d, d0 = math.radians(ra - centre[0]), math.radians(dec), math.radians(centre[1])
    east = math.cos(d) * math.sin(a)
    north = math.sin(d) * math.cos(d0) - math.cos(d) * math.sin(d0) * math.cos(a)
    ahead = math.sin(d) * math.sin(d0) + math.cos(d) * math.cos(d0) * math.cos(a)
    side = math.hypot(east, north)
    scale = math.degrees(math.atan2(side, ahead)) / side if side > 0 else 0.0
    return scale * east, scale * north


def _fitted(points: Sequence[Point]):  # type: ignore[no-untyped-def]
    """A function from the plane to the drawing."""
    xs, ys = zip(*points, strict=True)
    width, height = max(xs) - min(xs) or 1.0, max(ys) - min(ys) or 1.0
    scale = min((WIDTH - 2 * _MARGIN) / width, (HEIGHT - 2 * _MARGIN) / height)
    x0, y0 = (max(xs) + min(xs)) / 2, (max(ys) + min(ys)) / 2
    return lambda p: (WIDTH / 2 - scale * (p[0] - x0), HEIGHT / 2 - scale * (p[1] - y0))


def _points(points: Iterable[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
