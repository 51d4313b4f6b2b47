"""dcrflow's own part of the benchmarks: a template, and several of them in one process and in two."""

from __future__ import annotations

import multiprocessing
import os
import time
from pathlib import Path
from shutil import rmtree

from benchmarks.scene import Work, full_size
from dcrflow.cluster.memory import set_thresholds
from dcrflow.model.config import TemplateConfig
from dcrflow.planning.template import plan_template
from dcrflow.steps import make_template
from dcrflow.steps.cells import kernel_cache
from dcrflow.stores.templates.store import TemplateStore

set_thresholds()  # as in every worker


def make(work: Work, folder: Path, tile: int = 1024, name: str = "out") -> None:
    """From the local store to a written template; of a detector-visit that has not been seen before."""
    kernel_cache.cache_clear()
    rmtree(folder / f"{name}.zarr", ignore_errors=True)  # one that is there, and the same, would not be written
    plan = plan_template(work.coadds, work.visit, TemplateConfig(tile=tile))
    make_template(work.coadds, plan, TemplateStore.create_or_open(folder / f"{name}.zarr"))


def _worker(folder: str, name: str, number: int, core: int | None, ready: object, go: object) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    work = full_size(Path(folder))
    make(work, Path(folder), name=name)
    ready.release()  # type: ignore[attr-defined]
    go.wait()  # type: ignore[attr-defined]
    for _ in range(number):
        make(work, Path(folder), name=name)


def scaling(folder: Path, pinned: bool, number: int = 3) -> float:
    """Clock seconds of one process for `number` templates, over those of two at once for as many each; times two.

    A process reads in threads beside its work; if `pinned`, all that it does is on one core, its own.
    """
    context, elapsed = multiprocessing.get_context("spawn"), []
    cores = sorted(os.sched_getaffinity(0)) if pinned else [None, None]
    for processes in (1, 2):
        ready, go = context.Semaphore(0), context.Event()
        started = [
            context.Process(target=_worker, args=(str(folder), f"scaling-{n}", number, core, ready, go))
            for n, core in zip(range(processes), cores, strict=False)
        ]
        for process in started:
            process.start()
        for _ in started:
            ready.acquire()
        began = time.perf_counter()
        go.set()
        for process in started:
            process.join()
        elapsed.append(time.perf_counter() - began)
    return 2 * elapsed[0] / elapsed[1]
