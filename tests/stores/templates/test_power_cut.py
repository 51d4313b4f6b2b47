"""The power goes at any step of a write, or the process is killed, or the disk fails: no template is lost or wrong."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from power_cut import Disk, PowerCutError, everything, nothing, recorded, replaced, some
from test_templates import PROVENANCE, template

from dcrflow.base.errors import TemplateStoreError
from dcrflow.stores import files, locks
from dcrflow.stores.templates.store import TemplateStore

pytestmark = pytest.mark.slow

STEPS = 90  # of a write, about


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_TORN", 0.0)


WAYS = {
    "all names, no content": (everything, False),
    "nothing that was not synced": (nothing, False),
    "content, no names": (nothing, True),
    "some names, no content": (some(1), False),
    "some names and content": (some(2), True),
    "other names, no content": (some(3), False),
}


def small(seed: int) -> xr.Dataset:
    return template(side=41, seed=seed)


def state(out: Path) -> int | None:
    """Which template is there, by its seed; it must be whole."""
    store = TemplateStore.open(out)
    record = store.status(12, 3)
    if record is None:
        return None
    assert record.status == "complete"
    assert store.damaged(12, 3) == ()
    assert store.is_intact(record)
    found = store.read(12, 3).load()
    (seed,) = (s for s in (1, 2) if found.equals(small(s)))
    return seed


def is_mended(out: Path) -> None:
    """The same again, and nothing is left over."""
    store = TemplateStore.create_or_open(out)
    store.write(small(2))
    assert state(out) == 2
    store.remove_leftovers([12])
    assert not [p for p in (out / ".dcrflow/locks").iterdir() if p.name == "12.3"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", [None, 1])
def test_the_power_goes(way: str, before: int | None, tmp_path: Path) -> None:
    choose, content = WAYS[way]
    master = tmp_path / "master.zarr"
    store = TemplateStore.create_or_open(master)
    if before is not None:
        store.write(small(before))
    out = tmp_path / "out.zarr"
    seen = set()
    every = way == "all names, no content" and before is not None
    for last in [*range(0, STEPS, 2 if every else 13), 1000]:
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(master, out)
        disk = Disk(out)
        ended = True
        with recorded(disk, last):
            try:
                TemplateStore.create_or_open(out).write(small(2))
            except PowerCutError:
                ended = False
        disk.cut(tmp_path / "cut.zarr", choose, content)
        replaced(out, tmp_path / "cut.zarr")
        found = state(out)
        assert found in (before, 2), last
        assert found == 2 or not ended
        seen.add(found)
        is_mended(out)
        if ended:
            break
    assert seen == {before, 2}
    assert disk.steps > 60


def test_without_syncing_a_power_cut_may_cost_a_template(tmp_path: Path) -> None:
    """So the model of the disk can tell; and the next run sees it."""
    out = tmp_path / "out.zarr"
    TemplateStore.create_or_open(out).write(small(1))
    disk = Disk(out)
    with recorded(disk, 1000):
        TemplateStore.create_or_open(out, synced=False).write(small(2))
    disk.cut(tmp_path / "cut.zarr", everything, content=False)
    replaced(out, tmp_path / "cut.zarr")
    assert TemplateStore.open(out).status(12, 3) is None
    is_mended(out)


@pytest.mark.parametrize("before", [None, 1])
def test_killed_at_any_step(before: int | None, tmp_path: Path) -> None:
    """As `kill -9` does it: what was done stays done."""
    out = tmp_path / "out.zarr"
    for last in [*range(0, STEPS, 5), 1000]:
        shutil.rmtree(out, ignore_errors=True)
        store = TemplateStore.create_or_open(out)
        if before is not None:
            store.write(small(before))
        try:
            with recorded(Disk(out), last):
                store.write(small(2))
        except PowerCutError:
            assert state(out) in (before, 2)
            is_mended(out)
            continue
        break
    assert last > 60
    assert state(out) == 2


@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT, errno.ENOSPC, errno.EMFILE, errno.ESTALE])
@pytest.mark.parametrize("what", ["write", "fsync", "open", "rename", "mkdir"])
def test_a_disk_that_fails_at_any_step(number: int, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The template that was there stays, the error says what to do, and the next try works."""
    out = tmp_path / "out.zarr"
    store = TemplateStore.create_or_open(out)
    store.write(small(1))
    plain, calls, failing = getattr(os, what), 0, 0

    def fails(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(number, os.strerror(number), str(arguments[0]))
        return plain(*arguments, **options)

    for failing in range(1, 100, 23):
        calls = 0
        with monkeypatch.context() as patched:
            patched.setattr(os, what, fails)
            try:
                store.write(small(2))
                said = ""
            except TemplateStoreError as error:
                said = str(error)
        assert os.strerror(number) in said or state(out) == 2
        if calls < failing:
            break
        store.write(small(1))
        assert state(out) == 1
        assert not list((out / ".dcrflow/locks").iterdir())


def test_what_others_may_read_and_write_is_the_umasks(tmp_path: Path) -> None:
    for mask, mode in ((0o077, 0o600), (0o022, 0o644), (0o002, 0o664)):
        before = os.umask(mask)
        try:
            out = tmp_path / f"{mask}.zarr"
            TemplateStore.create_or_open(out).write(small(1))
        finally:
            os.umask(before)
        assert {p.stat().st_mode & 0o777 for p in out.rglob("*") if p.is_file()} == {mode}
        assert {p.stat().st_mode & 0o777 for p in out.rglob("*") if p.is_dir()} == {0o777 & ~mask}


@pytest.mark.parametrize(
    "name", ["a\nb.zarr", "50 %.zarr", "#1.zarr", "%2e%2e.zarr", "a;b&c.zarr", "-o.zarr", "ü☂.zarr"]
)
def test_any_name(name: str, tmp_path: Path) -> None:
    out = tmp_path / name
    TemplateStore.create_or_open(out).write(small(1))
    assert state(out) == 1
    assert [p.name for p in tmp_path.iterdir()] == [name]
    TemplateStore.create_or_open(out).write_status(12, 4, "failed", PROVENANCE, {"type": "A", "message": "b"})


def test_a_file_that_reads_back_as_another_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    files.write_new_file(path, b"abc" * 1000)
    files.check_file(path, b"abc" * 1000)
    for other in (b"abc" * 999, b"abc" * 1001, b"abd" + b"abc" * 999):
        with pytest.raises(OSError, match="again"):
            files.check_file(path, other)
    with pytest.raises(FileExistsError):
        files.write_new_file(path, b"")
    assert locks.FOLDER == ".dcrflow"
