"""Full-size detector-visits on two workers: a campaign as users get it, and graphs of single templates.

``python tests/benchmarks/campaigns.py`` makes 12 templates in each way and prints seconds of processor time (client,
scheduler and workers) and of the clock: ``dcrflow.run_campaign`` with its defaults, and the graphs of `dcrflow.graph`
with ``granularity=detector`` (a task for each template) and ``granularity=tile`` (tasks for each step of tiles).
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from shutil import rmtree

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).parent.resolve()]

import dask  # noqa: E402
from distributed import Client  # noqa: E402

import dcrflow  # noqa: E402
from benchmarks import measure  # noqa: E402
from benchmarks.scene import Work, full_size  # noqa: E402
from dcrflow.campaign import run_campaign  # noqa: E402
from dcrflow.graph import write_task  # noqa: E402
from dcrflow.planning.template import plan_template  # noqa: E402
from dcrflow.stores.templates.store import TemplateStore  # noqa: E402


def ways(work: Work, folder: Path, number: int, client: Client) -> Mapping[str, Callable[[], object]]:
    """What makes so many templates, by name."""
    visits = [dataclasses.replace(work.visit, visit=n) for n in range(number)]

    def new() -> TemplateStore:
        rmtree(folder / "out.zarr", ignore_errors=True)
        return TemplateStore.create_or_open(folder / "out.zarr")

    def campaign() -> None:
        result = run_campaign(work.coadds, visits, new(), client=client, progress=False)
        assert result.complete == number, result

    def graphs(granularity: str) -> Callable[[], object]:
        def run() -> None:
            store, config = new(), dcrflow.TemplateConfig.make({"granularity": granularity})
            tasks = [write_task(work.coadds, plan_template(work.coadds, v, config), store) for v in visits]
            dask.compute(*tasks, scheduler=client)

        return run

    return {"campaign": campaign, "granularity=detector": graphs("detector"), "granularity=tile": graphs("tile")}


def timed(run: Callable[[], object], client: Client) -> tuple[float, float]:
    """Seconds of processor time, here and on the workers, and of the clock."""

    def used() -> float:
        return time.process_time() + sum(client.run(time.process_time).values())

    cpu, wall = used(), time.perf_counter()
    run()
    return used() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--visits", type=int, default=12)
    parser.add_argument("--repeat", type=int, default=2, help="interleaved repetitions")
    parser.add_argument("--data", help="folder for the coadds (0.5 GB), kept; a temporary one otherwise")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.data or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        work = full_size(folder)
        with dcrflow.connect("local", workers=2, dashboard=0) as client:
            for run in ways(work, folder, 2, client).values():  # compilation, and what each process loads once
                run()
            runs = ways(work, folder, options.visits, client)
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
            for _ in range(options.repeat):
                for name, run in runs.items():
                    found[name].append(timed(run, client))
    print(f"{measure.machine()}: {options.visits} full-size templates on two workers")
    print(f"{'':24}{'processor, s (extremes)':28}{'clock, s':12}processor, over granularity=detector")
    times = {n: measure.Timing(*map(tuple, zip(*each, strict=True))) for n, each in found.items()}  # type: ignore[arg-type]
    for name, timing in times.items():
        wall = sorted(timing.wall)[len(timing.wall) // 2]
        print(f"{name:24}{timing!s:28}{wall:<12.1f}{measure.ratio(timing, times['granularity=detector'])}")


if __name__ == "__main__":
    main()
