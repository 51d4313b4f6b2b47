"""Templates that are replaced while others write or read them: on file systems, in memory, and as objects of S3."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from test_templates import PROVENANCE, template
from watched import CrashError, WatchedStore
from zarr.storage import MemoryStore

from dcrflow.base.errors import TemplateStoreError
from dcrflow.compat.zarr_sync import sync
from dcrflow.stores import locks
from dcrflow.stores.templates import objects
from dcrflow.stores.templates.store import TemplateStore
from dcrflow.stores.zarr import conditional


def small(seed: int, **changes: Any) -> xr.Dataset:
    return template(side=41, seed=seed, **changes)


def plainly(store: Any, consolidated: bool | None = False) -> xr.Dataset:
    """A template as xarray opens it, without dcrflow."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the root has no consolidated metadata
        return xr.open_zarr(store, group="12/3", consolidated=consolidated, chunks=None)


def by_zarr(store: Any, expected: xr.Dataset) -> bool:
    """Whether zarr, by the group's metadata alone, finds a template's variables and no others."""
    group = zarr.open_group(store, path="12/3", mode="r")
    same = {n: np.array_equal(group[n][...], v, equal_nan=True) for n, v in expected.variables.items()}
    return set(group) == set(expected.variables) and all(same.values())


def objects_of_s3() -> Any:
    s3 = pytest.importorskip("obstore.store", reason="obstore is not installed (extra s3)")
    from zarr.storage import ObjectStore

    return ObjectStore(s3.MemoryStore())


STORES: dict[str, Callable[[], Any]] = {"zarr's memory": MemoryStore, "obstore": objects_of_s3}


@pytest.mark.parametrize("kind", STORES)
def test_replaced_again_and_again(kind: str) -> None:
    """Four times: each way to form keys is used, and the first again. Plain readers find the new one."""
    store = STORES[kind]()
    templates = TemplateStore.create_or_open(store)
    for seed in range(4):
        made = small(seed, psf=seed == 1)
        templates.write(made)
        xr.testing.assert_equal(templates.read(12, 3).load(), made)
        with plainly(store) as plain:
            xr.testing.assert_equal(plain.load(), made)
        assert by_zarr(store, made)
        assert templates.damaged(12, 3) == ()
    templates.write_status(12, 4, "failed", PROVENANCE, {"type": "A", "message": "b"})
    templates.write(small(1, detector=4))
    assert templates.damaged(12, 4) == ()
    templates.write_status(12, 4, "no-overlap", {**PROVENANCE, "inputs": "others"})
    assert [(r.detector, r.status) for r in templates.records()] == [(3, "complete"), (4, "no-overlap")]


@pytest.mark.parametrize("kind", [*STORES, "directory"])
def test_a_status_between_two_templates(kind: str, tmp_path: Path) -> None:
    """Who opened the template before it by plain zarr never reads the pixels of the one after it."""
    store = STORES[kind]() if kind in STORES else tmp_path / "t.zarr"
    templates = TemplateStore.create_or_open(store)
    old = None
    for seed in range(4):
        made = small(seed)
        templates.write(made)
        assert templates.damaged(12, 3) == ()
        if old is not None:
            with suppress(ValueError, RuntimeError):  # what cannot be decoded
                assert old.variance.isnull().all(), "the pixels of another template"
        old = plainly(store)
        for number in range(2):
            templates.write_status(12, 3, "no-overlap", {**PROVENANCE, "inputs": f"others {number}"})
    status = templates.status(12, 3)
    assert status is not None
    assert status.status == "no-overlap"


