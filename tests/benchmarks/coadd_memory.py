"""Peak memory of a worker that makes coadds from visits: one step in a process of its own.

python tests/benchmarks/coadd_memory.py warp|cell|stitch VISITS
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray


def measured(step: str, visits: int) -> float:
    """Peak of resident memory of a process that does one step, GiB."""
    command = [sys.executable, __file__, step, str(visits)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    """Do one step, and print the peak of resident memory, GiB."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from benchmarks import coadds

    step, number = sys.argv[1], int(sys.argv[2])
    with TemporaryDirectory() as folder:
        scene = coadds.scene_of_a_cell()
        visits = [coadds.visit_of(scene, n, number) for n in range(1 if step == "warp" else number)]
        if step == "warp":
            kept = coadds.warp_of(visits[0])()
        else:
            on_disk = [
                replace(v, image=_mapped(v.image, f"{folder}/{n}i.npy"), valid=_mapped(v.valid, f"{folder}/{n}v.npy"))
                for n, v in enumerate(visits)
            ]
            del visits
            kept = coadds.solve_of(scene, on_disk)()
            if step == "stitch":
                kept = coadds.stitched(kept)
        # not the peak of getrusage, which begins with what the parent had
        lines = Path("/proc/self/status").read_text().splitlines()
        print(int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20)
        assert kept is not None


def _mapped(array: NDArray[np.generic], path: str) -> NDArray[np.generic]:
    np.save(path, array)
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
