"""The template store: its layout, and that a template is there whole or not at all."""

import errno
import gc
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from watched import CrashError, WatchedStore
from zarr.storage import LocalStore, MemoryStore

from dcrflow.base.errors import TemplateStoreError
from dcrflow.base.masks import STANDARD_PLANES, flag_attributes
from dcrflow.stores import files, locks
from dcrflow.stores.locks import locked
from dcrflow.stores.templates import places, reading
from dcrflow.stores.templates.store import TemplateRecord, TemplateStore
from dcrflow.stores.zarr.regular_files import RegularFiles

PROVENANCE = {"config_hash": "c0ffee", "inputs": "coadds.zarr"}
OTHERS = {**PROVENANCE, "inputs": "others"}


def template(visit: int = 12, detector: int = 3, side: int = 40, psf: bool = False, seed: int = 0) -> xr.Dataset:
    """A template with noise for pixels, laid out as the store keeps it; its detector begins at (0, 0), border 20."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(side, side + 5)).astype(np.float32)
    image[0] = np.nan
    pixels = {
        "image": (("y", "x"), image, {"units": "nJy"}),
        "variance": (("y", "x"), rng.uniform(1, 2, image.shape).astype(np.float32), {"units": "nJy2"}),
        "mask": (("y", "x"), rng.integers(0, 256, image.shape, dtype=np.int32), flag_attributes(STANDARD_PLANES)),
    }
    if psf:
        pixels["psf"] = (("psf_node", "psf_y", "psf_x"), np.full((2, 5, 5), 0.04, np.float32), {})
        pixels["psf_node_x"] = (("psf_node",), np.array([0.0, 9.0]), {})
        pixels["psf_node_y"] = (("psf_node",), np.array([0.0, 9.0]), {})
    return xr.Dataset(
        pixels,
        coords={"x": np.arange(-20, side - 15), "y": np.arange(-20, side - 20)},
        attrs={
            "instrument": "TestCam", "visit": visit, "detector": detector, "band": "g", "units": "nJy",
            "bbox": [0, 0, side - 35, side - 40], "coverage": 0.75, "patches": [[7, 0], [7, 3]],
            "dcr": {"method": "spectral"}, "config": {"border": 20, "fill": "nan"}, **PROVENANCE,
        },
    )  # fmt: skip


def record(status: str = "complete", visit: int = 12, detector: int = 3, **changes: Any) -> TemplateRecord:
    values = {"coverage": 0.75 if status == "complete" else None, "error": None, **PROVENANCE}
    return TemplateRecord(visit, detector, status, **(values | changes))


@pytest.mark.parametrize("side", [40, 700])
def test_the_layout_is_the_contracts(side: int, tmp_path: Path) -> None:
    made = template(side=side, psf=True)
    assert TemplateStore.create_or_open(tmp_path / "t.zarr").write(made) == record()
    root = zarr.open_group(tmp_path / "t.zarr", mode="r")
    assert root.attrs.asdict() == {"dcrflow": {"kind": "templates", "version": 1}}
    with xr.open_zarr(tmp_path / "t.zarr", group="12/3", consolidated=False, chunks=None) as found:
        xr.testing.assert_equal(found, made)
        assert {str(n): v.dtype.str for n, v in found.variables.items()} == {
            "image": "<f4", "variance": "<f4", "mask": "<i4", "x": "<i8", "y": "<i8",
            "psf": "<f4", "psf_node_x": "<f8", "psf_node_y": "<f8",
        }  # fmt: skip
        assert set(found.coords) == {"x", "y"}
        assert found.x[0] == found.y[0] == -20
        assert found.mask.attrs == made.mask.attrs
        assert found.image.attrs == {"units": "nJy"}
        attributes = dict(found.attrs)
        assert attributes.pop("status") == "complete"
        assert set(attributes.pop("crc32")) == set(made.variables)
        assert attributes.pop("attributes_crc32") > 0
        assert attributes.pop("layout_crc32") > 0
        files = {n: [p.stat().st_size for p in (tmp_path / f"t.zarr/12/3/{n}/c").rglob("*") if p.is_file()] for n in
                 made.variables}  # fmt: skip
        assert attributes.pop("stored_bytes") == {n: sum(sizes) for n, sizes in files.items()}
        assert attributes == made.attrs
    for name in ("image", "variance", "mask"):
        array = root[f"12/3/{name}"]
        inner = [min(512, n) for n in array.shape]
        assert list(array.chunks) == inner
        assert list(array.shards) == [-(-n // c) * c for n, c in zip(array.shape, inner, strict=True)]
        assert "crc32c" in str(array.metadata.to_dict()["codecs"])
        assert np.isnan(array.fill_value) if name != "mask" else array.fill_value == 1 << STANDARD_PLANES["NO_DATA"]


def test_read_is_lazy_and_of_complete_templates_only() -> None:
    watched = WatchedStore()
    store = TemplateStore.create_or_open(watched)
    store.write(template())
    watched.watch.reads.clear()
    found = store.read(12, 3)
    assert not any("/image/c/" in key for key, *_ in watched.watch.reads)
    xr.testing.assert_equal(found.compute(), template())
    store.write_status(12, 4, "failed", PROVENANCE, error={"type": "OSError", "message": "no luck"})
    store.write_status(12, 5, "no-overlap", PROVENANCE)
    for detector, message in ((4, "is failed: no luck"), (5, "is no-overlap"), (6, "is missing")):
        with pytest.raises(TemplateStoreError, match=rf"visit 12 detector {detector} {message}"):
            store.read(12, detector)


def test_status_and_records() -> None:
    store = TemplateStore.create_or_open(MemoryStore())
    assert list(store.records()) == []
    assert store.status(12, 3) is None
    store.write(template(12, 10))
    store.write(template(12, 9))
    error = {"type": "NoOverlapError", "message": "not here"}
    assert store.write_status(3, 1, "no-overlap", PROVENANCE, error) == record("no-overlap", 3, 1, error=error)
    store.write_status(100, 1, "failed", {**PROVENANCE, "inputs": "others"}, {"type": "A", "message": "b"})
    assert [(r.visit, r.detector, r.status) for r in store.records()] == [
        (3, 1, "no-overlap"), (12, 9, "complete"), (12, 10, "complete"), (100, 1, "failed"),
    ]  # fmt: skip
    assert list(store.records()) == [store.status(r.visit, r.detector) for r in store.records()]
    found = store.status(12, 9)
    assert found is not None
    assert found.matches("c0ffee", "coadds.zarr")
    assert not found.matches("c0ffee", "others")
    assert not found.matches("other", "coadds.zarr")
    with pytest.raises(ValueError, match="status 'complete' is not one of no-overlap, failed"):
        store.write_status(3, 1, "complete", PROVENANCE)


def test_a_record_costs_one_read() -> None:
    watched = WatchedStore()
    store = TemplateStore.create_or_open(watched)
    for detector in range(5):
        store.write(template(12, detector))
    watched.watch.reads.clear()
    store.status(12, 3)
    assert [key for key, *_ in watched.watch.reads] == ["12/3/zarr.json"]
    watched.watch.reads.clear()
    assert len(list(store.records())) == 5
    assert sorted(key for key, *_ in watched.watch.reads) == [f"12/{d}/zarr.json" for d in range(5)]


def test_the_journal_remembers_what_was_asked_for_and_how_it_ended() -> None:
    store = TemplateStore.create_or_open(MemoryStore())
    assert store.journalled() == ({}, set())
    ended = {"config_hash": "c0ffee", "inputs": "coadds.zarr"}
    with store.journal() as journal:
        journal.add("requested", detector_visits={"12": [3, 4], "3": [1]})
        journal.add("ended", visit=12, detector=3, status="failed", error={"type": "A", "message": "b"}, **ended)
        journal.add("ended", visit=12, detector=4, status="complete", coverage=0.5, **ended)
    time.sleep(0.01)
    with store.journal() as journal:
        journal.add("requested", detector_visits={"12": [3]})
        journal.add("ended", visit=12, detector=3, status="complete", coverage=0.5, **ended)
    records, requested = store.journalled()
    assert requested == {(12, 3), (12, 4), (3, 1)}
    assert records == {(12, 4): record(detector=4, coverage=0.5)}  # of detector 3 the store itself is asked


def test_a_journal_cut_short_is_read_up_to_there(tmp_path: Path) -> None:
    store = TemplateStore.create_or_open(tmp_path / "t.zarr")
    with store.journal() as journal:
        journal.add("requested", detector_visits={"12": [3, 4]})
        journal.add("ended", visit=12, detector=3, status="complete", config_hash="c0ffee", inputs="coadds.zarr")
    (file,) = (tmp_path / "t.zarr" / ".dcrflow").glob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-20])
    assert store.journalled() == ({}, {(12, 3), (12, 4)})


def test_a_failure_does_not_undo_what_another_run_completed() -> None:
    store = TemplateStore.create_or_open(MemoryStore())
    store.write(template())
    assert store.write_status(12, 3, "failed", PROVENANCE, {"type": "A", "message": "b"}) == record()
    assert store.read(12, 3).status == "complete"
    other = {**PROVENANCE, "config_hash": "another"}
    assert store.write_status(12, 3, "failed", other, {"type": "A", "message": "b"}).status == "failed"
    assert store.read(12, 3).status == "complete"
    assert [r.config_hash for r in store.failures()] == ["another"]
    assert store.failure(12, 3) == store.failures()[0]
    store.write(template(seed=5))
    assert store.failures() == []


def test_failures_of_rows_without_a_data_id_are_kept_one_by_one() -> None:
    store = TemplateStore.create_or_open(MemoryStore())
    for row in (1, 2, 2):
        error = {"type": "VisitTableError", "message": f"row {row}: visit is 1.5"}
        assert store.write_status(-1, -1, "failed", PROVENANCE, error).status == "failed"
    assert sorted(r.error["message"] for r in store.failures()) == ["row 1: visit is 1.5", "row 2: visit is 1.5"]
    assert list(store.records()) == []
    store.forget_rows()
    assert store.failures() == []


def without_own(objects: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in objects.items() if not k.startswith(".dcrflow")}


def seed_of(store: TemplateStore) -> int:
    """Which of two templates is there, by its first pixel with data."""
    pixel = float(store.read(12, 3).image[1, 0])
    (seed,) = (s for s in (1, 2) if float(template(seed=s, psf=True).image[1, 0]) == pixel)
    return seed


@pytest.mark.parametrize("after", ["nothing", "a template", "a failure"])
@pytest.mark.parametrize("write", ["a template", "a failure"])
def test_a_crash_at_any_write_leaves_the_old_or_the_new(after: str, write: str) -> None:
    """Whatever was there and whichever write is the last: what was there, or the new one; then it works."""
    watched = WatchedStore()
    store = TemplateStore.create_or_open(watched)
    error = {"type": "A", "message": "b"}

    def put(what: str, seed: int) -> None:
        if what == "a template":
            store.write(template(seed=seed, psf=True))
        elif what == "a failure":
            store.write_status(12, 3, "failed", OTHERS, error)

    put(after, 1)
    before, old = dict(watched._store_dict), store.status(12, 3)
    failed = record("failed", inputs="others", error=error)
    expected = record("complete") if write == "a template" or after == "a template" else failed
    crashes = 0
    for crash_at in range(1000):
        watched._store_dict.clear()
        watched._store_dict.update(before)
        watched.watch.arm(crash_at)
        try:
            put(write, 2)
            break
        except CrashError:
            crashes += 1
            untouched = without_own(watched._store_dict) == without_own(before)
            assert untouched or (after, write) != ("a template", "a failure")  # which is kept beside it
            if untouched:
                assert store.status(12, 3) == old
            elif after == "a template" and write == "a template":
                assert store.read(12, 3).load().image.equals(template(seed=seed_of(store), psf=True).image)
            else:
                assert store.status(12, 3) in (old, expected)
        watched.watch.arm(None)
        put(write, 2)
        assert store.status(12, 3) == expected
        assert store.failures() == ([failed] if (after, write) == ("a template", "a failure") else [])
        assert write != "a template" or store.damaged(12, 3) == ()
    assert crashes >= (10 if write == "a template" else 2)
    assert (old is None) == (after == "nothing")


def test_the_same_again_leaves_all_as_it_is() -> None:
    """By a worker that repeats what one that died had done, and may die in the middle: nobody would do it again."""
    watched = WatchedStore()
    store = TemplateStore.create_or_open(watched)
    store.write(template(psf=True))
    before = {k: id(v) for k, v in watched._store_dict.items()}
    assert store.write(template(psf=True)) == record()
    assert {k: id(v) for k, v in watched._store_dict.items()} == before
    again = template(psf=True)
    again["variance"][3, 4] += 1
    assert store.write(again) == record()
    assert store.read(12, 3)["variance"][3, 4] == again["variance"][3, 4]


@pytest.mark.parametrize("name", ["image/c/0/0", "mask/zarr.json", "x/zarr.json", "zarr.json"])
def test_the_same_again_mends_what_is_damaged(name: str) -> None:
    memory = MemoryStore()
    store = TemplateStore.create_or_open(memory)
    store.write(template())
    before = dict(memory._store_dict)
    value = memory._store_dict[f"12/3/{name}"]
    for damaged in (None, b"", value.to_bytes()[:-9], b"x" + value.to_bytes()[1:]):
        if damaged is None:
            del memory._store_dict[f"12/3/{name}"]
        else:
            memory._store_dict[f"12/3/{name}"] = type(value).from_bytes(damaged)
        assert store.write(template()) == record()
        assert memory._store_dict == before


def test_the_same_again_does_not_replace_what_cannot_be_read_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TemplateStore.create_or_open(tmp_path / "t.zarr")
    store.write(template())
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    plain = RegularFiles.get

    async def failing(self: RegularFiles, key: str, *more: Any, **options: Any) -> Any:
        if key == "12/3/variance/c/0/0":
            raise OSError(errno.EIO, os.strerror(errno.EIO), key)
        return await plain(self, key, *more, **options)

    monkeypatch.setattr(RegularFiles, "get", failing)
    with pytest.raises(TemplateStoreError, match=r"cannot write the template of .* detector 3: .*Input/output error"):
        store.write(template())
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_what_was_opened_stays_what_it_was(tmp_path: Path) -> None:
    """In a directory: its files are kept open."""
    store = TemplateStore.create_or_open(tmp_path / "t.zarr")
    store.write(template(seed=1, psf=True))
    opened = store.read(12, 3)
    store.write(template(seed=2, psf=True))
    xr.testing.assert_equal(opened.load(), template(seed=1, psf=True))
    xr.testing.assert_equal(store.read(12, 3).load(), template(seed=2, psf=True))


@pytest.mark.parametrize("how", ["pickled", "many files open", "memory"])
def test_what_is_not_kept_is_an_error_once_it_was_replaced(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TemplateStore.create_or_open(MemoryStore() if how == "memory" else tmp_path / "t.zarr")
    store.write(template(seed=1))
    if how == "many files open":
        monkeypatch.setattr(reading, "_SHARE", 1 << 40)
    opened = store.read(12, 3)
    if how == "pickled":
        opened = pickle.loads(pickle.dumps(opened))
    xr.testing.assert_equal(opened.load(), template(seed=1))
    lazy = pickle.loads(pickle.dumps(store.read(12, 3))) if how == "pickled" else store.read(12, 3)
    store.write(template(seed=2))
    for name in ("image", "variance", "mask"):
        with pytest.raises(TemplateStoreError, match="template 12/3 was replaced or removed after it was opened"):
            lazy[name].compute()


def test_files_that_are_kept_open_are_closed(tmp_path: Path) -> None:
    store = TemplateStore.create_or_open(tmp_path / "t.zarr")
    store.write(template())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(40):
        store.read(12, 3).load()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= before + 1


def test_a_displaced_writer_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that stands still before any of its files, and goes on when another has written the template."""
    plain = places.FolderPlace.add
    for number in range(2 * len(template().variables) + 1):
        store = TemplateStore.create_or_open(tmp_path / f"{number}.zarr")
        store.write(template(seed=1))
        written = 0

        def add(place: places.FolderPlace, key: str, data: Any, number: int = number, store: Any = store) -> None:
            nonlocal written
            if written == number:
                with monkeypatch.context() as patched:
                    patched.setattr(places.FolderPlace, "add", plain)
                    patched.setattr(locks, "_is_dead", lambda _: True)
                    store.write(template(seed=2))
            written += 1
            plain(place, key, data)

        with monkeypatch.context() as patched:
            patched.setattr(places.FolderPlace, "add", add)
            with pytest.raises(TemplateStoreError, match="taken over by another writer"):
                store.write(template(seed=3))
        xr.testing.assert_equal(store.read(12, 3).load(), template(seed=2))
        assert store.damaged(12, 3) == ()
        assert not list((tmp_path / f"{number}.zarr/.dcrflow/locks").iterdir())


