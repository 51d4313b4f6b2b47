"""Of a directory, regular files are read, as zarr reads them; nothing else is."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.buffer.cpu import buffer_prototype
from zarr.storage import LocalStore

from dcrflow.compat.zarr_sync import sync
from dcrflow.stores.zarr.regular_files import RegularFiles

RANGES = None, RangeByteRequest(1, 4), RangeByteRequest(3, 99), OffsetByteRequest(2), SuffixByteRequest(3)


def content(found: Any) -> bytes | None:
    return None if found is None else bytes(found.to_bytes())


@pytest.mark.parametrize("part", RANGES)
def test_files_are_read_as_zarr_reads_them(part: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abcdefg")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("a")
    ours, theirs = RegularFiles(tmp_path, read_only=True), LocalStore(tmp_path, read_only=True)
    for key in ("a", "empty", "link", "folder", "none", "a/b"):
        expected = content(sync(theirs.get(key, buffer_prototype, part)))
        assert content(sync(ours.get(key, buffer_prototype, part))) == expected
        assert content(ours.get_sync(key, prototype=buffer_prototype, byte_range=part)) == expected
    several = sync(ours.get_partial_values(buffer_prototype, [("a", part), ("none", part)]))
    assert [content(found) for found in several] == [content(sync(theirs.get("a", buffer_prototype, part))), None]


@pytest.mark.parametrize("what", ["a link to /dev/zero", "a pipe"])
def test_what_is_no_regular_file_is_not_read(what: str, tmp_path: Path) -> None:
    if what == "a pipe":
        os.mkfifo(tmp_path / "a")
    else:
        (tmp_path / "a").symlink_to("/dev/zero")
    (tmp_path / "7").symlink_to(".")
    store = RegularFiles(tmp_path, read_only=True)
    for part in RANGES:
        with pytest.raises(ValueError, match="no regular file"):
            sync(store.get("a", buffer_prototype, part))
    with pytest.raises(ValueError, match=r"^7/a is no regular file"):
        store.get_sync("7/a")


def test_a_link_to_itself_has_nothing_in_it(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")

    async def names() -> list[str]:
        return [name async for name in RegularFiles(tmp_path, read_only=True).list_dir("a")]

    assert sync(names()) == []


def test_it_is_one_of_zarrs_stores(tmp_path: Path) -> None:
    group = zarr.open_group(RegularFiles(tmp_path / "new"), mode="w")
    group.create_array("a", data=np.arange(5), chunks=(2,))
    again = pickle.loads(pickle.dumps(RegularFiles(tmp_path / "new", read_only=True)))
    assert zarr.open_group(again, mode="r")["a"][...].tolist() == [0, 1, 2, 3, 4]
