"""run_campaign: make the templates of many detector-visits with a dask client."""

from __future__ import annotations

import time
from asyncio import CancelledError
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Client, Future, as_completed

from dcrflow.base.errors import ClusterError, NoOverlapError, TemplateStoreError
from dcrflow.campaign.alive import Heartbeat, told
from dcrflow.campaign.failures import VisitFailure, machine_trouble
from dcrflow.campaign.lookup import Lookup
from dcrflow.campaign.outcome import CampaignResult, Failure, Progress
from dcrflow.campaign.performance_reports import PerformanceReports
from dcrflow.campaign.stopping import Stop
from dcrflow.graph import write_task
from dcrflow.live.notebook import shown
from dcrflow.live.reporter import Reporter, reporting
from dcrflow.model.config import TemplateConfig
from dcrflow.model.visit import DetectorVisit, sky_order
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.coadds.store import DcrCoadds, coadd_source
from dcrflow.stores.journal import Journal
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore
from dcrflow.stores.visits.tables import BadVisit

WINDOW = 3  # templates in flight for each worker thread

Row = DetectorVisit | BadVisit


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
        Number of templates in flight at once; by default 3 per worker thread.
    overwrite : bool
        Make complete templates again.
    retry_failed : bool
        Retry templates that failed in an earlier run.
    retries : int
        How often to retry a task that raises before its template counts as failed.
    worker_retries : int
        How often to restart a template whose workers died before it counts as failed.
    progress : callable or bool, optional
        Called with a `Progress` whenever a template ends. By default, a notebook shows a widget, a terminal a line of
        text, and a script whose output goes elsewhere nothing; False shows nothing anywhere.
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
        If no template can be made at all: an unusable store, or a band that the coadds do not have.
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
    coadds, store = coadd_source(coadds), TemplateStore.create_or_open(out, config.sync)
    if isinstance(coadds, DcrCoadds):
        coadds.refuse_unsendable()
        coadds.forget_contents()
    if retry_failed:
        store.forget_rows()
    rows = sky_order(visits)
    with (
        store.journal() as journal,
        Heartbeat(journal, client.dashboard_link) as heartbeat,
        PerformanceReports(report) as reports,
        shown(client, progress) as (on_progress, on_event),
        reporting(Reporter(client, journal.run, store, coadds, rows, on_event)) as live,
    ):
        journal.listeners.append(live.line)
        journal.add(
            "requested", detector_visits=_by_visit(rows), config=config.as_json(),
            inputs=coadds.url,
        )  # fmt: skip
        campaign = _Campaign(
            coadds, store, config, client, journal, reports, live, retries, worker_retries, len(rows),
            told(heartbeat.tell, live.progress, on_progress), stop or Stop(),
        )  # fmt: skip
        campaign.run(campaign.to_do(rows, overwrite, retry_failed), window)
        store.remove_leftovers({row.visit for row in rows})
        result = campaign.result()
        if result.stopped:
            heartbeat.stopped()
        journal.add(
            "stopped" if result.stopped else "finished", complete=result.complete, failed=len(result.failures),
            damaged=result.damaged, again=dict(result.again),
        )  # fmt: skip
    return result


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
class _InFlight:
    """A template that the cluster is making."""

    visit: DetectorVisit
    plan: TemplatePlan
    since: float
    worker_losses: int = 0


