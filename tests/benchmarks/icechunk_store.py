"""`python tests/benchmarks/icechunk_store.py`: a template as dcrflow writes it, and as a commit of icechunk; a table.

Both go to directories of the same disk. A file of a directory is a request to an object store.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import icechunk
import numpy as np
import xarray as xr
import zarr

from dcrflow.base.masks import STANDARD_PLANES, flag_attributes
from dcrflow.stores.templates.encoding import EncodedTemplate
from dcrflow.stores.templates.store import TemplateStore
from dcrflow.stores.zarr.arrays import write_array

SIDE, NUMBER = 2048, 12  # pixels of a template, templates


def template(visit: int) -> xr.Dataset:
    """One of noise, rounded to 16 steps a sigma as dcrflow stores them."""
    rng = np.random.default_rng(visit)
    image = np.round(rng.normal(size=(SIDE, SIDE)) * 16).astype(np.float32) / 16
    variance = np.full(image.shape, 1.0, np.float32)
    mask = np.zeros(image.shape, np.int32)
    return xr.Dataset(
        {
            "image": (("y", "x"), image),
            "variance": (("y", "x"), variance),
            "mask": (("y", "x"), mask, flag_attributes(STANDARD_PLANES)),
        },
        coords={"x": np.arange(SIDE), "y": np.arange(SIDE)},
        attrs={"visit": visit, "detector": 3, "config_hash": "a", "inputs": "b", "coverage": 1.0},
    )


def by_icechunk(repository: icechunk.Repository) -> Callable[[xr.Dataset], None]:
    """A commit for each template; it is made again on top of what others committed."""

    def write(made: xr.Dataset) -> None:
        session = repository.writable_session("main")
        group = zarr.open_group(session.store, mode="a").create_group(f"{made.attrs['visit']}/3")
        for name, variable in made.variables.items():
            write_array(group, str(name), tuple(map(str, variable.dims)), variable.values)
        group.attrs.update(EncodedTemplate(made).about)
        session.commit("a template", rebase_with=icechunk.ConflictDetector())

    return write


def files(folder: Path) -> tuple[int, int]:
    """How many, and their bytes."""
    sizes = [p.stat().st_size for p in folder.rglob("*") if p.is_file()]
    return len(sizes), sum(sizes)


def measured(write: Callable[[xr.Dataset], None], folder: Path) -> str:
    """Median seconds of a template, files and MB that it adds; seconds of the last over those of the second."""
    took, before = [], (0, 0)
    for visit in range(NUMBER):
        made = template(visit)
        if visit == 1:
            before = files(folder)
        began = time.perf_counter()
        write(made)
        took.append(time.perf_counter() - began)
    number, size = (b - a for a, b in zip(before, files(folder), strict=True))
    each = NUMBER - 1
    return (
        f"{statistics.median(took[1:]):.2f} | {number / each:.1f} | {size / each / 1e6:.2f} | {took[-1] / took[1]:.1f}"
    )


def main() -> None:
    """Print the table."""
    print("| store | s a template | files | MB | last over first |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for synced in (True, False):
            store = TemplateStore.create_or_open(folder / f"{synced}.zarr", synced=synced)
            label = "a directory" if synced else "a directory, `sync=false`"
            print(f"| {label} | {measured(store.write, folder / f'{synced}.zarr')} |", flush=True)
        place = folder / "ice"
        repository = icechunk.Repository.create(icechunk.local_filesystem_storage(str(place)))
        session = repository.writable_session("main")
        zarr.create_group(session.store)
        session.commit("begun")
        print(f"| icechunk, a commit a template | {measured(by_icechunk(repository), place)} |")


if __name__ == "__main__":
    main()
