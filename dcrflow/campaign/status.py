"""The status of a campaign that ran; reads no pixels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dcrflow.campaign.alive import RunState, runs_of
from dcrflow.campaign.causes import Cause, causes
from dcrflow.campaign.data_ids import DataId
from dcrflow.stores.templates.ends import CompleteRows, Journalled
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore


@dataclass(frozen=True)
class CampaignStatus:
    """Status of a campaign.

    Parameters
    ----------
    url : str
        The template store.
    records : tuple of TemplateRecord
        Records of the detector-visits that have a status, but for those in `complete`.
    missing : tuple of (int, int)
        Visit and detector of those that were requested and have none.
    runs : tuple of RunState
        The runs that are alive, or else the last one; empty if nothing is known of any.
    complete : CompleteRows
        Complete templates without damage, of which a long journal tells; none of these is among `records`.
    """

    url: str
    records: tuple[TemplateRecord, ...]
    missing: tuple[DataId, ...]
    runs: tuple[RunState, ...] = ()
    complete: CompleteRows = field(default_factory=CompleteRows)

    def count(self, status: str) -> int:
        """Number of detector-visits with this status."""
        more = len(self.complete) if status == "complete" else 0
        return len(self.missing) if status == "missing" else more + sum(r.status == status for r in self.records)

    @property
    def num_visits(self) -> int:
        """Number of visits that have detector-visits here."""
        visits = {r.visit for r in self.records if r.visit >= 0} | {visit for visit, _ in self.missing}
        return len(visits | set(self.complete.visit.tolist()))

    def coverage(self) -> tuple[float, float] | None:
        """Mean and least coverage; None if none is known."""
        covered = [r.coverage for r in self.records if r.coverage is not None]
        number, total, least = self.complete.coverage()
        if not covered and not number:
            return None
        return (total + sum(covered)) / (number + len(covered)), min([least] * bool(number) + covered)

    def causes(self, status: str) -> list[Cause[DataId]]:
        """Why detector-visits have a status, each cause once, the most frequent first."""
        return causes(
            ((r.error or {}).get("type", ""), (r.error or {}).get("message", ""), (r.visit, r.detector))
            for r in self.records
            if r.status == status
        )

    @cached_property
    def damage(self) -> Counter[str]:
        """The damaged chunks of the coadds, and how many templates lack each."""
        return Counter(line for r in self.records for line in r.damage)

    def damage_causes(self) -> list[Cause[str]]:
        """What is damaged in the coadds, by cause; the places of a cause are the descriptions of its chunks."""
        return causes(("", line, line) for line in self.damage)

    def damaged_by(self, cause: Cause[str]) -> list[DataId]:
        """The templates that lack what a cause of damage describes."""
        lines = set(cause.where)
        return [(r.visit, r.detector) for r in self.records if not lines.isdisjoint(r.damage)]

    @property
    def damaged(self) -> int:
        """Number of complete templates that lack data because the coadds are damaged."""
        return sum(bool(r.damage) for r in self.records)

    @property
    def exit_status(self) -> int:
        """0: all done; 1: failures; 3: incomplete; 4: all made, some without what is damaged in the coadds."""
        if self.count("failed"):
            return 1
        return 3 if self.missing else 4 if self.damaged else 0


def campaign_status(out: TemplateStore | Any, scan: bool = False) -> CampaignStatus:
    """The status of every detector-visit of a template store.

    Parameters
    ----------
    out : TemplateStore, or anything that `TemplateStore.open` takes
        The store.
    scan : bool
        Look up every template instead of reading the journals of the runs. If False, only requested templates that no
        journal reports as ended are looked up: they are missing, or were finished after their run had died.

    Raises
    ------
    TemplateStoreError
        If there is no such store.
    """
    store = out if isinstance(out, TemplateStore) else TemplateStore.open(out)
    return status_of(store, store.columns.journalled(), scan)


def status_of(store: TemplateStore, said: Journalled, scan: bool = False) -> CampaignStatus:
    """The same of a store whose journals have been read."""
    complete, known = said.complete, said.records
    missing: list[DataId] = said.left()
    if scan or not len(said.visit):
        known = {(r.visit, r.detector): r for r in store.records()}
        complete, missing = CompleteRows(), said.requested()
    else:
        known |= {(r.visit, r.detector): r for r in store.records_of(missing)}
    beside = store.failures()  # of the last run, beside a template of an earlier one; or of rows without a data ID
    known |= {(r.visit, r.detector): r for r in beside if min(r.visit, r.detector) >= 0}
    rows = tuple(r for r in beside if min(r.visit, r.detector) < 0)
    records = rows + tuple(known[data_id] for data_id in sorted(known))
    complete = complete.without(known.keys())
    missing = [data_id for data_id in missing if data_id not in known]
    return CampaignStatus(store.url, records, tuple(missing), tuple(runs_of(store.progress())), complete)
