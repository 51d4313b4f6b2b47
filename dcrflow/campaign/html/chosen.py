"""Which detector-visits the report shows: all of some thousands, and some of a million.

A page with a row for each of a million would be gigabytes. Of so many it shows some of each status, the complete ones
spread evenly over the campaign, those with damage, and the numbers of all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dcrflow.campaign.status import CampaignStatus, status_of
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore

MANY = 20_000  # detector-visits of a campaign; of more, only some are shown
SHOWN = 2000  # complete ones, and of each other status

DataId = tuple[int, int]


@dataclass(frozen=True)
class Chosen:
    """What the report shows.

    Parameters
    ----------
    entries : sequence of mapping
        Attributes of detector-visits that have a status.
    missing : sequence of (int, int)
        Visit and detector of those that have none.
    timings : mapping
        As `TemplateStore.timings` has it, of these.
    failures : sequence of TemplateRecord
        Failures without a group.
    lines : iterable of mapping
        The journals' lines for the timelines.
    notes : sequence of str
        What is not shown.
    summary : mapping or None
        ``counts`` by status, ``damaged``, ``visits`` and mean ``coverage`` of all, if not all are shown.
    """

    entries: Sequence[Mapping[str, Any]]
    missing: Sequence[DataId]
    timings: Mapping[DataId, Mapping[str, Any]]
    failures: Sequence[TemplateRecord]
    lines: Iterable[Mapping[str, Any]]
    notes: Sequence[str] = ()
    summary: Mapping[str, Any] | None = field(default=None)


def chosen_of(store: TemplateStore) -> Chosen:
    """What the report of a store shows."""
    said = store.columns.journalled()
    if len(said.visit) > MANY:
        return _some(store, status_of(store, said))
    entries = list(store.entries())
    there = {(e["visit"], e["detector"]) for e in entries}
    missing = sorted(set(said.requested()) - there)
    return Chosen(entries, missing, store.timings(), store.failures(), store.journal_reader().new())


def _some(store: TemplateStore, status: CampaignStatus) -> Chosen:
    names = "complete", "no-overlap", "failed", "missing"
    counts = {name: status.count(name) for name in names}
    shown: list[DataId] = status.complete.spread(SHOWN)
    for name in names[:3]:
        found = [r for r in status.records if r.status == name and min(r.visit, r.detector) >= 0]
        odd = [(r.visit, r.detector) for r in found if r.damage or name != "complete"]
        plain = [(r.visit, r.detector) for r in found if not r.damage and name == "complete"]
        shown += odd[:SHOWN] + plain[:: -(-len(plain) // SHOWN) or 1]
    wanted = sorted(set(shown))
    timings = {
        (line["visit"], line["detector"]): {name: line.get(name) for name in ("seconds", "steps", "patches")}
        for line in store.columns.lines_of(wanted)
    }
    total = sum(counts.values())
    covered = status.coverage()
    note = (
        f"Of {total:,} detector-visits, {len(wanted) + min(len(status.missing), SHOWN):,} are shown below: at most "
        f"{SHOWN:,} of each status, the complete ones spread evenly over the campaign. The numbers above are of all."
    )
    return Chosen(
        list(store.entries_of(wanted)), status.missing[:SHOWN], timings, store.failures()[:SHOWN],
        store.columns.history(max(1, total // SHOWN)), [note],
        {
            "counts": counts, "damaged": status.damaged, "visits": status.num_visits,
            "coverage": None if covered is None else covered[0],
        },
    )  # fmt: skip
