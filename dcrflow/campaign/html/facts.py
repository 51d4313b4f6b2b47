"""What the report shows, from a template store: metadata alone, unless a template was written without its preview.

The store may be anybody's. Nothing is opened because it names it: the outlines of tracts and patches come from the
coadds that the user gives.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from dcrflow.base.addresses import redacted_values
from dcrflow.base.attributes import Checked
from dcrflow.base.errors import DcrflowError
from dcrflow.base.texts import one_line
from dcrflow.campaign.html.chosen import chosen_of
from dcrflow.campaign.html.row import named, row_of
from dcrflow.campaign.html.timeline import timelines
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore

if TYPE_CHECKING:
    from dcrflow.geometry.skymap import Tract
    from dcrflow.stores.coadds.source import CoaddSource

Update = Callable[[int, int, str], None]

_NOTES = 20  # lines about what is not as it should be
_LONGEST = 20_000  # letters of a configuration


def campaign_facts(
    out: TemplateStore | Any, progress: Update | None = None, *, coadds: CoaddSource | Any = None
) -> dict[str, Any]:
    """Collect what the report shows.

    Parameters
    ----------
    out : TemplateStore, or anything that `TemplateStore.open` takes
        Of the campaign.
    progress : callable, optional
        Called with (done, total, label).
    coadds : CoaddSource, or anything that `open_coadds` takes, optional
        Where to look up the outlines of tracts and patches. (The store names its coadds, but what it names is not
        opened.)

    Returns
    -------
    dict
        As JSON has it: ``store``; ``rows``, one per detector-visit; ``tracts`` with the outlines of the patches that
        were used; ``notes`` on what could not be found out; ``summary``, numbers of all detector-visits where `rows`
        are some of them, or None; ``timelines`` of the last runs; ``configs``, ``software``
        and ``inputs`` with how many detector-visits have each.

    Raises
    ------
    TemplateStoreError, CoaddStoreError
        If there is no such store.
    """
    store = TemplateStore.open(out)
    chosen = chosen_of(store)
    entries, missing, timings = chosen.entries, chosen.missing, chosen.timings
    tell = progress or (lambda *_: None)
    rows: list[tuple[tuple[int, int], dict[str, Any]]] = []
    odd: list[str] = []
    for number, entry in enumerate(entries):
        tell(number, len(entries), "")
        data_id = entry["visit"], entry["detector"]
        rows.append((data_id, row_of(store, entry, timings.get(data_id, {}), odd)))
    tell(len(entries), len(entries), "")
    rows += [((v, d), {**named(v, d), "status": "missing"}) for v, d in missing]
    rows += [((r.visit, r.detector), _of_failure(r)) for r in chosen.failures]
    tracts, notes = _outlines(entries, coadds)
    notes = [*chosen.notes, *notes, *odd[:_NOTES]]
    if len(odd) > _NOTES:
        notes.append(f"... and {len(odd) - _NOTES} more lines of what is not as it should be")
    return {
        "store": store.url,
        "rows": [row for _, row in sorted(rows, key=lambda r: r[0])],
        "tracts": tracts,
        "notes": notes,
        "timelines": timelines(chosen.lines),
        "summary": chosen.summary,
        "configs": _distinct(Checked(e).object("config") for e in entries),
        "software": _distinct(Checked(e).object("software") for e in entries),
        "inputs": _distinct(Checked(e).text("inputs") for e in entries),
    }


def _of_failure(record: TemplateRecord) -> dict[str, Any]:
    """A failure that has no group: beside a complete template, or of a row without a data ID."""
    error = record.error or {}
    words = one_line(f"{error.get('type', '')}: {error.get('message', '')}".strip(": "))
    return {**named(record.visit, record.detector), "status": "failed", "error": words}


def _distinct(values: Iterable[Any]) -> list[dict[str, Any]]:
    """Each different value, and how often it occurs, the most frequent first."""
    by_words: dict[str, Any] = {}
    numbers: Counter[str] = Counter()
    for value in values:
        words = json.dumps(value, sort_keys=True, default=str)
        if value and len(words) <= _LONGEST:
            by_words[words] = value
            numbers[words] += 1
    return [{"value": redacted_values(_finite(by_words[words])), "number": n} for words, n in numbers.most_common()]


def _finite(value: Any) -> Any:
    """The same without NaN and infinity, which are no JSON."""
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _outlines(entries: Iterable[Mapping[str, Any]], coadds: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Outlines of the tracts and patches that the templates were made from, where their coadds are given."""
    used: set[tuple[int, int]] = set()
    for entry in entries:
        pairs = Checked(entry).numbers("patches", None, 2) or ()
        used.update((int(t), int(p)) for t, p in pairs)
    if not used:
        return [], []
    if coadds is None:
        return [], ["no outlines of tracts and patches: give the coadds (dcrflow report --coadds)"]
    from dcrflow.stores.coadds.store import coadd_source

    source = coadd_source(coadds)
    tracts, notes = [], []
    for number in sorted({t for t, _ in used}):
        try:
            tracts.append(_tract(source, number, used))
        except (DcrflowError, LookupError, OSError) as error:
            notes.append(
                f"no outline of tract {number}, which is not in {source.url} as the templates have it: {error}"
            )
    return tracts, notes


def _tract(coadds: CoaddSource, number: int, used: Iterable[tuple[int, int]]) -> dict[str, Any]:
    from dcrflow.geometry.skymap import sketched

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