@pytest.mark.parametrize("kind", STORES)
@pytest.mark.parametrize("before", [None, 1])
def test_a_writer_that_stood_still_changes_nothing(
    kind: str, before: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any of its writes another writer takes its lock over and writes; then it goes on, and must not succeed.

    Its lock does not stop it here: what does is the store.
    """
    monkeypatch.setattr(locks._ObjectLock, "__call__", lambda self: None)
    plain, displaced, done, step = objects.sync, 0, False, 0
    while not done:
        store = STORES[kind]()
        templates = TemplateStore.create_or_open(store)
        if before is not None:
            templates.write(small(before))
        steps = 0

        def stands_still(request: Any, store: Any = store, step: int = step) -> Any:
            nonlocal steps
            steps += 1
            if steps == step + 1:
                monkeypatch.setattr(objects, "sync", plain)
                plain(zarr.open_group(store, mode="r+").store.delete(".dcrflow/locks/12.3"))
                TemplateStore.create_or_open(store).write(small(2))
                monkeypatch.setattr(objects, "sync", stands_still)
            return plain(request)

        monkeypatch.setattr(objects, "sync", stands_still)
        try:
            templates.write(small(3))
        except TemplateStoreError:
            displaced += 1
        monkeypatch.setattr(objects, "sync", plain)
        done = steps <= step
        step += 1
        after = TemplateStore.open(store)
        expected = small(3) if done or after.read(12, 3).equals(small(3)) else small(2)
        xr.testing.assert_equal(after.read(12, 3).load(), expected)
        assert by_zarr(store, expected)
        assert after.damaged(12, 3) == () or displaced
    assert displaced >= 7


def test_killed_at_any_request() -> None:
    """The old template or the new one; the same again finishes, whatever was left."""
    seen = set()
    for crash in range(60):
        store = WatchedStore()
        TemplateStore.create_or_open(store).write(small(1))
        store.watch.arm(crash)
        try:
            TemplateStore.create_or_open(store).write(small(2))
        except CrashError:
            store.watch.arm(None)
            found = TemplateStore.open(store).read(12, 3).load()
            seen.add(found.equals(small(2)))
            assert found.equals(small(1)) or found.equals(small(2))
            assert by_zarr(store, found)
            for seed in (2, 4):
                TemplateStore.create_or_open(store).write(small(seed))
                assert TemplateStore.open(store).damaged(12, 3) == ()
                xr.testing.assert_equal(TemplateStore.open(store).read(12, 3).load(), small(seed))
            continue
        break
    assert seen == {True, False}


@pytest.mark.parametrize("kind", ["directory", *STORES])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("consolidated", [None, False])
def test_plain_readers_get_the_old_one_or_an_error(
    kind: str, times: int, consolidated: bool | None, tmp_path: Path
) -> None:
    """What was opened with xarray alone is never read as the pixels of another template, and never as no data."""
    store = str(tmp_path / "out.zarr") if kind == "directory" else STORES[kind]()
    templates = TemplateStore.create_or_open(store)
    templates.write(small(0))
    opened = plainly(store, consolidated)
    np.testing.assert_array_equal(opened.image.isel(y=3).values, small(0).image.isel(y=3).values)
    for seed in range(times):
        templates.write(small(1 + seed))
    for name in ("image", "variance", "mask"):
        with pytest.raises(Exception, match=r"(?i)shard|index|short|empty|bytes|buffer"):
            opened[name].isel(y=4).load()
    opened.close()
    record = templates.status(12, 3)
    assert record is not None
    assert templates.is_intact(record)
    if kind == "directory":
        (lost,) = (
            p for p in Path(store, "12/3/mask").rglob("*") if p.name != "zarr.json" and p.is_file() and p.stat().st_size
        )
        lost.write_bytes(b"")
        assert not templates.is_intact(record)


@pytest.mark.parametrize("kind", ["directory", *STORES])
def test_a_store_opens_as_a_tree_without_warnings(kind: str, tmp_path: Path) -> None:
    """dcrflow's own folder is a group with nothing in it."""
    store = tmp_path / "out.zarr" if kind == "directory" else STORES[kind]()
    templates = TemplateStore.create_or_open(store)
    templates.write(small(1))
    templates.write(small(2))
    templates.write_status(13, 1, "failed", PROVENANCE, {"type": "A", "message": "b"})
    templates.write_status(12, 3, "failed", {**PROVENANCE, "inputs": "o"}, {"type": "A", "message": "b"})
    with templates.journal() as journal:
        journal.add("begun")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tree = xr.open_datatree(store, engine="zarr", consolidated=False, chunks=None)
        xr.testing.assert_equal(tree["12/3"].to_dataset(inherit=False).load(), small(2))
        tree.close()


def test_conditions() -> None:
    """What is written depends on what is there; the same again is no conflict."""
    for make in STORES.values():
        store = make()
        assert sync(conditional.look(store, "a/b")) == (None, None)
        assert sync(conditional.replace(store, "a/b", b"one", None))
        assert not sync(conditional.replace(store, "a/b", b"two", None))
        content, tag = sync(conditional.read_tagged(store, "a/b"))
        assert content == b"one"
        assert sync(conditional.replace(store, "a/b", b"three", tag))
        assert not sync(conditional.replace(store, "a/b", b"four", tag))
        assert sync(conditional.replace(store, "a/b", b"three", tag))
        assert sync(conditional.look(store, "a/b"))[0] == 5
