"""Whether the templates that journals tell of are there, with all their files: without reading the metadata of each.

The archive of a journal says how many bytes the pixels of each template took. The files of a survey's templates have
the same few names. So a ``stat`` of each of these names tells whether all are there and have so many bytes together.
Where that is not clear, the template's metadata are read, which say the bytes of each variable.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from dcrflow.stores.locks import directory_of
from dcrflow.stores.templates.ends import DataId, Ids, Journalled, among, distinct, id_columns, keys_of_ids
from dcrflow.stores.templates.layouts import Layout, Mapper, which_fit
from dcrflow.stores.templates.listing import data_ids_in, entries_of
from dcrflow.stores.templates.reading import files_below, is_intact
from dcrflow.stores.templates.records import TemplateRecord, recorded

State = Literal["whole", "cut short", "gone"]

_BATCH = 200_000  # templates looked at together, at most: as many as several processes have work for
_LAYOUTS = 4  # that are tried


def states(root: zarr.Group, said: Journalled) -> Iterator[tuple[int, int, State]]:
    """Look at the names and sizes of the files of all complete templates.

    In a directory, what the journals' archives tell takes one ``stat`` a file; other templates also a read of their
    metadata. In other stores, the former are only listed, one request a visit.

    Parameters
    ----------
    root : zarr.Group
        The store's root.
    said : Journalled
        What its journals say.

    Yields
    ------
    visit, detector : int
        The data ID, in order.
    state : {"whole", "cut short", "gone"}
        ``gone``: a journal says that it was written, and its group has no metadata that can be read.
    """
    there, told = data_ids_in(root), promised(said)
    visit, detector = distinct([there, told])
    written = _written(said, (visit, detector))
    listed, wanted = among((visit, detector), there), among((visit, detector), told)
    look, start, size = _Look(root), 0, 1
    while start < len(visit):
        some = slice(start, start + size)
        ids = list(zip(visit[some].tolist(), detector[some].tolist(), strict=True))
        whole = look.whole(ids, written[some], listed[some])
        found = look.one_by_one([i for i, known, is_there in zip(ids, whole, listed[some], strict=True)
                                 if is_there and not known])  # fmt: skip
        for data_id, known, is_wanted in zip(ids, whole, wanted[some].tolist(), strict=True):
            state: State | None = "whole" if known else found.get(data_id, "gone" if is_wanted else None)
            if state is not None:
                yield *data_id, state
        start, size = start + size, min(2 * size, _BATCH)


def promised(said: Journalled) -> tuple[Ids, Ids]:
    """Visit and detector of all that journals have as complete."""
    others = id_columns(which for which, record in said.records.items() if record.status == "complete")
    return distinct([(said.complete.visit, said.complete.detector), others])


def without(some: tuple[Ids, Ids], others: tuple[Ids, Ids]) -> list[DataId]:
    """The data IDs that are not among others."""
    left = ~among(some, others)
    return list(zip(some[0][left].tolist(), some[1][left].tolist(), strict=True))


def _written(said: Journalled, ids: tuple[Ids, Ids]) -> NDArray[np.int64]:
    """Bytes of the pixels of each, as archives say; -1 where they do not."""
    keys, of_complete = keys_of_ids(ids, (said.complete.visit, said.complete.detector))
    found = np.full(len(keys), -1, np.int64)
    found[np.searchsorted(keys, of_complete)] = np.nan_to_num(said.complete.numbers("written"), nan=-1)
    return found


class _Look:
    """Looks at templates of a store."""

    def __init__(self, root: zarr.Group) -> None:
        self._root, self._map = root, Mapper()
        self._folder = os.fspath(directory_of(root)) if isinstance(root.store, LocalStore) else None
        self._layouts: tuple[Layout, ...] = ()

    def whole(self, ids: Sequence[DataId], written: NDArray[np.int64], listed: NDArray[np.bool_]) -> list[bool]:
        """Which are whole for certain, by what archives say of their bytes."""
        known = listed & (written >= 0)
        if self._folder is None:
            return [bool(one) for one in known]
        places = np.flatnonzero(known).tolist() if self._layouts else []
        paths = ["{}/{}".format(*ids[place]) for place in places]
        fits = which_fit(self._folder, self._layouts, paths, written[places].tolist())
        found = dict(zip(places, fits, strict=True))
        return [found.get(place, False) for place in range(len(ids))]

    def one_by_one(self, ids: Sequence[DataId]) -> dict[DataId, State | None]:
        """The state of some that have a group, by its metadata; None of what is no complete template."""
        records = [recorded(e["visit"], e["detector"], e) for e in entries_of(self._root, ids)]
        complete = [record for record in records if record.status == "complete"]
        found: dict[DataId, State | None] = {(record.visit, record.detector): None for record in records}
        intact: list[State] = self._map(lambda record: "whole" if self._is_intact(record) else "cut short", complete)
        return found | {(r.visit, r.detector): state for r, state in zip(complete, intact, strict=True)}

    def _is_intact(self, record: TemplateRecord) -> bool:
        path = f"{record.visit}/{record.detector}"
        if not is_intact(self._root, path, record.stored_bytes):
            return False
        if self._folder is not None:
            self._learn(f"{self._folder}/{path}/")
        return True

    def _learn(self, folder: str) -> None:
        """Try the names of a template's files first, from now on."""
        try:
            files = [(os.fspath(path), path.stat().st_size) for path in files_below(folder)]
        except OSError:  # it was replaced meanwhile
            return
        layout = Layout.of((name.removeprefix(folder), size) for name, size in files)
        if layout is not None:
            self._layouts = (layout, *(other for other in self._layouts if other != layout))[:_LAYOUTS]
