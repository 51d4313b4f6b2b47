"""What is looked up of many detector-visits."""

from __future__ import annotations

from typing import Any

import pytest
import zarr
from zarr.storage import MemoryStore

from dcrflow.stores.templates import listing


@pytest.mark.parametrize(("asked", "looked_up"), [(range(100), 3), (range(5), 5)], ids=["many", "few"])
def test_detectors_that_are_not_there(asked: range, looked_up: int, monkeypatch: pytest.MonkeyPatch) -> None:
    root = zarr.create_group(MemoryStore())
    for detector in (2, 3, 70):
        root.create_group(f"1/{detector}", attributes={"status": "complete"})
    paths: list[str] = []
    attributes = listing.group_attributes

    def counted(root: zarr.Group, some: list[str]) -> Any:
        paths.extend(some)
        return attributes(root, some)

    monkeypatch.setattr(listing, "group_attributes", counted)
    found = [e["detector"] for e in listing.entries_of(root, ((1, d) for d in asked))]
    assert found == [d for d in (2, 3, 70) if d in asked]
    assert len(paths) == looked_up
    paths.clear()
    assert list(listing.entries_of(root, ((visit, 3) for visit in range(5, 105)))) == []
    assert len(paths) == 100, "one of each visit is not worth a listing"


def test_a_store_that_lists_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    root = zarr.create_group(MemoryStore())
    root.create_group("1/2", attributes={"status": "complete"})

    def unlisted(*_: object) -> list[list[str]]:
        raise OSError("this store cannot be listed")

    monkeypatch.setattr(listing, "list_names", unlisted)
    assert [e["detector"] for e in listing.entries_of(root, ((1, d) for d in range(100)))] == [2]


def test_all_are_listed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    root = zarr.create_group(MemoryStore())
    for detector in range(20):
        root.create_group(f"1/{detector}", attributes={"status": "complete"})
    listed: list[str] = []
    names = listing.list_names
    monkeypatch.setattr(listing, "list_names", lambda root, some: names(root, [listed.append(p) or p for p in some]))
    assert [e["detector"] for e in listing.all_entries(root)] == list(range(20))
    assert listed == ["", "1"]
