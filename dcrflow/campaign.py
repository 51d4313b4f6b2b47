"""A campaign: the templates of many detector-visits, fanned out over a dask cluster.

The client plans, keeps a bounded window of templates in flight, and writes down what failed; the workers do and write
the rest. What a template store says is complete is not made again, so the same command finishes what is missing.
"""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from distributed import Client, Future, as_completed

from dcrflow.config import TemplateConfig
from dcrflow.errors import DcrflowError, NoOverlapError
from dcrflow.graph import write_task
from dcrflow.plan import plan_template
from dcrflow.stores.coadds import coadd_source
from dcrflow.stores.source import CoaddSource
from dcrflow.stores.templates import TemplateRecord, TemplateStore
from dcrflow.stores.visits import BadVisit
from dcrflow.visit import DetectorVisit

WINDOW = 3  # templates in flight a worker thread: one being made, one ready, one being written


@dataclass(frozen=True)
class Progress:
    """Where a campaign stands.

    Parameters
    ----------
    total : int
        Detector-visits asked for.
    skipped : int
        Of those, done by an earlier run.
    running : int
        In flight.
    done : mapping of str to int
        Ended in this run, by status: complete, no-overlap, failed.
    elapsed : float
        Seconds since the run began.
    """

    total: int
    skipped: int
    running: int
    done: Mapping[str, int]
    elapsed: float


@dataclass(frozen=True)
class Failure:
    """A detector-visit that failed, and why."""

    visit: int
    detector: int
    kind: str
    message: str


@dataclass(frozen=True)
class CampaignResult:
    """How a campaign ended.

    Parameters
    ----------
    total : int
        Detector-visits asked for.
    skipped : int
        Of those, complete (or without overlap) before.
    complete, no_overlap : int
        Made in this run; found without overlap in this run.
    failures : tuple of Failure
        Those that failed, in this run or in an earlier one that is not retried.
    elapsed : float
        Seconds.
    stopped : bool
        Whether it was asked to stop before it had begun all of them.
    """

    total: int
    skipped: int
    complete: int
    no_overlap: int
    failures: tuple[Failure, ...]
    elapsed: float
    stopped: bool

    @property
    def ok(self) -> bool:
        """Whether every detector-visit is complete or has no overlap."""
        return not self.failures and not self.stopped


@dataclass
class _Run:
    """The state of one run, all of it on the client."""

    total: int
    report: Callable[[Progress], None]
    began: float = field(default_factory=time.monotonic)
    skipped: int = 0
    done: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    running: int = 0

    def tell(self) -> None:
        self.report(Progress(self.total, self.skipped, self.running, dict(self.done), time.monotonic() - self.began))


def run_campaign(
    coadds: CoaddSource | Any,
    visits: Iterable[DetectorVisit | BadVisit],
    out: TemplateStore | Any,
    config: TemplateConfig | None = None,
    *,
    client: Client,
    window: int | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    retries: int = 2,
    progress: Callable[[Progress], None] | None = None,
    stop: Event | None = None,
) -> CampaignResult:
    """Make and write the templates of many detector-visits.

    Parameters
    ----------
    coadds : CoaddSource, or anything that `open_coadds` takes
        The subfilter coadds; the workers must be able to open them too.
    visits : iterable of DetectorVisit
        What to make templates for; a `BadVisit` is written down as failed.
    out : TemplateStore, or anything that `TemplateStore.create_or_open` takes
        Where to write.
    config : TemplateConfig, optional
        How; defaults otherwise.
    client : distributed.Client
        Whose workers do it.
    window : int, optional
        Templates in flight at once; 3 a worker thread otherwise.
    overwrite : bool
        Make again what is complete.
    retry_failed : bool
        Make again what failed in an earlier run.
    retries : int
        How often a task that raises is tried again before its template counts as failed.
    progress : callable, optional
        Called with a `Progress` whenever something ends.
    stop : threading.Event, optional
        Once set, nothing more is begun; what is in flight is finished.

    Returns
    -------
    CampaignResult
        A detector-visit that fails is written down, with the error, and does not stop the others.

    Raises
    ------
    CoaddStoreError, TemplateStoreError, ConfigError
        If nothing can be done at all: an unusable store, a band that the coadds do not have.
    """
    coadds, store = coadd_source(coadds), TemplateStore.create_or_open(out)
    config = config or TemplateConfig()
    visits = list(visits)
    store.note_requested((v.visit, v.detector) for v in visits)
    run = _Run(len(visits), progress or (lambda _: None))
    todo = _todo(store, visits, coadds, config, run, overwrite=overwrite, retry_failed=retry_failed)
    pending: dict[Future[Any], DetectorVisit] = {}
    finished = as_completed(with_results=False)
    limit = window or WINDOW * max(1, sum(client.nthreads().values()))
    run.tell()
    stopped = False
    while True:
        while len(pending) < limit:
            if stop is not None and stop.is_set():
                stopped = True
                break
            visit = next(todo, None)
            if visit is None:
                break
            future = _submit(client, coadds, visit, store, config, run, retries)
            if future is not None:
                pending[future] = visit
                finished.add(future)
            run.running = len(pending)
            run.tell()
        if not pending:
            break
        future = next(finished)
        visit = pending.pop(future)
        _collect(future, visit, store, config, coadds, run)
        run.running = len(pending)
        run.tell()
    return CampaignResult(
        total=run.total,
        skipped=run.skipped,
        complete=run.done["complete"],
        no_overlap=run.done["no-overlap"],
        failures=tuple(run.failures),
        elapsed=time.monotonic() - run.began,
        stopped=stopped,
    )