def test_where_two_folders_cannot_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the old one steps aside first; a writer that dies between the two has its old template put back."""
    monkeypatch.setattr(files, "exchange", lambda *_: False)
    store = TemplateStore.create_or_open(tmp_path / "t.zarr")
    for seed in (1, 2):
        store.write(template(seed=seed))
        xr.testing.assert_equal(store.read(12, 3).load(), template(seed=seed))
    plain, renamed = os.rename, []

    def rename(one: Any, other: Any) -> None:
        if renamed and renamed[-1].endswith("/old"):
            raise CrashError(str(one))
        renamed.append(str(other))
        plain(one, other)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", rename)
        with pytest.raises(CrashError):
            store.write(template(seed=3))
    assert store.status(12, 3) is None
    store.remove_leftovers([12])
    store.write_status(12, 3, "failed", PROVENANCE, {"type": "A", "message": "b"})
    assert store.status(12, 3) == record()
    xr.testing.assert_equal(store.read(12, 3).load(), template(seed=2))


def test_a_template_is_there_while_it_is_replaced() -> None:
    """What a reader sees while a template is written anew: the old one, then the new one."""
    seen: list[float | None] = []

    class Peeking(WatchedStore):
        async def set(self, key: str, value: Any, byte_range: Any = None) -> None:
            self._peek()
            await super().set(key, value, byte_range)

        def set_sync(self, key: str, value: Any) -> None:
            self._peek()
            super().set_sync(key, value)

        def _peek(self) -> None:
            found = self._store_dict.get("12/3/zarr.json")
            seen.append(None if found is None or b"status" not in found.to_bytes() else 1.0)

    peeking = Peeking()
    store = TemplateStore.create_or_open(peeking)
    store.write(template(seed=1))
    seen.clear()
    store.write(template(seed=2))
    assert seen[0] == 1.0
    assert set(seen) == {1.0}


def test_a_truncated_group_is_no_template(tmp_path: Path) -> None:
    store = TemplateStore.create_or_open(tmp_path / "t.zarr")
    store.write(template())
    metadata = tmp_path / "t.zarr" / "12" / "3" / "zarr.json"
    metadata.write_text(metadata.read_text()[:200])
    assert store.status(12, 3) is None
    assert list(store.records()) == []
    store.write(template())
    assert store.status(12, 3) == record()


@pytest.mark.parametrize("name", ["..", "../../..", "/", "zarr.json", "image/c", "none", "a\0b"])
def test_names_of_a_foreign_store_lead_nowhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the folders of the template are looked into."""
    store = TemplateStore.create_or_open(tmp_path / "t.zarr")
    made = store.write(template())
    assert store.is_intact(made)
    monkeypatch.setattr(reading, "files_below", lambda folder: pytest.fail(f"looks into {folder}"))
    assert not store.is_intact(replace(made, stored_bytes={**made.stored_bytes, name: None}))


