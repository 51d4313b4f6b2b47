"""The plugin that makes a scheduler serve the page: it keeps what clients tell of runs, and adds routes to dask's.

Nothing here may stop a scheduler or a campaign. Errors are logged, and the campaign continues without its page.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin

from dcrflow.compat.dask_dashboard import link_page
from dcrflow.compat.dask_steps import seconds_of_tasks
from dcrflow.live.workers import workers_of

if TYPE_CHECKING:
    from distributed import Client

NAME = "dcrflow-live"
OPERATION, ANSWER = "dcrflow_live", "dcrflow_state"  # what clients call on the scheduler: to tell, and to ask
PAGE = "dcrflow"

_RUNS = 8  # campaigns whose state is kept, unless more are running
_RETURNING = 1000  # silent campaigns whose numbers are known when they speak again
_FRESH = 0.9  # s; an answer is used again so long
_LOOKED = 10.0  # s after the last request; until then somebody counts as looking
_SILENT = 30.0  # s; a client that is alive tells something every second
_GONE = 20  # lost workers that are kept until the client hears of them

logger = logging.getLogger("dcrflow.live")


@dataclass
class Told:
    """What a client told last of its run.

    Parameters
    ----------
    run : str
        Its name.
    summary : mapping
        As `dcrflow.live.state.CampaignState.summary` has it.
    state, sky : bytes
        JSON objects as the page gets them; the client makes them, since its time costs no other campaign anything.
    made_by : mapping of str to (int, float)
        Number of templates by worker's address, and their mean time.
    gone : list of mapping
        Workers that were lost since the client was told.
    heard, looked : float
        When the client told something, and when somebody asked (`time.monotonic`).
    """

    run: str
    summary: Mapping[str, Any] = field(default_factory=dict)
    state: bytes = b""
    sky: bytes = b"{}"
    made_by: Mapping[str, Any] = field(default_factory=dict)
    gone: list[dict[str, Any]] = field(default_factory=list)
    heard: float = 0.0
    looked: float = float("-inf")

    @property
    def is_running(self) -> bool:
        """Whether the run goes on, as far as its client says."""
        return bool(self.summary.get("state", "running") == "running")

    @property
    def status(self) -> str:
        """``running``, ``silent`` (its client says nothing any more), ``finished``, ``stopped`` or ``failed``."""
        if not self.is_running:
            return str(self.summary["state"])
        return "silent" if time.monotonic() - self.heard > _SILENT else "running"

    def numbers(self, name: str) -> Counter[str]:
        """Sums by name, of what the summary has under a name."""
        return Counter(dict(self.summary.get(name, {})))

    def shown(self) -> bytes:
        """The inner part of the JSON object with its state."""
        if self.status != "silent" or not self.state:
            return self.state[1:-1]
        shown = {**json.loads(self.state), "state": "silent", "left": None}
        return json.dumps(shown, separators=(",", ":")).encode()[1:-1]


class LivePage(SchedulerPlugin):
    """Serves ``/dcrflow``, ``/dcrflow/state.json`` and what belongs to them; adds the campaigns' numbers to
    ``/metrics``. What is shown is made by the campaigns' clients: the scheduler adds only what it knows of its workers.
    """

    name = NAME
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._runs: OrderedDict[str, Told] = OrderedDict()
        self._may_return: OrderedDict[str, Told] = OrderedDict()  # silent ones whose state is not kept
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

    def receive(
        self, run: str, summary: Mapping[str, Any], state: bytes = b"", sky: bytes = b"",
        made_by: Mapping[str, Any] | None = None, steps: Sequence[str] = (),
    ) -> dict[str, Any]:  # fmt: skip
        """Take what a client tells of its run; what it does not tell is as it was told before.

        Returns
        -------
        dict
            ``looked``: whether somebody looks at the run's page; ``gone``: events of workers that were lost since;
            ``steps``: seconds that all tasks of these names took, of all runs.
        """
        try:
            numbers = _checked(summary)
            told = self._told(run)
            told.heard = time.monotonic()
            told.summary = numbers
            for name, text in (("state", state), ("sky", sky)):
                if text[:1] == b"{":
                    setattr(told, name, text)
            told.made_by = told.made_by if made_by is None else dict(made_by)
            gone, told.gone = told.gone, []
            answer = {"looked": told.heard - told.looked < _LOOKED, "gone": gone}
            return {**answer, "steps": seconds_of_tasks(self._scheduler, steps)} if steps else answer
        except Exception:
            logger.warning("what a campaign tells was not understood", exc_info=True)
            return {}

    def _told(self, run: str) -> Told:
        if run not in self._runs:
            over = [old for old in self._runs.values() if old.status != "running"]  # others will tell more
            for old in over[: max(0, len(self._runs) + 1 - _RUNS)]:
                del self._runs[old.run]
                for kind, numbers in self.past.items():
                    numbers.update(old.numbers(kind))
                if old.is_running:
                    self._may_return[old.run] = Told(old.run, old.summary)
                    while len(self._may_return) > _RETURNING:
                        self._may_return.popitem(last=False)
            returned = self._may_return.pop(run, None)
            if returned is not None:  # what it tells now has its old numbers in it
                for kind, numbers in self.past.items():
                    numbers.subtract(returned.numbers(kind))
            self._runs[run] = Told(run)
        return self._runs[run]

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """Note a worker that is gone, for the campaigns that are running."""
        try:
            when = datetime.now(UTC).isoformat(timespec="milliseconds")
            for told in self._runs.values():
                if told.is_running:
                    event = {"event": "worker-gone", "message": f"worker {worker} is gone", "when": when}
                    told.gone = [*told.gone, event][-_GONE:]
        except Exception:
            logger.warning("a worker's end was not noted", exc_info=True)

    @property
    def campaigns(self) -> list[Told]:
        """The campaigns that are known, the latest first."""
        return list(self._runs.values())[::-1]

    def campaign(self, run: str = "") -> Told | None:
        """A campaign by its name; by default one that is running, the latest first, or the latest."""
        if run:
            return self._runs.get(run)
        known = self.campaigns
        return next((told for told in known if told.is_running), known[0] if known else None)

    def answer(self, kind: str, run: str = "") -> bytes:
        """JSON of a campaign: its ``state``, or its ``sky`` with what does not change in it."""
        told = self.campaign(run)
        if told is not None:
            told.looked = time.monotonic()
        if kind == "sky":
            return b"{}" if told is None else told.sky
        key = kind, "" if told is None else told.run
        made, text = self._answers.get(key, (-_FRESH, b""))
        if time.monotonic() - made >= _FRESH:
            text = self._answer(told)
            self._answers = {k: v for k, v in self._answers.items() if time.monotonic() - v[0] < _FRESH}
            self._answers[key] = time.monotonic(), text
        return text

    def _answer(self, told: Told | None) -> bytes:
        runs = [{"run": t.run, "store": t.summary.get("store", ""), "state": t.status} for t in self.campaigns]
        own = {"runs": runs, **workers_of(self._scheduler, {} if told is None else told.made_by)}
        text = json.dumps(own, separators=(",", ":")).encode()
        shown = b"" if told is None else told.shown()
        return b"{" + shown + b"," + text[1:] if shown else text


def _checked(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary whose sums are numbers: what a client of another version tells must not break ``/metrics``."""
    found = {"store": str(summary.get("store", "")), "state": str(summary.get("state", "running"))}
    sums = {name: {str(k): float(v) for k, v in dict(summary.get(name) or {}).items()} for name in _SUMS}
    return {**found, **sums, "rate": float(summary.get("rate") or 0.0)}


_SUMS = ("done", "steps", "bytes", "now")


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
