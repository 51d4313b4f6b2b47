"""How long a run takes from Enter to the first step of its first template, and where that time goes.

``python tests/benchmarks/startup.py`` starts ``dcrflow run`` on two workers several times and prints when each part
ended, by the clock, and the command's own processor time then, which hardly changes on a busy machine. The first run,
which may compile kernels, is not counted.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path[:] = [p for p in sys.path if Path(p).resolve() != Path(__file__).parent.resolve()]

from scenes import IMAGE, coadds, visit  # noqa: E402

from dcrflow.stores.journal import entries  # noqa: E402
from dcrflow.stores.templates.store import TemplateStore  # noqa: E402
from dcrflow.stores.visits.tables import write_visits  # noqa: E402

#: The command, which also writes down when it said what: seconds of the clock, and of its processor time.
_COMMAND = """
import json, logging, os, time
marks = []
class Marks(logging.Handler):
    def emit(self, record):
        marks.append((time.time(), time.process_time(), record.getMessage()))
logging.getLogger("dcrflow").addHandler(Marks())
from dcrflow.cli import main
try:
    main()
finally:
    with open(os.environ["MARKS"], "w") as file:
        json.dump(marks, file)
"""
PARTS = (
    "the command's words",
    "tables and stores read",
    "cluster and client",
    "first template begun",
    "first one ended",
)


def begun(folder: Path, number: int) -> Mapping[str, float]:
    """One run: seconds from Enter to the end of each part, and the processor time of the whole."""
    out, marks = folder / f"out-{number}.zarr", folder / f"marks-{number}.json"
    arguments = "run", str(folder / "coadds.zarr"), str(folder / "visits.parquet"), str(out), "--workers", "2"
    here = os.pathsep.join([*sys.path[:2], os.environ.get("PYTHONPATH", "")])
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before, began = _used_by_children(), time.time()
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *arguments, "--log-file", str(folder / "log")],
        env={**kept, "MARKS": str(marks), "PYTHONPATH": here},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.wait() == 0, (folder / "log").read_text()
    _wait_for_orphans()
    said = json.loads(marks.read_text())
    words, ready = (next(m for m in said if text in m[2]) for text in ("making the templates", "starting the cluster"))
    lines = list(entries(TemplateStore.open(out)._root))
    first = min((line for line in lines if line["event"] == "ended"), key=lambda line: _when(line) - line["seconds"])
    at = words[0], ready[0], _when(lines[0]), _when(first) - first["seconds"], _when(first)
    return {
        **{name: moment - began for name, moment in zip(PARTS, at, strict=True)},
        "processor: the command's words": words[1], "processor: tables and stores read": ready[1],
        "processor: all, with workers": _used_by_children() - before,
    }  # fmt: skip


def _adopt_orphans() -> None:
    """Become the parent of what a command leaves: the workers' fork server, for which the command does not wait."""
    subreaper = 36  # PR_SET_CHILD_SUBREAPER of Linux
    assert ctypes.CDLL(None).prctl(subreaper, 1, 0, 0, 0) == 0


def _wait_for_orphans() -> None:
    with suppress(ChildProcessError):
        while True:
            os.wait()


def _used_by_children() -> float:
    """Seconds of processor time of all descendants that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _when(line: Mapping[str, str]) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    _adopt_orphans()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        coadds(IMAGE, store=str(folder / "coadds.zarr"))
        write_visits([visit(visit=number) for number in range(1, 4)], folder / "visits.parquet")
        runs = [begun(folder, number) for number in range(options.repeat + 1)][1:]
    print("seconds from Enter: median (extremes)")
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"{name:36}{median(values):6.2f} ({min(values):.2f} to {max(values):.2f})")


if __name__ == "__main__":
    main()
