"""What stands for making a template, to measure what a campaign costs without its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from dcrflow.campaign import batch
from dcrflow.campaign import run as run_module
from dcrflow.planning.template import TemplatePlan
from dcrflow.stores.templates.store import TemplateRecord


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
