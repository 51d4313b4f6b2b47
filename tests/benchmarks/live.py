"""`python tests/benchmarks/live.py`: what a campaign's page costs the scheduler, in per cent of a core.

A scheduler without workers runs in a process of its own. A client tells it of 100 detector-visits a second, of 100,000,
as a run does; a browser asks for the state every two seconds, as the page does with so many.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import psutil
from distributed import Client

from dcrflow.live.plugin import OPERATION, serve_page
from dcrflow.live.sky import cells_at, map_event

TOTAL, BATCH, LOOK = 100_000, 0.5, 2.0  # detector-visits; seconds between two messages, and between two looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--rate", type=int, default=100, help="detector-visits a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scheduler.json"
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", "--host", "127.0.0.1",
                   "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file)]  # fmt: skip
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as scheduler:
            try:
                while not file.exists():
                    time.sleep(0.1)
                with Client(scheduler_file=str(file)) as client:
                    _measure(client, psutil.Process(scheduler.pid), options.seconds, options.rate)
            finally:
                scheduler.terminate()


def _measure(client: Client, process: psutil.Process, seconds: float, rate: int) -> None:
    port = client.scheduler_info()["services"]["dashboard"]
    link = f"http://127.0.0.1:{port}/dcrflow/state.json"
    idle = _share(process, lambda _: None, seconds)
    serve_page(client)
    tell = _teller(client, rate)
    told = _share(process, tell, seconds)

    def seen(number: int) -> None:
        tell(number)
        if number % round(LOOK / BATCH) == 0:
            with urlopen(link, timeout=10) as answer:
                answer.read()

    viewed = _share(process, seen, seconds)
    print(f"scheduler, per cent of a core: idle {idle:.2f}; {rate} detector-visits a second {told - idle:+.2f}; "
          f"and a page that is open {viewed - told:+.2f}")  # fmt: skip
    with urlopen(link, timeout=10) as answer:
        print(f"state.json of {TOTAL} detector-visits: {len(answer.read()) / 1e3:.0f} kB")


def _share(process: psutil.Process, act: Any, seconds: float) -> float:
    """Processor time of a process, per cent of a core, while something is done every `BATCH` seconds."""
    time.sleep(2.0)
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    for number in range(round(seconds / BATCH)):
        act(number)
        time.sleep(max(0.0, began + (number + 1) * BATCH - time.monotonic()))
    return 100 * (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)


def _teller(client: Client, rate: int) -> Any:
    rng = np.random.default_rng(1)
    cells = cells_at(rng.uniform(0, 90, TOTAL), np.rad2deg(np.arcsin(rng.uniform(-0.9, 0.0, TOTAL))))
    at, operation = iter(range(10**9)), getattr(client.scheduler, OPERATION)

    def send(*events: dict[str, Any]) -> None:
        client.sync(operation, run="benchmark", sent=time.time(), events=json.dumps(events).encode())

    def line(number: int) -> dict[str, Any]:
        seconds = rng.lognormal(1.0, 0.4)
        steps = {
            "load_patch": 0.3,
            "shift_subfilters": 0.2,
            "warp_tract": 0.2,
            "mosaic_tracts": 0.1,
            "write_template": 0.2,
        }
        return {
            "event": "ended", "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "visit": number // 189,
            "detector": number % 189, "status": "failed" if number % 50 == 0 else "complete",
            "inputs": "/data/coadds.zarr", "coverage": 0.97, "read": 10**8,
            "written": 4 * 10**7, "steps": {name: share * seconds for name, share in steps.items()},
            "patches": {f"{number % 97}/{k}": 0.1 * seconds for k in range(4)},
            "cell": int(cells[number % TOTAL]), "worker": f"tcp://10.0.0.{number % 200}:4000",
            "error": {"type": "CoaddStoreError", "message": f"tract {number} patch 3: checksum"},
        }  # fmt: skip

    send({"event": "requested", "time": datetime.now(UTC).isoformat(), "store": "out.zarr", "total": TOTAL})
    send(map_event(cells))

    def tell(_: int) -> None:
        now = [next(at) for _ in range(round(rate * BATCH))]
        begun = {"event": "begun", "rows": [[n // 189, n % 189, int(cells[n % TOTAL])] for n in now]}
        send(begun, *(line(n) for n in now))

    return tell


if __name__ == "__main__":
    main()
