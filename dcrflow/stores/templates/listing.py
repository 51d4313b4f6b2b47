"""The detector-visits of a template store: the attributes of their groups, many read at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import batched
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from dcrflow.stores.templates.records import STATUSES
from dcrflow.stores.zarr.access import group_attributes, list_names

_BATCH = 1024  # groups looked up at a time
_MANY = 8  # detectors of a visit, on average, from which they are listed


def all_entries(root: zarr.Group) -> Iterator[dict[str, Any]]:
    """The attributes of all detector-visits that have a status, by visit and detector; one metadata read each."""
    visits = _numbers(list_names(root, [""])[0])
    for some in batched(visits, _BATCH):
        found = list_names(root, map(str, some))
        listed = ((v, d) for v, names in zip(some, found, strict=True) for d in _numbers(names))
        for few in batched(listed, _BATCH):
            yield from _entries(root, few)


def entries_of(root: zarr.Group, data_ids: Iterable[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """The attributes of those of some (visit, detector) that have a status, in their order; one metadata read each.

    Where many of a visit are asked for, its detectors are listed first, and those that are not there are not looked up.
    """
    for some in batched(data_ids, _BATCH):
        yield from _entries(root, _there(root, some))


def _entries(root: zarr.Group, data_ids: Sequence[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    paths = [f"{visit}/{detector}" for visit, detector in data_ids]
    for (v, d), attributes in zip(data_ids, group_attributes(root, paths), strict=True):
        if attributes is not None and attributes.get("status") in STATUSES:
            yield {**attributes, "visit": v, "detector": d}


def _there(root: zarr.Group, data_ids: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """Those of some data IDs that are listed, if they are many of each visit; all where nothing can be listed."""
    visits = sorted({visit for visit, _ in data_ids})
    if len(visits) * _MANY > len(data_ids):
        return data_ids
    try:
        found = list_names(root, map(str, visits))
    except Exception:  # of a web server that shows no directories; clients of stores have classes of their own
        return data_ids
    names = {v: set(some) for v, some in zip(visits, found, strict=True)}
    return [(v, d) for v, d in data_ids if str(d) in names[v]]


def data_ids_in(root: zarr.Group) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Visit and detector of all groups that may have a status, in order; by names only, one listing a visit."""
    visits, detectors = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for some in batched(_numbers(list_names(root, [""])[0]), _BATCH):
        for visit, names in zip(some, list_names(root, map(str, some)), strict=True):
            here = [number for number in _numbers(names) if max(visit, number) < 1 << 63]
            visits.append(np.full(len(here), visit if here else 0, np.int64))
            detectors.append(np.array(here, np.int64))
    return np.concatenate(visits), np.concatenate(detectors)


def _numbers(names: Iterable[str]) -> list[int]:
    return sorted(int(n) for n in names if n.isdecimal())