@dataclass
class _Campaign:
    """The state of one run, all of it on the client."""

    coadds: CoaddSource
    store: TemplateStore
    config: TemplateConfig
    client: Client
    journal: Journal
    reports: PerformanceReports
    live: Reporter
    retries: int
    worker_retries: int
    total: int
    on_progress: Callable[[Progress], None]
    stop: Stop
    began: float = field(default_factory=time.monotonic)
    skipped: int = 0
    worker_losses: int = 0
    stopped: str = ""
    done: Counter[str] = field(default_factory=Counter)
    damaged: int = 0
    damage: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    pending: dict[Future[Any], _InFlight] = field(default_factory=dict)
    known: Mapping[str, int] = field(default_factory=dict)  # of `threads`
    known_until: float = 0.0
    workers: int = -1  # as the journal has it

    def run(self, to_do: Iterator[DetectorVisit], window: int | None) -> None:
        """Submit templates until none is left or there is a reason to stop; then wait for those in flight."""
        finished = as_completed(with_results=False)
        self.tell()
        while True:
            while len(self.pending) < (window or WINDOW * max(1, sum(self.threads().values()))):
                self.stopped = self.stop.reason
                visit = None if self.stopped else next(to_do, None)
                if visit is None:
                    break
                future = self.begin(visit)
                if future is not None:
                    finished.add(future)
                self.tell()
            if not self.pending:
                break
            again = self.end(next(finished))
            if again is not None:
                finished.add(again)
            self.tell()
        if self.stopped and next(to_do, None) is None:
            self.stopped = ""  # it was all done anyway

    def threads(self) -> Mapping[str, int]:
        """Threads of each worker; the scheduler is asked at most once a second, unless there are no workers yet."""
        now = time.monotonic()
        if now > self.known_until or not self.known:
            self.known, self.known_until = self.client.nthreads(), now + 1.0
        return self.known

    def to_do(self, rows: Sequence[Row], overwrite: bool, retry_failed: bool) -> Iterator[DetectorVisit]:
        """The detector-visits that are still to be made; the store is asked for each when its turn comes."""
        lookup = Lookup(self.store, self.coadds, self.config, overwrite, retry_failed)
        for row in rows:
            if isinstance(row, BadVisit):
                self.fail(row, VisitFailure(type(row.error).__name__, str(row.error)))
                continue
            record, reason = lookup.of(row)
            if record is None or reason:
                if reason:
                    self.again[reason] += 1
                yield row
            elif record.status == "failed":
                self.done["failed"] += 1
                self.live.before(row, record.status)
                error = record.error or {}
                self.failures.append(
                    Failure(row.visit, row.detector, error.get("type", "?"), error.get("message", "?"))
                )
                self.tell()
            else:
                self.skipped += 1
                self.count_damage(record)
                self.live.before(row, "damaged" if record.damage else record.status)
                self.tell()

    def count_damage(self, record: TemplateRecord) -> None:
        self.damaged += bool(record.damage)
        self.damage.update(record.damage)

    def begin(self, visit: DetectorVisit) -> Future[Any] | None:
        """Plan one template and submit it; None if planning failed."""
        self.live.begun(visit)
        try:
            plan = plan_template(self.coadds, visit, self.config)
        except NoOverlapError as error:
            self.end_without_overlap(visit, VisitFailure.of(error))
            return None
        except Exception as error:  # any error here fails this detector-visit only
            self.fail(visit, VisitFailure.of(error))
            return None
        return self.submit(_InFlight(visit, plan, time.monotonic()))

    def submit(self, template: _InFlight) -> Future[Any]:
        future: Future[Any] = self.client.compute(
            write_task(self.coadds, template.plan, self.store), retries=self.retries
        )
        self.pending[future] = template
        self.reports.count(template.plan.num_tasks)
        return future

    def end(self, future: Future[Any]) -> Future[Any] | None:
        """Record how one template ended; returns its new future if it is begun again."""
        template = self.pending.pop(future)
        elapsed = time.monotonic() - template.since
        record = _result(future)
        if record is not None:
            if self.stop.deadline is not None:
                self.stop.deadline.took(elapsed)
            self.note(record, seconds=round(elapsed, 3), read=template.plan.bytes_read, written=_stored(record))
            return None
        trouble = machine_trouble(self.client, future)
        if trouble is None:
            self.fail(template.visit, VisitFailure.of(future.exception()))
            return None
        template.worker_losses += 1
        self.worker_losses += 1
        self.journal.add("lost", visit=template.visit.visit, detector=template.visit.detector, **trouble.as_attribute())
        if template.worker_losses > self.worker_retries:
            message = f"{trouble.message} (begun {template.worker_losses} times)"
            self.fail(template.visit, VisitFailure(trouble.kind, message))
            return None
        future.release()
        return self.submit(template)

    def end_without_overlap(self, visit: DetectorVisit, failure: VisitFailure) -> None:
        try:
            record = self.store.write_status(
                visit.visit, visit.detector, "no-overlap", self.provenance(visit), error=failure.as_attribute()
            )
        except TemplateStoreError as error:
            self.fail(visit, VisitFailure.of(error))
        else:
            self.note(record)

    def fail(self, visit: Row, failure: VisitFailure) -> None:
        provenance, error = self.provenance(visit), failure.as_attribute()
        try:
            record = self.store.write_status(visit.visit, visit.detector, "failed", provenance, error=error)
        except TemplateStoreError:  # such as a full disk: without a status, the next run makes it again
            record = TemplateRecord(
                visit.visit, visit.detector, "failed", None, self.config.digest, self.coadds.url, error
            )
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
            **{k: v for k, v in said.items() if v is not None}, **record.took, **more,
            **self.live.about(record.visit, record.detector),
        )  # fmt: skip

    def provenance(self, visit: Row) -> dict[str, Any]:
        """Attributes that every entry of the output store has, complete or not."""
        found = {"config": self.config.as_json(), "config_hash": self.config.digest, "inputs": self.coadds.url}
        if isinstance(visit, DetectorVisit):
            found |= {"instrument": visit.instrument, "band": visit.band}
        return found

    def tell(self) -> None:
        elapsed = time.monotonic() - self.began
        running, workers = len(self.pending), len(self.threads())
        if workers != self.workers:
            self.workers = workers
            self.journal.add("workers", workers=workers)
        places = self.live.take_map()
        if places is not None:
            self.journal.add(**places)
        progress = Progress(
            self.total, self.skipped, running, dict(self.done), elapsed, self.worker_losses, workers, self.damaged
        )
        self.on_progress(progress)

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


def _result(future: Future[Any]) -> TemplateRecord | None:
    """The result of a task; None if it failed, or if the result was lost repeatedly with its workers."""
    if future.status != "finished":
        return None
    try:
        record: TemplateRecord = future.result()
    except (Exception, CancelledError):
        return None
    return record


def _stored(record: TemplateRecord) -> int:
    """Bytes that a template takes in its store."""
    return sum(size or 0 for size in record.stored_bytes.values())


def _by_visit(rows: Sequence[Row]) -> Mapping[str, list[int]]:
    found = defaultdict(list)
    for row in rows:
        if min(row.visit, row.detector) >= 0:
            found[str(row.visit)].append(row.detector)
    return found
