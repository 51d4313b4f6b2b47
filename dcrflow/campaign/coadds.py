"""build_coadds: make DCR coadds from visits with a dask client, one task per patch."""

from __future__ import annotations

import shutil
import tempfile
import time
from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Client, Future, as_completed

from dcrflow.base.errors import CoaddStoreError, ConfigError
from dcrflow.campaign.alive import Heartbeat
from dcrflow.campaign.coadd_news import BuildNews
from dcrflow.campaign.coadd_outcome import CoaddProgress, CoaddResult, PatchFailure
from dcrflow.campaign.coadd_plan import Prepared, prepare
from dcrflow.campaign.failures import VisitFailure, machine_trouble
from dcrflow.campaign.stopping import Stop
from dcrflow.cluster.answers import answer
from dcrflow.coadd_graph import coadd_task
from dcrflow.live.reporter import Reporter, reporting
from dcrflow.live.subjects import Patches
from dcrflow.model.coadd_config import CoaddConfig
from dcrflow.planning.coadds import CoaddPlan, LeftOut, PatchPlan, config_digest
from dcrflow.steps.coadd import PatchOrder, PatchRecord
from dcrflow.stores.coadds.builds import CoaddBuild, Made, Row

_THREADS_A_PATCH = 8  # worker threads per patch in flight; one more patch is always in flight


def build_coadds(
    visits: Any,
    out: Any,
    *,
    skymap: Any = "auto",
    client: Client | None = None,
    config: CoaddConfig | None = None,
    add: bool = False,
    overwrite: bool = False,
    keep_sums: bool = True,
    scratch: str | Path | None = None,
    where: str | None = None,
    retries: int = 2,
    worker_retries: int = 3,
    progress: Callable[[CoaddProgress], None] | None = None,
    stop: Stop | None = None,
    **settings: Any,
) -> CoaddResult:
    """Build DCR coadds from visits; patches that are complete and have the same inputs are skipped.

    Parameters
    ----------
    visits : anything that `read_visits` takes
        Must have the column `image`. Detector-visits that cannot be used are left out and listed in the result.
    out : str, path or URL
        The DCR-coadd store to write.
    skymap : "auto", or anything that `read_skymap` takes
        The tracts. "auto" uses the tracts of an existing store, or else makes one tract around the visits.
    client : distributed.Client, optional
        Client whose workers do the work; a temporary local cluster if not given.
    config : CoaddConfig, optional
        How to build the coadds; defaults if not given.
    add : bool
        Add new visits to existing coadds, without reading old images.
    overwrite : bool
        Make existing coadds again.
    keep_sums : bool
        Keep the sums over visits, so that visits can be added later; about 60 bytes per pixel.
    scratch : path, optional
        A folder that all workers can access, for warped visits while a patch is made (6 bytes per pixel and visit);
        by default it is next to the coadds.
    where : str, optional
        Use only the detector-visits for which this condition is true.
    retries, worker_retries : int
        How often to retry a task that raises, and a patch whose workers died.
    progress : callable, optional
        Called with a `CoaddProgress` whenever a patch ends.
    stop : Stop, optional
        Once it has a reason, no further patch is started.
    **settings
        Single keys of the configuration; they override `config`.

    Raises
    ------
    VisitTableError, ConfigError, CoaddStoreError, NoOverlapError
        If no patch can be built at all.
    """
    if settings:
        config = CoaddConfig.make((config or CoaddConfig()).model_dump(exclude_unset=True) | settings)
    prepared = prepare(visits, out, skymap, config or CoaddConfig(), add=add, overwrite=overwrite, where=where)
    if client is None:
        from dcrflow.cluster import connect

        with connect("local") as local:
            return build_prepared(prepared, local, keep_sums, scratch, retries, worker_retries, progress, stop)
    return build_prepared(prepared, client, keep_sums, scratch, retries, worker_retries, progress, stop)


