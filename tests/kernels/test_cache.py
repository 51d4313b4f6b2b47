"""Compiled kernels come from numba's cache, and out of it as they went in."""

import os
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from numba.core.dispatcher import Dispatcher

import dcrflow.kernels
from dcrflow.kernels.interpolation import INTERPOLATIONS
from dcrflow.kernels.warp import warp_kernel

FUSED = [i for i in INTERPOLATIONS.values() if i.weight is not None]
WARP = """
import numpy as np
from dcrflow.kernels.arrays import CoordinateGrid, MaskedImage
from dcrflow.kernels.interpolation import INTERPOLATIONS
from dcrflow.kernels.warp import warp_kernel, weight_table
spline5 = INTERPOLATIONS["spline5"]
image, mask = np.ones((40, 40), np.float32), np.zeros((40, 40), np.int32)
grid = CoordinateGrid(*np.mgrid[10:31:20, 10:31:20].astype(float), 20, 0, 0)
out = MaskedImage(*(np.empty((20, 20), dtype) for dtype in (np.float32, np.float32, np.int32)))
warp = warp_kernel(spline5)
warp(MaskedImage(image, image, mask), 0, 0, grid, weight_table(spline5), 256, out)
print(sum(warp.stats.cache_hits.values()), sum(warp.stats.cache_misses.values()), np.allclose(out.image, 1))
"""


def test_no_two_compiled_functions_have_the_same_name() -> None:
    """Numba's symbols are name, types and a number that each process counts for itself.

    A cache filled by two processes has, for two functions of one name, each under the other's symbol.
    """
    found = {}
    for module in iter_modules(dcrflow.kernels.__path__, "dcrflow.kernels."):
        for value in vars(import_module(module.name)).values():
            if isinstance(value, Dispatcher):
                found[id(value)] = f"{value.py_func.__module__}.{value.py_func.__qualname__}"
    found |= {id(w): f"{w.py_func.__module__}.{w.py_func.__qualname__}" for w in map(warp_kernel, FUSED)}
    assert len(found) > 15
    assert [name for name, times in Counter(found.values()).items() if times > 1] == []


def test_a_second_process_compiles_no_warp(tmp_path: Path) -> None:
    said = [
        subprocess.run(
            [sys.executable, "-c", WARP], env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}, text=True,
            check=True, capture_output=True,
        ).stdout.split()
        for _ in range(2)
    ]  # fmt: skip
    assert said == [["0", "1", "True"], ["1", "0", "True"]]
