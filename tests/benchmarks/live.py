"""`python tests/benchmarks/live.py`: what a campaign's page costs the scheduler, in per cent of a core.

A scheduler runs in a process of its own; `WORKERS` workers, which compute nothing, in this one. They send the events of
100 detector-visits a second, of 100,000, as workers of a campaign do, and a client tells the page of them, as a run
does; a browser asks for the state every two seconds, as the page does with so many.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import numpy as np
import psutil
from distributed import Client, Worker
from distributed.utils import LoopRunner

from dcrflow.campaign.events import TOPIC, message, topic_of
from dcrflow.live.reporter import Reporter
from dcrflow.live.sky import cells_at, map_event
from dcrflow.live.subjects import Templates

TOTAL, TURN, LOOK = 100_000, 0.1, 2.0  # detector-visits; seconds between two turns, and between two looks
WORKERS, RUN = 20, "benchmark"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--rate", type=int, default=100, help="detector-visits a second")
    options = parser.parse_args()
    logging.getLogger("distributed").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--host", "127.0.0.1",
                   "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file)]  # fmt: skip
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as scheduler:
            try:
                while not file.exists():
                    time.sleep(0.1)
                with Client(scheduler_file=str(file)) as client, _workers(client) as workers:
                    _measure(client, workers, psutil.Process(scheduler.pid), options.seconds, options.rate)
            finally:
                scheduler.terminate()


@contextmanager
def _workers(client: Client) -> Iterator[list[Worker]]:
    runner = LoopRunner()
    runner.start()

    async def start() -> list[Worker]:
        address = client.scheduler.address
        made = [Worker(address, nthreads=1, dashboard=False, dashboard_address=None) for _ in range(WORKERS)]
        return list(await asyncio.gather(*made))

    async def stop(workers: list[Worker]) -> None:
        await asyncio.gather(*(worker.close() for worker in workers))

    workers = runner.run_sync(start)
    try:
        yield workers
    finally:
        runner.run_sync(stop, workers)
        runner.stop()


def _measure(client: Client, workers: list[Worker], process: psutil.Process, seconds: float, rate: int) -> None:
    port = client.scheduler_info()["services"]["dashboard"]
    link = f"http://127.0.0.1:{port}/dcrflow/state.json"
    events, told = _events(), _Told(client)
    client.subscribe_topic(topic_of(RUN), lambda _: None)

    def work(number: int) -> None:
        for k in range(round(rate * TURN)):
            now = [next(events), next(events)]  # the end of one, with the beginning of the next
            worker = workers[(number * 7 + k) % WORKERS]
            worker.loop.add_callback(worker.log_event, [TOPIC, topic_of(RUN)], message(RUN, now))

    def tell(number: int) -> None:
        work(number)
        told.take(round(rate * TURN))

    def look(number: int) -> None:
        tell(number)
        if number % round(LOOK / TURN) == 0:
            with urlopen(link, timeout=10) as answer:
                answer.read()

    idle = _share(process, lambda _: None, seconds)
    worked = _share(process, work, seconds)
    told.reporter.start()
    page = _share(process, tell, seconds)
    seen = _share(process, look, seconds)
    with urlopen(link, timeout=10) as answer:
        size = len(answer.read())
    told.reporter.stop()
    print(f"scheduler, per cent of a core: idle {idle:.2f}; {rate} detector-visits a second: workers' events "
          f"{worked - idle:+.2f}, the page's data {page - worked:+.2f}, a page that is open {seen - page:+.2f}; "
          f"together {seen - idle:.2f}")  # fmt: skip
    print(f"state.json of {TOTAL} detector-visits: {size / 1e3:.0f} kB")


def _share(process: psutil.Process, act: Callable[[int], None], seconds: float) -> float:
    """Processor time of a process, per cent of a core, while something is done every `TURN` seconds."""
    time.sleep(2.0)
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    for number in range(round(seconds / TURN)):
        act(number)
        time.sleep(max(0.0, began + (number + 1) * TURN - time.monotonic()))
    return 100 * (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)


def _steps(seconds: float) -> dict[str, float]:
    shares = {
        "load_patch": 0.3,
        "shift_subfilters": 0.2,
        "warp_tract": 0.2,
        "mosaic_tracts": 0.1,
        "write_template": 0.2,
    }
    return {name: round(share * seconds, 4) for name, share in shares.items()}


def _events() -> Iterator[dict[str, Any]]:
    """What workers tell, of one detector-visit after the other."""
    rng = np.random.default_rng(1)
    for number in range(10**9):
        seconds = rng.lognormal(1.0, 0.4)
        yield {
            "row": number, "visit": number // 189, "detector": number % 189, "state": "complete", "time": time.time(),
            "seconds": seconds, "config_hash": "ab" * 16, "inputs": "/data/coadds.zarr", "inputs_digest": "cd" * 16,
            "coverage": 0.97, "steps": _steps(seconds), "patches": {f"{number % 97}/{k}": 0.1 for k in range(4)},
            "bytes_read": 10**8, "bytes_written": 4 * 10**7, "made_from": [[number % 97, k] for k in range(4)],
            "band": "r",
        }  # fmt: skip
        yield {
            "row": number + 1, "visit": number // 189, "detector": number % 189, "state": "running",
            "time": time.time(), "sky": [[10.0, -3.0]] * 4, "cell": 123456789,
        }  # fmt: skip


class _Told:
    """The reporter of a run, and the lines of its journal."""

    def __init__(self, client: Client) -> None:
        self._rng, self._number = np.random.default_rng(1), 0
        rng = self._rng
        self._cells = cells_at(rng.uniform(0, 90, TOTAL), np.rad2deg(np.arcsin(rng.uniform(-0.9, 0.0, TOTAL))))
        store: Any = SimpleNamespace(url="out.zarr", entries_of=lambda _: [])
        coadds: Any = SimpleNamespace(tracts={})
        self.reporter = Reporter(client, RUN, Templates(store, coadds, []))
        self.reporter.line({"event": "requested", "time": _now()})
        self.reporter.line({"event": "progress", "total": TOTAL})
        self.reporter.line(map_event(self._cells))

    def take(self, how_many: int) -> None:
        for _ in range(how_many):
            number, cell = self._number, int(self._cells[self._number % TOTAL])
            self._number += 1
            name = {"visit": number // 189, "detector": number % 189}
            self.reporter.begun({**name, "cell": cell})
            self.reporter.line({
                "event": "ended", "time": _now(), **name, "status": "failed" if number % 50 == 0 else "complete",
                "read": 10**8, "written": 4 * 10**7, "steps": _steps(self._rng.lognormal(1.0, 0.4)),
                "patches": {f"{number % 97}/{k}": 0.1 for k in range(4)}, "cell": cell,
                "worker": f"tcp://10.0.0.{number % 200}:4000",
                "error": {"type": "CoaddStoreError", "message": f"tract {number} patch 3: checksum"},
            })  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


if __name__ == "__main__":
    main()