def build_prepared(
    prepared: Prepared, client: Client, keep_sums: bool = True, scratch: str | Path | None = None, retries: int = 2,
    worker_retries: int = 3, progress: Callable[[CoaddProgress], None] | None = None, stop: Stop | None = None,
) -> CoaddResult:  # fmt: skip
    """Build what was prepared; parameters and errors as `build_coadds`."""
    build = prepared.begun
    with _scratch(build, client, scratch) as folder:
        run = _Build(
            prepared, build, client, folder, keep_sums and build.own is not None, retries, worker_retries,
            progress or (lambda _: None), stop or Stop(),
        )  # fmt: skip
        patches = Patches(build, prepared.plan)
        with (
            build.journal() as journal,
            Heartbeat(journal, client.dashboard_link) as heartbeat,
            reporting(Reporter(client, journal.run, patches)) as live,
        ):
            journal.listeners.append(live.line)
            journal.add(
                "requested", band=prepared.plan.band.name, patches=[[p.tract.tract, p.patch.patch] for p in
                prepared.plan.patches], left_out=[v.as_list() for v in prepared.plan.left_out],
            )  # fmt: skip
            run.run(BuildNews(journal, heartbeat, live, patches.cells))
            if run.stopped:
                heartbeat.stopped()
    return run.result()


