"""Kept sums over visits: read back, or refused; a cell whose sums are gone is not made of new visits alone."""

import os
from pathlib import Path

import numpy as np
import pytest

from dcrflow.base.errors import CoaddStoreError
from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.sums import CellSums
from dcrflow.steps.coadd_scratch import load_sums, store_sums
from dcrflow.stores.coadds.builds import CoaddBuild, Made, _made
from dcrflow.stores.coadds.writer import create_coadds

CELL = CellGrid((100, 100), 64, 32, 16, 20).cells[0]


def kept(path: Path) -> Path:
    store_sums(path, CELL, CellSums.empty(3, CELL.box.width))
    return path


def test_sums_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = load_sums(kept(tmp_path / "0.npz"), CELL)
    assert found.visits == ()
    np.testing.assert_array_equal(found.count, CellSums.empty(3, CELL.box.width).count)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "spoil", [Path.unlink, cut, flip, pipe, lambda p: p.write_bytes(b""), lambda p: p.write_text("x")]
)
def test_lost_or_damaged_sums_are_refused(spoil, tmp_path: Path) -> None:
    path = kept(tmp_path / "0.npz")
    spoil(path)
    with pytest.raises(CoaddStoreError, match="gone or damaged, and nothing can be added"):
        load_sums(path, CELL)


def test_one_bit_of_the_sums(tmp_path: Path) -> None:
    """Whichever it is: an error, or the sums as they were; of the directory at the end, whose damage has many faces."""
    cell = CellGrid((16, 16), 12, 4, 2, 2).cells[0]
    store_sums(tmp_path / "0.npz", cell, CellSums.empty(3, cell.box.width))
    content, before = (tmp_path / "0.npz").read_bytes(), load_sums(tmp_path / "0.npz", cell)
    bits = np.random.default_rng(5).choice(8 * len(content), 300, replace=False).tolist()
    refused = 0
    for bit in bits + list(range(8 * (len(content) - 900), 8 * len(content), 31)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        (tmp_path / "1.npz").write_bytes(changed)
        try:
            found = load_sums(tmp_path / "1.npz", cell)
        except CoaddStoreError:
            refused += 1
            continue
        for name in ("normal", "right", "data", "weight", "count", "flags", "window"):
            np.testing.assert_array_equal(getattr(found, name), getattr(before, name), err_msg=f"bit {bit}")
        assert (found.total, found.visits) == (before.total, before.visits), f"bit {bit}"
    assert refused > 300


def test_one_bit_of_what_sums_were_made_of(tmp_path: Path) -> None:
    create_coadds(tmp_path / "c.zarr", "test")
    build = CoaddBuild.open(tmp_path / "c.zarr")
    folder = build.sums_folder(7, 0, "g")
    assert folder is not None
    made = Made("0" * 32, ((1, 2, "ab"),), ((1, 2, "cd"),), "0123456789abcdef")
    (folder / made.sums).mkdir(parents=True)
    build.complete_sums(7, 0, "g", made)
    about = folder / made.sums / "about.json"
    content = about.read_bytes()
    assert build.known_by_sums(7, 0, "g") == made
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        about.write_bytes(changed)
        assert build.known_by_sums(7, 0, "g") in (None, made), f"bit {bit}"


@pytest.mark.parametrize("name", ["../../..", "/etc", ["a"], 5, None])
def test_an_attribute_names_no_other_place(name: object) -> None:
    assert _made({"sums": name}).sums == ""
    assert _made({"sums": "0123456789abcdef"}).sums == "0123456789abcdef"
