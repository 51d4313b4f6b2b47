"""A campaign of very many detector-visits on workers that return at once: what client and scheduler spend.

``python tests/benchmarks/million.py --rows 100000`` prints how many detector-visits a second one client and scheduler
feed, the processor time of each for a detector-visit, their memory as the run goes, and the time to the first task.
``--planned`` has the workers plan, and only the pixels left out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).parent.resolve()]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import psutil  # noqa: E402
from scenes import IMAGE, coadds, tan, visit  # noqa: E402

import dcrflow  # noqa: E402
from benchmarks.stubs import without_pixels, without_workers  # noqa: E402
from dcrflow.campaign import outcome, run_campaign  # noqa: E402
from dcrflow.stores.visits.tables import write_visits  # noqa: E402

DETECTORS = 189  # of a visit
_POINTS = 20  # of the curve of memory


def write_table(path: Path, number: int) -> None:
    """A detector-visit table of so many rows, all over the sky."""
    write_visits([visit(tan())], path.with_name("one.parquet"))
    one = pd.read_parquet(path.with_name("one.parquet"))
    frame = pd.DataFrame({name: np.repeat(one[name].to_numpy(), number) for name in one.columns})
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, number), np.rad2deg(np.arcsin(rng.uniform(-0.95, 0.3, number)))
    frame["visit"], frame["detector"] = np.divmod(np.arange(number), DETECTORS)
    frame["ra"], frame["dec"] = ra, dec
    cards = str(one["wcs"][0])
    first, second = (cards.index(f"CRVAL{i}") for i in (1, 2))
    a, b, c = cards[: first + 10], cards[first + 30 : second + 10], cards[second + 30 :]
    frame["wcs"] = [f"{a}{x:20.12f}{b}{y:20.12f}{c}" for x, y in zip(ra, dec, strict=True)]
    frame.to_parquet(path)


def memory(process: int | None = None) -> float:
    """Of a process, GiB."""
    return float(psutil.Process(process).memory_info().rss / 2**30)


def processor(process: int) -> float:
    """Seconds that a process has used."""
    times = psutil.Process(process).cpu_times()
    return float(times.user + times.system)


def of_threads() -> dict[str, float]:
    """Seconds that the threads of this process have used: the campaign's own, that of its connections, and others."""
    names = {t.native_id: t.name for t in threading.enumerate()}
    found = {"campaign": 0.0, "connections": 0.0}
    for thread in psutil.Process().threads():
        name = names.get(thread.id, "")
        if name == "MainThread" or name.startswith("IO loop"):
            found["campaign" if name == "MainThread" else "connections"] += thread.user_time + thread.system_time
    return {**found, "others": processor(os.getpid()) - sum(found.values())}  # also of threads that have ended


@contextmanager
def scheduler(folder: Path, workers: int) -> Iterator[tuple[Path, int]]:
    """A scheduler in a process of its own, and its workers: the file that tells of it, and the process."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    here = os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")])
    about = {**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"}
    about["DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH"] = "100"  # as dcrflow has it of its own schedulers

    def begin(*command: str) -> subprocess.Popen[bytes]:
        name, *more = command
        return subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{name}", "--scheduler-file", str(file), *more],
            env=about, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    started = [begin("scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")]
    try:
        while not file.exists():
            time.sleep(0.1)
        started += [begin("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard") for _ in range(workers)]
        yield file, started[0].pid
    finally:
        for process in started[::-1]:
            process.terminate()
        for process in started:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:  # a worker that looks for its scheduler
                process.kill()
                process.wait()


def campaign(table: Path, folder: Path, workers: int, planned: bool) -> dict[str, Any]:
    """One run over a table, from reading it to its end."""
    store, config = dcrflow.open_coadds(folder / "coadds.zarr"), dcrflow.TemplateConfig()
    curve: list[tuple[int, float, float]] = []
    first: list[float] = []
    marks: list[tuple[int, float, float, dict[str, float]]] = []
    with ExitStack() as stack:
        file, process = stack.enter_context(scheduler(folder, workers))
        client = stack.enter_context(dcrflow.connect(str(file)))
        client.wait_for_workers(workers)
        stack.enter_context(without_pixels() if planned else without_workers())

        def look(progress: outcome.Progress) -> None:
            done = sum(progress.done.values()) + progress.skipped
            if progress.running and not first:
                first.append(time.perf_counter() - began)
            if not marks and done >= progress.total // _POINTS:  # what every run costs once is over
                marks.append((done, time.perf_counter(), processor(process), of_threads()))
            if done >= len(curve) * max(1, progress.total // _POINTS):
                curve.append((done, round(memory(), 3), round(memory(process), 3)))

        began = time.perf_counter()
        visits = dcrflow.read_visits(table)
        read = time.perf_counter() - began
        result = run_campaign(store, visits, folder / "out.zarr", config, client=client, progress=look)
        done, since, before, threads = marks[0]
        seconds = time.perf_counter() - since
        spent = {name: value - threads[name] for name, value in of_threads().items()}
        each = {f"client: {name}": value for name, value in spent.items()} | {"scheduler": processor(process) - before}
    number = len(visits)
    assert result.complete + result.no_overlap == number, result
    return {
        "detector-visits": number,
        "detector-visits a second": round((number - done) / seconds),
        "processor, ms a detector-visit": {n: round(1000 * value / (number - done), 3) for n, value in each.items()},
        "seconds to read the table": round(read, 1),
        "seconds to the first task": round(first[0], 1),
        "GiB of client and scheduler as it went": curve,
    }


def shown(found: Mapping[str, Any]) -> str:
    """The figures as text."""
    return "\n".join(f"{name}: {value if not isinstance(value, Mapping) else json.dumps(value)}"
                     for name, value in found.items())  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--planned", action="store_true", help="workers plan; only the pixels are left out")
    parser.add_argument("--folder", help="kept; a temporary one otherwise")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(options.folder or scratch)
        folder.mkdir(parents=True, exist_ok=True)
        table = folder / f"visits-{options.rows}.parquet"
        if not (folder / "coadds.zarr").exists():
            coadds(IMAGE, store=str(folder / "coadds.zarr"))
        if not table.exists():
            write_table(table, options.rows)
        print(shown(campaign(table, folder, options.workers, options.planned)), flush=True)


if __name__ == "__main__":
    main()
