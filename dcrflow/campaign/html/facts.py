"""What the report shows, from a template store: metadata alone, unless a template was written without its preview."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dcrflow.base.errors import DcrflowError
from dcrflow.geometry.skymap import Tract, sketched
from dcrflow.stores.coadds.store import DcrCoadds, open_coadds
from dcrflow.stores.templates.store import TemplateStore
from dcrflow.view.thumbnails import preview

Update = Callable[[int, int, str], None]


def campaign_facts(out: TemplateStore | Any, progress: Update | None = None) -> dict[str, Any]:
    """Collect what the report shows.

    Parameters
    ----------
    out : TemplateStore, or anything that `TemplateStore.open` takes
        Of the campaign.
    progress : callable, optional
        Called with (done, total, label).

    Returns
    -------
    dict
        As JSON has it: ``store``; ``rows``, one a detector-visit; ``tracts`` with the outlines of the patches that
        were used; ``notes`` on what could not be found out; ``configs``, ``software`` and ``inputs`` with how many
        detector-visits have each.

    Raises
    ------
    TemplateStoreError
        If there is no such store.
    """
    store = TemplateStore.open(out)
    entries = list(store.entries())
    there = {(e["visit"], e["detector"]) for e in entries}
    missing = sorted(store.requested() - there)
    timings = store.timings()
    tell = progress or (lambda *_: None)
    rows = []
    for number, entry in enumerate(entries):
        tell(number, len(entries), "")
        rows.append(_row(store, entry, timings.get((entry["visit"], entry["detector"]), {})))
    tell(len(entries), len(entries), "")
    rows += [{"visit": v, "detector": d, "status": "missing"} for v, d in missing]
    tracts, notes = _outlines(entries)
    return {
        "store": store.url,
        "rows": sorted(rows, key=lambda r: (r["visit"], r["detector"])),
        "tracts": tracts,
        "notes": notes,
        "configs": _distinct(e.get("config") for e in entries),
        "software": _distinct(e.get("software") for e in entries),
        "inputs": _distinct(e.get("inputs") for e in entries),
    }


def _row(store: TemplateStore, entry: Mapping[str, Any], took: Mapping[str, Any]) -> dict[str, Any]:
    """One detector-visit, with only what it has."""
    row = {"visit": entry["visit"], "detector": entry["detector"], "status": entry["status"]}
    if entry.get("band"):
        row["band"] = entry["band"]
    if entry.get("error"):
        row["error"] = f"{entry['error'].get('type', '')}: {entry['error'].get('message', '')}".strip(": ")
    if entry["status"] != "complete":
        return row
    seen = entry.get("preview") or preview(store.read(entry["visit"], entry["detector"]).compute())
    noise = [value for line in seen["noise"] for value in line if value is not None]
    dcr = entry.get("dcr", {})
    row |= {
        "coverage": _rounded(entry.get("coverage"), 5),
        "sigma": _rounded(sorted(noise)[len(noise) // 2], 3) if noise else None,
        "zenith": _rounded(dcr.get("zenith_angle"), 2),
        "direction": _rounded(dcr.get("direction"), 2),
        "patches": ", ".join(f"{t}/{p}" for t, p in entry.get("patches", ())),
        "seconds": {"submission to end": took["seconds"], **(took["steps"] or {})} if took else {},
        "reading": took.get("patches") or {},
        **{name: seen[name] for name in ("image", "noise", "coverage", "corners")},
    }
    row["cells"] = row.pop("coverage")
    row["coverage"] = _rounded(entry.get("coverage"), 5)
    row["arrow"], row["spread"] = _arrow(dcr)
    return row


def _arrow(dcr: Mapping[str, Any]) -> tuple[list[float] | None, float | None]:
    """From the reddest to the bluest light, detector pixels (x, y); and its length."""
    about = dcr.get("spread")
    if not about:
        return None, None
    ends = [shift for _, shift in sorted(zip(about["wavelength"], about["shift"], strict=True))]
    dy, dx = (ends[0][i] - ends[-1][i] for i in (0, 1))
    return [round(dx, 3), round(dy, 3)], round(math.hypot(dx, dy), 3)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), digits)


def _distinct(values: Iterable[Any]) -> list[dict[str, Any]]:
    """Each different value, and how often it occurs, the most frequent first."""
    found = [v for v in values if v]
    by_words = {repr(v): v for v in found}
    return [{"value": by_words[words], "number": n} for words, n in Counter(map(repr, found)).most_common()]


def _outlines(entries: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Outlines of the tracts and patches that the templates were made from, where their coadds can be opened."""
    used: dict[str, set[tuple[int, int]]] = {}
    for entry in entries:
        used.setdefault(str(entry.get("inputs", "")), set()).update((t, p) for t, p in entry.get("patches", ()))
    tracts, notes = [], []
    for url, patches in sorted(used.items()):
        if not patches:
            continue
        try:
            coadds = open_coadds(url)
            tracts += [_tract(coadds, number, patches) for number in sorted({t for t, _ in patches})]
        except (DcrflowError, LookupError, OSError) as error:
            notes.append(f"no outlines of tracts and patches, for the coadds cannot be opened: {error}")
    return tracts, notes


def _tract(coadds: DcrCoadds, number: int, used: Iterable[tuple[int, int]]) -> dict[str, Any]:
    tract: Tract = coadds.tracts[number]
    patches = [sketched("patch", tract.wcs, tract.patch(p).bbox, str(p)) for t, p in sorted(used) if t == number]
    outline = sketched("tract", tract.wcs, tract.bbox)
    return {
        "tract": number,
        "corners": _corners(outline.ra, outline.dec),
        "patches": [{"patch": p.label, "corners": _corners(p.ra, p.dec)} for p in patches],
    }


def _corners(ra: Iterable[float], dec: Iterable[float]) -> list[list[float]]:
    return [[round(a, 6), round(d, 6)] for a, d in zip(ra, dec, strict=True)]
