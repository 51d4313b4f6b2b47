"""The temporary files of writers that were killed."""

import threading
from pathlib import Path
from uuid import uuid4

import pytest
from zarr.storage import MemoryStore

from dcrflow.stores.templates import temporary_files as leftovers
from dcrflow.stores.templates.store import TemplateStore


def test_what_killed_writers_leave_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what somebody is writing to is not, nor what is of other visits or called otherwise."""
    monkeypatch.setattr(leftovers, "_UNCHANGED", 0.3)
    out = tmp_path / "out.zarr"
    store = TemplateStore.create_or_open(str(out))
    assert store.remove_leftovers([1, 2]) == 0

    def file(folder: str, name: str = f"zarr.{uuid4().hex}.partial") -> Path:
        (out / folder).mkdir(parents=True, exist_ok=True)
        (out / folder / name).write_bytes(b"{")
        return out / folder / name

    dead = [file(""), file("1"), file("2"), file(".dcrflow/locks"), file(".dcrflow")]
    kept = [file("3"), file("1/2"), file("1", "zarr.json"), file("1", "my.partial")]
    live, over = file("1", f"x.{uuid4().hex}.partial"), threading.Event()

    def write() -> None:
        while not over.wait(0.02):
            with live.open("ab") as stream:
                stream.write(b"x")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert store.remove_leftovers([1, 2]) == len(dead)
    finally:
        over.set()
        writer.join()
    assert not any(path.exists() for path in dead)
    assert all(path.exists() for path in (*kept, live))


def test_where_there_are_no_files() -> None:
    assert TemplateStore.create_or_open(MemoryStore()).remove_leftovers([1]) == 0