def _todo(
    store: TemplateStore,
    visits: Iterable[DetectorVisit | BadVisit],
    coadds: CoaddSource,
    config: TemplateConfig,
    run: _Run,
    *,
    overwrite: bool,
    retry_failed: bool,
) -> Iterator[DetectorVisit]:
    """The detector-visits that are still to be made, looked up one by one as the window moves."""
    for visit in visits:
        record = None if overwrite else store.status(visit.visit, visit.detector)
        same = record is not None and record.matches(config.digest, coadds.url)
        if isinstance(visit, BadVisit):
            _fail(store, visit, VisitFailure(type(visit.error).__name__, str(visit.error)), config, coadds, run)
        elif record is not None and same and record.status in ("complete", "no-overlap"):
            run.skipped += 1
            run.tell()
        elif record is not None and same and record.status == "failed" and not retry_failed:
            run.done["failed"] += 1
            error = record.error or {}
            run.failures.append(Failure(visit.visit, visit.detector, error.get("type", "?"), error.get("message", "?")))
            run.tell()
        else:
            yield visit


@dataclass(frozen=True)
class VisitFailure:
    """The kind and the words of an error."""

    kind: str
    message: str

    @classmethod
    def of(cls, error: BaseException) -> VisitFailure:
        """From an exception, its notes included, in one line."""
        words = [str(error) or type(error).__name__, *getattr(error, "__notes__", ())]
        if not isinstance(error, DcrflowError) and error.__traceback__ is not None:
            last = traceback.extract_tb(error.__traceback__)[-1]
            words.append(f"in {last.name}")
        return cls(type(error).__name__, " ".join(" | ".join(words).split()))


def _submit(
    client: Client,
    coadds: CoaddSource,
    visit: DetectorVisit,
    store: TemplateStore,
    config: TemplateConfig,
    run: _Run,
    retries: int,
) -> Future[Any] | None:
    """Plan one template and hand it to the cluster; None if it ended at the plan."""
    try:
        plan = plan_template(coadds, visit, config)
    except NoOverlapError as error:
        store.write_status(
            visit.visit, visit.detector, "no-overlap", _provenance(visit, config, coadds), error=_as_error(error)
        )
        run.done["no-overlap"] += 1
        return None
    except DcrflowError as error:
        _fail(store, visit, VisitFailure.of(error), config, coadds, run)
        return None
    future: Future[Any] = client.compute(write_task(coadds, plan, store), retries=retries)
    return future


def _collect(
    future: Future[Any],
    visit: DetectorVisit,
    store: TemplateStore,
    config: TemplateConfig,
    coadds: CoaddSource,
    run: _Run,
) -> None:
    """Write down how one template ended."""
    if future.status == "finished":
        record: TemplateRecord = future.result()
        run.done[record.status] += 1
    else:
        error = future.exception() if future.status == "error" else RuntimeError(f"the task was {future.status}")
        _fail(store, visit, VisitFailure.of(error), config, coadds, run)
    future.release()


def _fail(
    store: TemplateStore,
    visit: DetectorVisit | BadVisit,
    failure: VisitFailure,
    config: TemplateConfig,
    coadds: CoaddSource,
    run: _Run,
) -> None:
    run.done["failed"] += 1
    run.failures.append(Failure(visit.visit, visit.detector, failure.kind, failure.message))
    error = {"type": failure.kind, "message": failure.message}
    store.write_status(visit.visit, visit.detector, "failed", _provenance(visit, config, coadds), error=error)


def _as_error(error: BaseException) -> dict[str, str]:
    failure = VisitFailure.of(error)
    return {"type": failure.kind, "message": failure.message}


def _provenance(visit: DetectorVisit | BadVisit, config: TemplateConfig, coadds: CoaddSource) -> dict[str, Any]:
    """Attributes that every entry of the output store has, whatever became of it."""
    found = {"config": config.as_json(), "config_hash": config.digest, "inputs": coadds.url}
    if isinstance(visit, DetectorVisit):
        found |= {"instrument": visit.instrument, "band": visit.band}
    return found
