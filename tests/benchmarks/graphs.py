"""What graphs cost: planning, building, scheduling; and the memory of client and scheduler over a campaign."""

from __future__ import annotations

import dataclasses
import resource
import time
from pathlib import Path

from benchmarks.measure import interleaved, once
from benchmarks.scene import Work
from benchmarks.stubs import without_pixels
from dcrflow.campaign import run_campaign
from dcrflow.cluster import connect
from dcrflow.graph import TemplateGraph
from dcrflow.model.config import TemplateConfig
from dcrflow.planning.template import plan_template
from dcrflow.stores.templates.store import TemplateStore


def plan_and_build(work: Work, store: TemplateStore, repeat: int) -> dict[str, float]:
    """Milliseconds to plan a detector-visit and to build its graph, and the graph's tasks."""
    found = {}
    for tile in (1024, 2048):
        config = TemplateConfig(tile=tile)
        plan = plan_template(work.coadds, work.visit, config)
        times = interleaved(
            {
                "plan": lambda config=config: plan_template(work.coadds, work.visit, config),  # type: ignore[misc]
                "graph": lambda plan=plan: TemplateGraph(work.coadds, plan).written(store).dask,  # type: ignore[misc]
            },
            5 * repeat,
        )
        found |= {f"{name}, tile {tile}, ms": 1e3 * timing.seconds for name, timing in times.items()}
        found[f"tasks, tile {tile}"] = len(dict(TemplateGraph(work.coadds, plan).written(store).dask))
    return found


def throughput(work: Work, folder: Path, number: int, workers: int = 2) -> dict[str, float]:
    """Detector-visits a second that one client and scheduler (this process) sustain, and what memory they gain."""
    visits = [dataclasses.replace(work.visit, visit=n) for n in range(number)]
    config = TemplateConfig(tile=2048)
    store = TemplateStore.create_or_open(folder / "stub.zarr")
    with without_pixels(), connect("local", workers=workers, dashboard=0) as client:
        run_campaign(work.coadds, visits[: max(8, number // 10)], store, config, client=client, overwrite=True)
        before, began = _resident(), time.perf_counter()
        cpu, _ = once(lambda: run_campaign(work.coadds, visits, store, config, client=client, overwrite=True))
        elapsed = time.perf_counter() - began
        gained = _resident() - before
    return {
        "detector-visits": number,
        "detector-visits a second": number / elapsed,
        "client and scheduler, ms of a processor each": 1e3 * cpu / number,
        "memory gained, KiB each": gained / number,
        "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _resident() -> float:
    """Resident memory of this process, KiB."""
    status = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in status if line.startswith("VmRSS")))
