"""What a build of DCR coadds tells others while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dcrflow.campaign.alive import Heartbeat
from dcrflow.campaign.coadd_outcome import CoaddProgress
from dcrflow.campaign.outcome import Progress
from dcrflow.live.reporter import Reporter
from dcrflow.stores.journal import Journal


@dataclass
class BuildNews:
    """Tells the journal of a run, its heartbeat and its page what happens.

    Parameters
    ----------
    journal : Journal
        Of the run.
    heartbeat : Heartbeat
        By which others judge whether the run is alive.
    live : Reporter
        Of the page.
    cells : mapping of (int, int) to int
        The cell of each patch, (tract, patch), on the page's map; -1 where that is not known.
    """

    journal: Journal
    heartbeat: Heartbeat
    live: Reporter
    cells: Mapping[tuple[int, int], int]

    def note(self, event: str, **entry: Any) -> None:
        """Add a line to the journal; one about a patch says where that is on the map."""
        self.journal.add(event, **entry, **(self._place(entry) if event == "ended" else {}))

    def _place(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        cell = self.cells.get((entry["tract"], entry["patch"]), -1)
        return {"cell": cell} if cell >= 0 else {}

    def begun(self, tract: int, patch: int) -> None:
        """Tell that a patch is being made."""
        which = {"tract": tract, "patch": patch}
        self.live.begun({**which, **self._place(which)})

    def before(self, tract: int, patch: int) -> None:
        """Tell that a patch was complete before."""
        which = {"tract": tract, "patch": patch}
        self.live.before({**which, **self._place(which)}, "complete")

    def progress(self, state: CoaddProgress, workers: int) -> None:
        """Tell the numbers."""
        self.live.note_changes(self.journal, workers)
        done = {"complete": state.complete, "failed": state.failed}
        whole = Progress(state.total, state.skipped, state.running, done, state.elapsed, state.worker_losses, workers)
        self.heartbeat.tell(whole)
        self.live.progress(whole)
