"""A batch of neighbouring detector-visits, made by one dask task: planned and made one after the other on the worker.

Each template is written and reported by itself, so that a worker that is lost loses no more than the one it was making.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from distributed import get_worker
from distributed.protocol.pickle import dumps, loads

from dcrflow.base.errors import DcrflowError, NoOverlapError
from dcrflow.campaign import events
from dcrflow.campaign.failures import VisitFailure
from dcrflow.campaign.lookup import Lookup
from dcrflow.live.sky import cells_of, corners_of
from dcrflow.model.config import TemplateConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.stores.coadds.shared import SharedCoadds
from dcrflow.stores.coadds.source import CoaddSource
from dcrflow.stores.coadds.store import DcrCoadds
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore
from dcrflow.stores.visits.long_table import TableRow
from dcrflow.stores.visits.tables import BadVisit, visit_of

_LOG = logging.getLogger("distributed.worker.dcrflow")  # dask shows the logs of `distributed.worker` on its dashboard
_STEPS = ("load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "warp_psf", "map_variance", "write_template")
_MOST_KEPT, _SHARE_KEPT = 600 << 20, 0.15  # bytes, and share of a thread's memory, for coadds that neighbours share
_LONGEST = 60.0  # seconds after which a batch begins no more templates, and hands the rest back

Row = DetectorVisit | BadVisit | TableRow
Make = Callable[[CoaddSource, TemplatePlan, TemplateStore], TemplateRecord]

_stopped: set[str] = set()  # runs that were asked to stop, in this process


def make_one(coadds: CoaddSource, plan: TemplatePlan, store: TemplateStore) -> TemplateRecord:
    """All steps of a template, each once, and its writing."""
    from dcrflow.planning.psf import plan_psf  # with numba and scipy, which the client does not need
    from dcrflow.steps import make_template

    return make_template(coadds, plan, store, plan_psf(coadds, plan))


@dataclass(frozen=True)
class Job:
    """What all batches of a run have in common.

    Parameters
    ----------
    run : str
        The name of the run.
    coadds : CoaddSource
        From what.
    store : TemplateStore
        To where.
    config : TemplateConfig
        How.
    overwrite, retry_failed : bool
        Whether to make complete, or failed, templates again.
    retries : int
        How often to try again what raises.
    spans_every : float
        Seconds between templates of a batch whose steps are reported one by one.
    plan, make : callable
        `plan_template` and `make_one`, or what stands for them.
    """

    run: str
    coadds: CoaddSource
    store: TemplateStore
    config: TemplateConfig
    overwrite: bool = False
    retry_failed: bool = False
    retries: int = 2
    spans_every: float = 0.0
    plan: Callable[[CoaddSource, DetectorVisit, TemplateConfig], TemplatePlan] = plan_template
    make: Make = make_one

    def packed(self) -> bytes:
        """The job as bytes: a worker unpacks them once, whatever the number of its batches."""
        self.config.digest  # noqa: B018, once made it goes along, and workers need not see a transmission's file
        packed: bytes = dumps(self)
        return packed

    @property
    def provenance(self) -> dict[str, Any]:
        """Attributes that every entry of the output store has, complete or not."""
        return {"config": self.config.as_json(), "config_hash": self.config.digest, "inputs": self.coadds.url}


@lru_cache(maxsize=4)
def _unpacked(job: bytes) -> Job:
    from dcrflow.steps import make_template  # noqa: F401, so that no template's time has the import in it

    found: Job = loads(job)
    if isinstance(found.coadds, DcrCoadds):
        found.coadds.forget_contents()  # that an earlier run looked up in this process
    return found


async def stop_batches(run: str) -> None:
    """Have the batches of a run in this process begin no more templates; a coroutine, as `Client.run` wants it."""
    _stopped.add(run)


def make_templates(packed: bytes, rows: Sequence[Row], numbers: Sequence[int]) -> list[events.Event]:
    """Make the templates of some rows, one after the other.

    Parameters
    ----------
    packed : bytes
        A `Job`.
    rows : sequence of DetectorVisit, BadVisit or TableRow
        What to make templates for.
    numbers : sequence of int
        The rows' places in the run.

    Returns
    -------
    list of dict
        The events of all that ended (see `dcrflow.campaign.events`); those of rows that were not begun, because the run
        was stopped or the batch took too long, are not among them.
    """
    job = _unpacked(packed)
    job = replace(job, coadds=SharedCoadds(job.coadds, _kept_bytes())) if len(rows) > 1 else job
    tell, ended = events.Reporter(job.run, job.spans_every), list[events.Event]()
    began = time.monotonic()
    try:
        for number, given in zip(numbers, rows, strict=True):
            if job.run in _stopped or (ended and time.monotonic() - began > _LONGEST):
                break
            row = visit_of(given) if isinstance(given, TableRow) else given
            tell(events.running(number, row.visit, row.detector, _place(row)))
            start = time.perf_counter()
            record, more = _made(job, row)
            spans = record.took.get("spans")
            event = _ended(number, record, time.perf_counter() - start) | more
            tell(event, spans)
            ended.append(event)
    finally:
        tell.flush()
    return ended


def _kept_bytes() -> int:
    """How many bytes of coadds a batch keeps for the next of its detector-visits."""
    try:
        worker = get_worker()
        limit = worker.memory_manager.memory_limit
        return min(_MOST_KEPT, int(_SHARE_KEPT * limit / worker.state.nthreads)) if limit else _MOST_KEPT
    except (ValueError, AttributeError):  # this is no worker of dask's
        return _MOST_KEPT


def _place(row: DetectorVisit | BadVisit) -> dict[str, Any]:
    """Where a detector is on the sky; nothing where that cannot be told."""
    if not isinstance(row, DetectorVisit):
        return {}
    try:
        corners = [[round(a, 5), round(d, 5)] for a, d in corners_of(row.wcs, row.bbox)]
        return {"sky": corners, "cell": int(cells_of([row])[0])}
    except Exception:  # this is only for the map; planning reports the error
        return {}


def _made(job: Job, row: DetectorVisit | BadVisit) -> tuple[TemplateRecord, dict[str, Any]]:
    """Make one template, if it must be made; its record, and what else its event says."""
    if isinstance(row, BadVisit):
        return write_failure(job, row, VisitFailure(type(row.error).__name__, str(row.error))), {}
    try:
        there, reason = Lookup(job.store, job.coadds, job.config, job.overwrite, job.retry_failed).of(row)
        if there is not None and not reason:
            return there, {"before": True} if there.status == "failed" else {"before": True, "state": "skipped"}
    except Exception as error:
        return _failed(job, row, error), {}
    return _attempt(job, row), {"again": reason} if reason else {}


def _attempt(job: Job, visit: DetectorVisit) -> TemplateRecord:
    """Plan and make a template; again if that raises, but for a plan that can never be made."""
    for left in reversed(range(job.retries + 1)):
        plan = None
        try:
            plan = job.plan(job.coadds, visit, job.config)
            return job.make(job.coadds, plan, job.store)
        except NoOverlapError as error:
            return _without_overlap(job, visit, error)
        except Exception as error:  # any error here fails this detector-visit only
            if left and (plan is not None or not isinstance(error, DcrflowError)):
                _LOG.info("%s: %s; trying again", visit.label, error)
                continue
            return _failed(job, visit, error)
    raise AssertionError


def _failed(job: Job, visit: DetectorVisit, error: Exception) -> TemplateRecord:
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    step = next((name for name in reversed(frames) if name in _STEPS), None)
    if step is not None:
        error.add_note(f"in {step} of {visit.label}")
    failure = VisitFailure.of(error)
    _LOG.warning("%s failed: %s: %s", visit.label, failure.kind, failure.message)
    return write_failure(job, visit, failure)


def write_failure(job: Job, row: Row, failure: VisitFailure) -> TemplateRecord:
    """Write down that a detector-visit failed; where that fails too, as on a full disk, the next run makes it again."""
    attributes, error = _attributes(job, row), failure.as_attribute()
    try:
        return job.store.write_status(row.visit, row.detector, "failed", attributes, error=error)
    except Exception as unwritten:
        _LOG.warning("visit %d detector %d: cannot record its failure: %s", row.visit, row.detector, unwritten)
        return TemplateRecord(row.visit, row.detector, "failed", None, job.config.digest, job.coadds.url, error)


def _without_overlap(job: Job, visit: DetectorVisit, error: NoOverlapError) -> TemplateRecord:
    failure = VisitFailure.of(error).as_attribute()
    try:
        return job.store.write_status(visit.visit, visit.detector, "no-overlap", _attributes(job, visit), error=failure)
    except Exception as unwritten:
        return write_failure(job, visit, VisitFailure.of(unwritten))


def _attributes(job: Job, row: Row) -> dict[str, Any]:
    if isinstance(row, DetectorVisit):
        return job.provenance | {"instrument": row.instrument, "band": row.band}
    return job.provenance


def _ended(number: int, record: TemplateRecord, seconds: float) -> events.Event:
    """The event of a detector-visit's end, from its record."""
    took = {name: value for name, value in record.took.items() if name != "spans"}
    found = {
        "row": number, "visit": record.visit, "detector": record.detector, "state": record.status, "time": time.time(),
        "seconds": round(seconds, 3), "config_hash": record.config_hash, "inputs": record.inputs,
        "inputs_digest": record.inputs_digest, "band": record.band, "coverage": record.coverage, "error": record.error,
        "damage": list(record.damage), "made_from": [list(p) for p in record.patches],
        "bytes_written": _bytes_written(record.stored_bytes.values()), **took,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value not in (None, [], "")}


def _bytes_written(sizes: Iterable[int | None]) -> int:
    return sum(size or 0 for size in sizes)


def record_of_event(event: Mapping[str, Any]) -> TemplateRecord:
    """The record that an event of an end tells."""
    return TemplateRecord(
        visit=event["visit"],
        detector=event["detector"],
        status="complete" if event["state"] == "skipped" else event["state"],
        coverage=event.get("coverage"),
        config_hash=event.get("config_hash", ""),
        inputs=event.get("inputs", ""),
        error=event.get("error"),
        took={name: event[name] for name in ("steps", "patches") if name in event},
        damage=tuple(event.get("damage", ())),
        inputs_digest=event.get("inputs_digest", ""),
        patches=tuple((tract, patch) for tract, patch in event.get("made_from", ())),
    )