@pytest.mark.parametrize("target", ["nowhere", "5"])
def test_a_link_to_nothing_or_to_itself_is_no_chunk(tmp_path: Path, target: str) -> None:
    store = TemplateStore.create_or_open(tmp_path / "t.zarr")
    made = store.write(template())
    (tmp_path / "t.zarr/12/3/image/c/5").symlink_to(target)
    assert not store.is_intact(made)


@pytest.mark.parametrize(("shape", "chunk"), [([10**15], 10**15), ([10**15], 1), ([10**9], 1)])
def test_a_variable_that_is_larger_than_any_template(shape: list[int], chunk: int, tmp_path: Path) -> None:
    store = TemplateStore.create_or_open(tmp_path / "t.zarr")
    store.write(template())
    path = tmp_path / "t.zarr/12/3/x/zarr.json"
    about = json.loads(path.read_text())
    about |= {"shape": shape, "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [chunk]}}}
    path.write_text(json.dumps(about))
    with pytest.raises(TemplateStoreError, match="x of the template 12/3 has shape"):
        store.read(12, 3)


def test_checksums_that_are_a_list_are_damage(tmp_path: Path) -> None:
    store = TemplateStore.create_or_open(tmp_path / "t.zarr")
    store.write(template())
    path = tmp_path / "t.zarr/12/3/zarr.json"
    about = json.loads(path.read_text())
    about["attributes"]["crc32"] = [1]
    path.write_text(json.dumps(about))
    assert store.damaged(12, 3) == ("attributes",)


def test_damage_is_found() -> None:
    memory = MemoryStore()
    store = TemplateStore.create_or_open(memory)
    store.write(template())
    assert store.damaged(12, 3) == ()
    del memory._store_dict["12/3/variance/c/0/0"]  # reads as NaN, without an error
    value = memory._store_dict["12/3/image/c/0/0"]
    data = bytearray(value.to_bytes())
    data[100] ^= 1
    memory._store_dict["12/3/image/c/0/0"] = type(value).from_bytes(bytes(data))
    assert sorted(store.damaged(12, 3)) == ["image", "variance"]


@pytest.mark.parametrize("how", ["removed", "emptied"])
@pytest.mark.parametrize("where", ["memory", "directory"])
def test_a_lost_shard_is_an_error_and_not_no_data(how: str, where: str, tmp_path: Path) -> None:
    memory = MemoryStore()
    store = TemplateStore.create_or_open(memory if where == "memory" else tmp_path / "t.zarr")
    store.write(template())
    found = store.read(12, 3)
    for name in ("image", "variance", "mask"):
        key, file = f"12/3/{name}/c/0/0", tmp_path / f"t.zarr/12/3/{name}/c/0/0"
        if where == "memory" and how == "removed":
            del memory._store_dict[key]
        elif where == "memory":
            memory._store_dict[key] = type(memory._store_dict[key]).from_bytes(b"")
        elif how == "removed":
            file.unlink()
        else:
            file.write_bytes(b"")
    found = store.read(12, 3) if where == "directory" else found  # whose files are kept open
    for name in ("image", "variance", "mask"):
        with pytest.raises(
            TemplateStoreError, match=f"pixels of {name} of the template 12/3 are lost: .*make it again"
        ):
            found[name].compute()
    assert set(store.damaged(12, 3)) == {"image", "variance", "mask"}


def test_a_variable_that_was_all_fill_value_has_no_chunks_and_reads_so(tmp_path: Path) -> None:
    store = TemplateStore.create_or_open(tmp_path / "t.zarr")
    empty = template()
    empty["image"][:] = np.nan
    empty["mask"][:] = 1 << STANDARD_PLANES["NO_DATA"]
    store.write(empty)
    assert not (tmp_path / "t.zarr/12/3/image/c").exists()
    xr.testing.assert_equal(store.read(12, 3).load(), empty)
    assert store.damaged(12, 3) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop_attrs(deep=False), r"visit \? detector \?: the dataset lacks visit, detector"),
        (lambda d: d.drop_vars(["mask", "x"]), r"visit 12 detector 3: the dataset lacks mask, x"),
        (lambda d: d.assign(mask=d.mask.drop_attrs()), r"its mask has no plane NO_DATA, found none"),
    ],
)
def test_what_is_no_template_is_refused_and_replaces_none(change: Any, message: str) -> None:
    store = TemplateStore.create_or_open(MemoryStore())
    store.write(template())
    with pytest.raises(TemplateStoreError, match=message):
        store.write(change(template()))
    assert store.status(12, 3) == record()


