"""run_campaign: make the templates of many detector-visits with a dask client."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Client

from dcrflow.base.errors import ClusterError
from dcrflow.campaign import events
from dcrflow.campaign.alive import Heartbeat, told
from dcrflow.campaign.batch import Job, Row, record_of_event, write_failure
from dcrflow.campaign.failures import VisitFailure
from dcrflow.campaign.in_flight import Begun, Ended, InFlight, Lost, Outcome
from dcrflow.campaign.nothing_left import complete_before
from dcrflow.campaign.outcome import CampaignResult, Failure, Progress
from dcrflow.campaign.performance_reports import PerformanceReports
from dcrflow.campaign.stopping import Stop
from dcrflow.cluster.answers import answer
from dcrflow.cluster.steps_on_dashboard import show_steps
from dcrflow.live.notebook import shown
from dcrflow.live.reporter import Reporter, reporting
from dcrflow.live.subjects import Templates
from dcrflow.model.config import TemplateConfig
from dcrflow.model.visit import sky_order
from dcrflow.planning.template import require_usable
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.coadds.store import DcrCoadds, coadd_source
from dcrflow.stores.journal import Journal
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore
from dcrflow.stores.visits.long_table import LongTable

_NEWS_EVERY = 1.0  # seconds between looks at the cluster while nothing is heard
_TELL_EVERY = 0.05  # seconds between two calls of the progress callback while there is news
_SPANS_A_SECOND = 20  # templates of all workers whose steps are reported one by one


def run_campaign(
    coadds: CoaddSource | Any,
    visits: Iterable[Row],
    out: TemplateStore | Any,
    config: TemplateConfig | None = None,
    *,
    client: Client | None = None,
    window: int | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    retries: int = 2,
    worker_retries: int = 3,
    progress: Callable[[Progress], None] | bool | None = None,
    stop: Stop | None = None,
    report: Path | None = None,
) -> CampaignResult:
    """Make and write the templates of many detector-visits, neighbours on the sky one after the other.

    Parameters
    ----------
    coadds : CoaddSource, or anything that `open_coadds` takes
        The subfilter coadds; the workers must be able to open them too.
    visits : iterable of DetectorVisit
        What to make templates for; a `BadVisit` is written down as failed.
    out : TemplateStore, or anything that `TemplateStore.create_or_open` takes
        Where to write. Several campaigns may write to one store at the same time.
    config : TemplateConfig, optional
        How to make templates; defaults if not given.
    client : distributed.Client, optional
        Client whose workers do the work; by default dask's current client, the one that was opened last.
    window : int, optional
        Number of templates in flight at once; by default 3 per worker thread, or two tasks of several templates each.
    overwrite : bool
        Make complete templates again.
    retry_failed : bool
        Retry templates that failed in an earlier run.
    retries : int
        How often to retry a template whose making raises before it counts as failed.
    worker_retries : int
        How often to restart a template whose workers died before it counts as failed.
    progress : callable or bool, optional
        Called with a `Progress` when templates end, at most 20 times a second. By default, a notebook shows a widget,
        a terminal a line of text, and a script whose output goes elsewhere nothing; False shows nothing anywhere.
    stop : Stop, optional
        Once it has a reason, no further template is started; those in flight are finished.
    report : Path, optional
        Where to write dask's performance report.

    Returns
    -------
    CampaignResult
        A detector-visit that fails is recorded with its error and does not stop the others.

    Raises
    ------
    CoaddStoreError, TemplateStoreError, ConfigError
        If no template can be made at all: an unusable store, or a band or transmission of the configuration that
        is not there.
    ClusterError
        If no client is given and none is open.

    Examples
    --------
    >>> import dcrflow, distributed
    >>> visits = dcrflow.read_visits("survey/visits.ecsv")
    >>> with distributed.Client(processes=False, dashboard_address=None):  # or dcrflow.connect("slurm")
    ...     result = dcrflow.run_campaign("survey/coadds.zarr", visits, "templates.zarr")
    >>> result.complete, result.failures
    (1, ())
    """
    client = client or _current_client()
    config = TemplateConfig.make((config or TemplateConfig()).model_dump(exclude_unset=True))  # files are read anew
    coadds = _usable(coadds, config)
    store = TemplateStore.create_or_open(out, config.sync)
    if retry_failed:
        store.forget_rows()
    rows = sky_order(visits)
    asked = _by_visit(rows)
    show_steps(client, events.TOPIC)
    with (
        store.journal() as journal,
        Heartbeat(journal, client.dashboard_link) as heartbeat,
        PerformanceReports(report) as reports,
        shown(client, progress) as (on_progress, on_event),
        reporting(Reporter(client, journal.run, Templates(store, coadds, rows), on_event)) as live,
    ):
        journal.listeners.append(live.line)
        journal.add(
            "requested", detector_visits=asked, config=config.as_json(),
            inputs=coadds.url,
        )  # fmt: skip
        job = Job(
            journal.run, coadds, store, config, overwrite, retry_failed, retries,
            spans_every=len(client.nthreads()) / _SPANS_A_SECOND,
        )  # fmt: skip
        tell = told(heartbeat.tell, live.progress, on_progress)
        campaign = _Campaign(job, client, journal, reports, live, len(rows), tell, stop or Stop())
        campaign.say("begun", total=len(rows), url=store.url)
        flight = InFlight(client, job, rows, window, worker_retries)
        if isinstance(rows, LongTable) and not overwrite:
            campaign.skipped = flight.leave_out(complete_before(rows, coadds, store, config))
        campaign.run(flight)
        store.remove_leftovers(map(int, asked))
        result = campaign.result()
        if result.stopped:
            heartbeat.stopped()
        journal.add(
            "stopped" if result.stopped else "finished", complete=result.complete, failed=len(result.failures),
            damaged=result.damaged, again=dict(result.again),
        )  # fmt: skip
        campaign.say("stopped" if result.stopped else "finished")
    return result


def _usable(coadds: CoaddSource | Any, config: TemplateConfig) -> CoaddSource:
    """The coadds, unless workers cannot open them or nothing can be made of them with the configuration."""
    found = coadd_source(coadds)
    require_usable(found, config)
    if isinstance(found, DcrCoadds):
        found.refuse_unsendable()
        found.forget_contents()
    return found


def _current_client() -> Client:
    try:
        current: Client = Client.current()
    except ValueError:
        raise ClusterError(
            'no dask client is open, and none was given: open one with `with dcrflow.connect("local"):` or '
            "`distributed.Client(...)`, or pass client="
        ) from None
    return current


@dataclass
class _Campaign:
    """The state of one run, all of it on the client."""

    job: Job
    client: Client
    journal: Journal
    reports: PerformanceReports
    live: Reporter
    total: int
    on_progress: Callable[[Progress], None]
    stop: Stop
    began: float = field(default_factory=time.monotonic)
    skipped: int = 0
    running: int = 0
    worker_losses: int = 0
    stopped: str = ""
    done: Counter[str] = field(default_factory=Counter)
    damaged: int = 0
    damage: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    known: Mapping[str, int] = field(default_factory=dict)  # of `threads`
    known_until: float = 0.0
    told: float = 0.0  # when the progress callback was called last

    def run(self, flight: InFlight) -> None:
        """Send rows to the workers until none is left or there is a reason to stop; then wait for those in flight."""
        self.tell()
        with flight.listening():
            while True:
                self.stopped = self.stopped or self.stop.reason
                if self.stopped:
                    flight.stop(self.threads())
                else:
                    flight.fill(sum(self.threads().values()))
                self.running = len(flight)
                self.tell()
                if not flight:
                    break
                with self.journal.together():
                    for outcome in flight.outcomes(_NEWS_EVERY):
                        self.take(outcome)
                        self.running = len(flight)
                        if time.monotonic() - self.told > _TELL_EVERY:
                            self.tell()
        if not flight.num_left:
            self.stopped = ""  # it was all done anyway

    def threads(self) -> Mapping[str, int]:
        """Threads of each worker; the scheduler is asked at most once a second, unless there are no workers yet."""
        now = time.monotonic()
        if now > self.known_until or not self.known:
            self.known = answer(self.client, self.client.nthreads, self.known)
            self.known_until = now + 1.0
        return self.known

    def take(self, outcome: Outcome) -> None:
        """Count and write down what became of a detector-visit."""
        if isinstance(outcome, Begun):
            self.live.begun(outcome.event)
            return
        if isinstance(outcome, Ended):
            self.end(outcome.event)
            return
        if not isinstance(outcome, Lost):
            self.fail(outcome.row, outcome.failure)
            return
        self.worker_losses += 1
        lost, trouble = outcome.row, outcome.trouble.as_attribute()
        self.journal.add("lost", visit=lost.visit, detector=lost.detector, **trouble)
        self.say("lost", visit=lost.visit, detector=lost.detector, **trouble)
        if outcome.given_up:
            self.fail(lost, outcome.trouble)

    def end(self, event: Mapping[str, Any]) -> None:
        """Count what an event tells of a detector-visit that ended, now or in an earlier run."""
        record = record_of_event(event)
        if record.status == "failed":
            error = record.error or {}
            self.failures.append(
                Failure(record.visit, record.detector, error.get("type", "?"), error.get("message", "?"))
            )
        if event.get("before"):
            self.live.before(event, "damaged" if record.damage else record.status)
            if record.status == "failed":
                self.done["failed"] += 1
            else:
                self.skipped += 1
                self.count_damage(record)
            return
        self.again.update([event["again"]] if "again" in event else [])
        self.reports.count(1 + len(event.get("spans", ())))
        if self.stop.deadline is not None:
            self.stop.deadline.took(event["seconds"])
        names = {name: name for name in ("seconds", "steps", "patches", "made_from", "band", "worker")}
        names |= {"bytes_read": "read", "bytes_written": "written"}
        self.note(record, **{line: event[name] for name, line in names.items() if name in event})

    def count_damage(self, record: TemplateRecord) -> None:
        self.damaged += bool(record.damage)
        self.damage.update(record.damage)

    def fail(self, visit: Row, failure: VisitFailure) -> None:
        """Write down a failure that no worker could."""
        record = write_failure(self.job, visit, failure)
        if record.status == "failed":
            self.failures.append(Failure(visit.visit, visit.detector, failure.kind, failure.message))
        self.note(record)

    def note(self, record: TemplateRecord, **more: Any) -> None:
        """Count how a detector-visit ended, and add a line to the journal."""
        self.done[record.status] += 1
        self.count_damage(record)
        said = {"coverage": record.coverage, "error": record.error, "damage": record.damage or None}
        self.journal.add(
            "ended", visit=record.visit, detector=record.detector, status=record.status,
            config_hash=record.config_hash, inputs=record.inputs, inputs_digest=record.inputs_digest,
            **{k: v for k, v in said.items() if v is not None}, **more,
            **self.live.about(record.visit, record.detector),
        )  # fmt: skip

    def say(self, state: str, **more: Any) -> None:
        """Send an event of the client's own under the topic of the workers' events."""
        event = {"state": state, "time": time.time(), **more}
        message = events.message(self.job.run, [event])
        answer(self.client, lambda: self.client.log_event(events.TOPIC, message), None)

    def tell(self) -> None:
        self.told = time.monotonic()
        elapsed = self.told - self.began
        workers = len(self.threads())
        self.live.note_changes(self.journal, workers)
        done = dict(self.done)
        self.on_progress(
            Progress(self.total, self.skipped, self.running, done, elapsed, self.worker_losses, workers, self.damaged)
        )

    def result(self) -> CampaignResult:
        return CampaignResult(
            total=self.total,
            skipped=self.skipped,
            complete=self.done["complete"],
            no_overlap=self.done["no-overlap"],
            failures=tuple(self.failures),
            elapsed=time.monotonic() - self.began,
            stopped=self.stopped,
            worker_losses=self.worker_losses,
            damaged=self.damaged,
            damage=dict(self.damage),
            again=dict(self.again),
        )


def _by_visit(rows: Sequence[Row]) -> Mapping[str, list[int]]:
    """Detectors by visit, of rows that have a data ID."""
    found = defaultdict(list)
    ids: tuple[Iterable[int], Iterable[int]]
    if isinstance(rows, LongTable):
        visits, detectors = rows.data_ids()
        ids = visits.tolist(), detectors.tolist()
    else:
        ids = (row.visit for row in rows), (row.detector for row in rows)
    for visit, detector in zip(*ids, strict=True):
        if min(visit, detector) >= 0:
            found[str(visit)].append(detector)
    return found