@contextmanager
def _scratch(build: CoaddBuild, client: Client, given: str | Path | None) -> Iterator[Path]:
    """The folder for files that tasks share; removed at the end if it is empty."""
    if given is not None:
        path = Path(given).absolute() / "dcrflow-warped"
    elif build.own is not None:
        path = build.own / "warped"
    elif len({w["host"] for w in client.scheduler_info(n_workers=-1)["workers"].values()}) <= 1:
        path = Path(tempfile.gettempdir()).absolute() / "dcrflow-warped"
    else:
        raise ConfigError(
            f"{build.url} is no folder, and the workers are on several machines: give a folder that all of them see "
            "for the warped visits (--scratch)"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CoaddStoreError(f"cannot make the folder {path} for warped visits: {error}") from error
    try:
        yield path
    finally:
        with suppress(OSError):  # not empty: a later run can use the files of a stopped one
            path.rmdir()


@dataclass
class _InFlight:
    """A patch that the cluster is making."""

    plan: PatchPlan
    order: PatchOrder
    rows: tuple[Row, ...]
    before: tuple[Row, ...]
    worker_losses: int = 0
    began: float = field(default_factory=time.monotonic)


@dataclass
class _Build:
    """The state of one run, all of it on the client."""

    prepared: Prepared
    build: CoaddBuild
    client: Client
    folder: Path
    keep_sums: bool
    retries: int
    worker_retries: int
    on_progress: Callable[[CoaddProgress], None]
    stop: Stop
    began: float = field(default_factory=time.monotonic)
    done: Counter[str] = field(default_factory=Counter)
    worker_losses: int = 0
    stopped: str = ""
    failures: list[PatchFailure] = field(default_factory=list)
    left_out: dict[tuple[int, int], LeftOut] = field(default_factory=dict)
    suspects: dict[tuple[int, int], LeftOut] = field(default_factory=dict)
    pending: dict[Future[Any], _InFlight] = field(default_factory=dict)
    told: BuildNews = field(init=False)
    threads: Mapping[str, int] = field(default_factory=dict)

    @property
    def plan(self) -> CoaddPlan:
        return self.prepared.plan

    def run(self, told: BuildNews) -> None:
        """Keep some patches in flight until none is left or there is a reason to stop."""
        self.told = told
        for left in self.plan.left_out:
            self.left_out.setdefault((left.visit, left.detector), left)
        finished = as_completed(with_results=False)
        to_do = self.to_do()
        self.tell()
        while True:
            window = 1 + sum(self.threads.values()) // _THREADS_A_PATCH
            while len(self.pending) < window:
                self.stopped = self.stop.reason
                found = None if self.stopped else next(to_do, None)
                if found is None:
                    break
                finished.add(self.submit(found))
                self.tell()
            if not self.pending:
                break
            again = self.end(next(finished))
            if again is not None:
                finished.add(again)
            self.tell()
        if self.stopped and next(to_do, None) is None:
            self.stopped = ""
        told.note("stopped" if self.stopped else "finished", complete=self.done["complete"], failed=len(self.failures))

    def to_do(self) -> Iterator[_InFlight]:
        """The patches that are still to be made."""
        for plan in self.plan.patches:
            work = self.prepared.work(plan)
            if work is None:
                self.done["skipped"] += 1
                self.told.before(plan.tract.tract, plan.patch.patch)
                continue
            new, before, kept = work
            both = (*(before.rows if before else ()), *self.prepared.rows(new))
            rows = tuple(sorted({row[:2]: row for row in both}.values()))  # a row replaces one that was left out
            digest = config_digest(self.plan, plan.tract)
            token = self.prepared.token(digest, rows)
            band = self.plan.band.name
            sums = self.build.sums_folder(plan.tract.tract, plan.patch.patch, band) if self.keep_sums else None
            place = self.folder / f"{plan.tract.tract}.{plan.patch.patch}.{band}.{token}"
            order = PatchOrder(
                plan.tract, plan.patch, plan.frame, self.plan.band, self.plan.config, self.plan.psf_fwhm, str(place),
                "" if sums is None else str(sums / token), kept,
            )  # fmt: skip
            yield _InFlight(new, order, rows, before.visits if before else ())

    def submit(self, work: _InFlight) -> Future[Any]:
        tract, digest = work.order.tract, config_digest(self.plan, work.order.tract)
        self.build.require_tract(tract)
        token = self.prepared.token(digest, work.rows)
        about = {"config": self.plan.config.as_json(), "config_hash": digest, "rows": [list(r) for r in work.rows],
                 "sums": token if work.order.sums else ""}  # fmt: skip
        task = coadd_task(work.plan, work.order, self.build.path, about, f"{token}:{self.build.url}", work.before)
        future: Future[Any] = self.client.compute(task, retries=self.retries)
        self.pending[future] = work
        self.told.begun(tract.tract, work.order.patch.patch)
        return future

    def end(self, future: Future[Any]) -> Future[Any] | None:
        """Record how one patch ended; returns its new future if it is restarted."""
        work = self.pending.pop(future)
        tract, patch = work.order.tract.tract, work.order.patch.patch
        took = round(time.monotonic() - work.began, 2)
        where: dict[str, Any] = {"tract": tract, "patch": patch, "band": self.plan.band.name, "seconds": took}
        record = _result(future)
        if record is not None:
            self.complete(work, record)
            self.told.note("ended", status="complete", **where, residual=record.residual, coverage=record.coverage,
                      visits=len(record.visits), left_out=[v.as_list() for v in record.left_out],
                      suspects=[v.as_list() for v in record.suspects])  # fmt: skip
            return None
        trouble = machine_trouble(self.client, future)
        if trouble is not None:
            work.worker_losses += 1
            self.worker_losses += 1
            self.told.note("lost", **where, **trouble.as_attribute())
            if work.worker_losses <= self.worker_retries:
                future.release()
                return self.submit(work)
        failure = trouble or VisitFailure.of(future.exception() or RuntimeError("it was lost"))
        self.failures.append(PatchFailure(tract, patch, failure.kind, failure.message))
        self.told.note("ended", status="failed", **where, error=failure.as_attribute())
        return None

    def complete(self, work: _InFlight, record: PatchRecord) -> None:
        order = work.order
        self.done["complete"] += 1
        for found, kept in ((record.left_out, self.left_out), (record.suspects, self.suspects)):
            for left in found:
                kept.setdefault((left.visit, left.detector), left)
        made = Made(
            config_digest(self.plan, order.tract), work.rows, record.visits, Path(order.sums).name if order.sums else ""
        )
        self.build.complete_sums(order.tract.tract, order.patch.patch, self.plan.band.name, made)
        shutil.rmtree(order.folder, ignore_errors=True)

    def tell(self) -> None:
        state = CoaddProgress(
            len(self.plan.patches), self.done["skipped"], len(self.pending), self.done["complete"], len(self.failures),
            self.worker_losses, time.monotonic() - self.began,
        )  # fmt: skip
        self.threads = answer(self.client, self.client.nthreads, self.threads)
        self.told.progress(state, len(self.threads))
        self.on_progress(state)

    def result(self) -> CoaddResult:
        return CoaddResult(
            url=self.build.url,
            total=len(self.plan.patches),
            skipped=self.done["skipped"],
            complete=self.done["complete"],
            failures=tuple(self.failures),
            left_out=tuple(self.left_out[k] for k in sorted(self.left_out)),
            suspects=tuple(self.suspects[k] for k in sorted(self.suspects)),
            notes={p.label: p.notes for p in self.plan.patches if p.notes},
            elapsed=time.monotonic() - self.began,
            stopped=self.stopped,
            worker_losses=self.worker_losses,
        )


def _result(future: Future[Any]) -> PatchRecord | None:
    """The result of a task; None if it failed, or if the result was lost with its worker."""
    if future.status != "finished":
        return None
    try:
        record: PatchRecord = future.result()
    except (Exception, CancelledError):
        return None
    return record
