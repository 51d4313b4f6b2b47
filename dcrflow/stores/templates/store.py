"""The template store: one group a detector-visit, there as a whole or not at all.

A group without ``status`` is not a template. Each is written in a place of its own and then switched in
(`dcrflow.stores.templates.places`): a reader sees the old template or the new one, and so does the next run after a
crash anywhere in between. Writers of the same template take turns (`dcrflow.stores.locks`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr

from dcrflow.base.attributes import objects
from dcrflow.base.errors import TemplateStoreError
from dcrflow.base.masks import NO_DATA, planes_from_attributes
from dcrflow.stores.journal import Journal, entries, progress_of
from dcrflow.stores.journal_reader import JournalReader
from dcrflow.stores.locks import Held, locked
from dcrflow.stores.own_folder import describe_own
from dcrflow.stores.templates import failures
from dcrflow.stores.templates.damage import damaged_variables
from dcrflow.stores.templates.encoding import EncodedTemplate, encoded_status
from dcrflow.stores.templates.listing import all_entries, entries_of
from dcrflow.stores.templates.objects import remembered
from dcrflow.stores.templates.places import OWN, create_directory, place_for, restore
from dcrflow.stores.templates.reading import is_intact, open_template
from dcrflow.stores.templates.records import STATUSES, data_id, label_of, last_records, record_of, recorded
from dcrflow.stores.templates.records import TemplateRecord as TemplateRecord
from dcrflow.stores.templates.temporary_files import remove_leftovers
from dcrflow.stores.zarr.access import (
    group_attributes,
    is_occupied,
    is_path,
    keeps_only_zarr,
    location,
    open_root,
    refuse_zip,
    remedy,
    url_of,
    words_of,
)
from dcrflow.stores.zarr.remote import dependable

if TYPE_CHECKING:
    import xarray as xr

    from dcrflow.stores.templates.ends import JournalColumns

KIND, VERSION = "templates", 1


class TemplateStore:
    """A template store; safe to send to other processes. Make one with `create_or_open` or `open`, which look at it.

    Where it is unpickled no file is touched: that may fail, and dask gives a worker up that cannot unpickle.

    Parameters
    ----------
    store : str or zarr store
        Where it is, as zarr opens it.
    writable : bool
        Whether it is open for writing.
    synced : bool
        Whether a template must be on the disk before it takes an old one's place (directories only).
    """

    def __init__(self, store: Any, writable: bool, synced: bool = True) -> None:
        self._store = store
        self._writable = writable
        self._synced = synced

    @cached_property
    def _root(self) -> zarr.Group:
        return open_root(self._store, KIND, VERSION, TemplateStoreError, mode="r+" if self._writable else "r")

    @classmethod
    def open(cls, store: TemplateStore | Any) -> TemplateStore:
        """Open a template store for reading.

        Raises
        ------
        TemplateStoreError
            If there is no such store, or it is not a template store.

        Examples
        --------
        >>> import dcrflow
        >>> store = dcrflow.TemplateStore.open("survey/templates.zarr")
        >>> store.status(12, 3).status
        'complete'
        """
        return store if isinstance(store, cls) else cls(location(store), writable=False)._opened()

    @classmethod
    def create_or_open(cls, store: TemplateStore | Any, synced: bool | None = None) -> TemplateStore:
        """Open a template store for writing, or create it where nothing is.

        Parameters
        ----------
        store : TemplateStore, or anything that zarr opens
            Where it is.
        synced : bool, optional
            Whether a template must be on the disk before it takes an old one's place: otherwise a power cut may cost
            templates that were complete. As of `store`, or True.

        Raises
        ------
        TemplateStoreError
            If something else is there, or the place cannot be written.
        """
        if isinstance(store, cls):
            synced = store._synced if synced is None else synced
            if store._writable and store._synced == synced:
                return store
            return cls(store._store, writable=True, synced=synced)._opened()
        where = location(store)
        refuse_zip(where, TemplateStoreError)
        if keeps_only_zarr(where):
            raise TemplateStoreError(
                f"{url_of(where)}: templates cannot be written to a session of icechunk: many processes write them, "
                "each by itself, and a session keeps nothing until it is committed; give a folder or an object store"
            )
        try:
            attributes: dict[str, Any] = {"dcrflow": {"kind": KIND, "version": VERSION}}
            if is_path(where):
                create_directory(Path(where), attributes)
            elif not is_occupied(where):
                describe_own(zarr.create_group(dependable(where), zarr_format=3, attributes=attributes), OWN)
        except Exception as error:
            raise TemplateStoreError(
                f"cannot write templates to {url_of(where)}: {words_of(error)}; give a place that is writable and "
                "empty, or a template store"
            ) from error
        return cls(where, writable=True, synced=synced is not False)._opened()

    def _opened(self) -> TemplateStore:
        self._root  # noqa: B018, what it is not is said here
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return TemplateStore, (self._store, self._writable, self._synced)

    def __repr__(self) -> str:
        return f"<TemplateStore {self.url}>"

    def _repr_html_(self) -> str:
        from dcrflow.stores.templates.sketch import sketch

        return sketch(self.url, len(self.columns.journalled().visit), self.entries())

    @property
    def url(self) -> str:
        """Where it is."""
        return url_of(self._store)

    def write(self, template: xr.Dataset) -> TemplateRecord:
        """Write a template, its status last; one that is there already is replaced, if it is not the same.

        Parameters
        ----------
        template : xarray.Dataset
            As `dcrflow.steps.dataset.template_dataset` lays it out, in memory, with ``coverage`` among its attributes.

        Raises
        ------
        TemplateStoreError
            If the dataset lacks what makes a template, or the store cannot be written.
        """
        where = f"{self.url}: cannot write the template of {label_of(template.attrs)}"
        lacking = [n for n in ("visit", "detector") if n not in template.attrs]
        lacking += [n for n in ("image", "variance", "mask", "x", "y") if n not in template.variables]
        if lacking:
            raise TemplateStoreError(f"{where}: the dataset lacks {', '.join(lacking)}")
        planes = planes_from_attributes(template["mask"].attrs)
        if NO_DATA not in planes:
            raise TemplateStoreError(f"{where}: its mask has no plane {NO_DATA}, found {', '.join(planes) or 'none'}")
        visit, detector = int(template.attrs["visit"]), int(template.attrs["detector"])
        path = f"{visit}/{detector}"
        try:
            encoded = EncodedTemplate(template)
            with self._locked(visit, detector) as held:
                there = self._attributes(visit, detector)
                same = encoded.is_said_by(there)
                if not same or not self._is_sound(visit, detector):
                    with place_for(self._root, path, held, self._synced, same) as place:
                        for key, data in encoded.files(place.keys):
                            held()
                            place.add(key, data)
                        place.switch()
                failures.forget(self._root, failures.name_of(visit, detector))
                return recorded(visit, detector, encoded.about)
        except OSError as error:
            raise TemplateStoreError(f"{where}: {words_of(error)}{remedy(error)}") from error

    def write_status(
        self,
        visit: int,
        detector: int,
        status: str,
        attributes: Mapping[str, Any],
        error: Mapping[str, str] | None = None,
    ) -> TemplateRecord:
        """Write down a detector-visit that has no template.

        A complete template stays. If it was not made alike, a failure is kept beside it (see `failures`).

        Parameters
        ----------
        visit, detector : int
            The data ID; -1 where a table's row has none that can be read: each of its errors is kept for itself.
        status : {"no-overlap", "failed"}
            What became of it.
        attributes : mapping
            To keep with it; ``config_hash`` and ``inputs`` among them.
        error : mapping, optional
            ``type`` and ``message``.

        Raises
        ------
        TemplateStoreError
            If the store cannot be written.
        """
        if status not in STATUSES[1:]:
            raise ValueError(f"status {status!r} is not one of {', '.join(STATUSES[1:])}")
        attributes = {**attributes, "visit": visit, "detector": detector}
        if error is not None:
            attributes["error"] = dict(error)
        attributes["status"] = status
        name = failures.name_of(visit, detector, str((error or {}).get("message", "")))
        try:
            if min(visit, detector) < 0:
                failures.keep(self._root, name, attributes)
                return recorded(visit, detector, attributes)
            with self._locked(visit, detector) as held:
                found = self.status(visit, detector)
                wanted = str(attributes.get("config_hash", "")), str(attributes.get("inputs", ""))
                if found is not None and found.status == "complete" and found.matches(*wanted):
                    return found
                if found is not None and found.status == "complete" and status == "failed":
                    failures.keep(self._root, name, attributes)
                    return recorded(visit, detector, attributes)
                with place_for(self._root, f"{visit}/{detector}", held, self._synced) as place:
                    for key, data in encoded_status({**attributes, **remembered(place.before)}):
                        place.add(key, data)
                    place.switch()
                failures.forget(self._root, name)
                return recorded(visit, detector, attributes)
        except OSError as error:
            raise TemplateStoreError(
                f"{self.url}: cannot write the status of {label_of(attributes)}: {words_of(error)}{remedy(error)}"
            ) from error

    @contextmanager
    def _locked(self, visit: int, detector: int) -> Iterator[Held]:
        with locked(self._root, f"{visit}.{detector}") as held:
            restore(self._root, f"{visit}/{detector}", held)
            yield held

    def _attributes(self, visit: int, detector: int) -> dict[str, Any] | None:
        return group_attributes(self._root, [f"{visit}/{detector}"])[0]

    def _is_sound(self, visit: int, detector: int) -> bool:
        """Whether a complete template is undamaged."""
        try:
            return not self._damaged(visit, detector, (OSError,))  # a disk that hesitates says nothing against it
        except OSError:
            raise
        except Exception:  # metadata that are none
            return False

    def failures(self) -> list[TemplateRecord]:
        """Failures without a group: beside complete templates, and of rows whose data ID (then -1) cannot be read."""
        return failures.kept(self._root)

    def failure(self, visit: int, detector: int) -> TemplateRecord | None:
        """The failure beside a complete template, if there is one."""
        return failures.find(self._root, failures.name_of(visit, detector))

    def forget_rows(self) -> None:
        """Forget the failures of rows without a data ID: they are about to be looked at again."""
        failures.forget_rows(self._root)

    def remove_leftovers(self, visits: Iterable[int]) -> int:
        """Remove the temporary files of writers that were killed, of some visits; what a writer writes to it keeps."""
        return remove_leftovers(self._root, ["", ".dcrflow", ".dcrflow/locks", *map(str, visits)])

    def journal(self) -> Journal:
        """Begin the journal of a run."""
        return Journal(self._root)

    def progress(self) -> list[Mapping[str, Any]]:
        """The last progress that each run wrote down; see `dcrflow.campaign.alive`."""
        return progress_of(self._root)

    def journalled(self) -> tuple[dict[tuple[int, int], TemplateRecord], set[tuple[int, int]]]:
        """What the journals say: the last record of each (visit, detector), and all that any run was asked for.

        A template that was finished after its run had died is in the store and not in the journal. One of which two
        runs say different things is left out too: clocks do not tell which was later, the store does.
        """
        return last_records(entries(self._root))

    @property
    def columns(self) -> JournalColumns:
        """The journals without an object for each of a million templates."""
        from dcrflow.stores.templates.ends import JournalColumns

        return JournalColumns(self._root)

    def journal_reader(self) -> JournalReader:
        """A reader of the runs' journals, which may be growing."""
        return JournalReader(self._root)

    def complete_before(
        self, visit: Any, detector: Any, config_hash: str, now: Callable[[Sequence[tuple[int, int]], str], str],
        inputs: str, all_or_none: bool = False,
    ) -> Any:  # fmt: skip
        """Which of many data IDs the archived journals have as complete and unchanged; see `complete`."""
        from dcrflow.stores.templates.complete import complete_before

        return complete_before(self._root, visit, detector, config_hash, inputs, now, all_or_none)

    def timings(self) -> dict[tuple[int, int], dict[str, Any]]:
        """How long each (visit, detector) that a run made took, as the journals have it: ``seconds`` on the worker;
        ``steps``, seconds of work by step; ``patches``, seconds of reading by ``tract/patch``."""
        ended = (e for e in entries(self._root) if e.get("event") == "ended" and "seconds" in e)
        found = {data_id(e): {k: e.get(k) for k in ("seconds", "steps", "patches")} for e in ended}
        return {which: took for which, took in found.items() if which is not None}

    def status(self, visit: int, detector: int) -> TemplateRecord | None:
        """The record of a detector-visit; None if there is none. Takes one read of metadata."""
        attributes = self._attributes(visit, detector)
        return None if attributes is None else record_of(visit, detector, attributes)

    def is_intact(self, record: TemplateRecord) -> bool:
        """Whether the files of a complete template are all there and as long as they were; reads none of them."""
        return is_intact(self._root, f"{record.visit}/{record.detector}", record.stored_bytes)

    def records(self) -> Iterator[TemplateRecord]:
        """All detector-visits that have a status, by visit and detector; one metadata read each."""
        return map(_of_entry, self.entries())

    def records_of(self, data_ids: Iterable[tuple[int, int]]) -> Iterator[TemplateRecord]:
        """Those of some (visit, detector) that have a status; one metadata read each, many at a time."""
        return map(_of_entry, self.entries_of(data_ids))

    def entries(self) -> Iterator[dict[str, Any]]:
        """The attributes of all detector-visits that have a status, in the order of `records`, and as cheaply."""
        yield from all_entries(self._root)

    def entries_of(self, data_ids: Iterable[tuple[int, int]]) -> Iterator[dict[str, Any]]:
        """The same of some (visit, detector) only."""
        yield from entries_of(self._root, data_ids)

    def read(self, visit: int, detector: int) -> xr.Dataset:
        """Open a template, lazily.

        Raises
        ------
        TemplateStoreError
            If it is not there or not complete; says what it is.
        """
        attributes = self._attributes(visit, detector)
        record = None if attributes is None else record_of(visit, detector, attributes)
        if record is None or record.status != "complete":
            found = "missing" if record is None else record.status
            reason = f": {record.error['message']}" if record is not None and record.error else ""
            raise TemplateStoreError(
                f"{self.url}: the template of visit {visit} detector {detector} is {found}{reason}"
            )
        return open_template(self._root, f"{visit}/{detector}", attributes or {})

    def damaged(self, visit: int, detector: int) -> tuple[str, ...]:
        """Names of the variables of a complete template that are not, byte for byte, what was written.

        Among them is ``attributes`` if those of the template, or of one of its variables, are not, and ``layout`` if
        other metadata of a variable are not: its shape, dimensions, codecs and so on.

        Raises
        ------
        TemplateStoreError
            If there is no complete template.
        """
        return self._damaged(visit, detector, ())

    def _damaged(self, visit: int, detector: int, raised: tuple[type[Exception], ...]) -> tuple[str, ...]:
        """The same; some errors are raised, where others make a damaged variable."""
        digests = objects(self.read(visit, detector).attrs).get("crc32")
        known = digests if isinstance(digests, Mapping) else {}  # then that attribute is what is damaged
        return damaged_variables(self._root, f"{visit}/{detector}", known, raised)


def _of_entry(entry: Mapping[str, Any]) -> TemplateRecord:
    return recorded(entry["visit"], entry["detector"], entry)
