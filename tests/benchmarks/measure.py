"""How the benchmarks measure: interleaved repetitions, processor seconds, medians and their spread."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np


@dataclass(frozen=True)
class Timing:
    """Seconds of several runs, of processors (all threads, and children) and of the clock.

    The first hardly change on a busy machine; on one thread of a quiet one the two are the same.
    """

    cpu: tuple[float, ...]
    wall: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """Median of the processor seconds."""
        return median(self.cpu)

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s ({min(self.cpu):.2f} to {max(self.cpu):.2f})"

    def times(self, number: int) -> Timing:
        """Of `number` runs one after the other."""
        return Timing(tuple(number * s for s in self.cpu), tuple(number * s for s in self.wall))

    def plus(self, other: Timing) -> Timing:
        """Of one and then the other."""
        pairs = (self.cpu, other.cpu), (self.wall, other.wall)
        return Timing(*(tuple(a + b for a, b in zip(x, y, strict=True)) for x, y in pairs))

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def cpu_seconds() -> float:
    """Processor seconds of this process and of those it has waited for."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def once(function: Callable[[], object]) -> tuple[float, float]:
    """Processor and clock seconds of one run."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    function()
    return cpu_seconds() - cpu, time.perf_counter() - wall


def interleaved(functions: Mapping[str, Callable[[], object]], repeat: int) -> dict[str, Timing]:
    """Time several functions in turn, so that a slow minute of the machine strikes all of them."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for _ in range(repeat):
        for name, function in functions.items():
            found[name].append(once(function))
    return {name: Timing(*map(tuple, zip(*runs, strict=True))) for name, runs in found.items()}  # type: ignore[arg-type]


def ratio(slow: Timing, fast: Timing) -> str:
    """How many times as long, repetition by repetition: median, and extremes."""
    each = sorted(a / b for a, b in zip(slow.cpu, fast.cpu, strict=False))
    return f"{median(each):.3g} ({each[0]:.3g} to {each[-1]:.3g})"


def memory_bandwidth() -> float:
    """Bytes a second of one thread that copies 256 MB, read and written counted, the best of ten."""
    source = np.ones(1 << 25)
    target = np.empty_like(source)
    return 2 * source.nbytes / min(once(lambda: np.copyto(target, source))[1] for _ in range(10))


def peak_of(arguments: list[str]) -> float:
    """Peak resident memory, MB, of this program run with other arguments."""
    program = [sys.executable, str(Path(__file__).parent), *arguments]
    report = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        + ("print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
    )
    done = subprocess.run([sys.executable, "-c", report, *program], check=True, capture_output=True, text=True)
    return int(done.stdout) / 1024


def machine() -> str:
    """The machine's shape, in words."""
    model = "a processor"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{len(os.sched_getaffinity(0))} cores of {model}, {memory:.0f} GiB"