def test_opening(tmp_path: Path) -> None:
    path = tmp_path / "below" / "t.zarr"
    store = TemplateStore.create_or_open(path)
    assert TemplateStore.create_or_open(store) is store
    assert TemplateStore.open(store) is store
    assert repr(store) == f"<TemplateStore {path}>"
    store.write(template())
    for source in (path, str(path), LocalStore(path), zarr.open_group(path)):
        for opened in (TemplateStore.open(source), TemplateStore.create_or_open(source)):
            assert opened.status(12, 3) == record()
            assert opened.url == str(path)
            assert pickle.loads(pickle.dumps(opened)).status(12, 3) == record()
    assert TemplateStore.create_or_open(TemplateStore.open(path)).write(template()) == record()
    (tmp_path / "empty").mkdir()
    TemplateStore.create_or_open(tmp_path / "empty")


def test_what_is_no_template_store(tmp_path: Path) -> None:
    with pytest.raises(TemplateStoreError, match=r"none\.zarr does not exist"):
        TemplateStore.open(tmp_path / "none.zarr")
    (tmp_path / "file").write_text("")
    for place in ("file", "file/t.zarr"):
        with pytest.raises(TemplateStoreError, match=str(tmp_path / place)) as caught:
            TemplateStore.create_or_open(tmp_path / place)
        assert "\n" not in str(caught.value)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("")
    with pytest.raises(TemplateStoreError, match=r"precious is not a zarr \(format 3\) group"):
        TemplateStore.create_or_open(tmp_path / "precious")
    assert [p.name for p in (tmp_path / "precious").iterdir()] == ["thesis.tex"]
    with pytest.raises(TemplateStoreError, match="a zip file cannot be written in place"):
        TemplateStore.create_or_open(tmp_path / "t.zip")
    zarr.create_group(tmp_path / "c.zarr", attributes={"dcrflow": {"kind": "dcr-coadds", "version": 1}})
    for open_it in (TemplateStore.open, TemplateStore.create_or_open):
        with pytest.raises(TemplateStoreError, match="of kind 'dcr-coadds'; expected kind 'templates'"):
            open_it(tmp_path / "c.zarr")


