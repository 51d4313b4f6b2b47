"""Whether a run has nothing left to do, so that no cluster is started for it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dcrflow.campaign.lookup import Lookup
from dcrflow.campaign.outcome import CampaignResult, Failure
from dcrflow.model.config import TemplateConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.stores.coadds.contents import inputs_digest
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.templates.store import TemplateStore
from dcrflow.stores.visits.long_table import LongTable

if TYPE_CHECKING:
    from dcrflow.campaign.batch import Row

_PATIENCE = 3.0  # seconds for looking at templates one by one; then workers do it


def nothing_left(
    coadds: CoaddSource, rows: Sequence[Row], store: TemplateStore, config: TemplateConfig, retry_failed: bool = False
) -> CampaignResult | None:
    """The result of a run over detector-visits that have all ended before; None if there is, or may be, work.

    Parameters
    ----------
    coadds : CoaddSource
        From what.
    rows : sequence of DetectorVisit or BadVisit
        All rows of the run.
    store : TemplateStore
        To where.
    config : TemplateConfig
        How.
    retry_failed : bool
        Whether what failed is made again.
    """
    began = time.monotonic()
    if isinstance(rows, LongTable):
        done = complete_before(rows, coadds, store, config, all_or_none=True).all()
        return CampaignResult(len(rows), len(rows), 0, 0, (), time.monotonic() - began) if done else None
    lookup = Lookup(store, coadds, config, retry_failed=retry_failed)
    failures: list[Failure] = []
    damage: Counter[str] = Counter()
    damaged = 0
    for row in rows:
        if not isinstance(row, DetectorVisit) or time.monotonic() - began > _PATIENCE:
            return None
        try:
            found, reason = lookup.of(row)
        except Exception:  # a run says which detector-visit it was, and goes on
            return None
        if found is None or reason:
            return None
        if found.status == "failed":
            error = found.error or {}
            failures.append(Failure(row.visit, row.detector, error.get("type", "?"), error.get("message", "?")))
        damaged += bool(found.damage)
        damage.update(found.damage)
    return CampaignResult(
        len(rows), len(rows) - len(failures), 0, 0, tuple(failures), time.monotonic() - began,
        damaged=damaged, damage=dict(damage),
    )  # fmt: skip


def complete_before(
    rows: LongTable, coadds: CoaddSource, store: TemplateStore, config: TemplateConfig, all_or_none: bool = False
) -> Any:
    """Which rows of a long table earlier runs have made alike; see `dcrflow.stores.templates.complete`."""

    def now(patches: Sequence[tuple[int, int]], band: str) -> str:
        return inputs_digest(coadds, patches, band)

    return store.complete_before(*rows.data_ids(), config.digest, now, coadds.url, all_or_none)
