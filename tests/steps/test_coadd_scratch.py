"""Kept sums over visits: read back, or refused; a cell whose sums are gone is not made of new visits alone."""

import os
from pathlib import Path

import numpy as np
import pytest

from dcrflow.base.errors import CoaddStoreError
from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.sums import CellSums
from dcrflow.steps.coadd_scratch import load_sums, store_sums
from dcrflow.stores.coadds.builds import _made

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


@pytest.mark.parametrize("name", ["../../..", "/etc", ["a"], 5, None])
def test_an_attribute_names_no_other_place(name: object) -> None:
    assert _made({"sums": name}).sums == ""
    assert _made({"sums": "0123456789abcdef"}).sums == "0123456789abcdef"
