"""A campaign of very many detector-visits on workers that return at once: what client and scheduler spend.

``python tests/benchmarks/million.py --rows 100000`` prints how many detector-visits a second one client and scheduler
(one process here) feed, their processor time for each, their memory as the run goes, and the time to the first task;
then the same run again, which finds everything complete, and ``status``.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).parent.resolve()]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import psutil  # noqa: E402
from scenes import IMAGE, coadds, tan, visit  # noqa: E402

import dcrflow  # noqa: E402
from dcrflow.campaign import batch, outcome, run_campaign  # noqa: E402
from dcrflow.campaign import run as run_module  # noqa: E402
from dcrflow.campaign.status import campaign_status  # noqa: E402
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore  # noqa: E402
from dcrflow.stores.visits.tables import write_visits  # noqa: E402

_STEPS = ("load_patch", "shift_subfilters", "warp_tract", "mosaic_tracts", "write_template")
_DETECTORS = 189  # of a visit


@dataclass(frozen=True)
class Instant:
    """Stands for planning and for making a template: says at once that it is complete."""

    config_hash: str = ""
    inputs: str = ""

    def __call__(self, coadds: Any, what: Any, last: Any) -> Any:
        if not isinstance(last, TemplateStore):
            return what
        took = {"steps": dict.fromkeys(_STEPS, 0.5), "patches": {"7/0": 0.2, "7/1": 0.2}}
        patches = ((7, 0), (7, 1))
        return TemplateRecord(
            what.visit, what.detector, "complete", 1.0, self.config_hash, self.inputs, None, took, patches=patches
        )


def write_table(path: Path, number: int) -> None:
    """A detector-visit table of so many rows, all over the sky."""
    write_visits([visit(tan())], path.with_name("one.parquet"))
    one = pd.read_parquet(path.with_name("one.parquet"))
    frame = pd.DataFrame({name: np.repeat(one[name].to_numpy(), number) for name in one.columns})
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, number), np.rad2deg(np.arcsin(rng.uniform(-0.95, 0.3, number)))
    frame["visit"], frame["detector"] = np.divmod(np.arange(number), _DETECTORS)
    frame["ra"], frame["dec"] = ra, dec
    cards = str(one["wcs"][0])
    first, second = (cards.index(f"CRVAL{i}") for i in (1, 2))
    a, b, c = cards[: first + 10], cards[first + 30 : second + 10], cards[second + 30 :]
    frame["wcs"] = [f"{a}{x:20.12f}{b}{y:20.12f}{c}" for x, y in zip(ra, dec, strict=True)]
    frame.to_parquet(path)


def measured(run: Any) -> dict[str, float]:
    """Run something; seconds, and processor seconds of this process."""
    used, began = time.process_time(), time.perf_counter()
    run()
    return {"seconds": time.perf_counter() - began, "processor": time.process_time() - used}


def memory() -> float:
    """Of this process, GiB."""
    return float(psutil.Process().memory_info().rss / 2**30)


def campaign(table: Path, folder: Path, workers: int) -> dict[str, Any]:
    """One run over a table, from reading it to its end."""
    store = dcrflow.open_coadds(folder / "coadds.zarr")
    config = dcrflow.TemplateConfig()
    instant = Instant(config.digest, store.url)
    curve: list[tuple[int, float]] = []
    first: list[float] = []
    began = time.perf_counter()

    def look(progress: outcome.Progress) -> None:
        done = sum(progress.done.values()) + progress.skipped
        if progress.running and not first:
            first.append(time.perf_counter() - began)
        if done >= len(curve) * max(1, progress.total // 20):
            curve.append((done, round(memory(), 3)))

    with dcrflow.connect("local", workers=workers, dashboard=0) as client:
        run_module.Job = partial(batch.Job, plan=instant, make=instant)  # type: ignore[misc]
        before = memory()
        began = time.perf_counter()
        visits = dcrflow.read_visits(table)
        found = measured(lambda: run_campaign(store, visits, folder / "out.zarr", config, client=client, progress=look))
    number = len(visits)
    return {
        "detector-visits": number,
        "detector-visits a second": number / found["seconds"],
        "processor, ms a detector-visit": 1000 * found["processor"] / number,
        "seconds to the first task": first[0] if first else None,
        "memory before, GiB": before,
        "memory as it went, GiB": curve,
        "most, GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", help="kept; a temporary one otherwise")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.folder or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        table = folder / "visits.parquet"
        if not (folder / "coadds.zarr").exists():
            coadds(IMAGE, store=str(folder / "coadds.zarr"))
        print(f"table written in {measured(lambda: write_table(table, options.rows))['seconds']:.1f} s", flush=True)
        print(json.dumps(campaign(table, folder, options.workers), indent=1), flush=True)
        took = measured(lambda: campaign_status(folder / "out.zarr"))
        print(f"status: {took['seconds']:.1f} s, {memory():.2f} GiB, {threading.active_count()} threads")


if __name__ == "__main__":
    main()