def test_places_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", denied)
        with pytest.raises(TemplateStoreError, match=r"t\.zarr: PermissionError: .*Permission denied; give a place"):
            TemplateStore.create_or_open(tmp_path / "t.zarr")
    store = TemplateStore.create_or_open(tmp_path / "t.zarr")
    monkeypatch.setattr(os, "rename", denied)
    with pytest.raises(TemplateStoreError, match="cannot write the template of visit 12 detector 3: PermissionError"):
        store.write(template())
    with pytest.raises(TemplateStoreError, match="cannot write the status of visit 12 detector 3: PermissionError"):
        store.write_status(12, 3, "failed", PROVENANCE)


# locks ----------------------------------------------------------------------------------------------------------------


def lock_of(root: zarr.Group, content: dict[str, Any]) -> None:
    path = Path(root.store.root) / ".dcrflow" / "locks" / "12.3"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_writers_take_turns(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "t.zarr")
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(5):
            with locked(root, "12.3") as renew:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.005)
                renew()
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert not list((tmp_path / "t.zarr" / ".dcrflow" / "locks").iterdir())


def test_a_lock_of_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "t.zarr")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock_of(root, {"token": "a", "host": socket.gethostname(), "pid": dead.pid, "renewed": 0})
    with locked(root, "12.3", lease=1e9):
        pass


