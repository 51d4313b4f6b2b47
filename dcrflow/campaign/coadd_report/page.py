"""The page about DCR coadds: HTML without a script, in the style of the campaign report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from dcrflow.base.texts import one_line
from dcrflow.base.version import __version__
from dcrflow.campaign.coadd_report.drawing import legend, sky_map
from dcrflow.campaign.coadd_report.facts import CoaddFacts, PatchFacts
from dcrflow.campaign.html.page import asset, digest_of, write_page
from dcrflow.planning.coadds import LeftOut

_MOST = 2000  # rows of a table; a page with more is of no use
_NOTES = 20
_SHORT = 32  # letters that stay on one line


def write_coadd_report(facts: CoaddFacts, path: str | Path) -> Path:
    """Write the page.

    Parameters
    ----------
    facts : CoaddFacts
        As `coadd_facts` collects them.
    path : path
        Of the HTML file; replaced if it is there.

    Raises
    ------
    ReportError
        If it cannot be written.
    """
    return write_page(coadd_page(facts), path)


def coadd_page(facts: CoaddFacts) -> str:
    """The HTML of the page; whatever comes from the store is escaped."""
    style = f"\n{asset('page.css')}{asset('coadds.css', 'dcrflow.campaign.coadd_report')}\n"
    title = escape(one_line(facts.url))
    sections = [
        *(_sky(facts, band) for band in facts.bands()),
        _section("Detector-visits that were left out", _visits(facts.left_out, "none was left out")),
        _section("Detector-visits that were used but do not fit", _visits(facts.suspects, "all fit")),
        *(_patches(facts, band) for band in facts.bands()),
        _section("How they were made", _provenance(facts)),
        _section("Runs", _table(("began (UTC)", "last line (UTC)", "end"), facts.runs, "no journal of a run is kept")),
    ]
    return "\n".join([
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta http-equiv="Content-Security-Policy" content="'
        f"default-src 'none'; style-src {digest_of(style)}; img-src data:; base-uri 'none'; form-action 'none'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>dcrflow: {title}</title>\n<style>{style}</style>\n</head>\n<body>\n<header>",
        f"<h1>DCR coadds <span>{title}</span></h1>",
        _tiles(facts),
        _notes(facts.notes),
        "</header>\n<main>",
        *sections,
        f'<p class="hint">dcrflow {escape(__version__)}</p>',
        "</main>\n</body>\n</html>\n",
    ])  # fmt: skip


def _tiles(facts: CoaddFacts) -> str:
    counts = {s: sum(p.status == s for p in facts.patches) for s in ("complete", "failed", "missing")}
    visits = [p.visits for p in facts.patches if p.status == "complete"]
    tiles = [(str(counts["complete"]), "patches complete", "complete")]
    tiles += [(str(counts[s]), s, s) for s in ("failed", "missing") if counts[s]]
    tiles.append((", ".join(facts.bands()) or "none", "bands" if len(facts.bands()) > 1 else "band", ""))
    if visits:
        span = str(visits[0]) if min(visits) == max(visits) else f"{min(visits)}–{max(visits)}"
        tiles.append((span, "visits a patch", ""))
    tiles += [(str(len(facts.left_out)), "detector-visits left out", "damaged")] if facts.left_out else []
    tiles += [(str(len(facts.suspects)), "that do not fit", "damaged")] if facts.suspects else []
    cells = (f'<div class="tile"><b class="{c}">{escape(n)}</b><span>{w}</span></div>' for n, w, c in tiles)
    return f'<div class="tiles">{"".join(cells)}</div>'


def _notes(notes: Sequence[str]) -> str:
    shown = [*notes[:_NOTES], *([f"... and {len(notes) - _NOTES} more"] if len(notes) > _NOTES else [])]
    return f'<div id="notes">{"<br>".join(escape(n) for n in shown)}</div>' if shown else ""


def _section(title: str, content: str) -> str:
    return f'<section class="wide">\n<h2>{escape(title)}</h2>\n{content}\n</section>'


def _sky(facts: CoaddFacts, band: str) -> str:
    patches = [p for p in facts.patches if p.band == band]
    drawing = sky_map(patches, facts.tracts)
    if not drawing:
        return _section(f"Band {band} on the sky", '<p class="hint">no outlines: the store has no tracts</p>')
    squares = "".join(
        f'<span><svg viewBox="0 0 14 14"><rect width="14" height="14" fill="{colour}"/></svg>{escape(words)}</span>'
        for colour, words in legend(patches)
    )
    hint = "<span>north up, east left; inner parts of the patches, tracts in ochre</span>"
    return _section(f"Band {band} on the sky", f'<p class="legend">{squares}{hint}</p>\n{drawing}')


def _visits(visits: Sequence[LeftOut], none: str) -> str:
    rows = [
        (
            str(v.visit) if v.visit >= 0 else "unknown",
            str(v.detector) if v.detector >= 0 else "unknown",
            "damaged or wrong" if v.fault else "not needed",
            one_line(v.reason),
        )
        for v in visits
    ]
    return _table(("visit", "detector", "kind", "reason"), rows, none)


def _patches(facts: CoaddFacts, band: str) -> str:
    patches = [p for p in facts.patches if p.band == band]
    heads = ("", "tract", "patch", "status", "visits", "detector-visits", "visits a pixel: least", "median", "most",
             "coverage", "noise (nJy)", "solver residual (σ)")  # fmt: skip
    head = "".join(
        f'<th class="n">{escape(h)}</th>' if i not in (0, 3) else f"<th>{h}</th>" for i, h in enumerate(heads)
    )
    rows = "\n".join(_row(p) for p in patches[:_MOST])
    return _section(
        f"Patches of band {band}",
        f"<table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table>{_more(len(patches))}",
    )


def _row(p: PatchFacts) -> str:
    picture = f'<img src="{escape(p.image)}" alt="sum of the subfilters">' if p.image else ""
    start = (
        f'<tr><td class="picture">{picture}</td><td class="n">{p.tract}</td><td class="n">{p.patch}</td>'
        f'<td class="{p.status} short">{p.status}</td>'
    )
    if p.status != "complete":
        return f'{start}<td colspan="8">{escape(p.error)}</td></tr>'
    values = [
        str(p.visits),
        str(p.detector_visits),
        *("" if n is None else str(n) for n in (p.least, p.median, p.most)),
    ]
    values.append("" if p.coverage is None else f"{100 * p.coverage:.1f} %")
    values += ["" if n is None else f"{n:.3g}" for n in (p.noise, p.residual)]
    return start + "".join(f'<td class="n">{escape(v)}</td>' for v in values) + "</tr>"


def _provenance(facts: CoaddFacts) -> str:
    rows = "".join(
        f'<tr><td><b>{escape(name)}</b><pre>{escape(value)}</pre></td><td class="n">{number}</td></tr>'
        for name, values in facts.provenance
        for value, number in values[:_NOTES]
    )
    if not rows:
        return '<p class="hint">the store does not say</p>'
    return f'<table><thead><tr><th></th><th class="n">patches</th></tr></thead><tbody>{rows}</tbody></table>'


def _table(heads: Sequence[str], rows: Sequence[Iterable[str]], none: str) -> str:
    if not rows:
        return f'<p class="hint">{escape(none)}</p>'
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "\n".join(
        "<tr>" + "".join(f'<td class="{"short" if len(v) < _SHORT else ""}">{escape(v)}</td>' for v in row) + "</tr>"
        for row in rows[:_MOST]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>{_more(len(rows))}"


def _more(number: int) -> str:
    return f'<p class="hint">... and {number - _MOST} more</p>' if number > _MOST else ""
