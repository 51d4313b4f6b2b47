"""The plugin that makes a scheduler serve the page: it keeps the state of its campaigns, and adds routes to dask's.

Nothing here may stop a scheduler or a campaign. Errors are logged, and the campaign continues without its page.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin

from dcrflow.compat.dask_dashboard import link_page
from dcrflow.live.state import CampaignState
from dcrflow.live.workers import workers_of

if TYPE_CHECKING:
    from distributed import Client

NAME = "dcrflow-live"
OPERATION, ANSWER = "dcrflow_live", "dcrflow_state"  # what clients call on the scheduler: to tell, and to ask
PAGE = "dcrflow"

_RUNS = 8  # campaigns whose state is kept
_FRESH = 0.5  # s; so long an answer is given again

logger = logging.getLogger("dcrflow.live")


class LivePage(SchedulerPlugin):
    """Serves ``/dcrflow``, ``/dcrflow/state.json`` and what belongs to them; adds the campaigns' numbers to
    ``/metrics``."""

    name = NAME
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._runs: OrderedDict[str, CampaignState] = OrderedDict()
        self._clocks: dict[str, tuple[float, float]] = {}
        self._answers: dict[tuple[str, str], tuple[float, bytes]] = {}
        self.past: dict[str, Counter[Any]] = {"done": Counter(), "steps": Counter(), "bytes": Counter()}
        scheduler.handlers |= {OPERATION: self.receive, ANSWER: self.answer}
        try:
            from dcrflow.live.routes import application

            scheduler.http_application.add_application(application(self))
            link_page(scheduler, PAGE)
        except Exception:
            logger.warning("no page of campaigns on this dashboard", exc_info=True)
        self._metrics = _metrics(self)

    async def close(self) -> None:
        if self._metrics is not None:
            self._metrics.unregister()

    def receive(self, run: str, sent: float, events: bytes) -> None:
        """Take events of a run, which a client sends, as JSON: dask's own messages take longer to decode."""
        try:
            state = self._state(run)
            self._clocks[run] = sent, time.monotonic()
            for event in json.loads(events):
                state.take(event)
        except Exception:
            logger.warning("an event of a campaign was not understood", exc_info=True)

    def _state(self, run: str) -> CampaignState:
        if run not in self._runs:
            while len(self._runs) >= _RUNS:
                name, old = self._runs.popitem(last=False)
                self._clocks.pop(name, None)
                for kind, numbers in (("done", old.counts), ("steps", old.steps), ("bytes", old.bytes)):
                    self.past[kind].update(numbers)
            self._runs[run] = CampaignState(run)
        return self._runs[run]

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Note a worker that is gone, for the campaigns that are running."""
        try:
            when = datetime.now(UTC).isoformat(timespec="milliseconds")
            for state in self._runs.values():
                if state.state == "running":
                    state.take({"event": "worker-gone", "message": f"worker {worker} is gone", "when": when})
        except Exception:
            logger.warning("a worker's end was not noted", exc_info=True)

    @property
    def campaigns(self) -> list[CampaignState]:
        """The campaigns that are known, the latest first."""
        return list(self._runs.values())[::-1]

    def campaign(self, run: str = "") -> CampaignState | None:
        """A campaign by its name; by default one that is running, the latest first, or the latest."""
        if run:
            return self._runs.get(run)
        known = self.campaigns
        return next((state for state in known if state.state == "running"), known[0] if known else None)

    def now(self, state: CampaignState) -> float:
        """The time by the clock of a campaign's client, seconds since 1970."""
        sent, received = self._clocks[state.run]
        return sent + time.monotonic() - received

    def answer(self, kind: str, run: str = "") -> bytes:
        """JSON of a campaign: its ``state``, or its ``sky`` with what does not change in it."""
        key = kind, run
        made, text = self._answers.get(key, (-_FRESH, b""))
        if time.monotonic() - made >= _FRESH:
            text = json.dumps(self._answer(kind, run), separators=(",", ":")).encode()
            self._answers = {k: v for k, v in self._answers.items() if time.monotonic() - v[0] < _FRESH}
            self._answers[key] = time.monotonic(), text
        return text

    def _answer(self, kind: str, run: str) -> dict[str, Any]:
        state = self.campaign(run)
        if kind == "sky":
            return {} if state is None else state.places.outlines()
        about = {} if state is None else state.shown(self.now(state))
        runs = [{"run": s.run, "store": s.store, "state": s.state} for s in self.campaigns]
        return {**about, "runs": runs, **workers_of(self._scheduler, state)}


def _metrics(plugin: LivePage) -> Any:
    try:
        from dcrflow.live.metrics import CampaignMetrics
    except ImportError:  # prometheus_client is not installed, and dask's /metrics says so
        return None
    try:
        return CampaignMetrics.registered(plugin)
    except Exception:
        logger.warning("no metrics of campaigns on this scheduler", exc_info=True)
        return None


def serve_page(client: Client) -> bool:
    """Make the scheduler of a client serve the page, unless it does; False, and a line in the log, if it cannot."""
    try:
        client.register_plugin(LivePage())
    except Exception as error:  # such as a scheduler without dcrflow, or one that unpickles nothing
        logger.warning("the scheduler serves no page of campaigns: %s: %s", type(error).__name__, error)
        return False
    return True


def page_link(dashboard: str) -> str:
    """Address of the page beside a dashboard's; empty if there is no dashboard."""
    return f"{dashboard.rpartition('/')[0]}/{PAGE}" if dashboard else ""
