"""What stands for making a template, to measure what a campaign costs without its pixels, or without its workers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from dcrflow.campaign import batch, events, in_flight
from dcrflow.campaign import run as run_module
from dcrflow.geometry.skymap import Outline
from dcrflow.model.visit import DetectorVisit
from dcrflow.planning.template import TemplatePlan
from dcrflow.stores.templates.store import TemplateRecord

_STEPS = ("load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "write_template")
_SKY = [[53.12345, -28.12345], [53.34567, -28.12345], [53.34567, -28.34567], [53.12345, -28.34567]]


def nothing(_: object, plan: TemplatePlan, store: object) -> TemplateRecord:
    """Nothing, done."""
    return TemplateRecord(plan.visit.visit, plan.visit.detector, "complete", 1.0, "", "", None)


@contextmanager
def without_pixels() -> Iterator[None]:
    """While it lasts, workers plan templates and make none."""
    kept = run_module.Job
    run_module.Job = partial(batch.Job, make=nothing)  # type: ignore[misc,assignment]
    try:
        yield
    finally:
        run_module.Job = kept  # type: ignore[misc]


def at_once(packed: bytes, rows: Sequence[Any], numbers: Sequence[int]) -> list[events.Event]:
    """Stands for `dcrflow.campaign.batch.make_templates`: tells of each row what that would, and does nothing."""
    job = batch._unpacked(packed)
    tell, ended = events.Reporter(job.run, job.spans_every), list[events.Event]()
    for number, row in zip(numbers, rows, strict=True):
        tell(events.running(number, row.visit, row.detector, {"sky": _SKY, "cell": _cell(*_middle(row))}))
        record = TemplateRecord(
            row.visit, row.detector, "complete", 1.0, job.config.digest, job.coadds.url, None,
            {"steps": dict.fromkeys(_STEPS, 0.5), "patches": {"7/0": 0.2, "7/1": 0.2}, "bytes_read": 250_000_000},
            inputs_digest="0123456789abcdef0123456789abcdef", patches=((7, 0), (7, 1)), band="g",
            stored_bytes={"image": 20_000_000, "variance": 12_000_000},
        )  # fmt: skip
        now = time.time()
        event = batch._ended(number, record, 1e-6)
        tell(event, [(name, now + i / 10, now + (i + 1) / 10) for i, name in enumerate(_STEPS)])
        ended.append(event)
    tell.flush()
    return ended


def _middle(row: Any) -> tuple[float, float]:
    """RA and Dec of a row, which is parsed where the table is short."""
    if isinstance(row, DetectorVisit):
        return Outline.of(row.wcs, row.bbox, 1).centre
    return row.values["ra"], row.values["dec"]


def _cell(ra: float, dec: float) -> int:
    return int(ra / 30) << 22 | int(dec + 90) << 14


@contextmanager
def without_workers() -> Iterator[None]:
    """While it lasts, workers return at once."""
    kept = in_flight.make_templates
    in_flight.make_templates = at_once
    try:
        yield
    finally:
        in_flight.make_templates = kept
