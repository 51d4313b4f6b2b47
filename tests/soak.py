"""A long run in a hostile world: `uv run python tests/soak.py --visits 2000`.

Thousands of small detector-visits on a scheduler and workers in processes of their own; every few seconds a worker is
killed, and every so often a read or write fails in the middle of a template. Then the same without any of that. Printed
as it goes: what is done, the memory of client, scheduler and workers, and what was done to them; in the end, whether
memory grew, and whether the two outputs are the same, byte for byte.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from distributed import Client, WorkerPlugin
from scenes import coadds, stars, tan, visit
from zarr.storage import LocalStore

import dcrflow
from dcrflow.campaign import Progress, run_campaign
from dcrflow.campaign.verify import verify
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract

TROUBLE = 0.1  # of the templates have a read or write that fails
BOUND = {"client": 2.0, "scheduler": 2.0, "worker": 4.0}  # MiB that each may grow in 1,000 detector-visits
_CALLS = 100  # reads and writes of a template, about

TRACTS = tuple(
    Tract(number, tan(60.0, 60.0, ra=ra), Box(0, 0, 120, 120), (60, 60), 10, (2, 2))
    for number, ra in ((7, 53.0), (8, 53.002))
)


def make_survey(folder: Path, visits: int) -> tuple[Path, list[dcrflow.DetectorVisit]]:
    """Two tracts that overlap, in three subfilters, and detectors of 64 x 64 pixels on both."""
    coadds(stars(1, 8, TRACTS[0]), tracts=TRACTS, store=str(folder / "coadds.zarr"))
    box = Box(0, 0, 64, 64)
    rows = [
        visit(tan(32.0, 32.0, 360.0 * i / visits), box, altitude=40.0 + 45.0 * i / visits, visit=i)
        for i in range(visits)
    ]
    return folder / "coadds.zarr", rows


class FailingDisk(WorkerPlugin):
    """Reads and writes of the stores fail at random in the workers; each leaves a byte in a file.

    A worker that has begun to work writes its process ID beside it: what is killed before is, for dask, a worker that
    cannot be started, and is not started again.
    """

    name = "failing-disk"

    def __init__(self, rate: float, log: Path) -> None:
        self.rate, self.log = rate, log

    def setup(self, worker: Any) -> None:
        dice = random.Random(worker.address)
        with self.log.with_suffix(".pids").open("a") as file:
            file.write(f"{os.getpid()}\n")
        for name in ("_ensure_open", "_ensure_open_sync"):
            setattr(LocalStore, name, self._failing(getattr(LocalStore, name), dice))

    def _failing(self, plain: Any, dice: random.Random) -> Any:
        def call(store: LocalStore) -> Any:
            if dice.random() < self.rate:
                with self.log.open("ab") as file:
                    file.write(b"x")
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(store.root))
            return plain(store)

        return call


@dataclass
class Run:
    """What was seen of one run."""

    seen: list[tuple[float, int, dict[str, float]]] = field(default_factory=list)  # seconds, done, MiB by process
    kills: int = 0
    errors: int = 0
    worker_losses: int = 0
    done: int = 0
    done_at_kill: int = 0

    def growth(self, who: str) -> float:
        """MiB that a process grew in 1,000 detector-visits: a straight line through the second half of the run."""
        done = np.array([n for _, n, _ in self.seen])
        memory = np.array([m[who] for *_, m in self.seen])
        late = (done >= done.max() / 2) & (memory > 0)
        return float(np.polyfit(done[late], memory[late], 1)[0] * 1000) if late.sum() > 2 else 0.0


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[Client, psutil.Process, psutil.Process]]:
    """A client; the processes of a scheduler and of what starts the workers, and starts them again."""
    file = folder / "scheduler.json"
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])  # for FailingDisk
    environment = os.environ | {
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "10", "PYTHONPATH": here,
        "DASK_DISTRIBUTED__ADMIN__LOW_LEVEL_LOG_LENGTH": "100",  # as where dcrflow starts the scheduler
        "DASK_DISTRIBUTED__WORKER__PROFILE__CYCLE": "200ms",  # so many of them are full after 20 s, not 100
    }  # fmt: skip
    common = {"env": environment, "stdout": subprocess.DEVNULL}
    common_words = ["--scheduler-file", str(file), "--host", "127.0.0.1", "--no-dashboard"]
    started = []
    try:
        for words in (
            ["scheduler", *common_words, "--port", "0"],
            ["worker", *common_words, "--nworkers", f"{workers}"],
        ):
            command = [sys.executable, "-m", "dask", *words, *(["--nthreads", "1"] * (words[0] == "worker"))]
            with (folder / f"{words[0]}.log").open("ab") as log:
                started.append(subprocess.Popen(command, cwd=folder, stderr=log, **common))
        with dcrflow.connect(str(file)) as client:
            client.wait_for_workers(workers, timeout=120)
            yield client, psutil.Process(started[0].pid), psutil.Process(started[1].pid)
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(60)
        file.unlink(missing_ok=True)


def run(
    store: Path, rows: list[dcrflow.DetectorVisit], out: Path, *, kill_every: float, rate: float, show: bool = True
) -> Run:
    """One campaign, with a worker killed every `kill_every` seconds (never if 0) and reads and writes that fail."""
    found, log, over = Run(), out.with_suffix(".errors"), threading.Event()
    log.touch()
    dice = random.Random(3)
    with cluster(out.parent, 2) as (client, scheduler, nannies):
        if rate:
            client.register_plugin(FailingDisk(rate, log))

        def kill() -> None:
            while not over.wait(kill_every):
                begun = log.with_suffix(".pids")
                pids = set(map(int, begun.read_text().split())) if begun.exists() else set()
                victims = [worker for worker in _workers(nannies) if worker.pid in pids]
                if victims and found.done > found.done_at_kill:  # none lives too short a time for any work to be done
                    dice.choice(victims).kill()
                    found.done_at_kill = found.done
                    found.kills += 1

        def look(progress: Progress) -> None:
            found.done = done = sum(progress.done.values())
            if done < len(found.seen) * max(1, len(rows) // 40):
                return
            memory = {"client": _resident(psutil.Process()), "scheduler": _resident(scheduler)}
            memory["worker"] = max(map(_resident, _workers(nannies)), default=0.0)
            found.seen.append((progress.elapsed, done, memory))
            if show and len(found.seen) % 4 == 1:
                sizes = " ".join(f"{memory[who]:9.1f}" for who in BOUND)
                print(f"{progress.elapsed:7.0f} {done:6d} {sizes} {found.kills:6d} {log.stat().st_size:7d}", flush=True)

        if show:
            print(f"{'seconds':>7} {'done':>6} " + " ".join(f"{w:>9}" for w in BOUND) + f" {'kills':>6} {'errors':>7}")
        killer = threading.Thread(target=kill, daemon=True)
        if kill_every:
            killer.start()
        result = run_campaign(store, rows, out, client=client, retries=5, worker_retries=20, progress=look)
        over.set()
    assert result.ok, result.failures[:3]
    found.errors, found.worker_losses = log.stat().st_size, result.worker_losses
    return found


def soak(folder: Path, visits: int, kill_every: float, show: bool = True) -> tuple[dict[str, Run], list[str]]:
    """Both runs, and what is wrong after them, in words."""
    store, rows = make_survey(folder, visits)
    runs, wrong = {}, []
    for name, every, rate in (("hostile", kill_every, TROUBLE / _CALLS), ("undisturbed", 0.0, 0.0)):
        if show:
            print(f"\n{name}: {visits} detector-visits; memory in MiB, of workers the largest")
        runs[name] = run(store, rows, folder / f"{name}.zarr", kill_every=every, rate=rate, show=show)
        for who, bound in BOUND.items():
            grew = runs[name].growth(who)
            if show:
                print(f"{who} grew by {grew:.2f} MiB in 1,000 detector-visits (second half; bound {bound})")
            if grew > bound and (who != "worker" or not every):  # of workers that are killed, none lives for long
                wrong.append(f"{name}: the {who} grew by {grew:.2f} MiB in 1,000 detector-visits, more than {bound}")
    ours, theirs = (_contents(folder / f"{name}.zarr") for name in runs)
    if ours != theirs:
        differ = [k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)]
        wrong.append(f"{len(differ)} of {len(theirs)} files differ, as {sorted(differ)[0]}")
    wrong += [f"lock left: {p.name}" for p in (folder / "hostile.zarr" / ".dcrflow" / "locks").glob("*")]
    verdicts = list(verify(folder / "hostile.zarr"))
    wrong += [f"visit {v.visit}: {'; '.join(v.problems)}" for v in verdicts if v.problems]
    if len(verdicts) != visits:
        wrong.append(f"{len(verdicts)} templates of {visits}")
    return runs, wrong


def _contents(out: Path) -> dict[str, bytes]:
    files = (p for p in out.rglob("*") if p.is_file() and ".dcrflow" not in p.parts)
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in files}


def _workers(nannies: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in nannies.children(recursive=True):
        try:
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def _resident(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss / 2**20)
    except psutil.Error:
        return 0.0


def main() -> int:
    """The command."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--visits", type=int, default=2000)
    options.add_argument("--kill-every", type=float, default=5.0, help="seconds")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs, wrong = soak(Path(folder), chosen.visits, chosen.kill_every)
    hostile = runs["hostile"]
    print(
        f"\n{hostile.kills} workers killed, {hostile.errors} reads and writes failed, "
        f"{hostile.worker_losses} times a template lost its workers"
    )
    print("\n".join(wrong) or "the outputs are the same, byte for byte; verify finds nothing wrong; memory is flat")
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