def test_a_lock_of_another_machine_is_taken_over_when_it_is_not_renewed(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "t.zarr")
    owner = {"token": "a", "host": "elsewhere", "pid": os.getpid(), "renewed": 0}
    lock_of(root, owner)
    done = threading.Event()

    def wait() -> None:
        with locked(root, "12.3", lease=0.6):
            done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    for renewed in range(1, 5):
        time.sleep(0.3)
        assert not done.is_set()
        lock_of(root, owner | {"renewed": renewed})
    assert done.wait(30)
    thread.join()


def test_a_writer_whose_lock_was_taken_stops(tmp_path: Path) -> None:
    """It has lost its place with it, and leaves the new owner's lock alone."""
    root = zarr.create_group(tmp_path / "t.zarr")
    with locked(root, "12.3") as first:
        (first.place / "new").mkdir()
        with locked(root, "12.3", lease=0.01) as second:
            with pytest.raises(TemplateStoreError, match="taken over by another writer"):
                first()
            assert not first.place.exists()
            assert [(path / "new").is_dir() for path in second.taken] == [True]
            second()
    assert not list((tmp_path / "t.zarr/.dcrflow/locks").iterdir())
    assert not list((tmp_path / "t.zarr/.dcrflow/trash").iterdir())


def test_a_lock_of_before_the_machine_was_started_anew_is_taken_over_at_once(tmp_path: Path) -> None:
    """Another process may have its number by now."""
    root = zarr.create_group(tmp_path / "t.zarr")
    with locked(root, "12.3") as held:
        owner = json.loads((held.place / "owner").read_text())
        owner["boot"] = "0 " + owner["boot"].partition(" ")[2]
        owner["pid"] = 1
        (held.place / "owner").write_text(json.dumps(owner))
        with locked(root, "12.3", lease=1e9) as second:
            second()


def test_of_many_waiting_for_a_dead_writers_lock_one_gets_it(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "t.zarr")
    inside, most, lock = [0], [0], threading.Lock()

    def work(number: int) -> None:
        barrier.wait(30)
        with locked(root, str(number)) as renew:
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
            time.sleep(0.002)
            with lock:
                inside[0] -= 1
            renew()

    for number in range(20):
        barrier = threading.Barrier(6)
        folder = tmp_path / "t.zarr/.dcrflow/locks"
        folder.mkdir(parents=True, exist_ok=True)
        owner = {"token": "f" * 32, "host": socket.gethostname(), "pid": 2**22 + 1, "renewed": 0}
        (folder / str(number)).write_text(json.dumps(owner))  # as an older version left it
        threads = [threading.Thread(target=work, args=(number,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1]
        assert not list(folder.iterdir())
