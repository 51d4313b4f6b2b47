"""The template store: one group a detector-visit, its status written last.

A group without ``status`` is not a template. To write one, the arrays go in first, then all attributes, the status
among them, in a single write of the group's metadata: a reader sees a whole template or none, and so does the next run
after a crash anywhere in between. Writers of the same template take turns (`dcrflow.stores.locks`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import batched, islice
from typing import Any
from zlib import crc32

import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray

from dcrflow.base.addresses import redacted
from dcrflow.base.attributes import is_number
from dcrflow.base.errors import TemplateStoreError
from dcrflow.base.masks import NO_DATA, planes_from_attributes
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import sketched
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.stores.journal import Journal, entries
from dcrflow.stores.locks import locked
from dcrflow.stores.templates.temporary_files import remove_leftovers
from dcrflow.stores.zarr.access import (
    group_attributes,
    is_occupied,
    list_names,
    location,
    open_root,
    refuse_zip,
    remedy,
    url_of,
    words_of,
)
from dcrflow.stores.zarr.arrays import write_array
from dcrflow.stores.zarr.remote import dependable
from dcrflow.view import accessor as accessor  # what is read has `template.dcrflow`
from dcrflow.view.cards import Shape, card

KIND, VERSION = "templates", 1
STATUSES = ("complete", "no-overlap", "failed")


@dataclass(frozen=True)
class TemplateRecord:
    """What the store says of a detector-visit, without its pixels.

    Parameters
    ----------
    visit, detector : int
        The data ID.
    status : str
        ``complete``, ``no-overlap`` or ``failed``.
    coverage : float or None
        Fraction of the detector's own pixels that have data.
    config_hash, inputs : str
        Under which configuration, from which coadds.
    error : mapping or None
        ``type`` and ``message`` of what went wrong.
    took : mapping
        Seconds by step and patch, told to who had it made; kept in the journal, not with the template, whose bytes
        are the same whoever makes it.
    damage : tuple of str
        The chunks of the coadds that could not be read, and that the template has NO_DATA for.
    """

    visit: int
    detector: int
    status: str
    coverage: float | None
    config_hash: str
    inputs: str
    error: Mapping[str, str] | None
    took: Mapping[str, Any] = field(default_factory=dict, compare=False)
    damage: tuple[str, ...] = ()

    def matches(self, config_hash: str, inputs: str) -> bool:
        """Whether it was made under this configuration and from these coadds."""
        return (self.config_hash, self.inputs) == (config_hash, inputs)


class TemplateStore:
    """A template store; safe to send to other processes. Make one with `create_or_open` or `open`, which look at it.

    Where it is unpickled no file is touched: that may fail, and dask gives a worker up that cannot unpickle.

    Parameters
    ----------
    store : str or zarr store
        Where it is, as zarr opens it.
    writable : bool
        Whether it is open for writing.
    """

    def __init__(self, store: Any, writable: bool) -> None:
        self._store = store
        self._writable = writable

    @cached_property
    def _root(self) -> zarr.Group:
        return open_root(self._store, KIND, VERSION, TemplateStoreError, mode="r+" if self._writable else "r")

    @classmethod
    def open(cls, store: TemplateStore | Any) -> TemplateStore:
        """Open a template store for reading.

        Raises
        ------
        TemplateStoreError
            If there is no such store, or it is none of templates.

        Examples
        --------
        >>> import dcrflow
        >>> store = dcrflow.TemplateStore.open("survey/templates.zarr")
        >>> store.status(12, 3).status
        'complete'
        """
        return store if isinstance(store, cls) else cls(location(store), writable=False)._opened()

    @classmethod
    def create_or_open(cls, store: TemplateStore | Any) -> TemplateStore:
        """Open a template store for writing, or create it where nothing is.

        Raises
        ------
        TemplateStoreError
            If something else is there, or the place cannot be written.
        """
        if isinstance(store, cls):
            return store if store._writable else cls(store._store, writable=True)._opened()
        where = location(store)
        refuse_zip(where, TemplateStoreError)
        try:
            if not is_occupied(where):
                attributes: dict[str, Any] = {"dcrflow": {"kind": KIND, "version": VERSION}}
                zarr.create_group(dependable(where), zarr_format=3, attributes=attributes)
        except Exception as error:
            raise TemplateStoreError(
                f"cannot write templates to {url_of(where)}: {words_of(error)}; give a place that is writable and "
                "empty, or a template store"
            ) from error
        return cls(where, writable=True)._opened()

    def _opened(self) -> TemplateStore:
        self._root  # noqa: B018, what it is not is said here
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return TemplateStore, (self._store, self._writable)

    def __repr__(self) -> str:
        return f"<TemplateStore {self.url}>"

    def _repr_html_(self) -> str:
        entries = list(islice(self.entries(), _SKETCHED))
        counts = Counter(str(e["status"]) for e in entries)
        first = f" among the first {_SKETCHED}" if len(entries) == _SKETCHED else ""
        rows = {
            "asked for": f"{len(self.requested())} detector-visits",
            "status": ", ".join(f"{n} {status}" for status, n in sorted(counts.items())) + first,
        }
        return card(f"templates {self.url}", rows, (s for e in entries if (s := _shape(e)) is not None))

    @property
    def url(self) -> str:
        """Where it is."""
        return url_of(self._store)

    def write(self, template: xr.Dataset) -> TemplateRecord:
        """Write a template, its status last; one that is there already is replaced, if it is not the same.

        (Were the same written again, it would be lost with a writer that dies meanwhile: one that does what was done
        before, because the worker that did it has died since, and that nobody waits for any more.)

        Parameters
        ----------
        template : xarray.Dataset
            As `dcrflow.steps.dataset.template_dataset` lays it out, in memory, with ``coverage`` among its attributes.

        Raises
        ------
        TemplateStoreError
            If the dataset lacks what makes a template, or the store cannot be written.
        """
        where = f"{self.url}: cannot write the template of {_label(template.attrs)}"
        lacking = [n for n in ("visit", "detector") if n not in template.attrs]
        lacking += [n for n in ("image", "variance", "mask", "x", "y") if n not in template.variables]
        if lacking:
            raise TemplateStoreError(f"{where}: the dataset lacks {', '.join(lacking)}")
        planes = planes_from_attributes(template["mask"].attrs)
        if NO_DATA not in planes:
            raise TemplateStoreError(f"{where}: its mask has no plane {NO_DATA}, found {', '.join(planes) or 'none'}")
        visit, detector = int(template.attrs["visit"]), int(template.attrs["detector"])
        try:
            values = {str(name): np.asarray(variable.values) for name, variable in template.variables.items()}
            said = {str(n): {**v.attrs, **_coordinates(template, str(n))} for n, v in template.variables.items()}
            digests = {name: _digest(array) for name, array in values.items()}
            about = {**template.attrs, "crc32": digests, "status": "complete"}
            about["attributes_crc32"] = _digest_of_words(about, said)
            with locked(self._root, f"{visit}.{detector}") as renew:
                there = self._attributes(visit, detector)
                if there != json.loads(json.dumps(about)) or not self._is_sound(visit, detector):
                    group = self._fresh(visit, detector, there)
                    for name, array in values.items():
                        renew()
                        fill = 1 << planes[NO_DATA] if name == "mask" else np.nan if array.dtype.kind == "f" else 0
                        dims = tuple(str(d) for d in template.variables[name].dims)
                        write_array(group, name, dims, array, fill=fill, attributes=said[name])
                    renew()
                    group.update_attributes(about)
                return _recorded(visit, detector, about)
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
        """Write down a detector-visit that has no template; one that is there, complete and made alike, stays.

        Parameters
        ----------
        visit, detector : int
            The data ID.
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
            raise ValueError(f"status {status!r} is none of {', '.join(STATUSES[1:])}")
        attributes = {**attributes, "visit": visit, "detector": detector}
        if error is not None:
            attributes["error"] = dict(error)
        attributes["status"] = status
        try:
            with locked(self._root, f"{visit}.{detector}"):
                there = self._attributes(visit, detector)
                found = None if there is None else _record(visit, detector, there)
                wanted = str(attributes.get("config_hash", "")), str(attributes.get("inputs", ""))
                if found is not None and found.status == "complete" and found.matches(*wanted):
                    return found
                self._fresh(visit, detector, there).update_attributes(attributes)
                return _recorded(visit, detector, attributes)
        except OSError as error:
            raise TemplateStoreError(
                f"{self.url}: cannot write the status of {_label(attributes)}: {words_of(error)}{remedy(error)}"
            ) from error

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

    def _fresh(self, visit: int, detector: int, there: Mapping[str, Any] | None) -> zarr.Group:
        """An empty group without status; what was there, with the attributes given, loses its status first."""
        path = f"{visit}/{detector}"
        if there:
            self._root.require_group(path).attrs.put({})
        return self._root.create_group(path, overwrite=True)

    def remove_leftovers(self, visits: Iterable[int]) -> int:
        """Remove the temporary files of writers that were killed, of some visits; what a writer writes to it keeps."""
        return remove_leftovers(self._root, ["", ".dcrflow", ".dcrflow/locks", *map(str, visits)])

    def journal(self) -> Journal:
        """Begin the journal of a run."""
        return Journal(self._root)

    def journalled(self) -> tuple[dict[tuple[int, int], TemplateRecord], set[tuple[int, int]]]:
        """What the journals say: the last record of each (visit, detector), and all that any run was asked for.

        A template that was finished after its run had died is in the store and not in the journal. One of which two
        runs say different things is left out too: clocks do not tell which was later, the store does.
        """
        last: dict[tuple[int, int], tuple[str, TemplateRecord]] = {}
        unclear: set[tuple[int, int]] = set()
        requested: set[tuple[int, int]] = set()
        for entry in entries(self._root):
            if entry.get("event") == "requested":
                requested.update(_asked_for(entry.get("detector_visits")))
            elif entry.get("event") == "ended":
                data_id, run = _data_id(entry), str(entry["run"])
                record = None if data_id is None else _record(*data_id, entry)
                if data_id is None or record is None:
                    continue
                if data_id in last and last[data_id][0] != run and last[data_id][1] != record:
                    unclear.add(data_id)
                last[data_id] = run, record
        return {data_id: record for data_id, (_, record) in last.items() if data_id not in unclear}, requested

    def timings(self) -> dict[tuple[int, int], dict[str, Any]]:
        """How long each (visit, detector) that a run made took, as the journals have it.

        Returns
        -------
        dict
            ``seconds`` from submission to end; ``steps``, seconds of work by step; ``patches``, seconds of reading by
            ``tract/patch``.
        """
        ended = (e for e in entries(self._root) if e.get("event") == "ended" and "seconds" in e)
        found = {_data_id(e): {k: e.get(k) for k in ("seconds", "steps", "patches")} for e in ended}
        return {data_id: took for data_id, took in found.items() if data_id is not None}

    def requested(self) -> set[tuple[int, int]]:
        """The (visit, detector) that any run was asked for."""
        return self.journalled()[1]

    def status(self, visit: int, detector: int) -> TemplateRecord | None:
        """What the store says of a detector-visit; None if nothing (complete) is there. One metadata read."""
        attributes = self._attributes(visit, detector)
        return None if attributes is None else _record(visit, detector, attributes)

    def records(self) -> Iterator[TemplateRecord]:
        """All detector-visits that have a status, by visit and detector; one metadata read each, many at a time."""
        return map(_record_of, self.entries())

    def records_of(self, data_ids: Iterable[tuple[int, int]]) -> Iterator[TemplateRecord]:
        """Those of some (visit, detector) that have a status; one metadata read each, many at a time."""
        return map(_record_of, self.entries_of(data_ids))

    def entries(self) -> Iterator[dict[str, Any]]:
        """The attributes of all detector-visits that have a status, in the order of `records`, and as cheaply."""
        visits = _numbers(list_names(self._root, [""])[0])
        for some in batched(visits, _BATCH):
            found = list_names(self._root, map(str, some))
            yield from self.entries_of((v, d) for v, names in zip(some, found, strict=True) for d in _numbers(names))

    def entries_of(self, data_ids: Iterable[tuple[int, int]]) -> Iterator[dict[str, Any]]:
        """The same of some (visit, detector) only."""
        for few in batched(data_ids, _BATCH):
            for (v, d), attributes in zip(few, group_attributes(self._root, _paths(few)), strict=True):
                if attributes is not None and attributes.get("status") in STATUSES:
                    yield {**attributes, "visit": v, "detector": d}

    def read(self, visit: int, detector: int) -> xr.Dataset:
        """Open a template, lazily.

        Raises
        ------
        TemplateStoreError
            If it is not there or not complete; says what it is.
        """
        record = self.status(visit, detector)
        if record is None or record.status != "complete":
            found = "missing" if record is None else record.status
            reason = f": {record.error['message']}" if record is not None and record.error else ""
            raise TemplateStoreError(
                f"{self.url}: the template of visit {visit} detector {detector} is {found}{reason}"
            )
        path = "/".join(part for part in (self._root.path, f"{visit}/{detector}") if part)
        template: xr.Dataset = xr.open_zarr(self._root.store, group=path, consolidated=False, zarr_format=3)
        return template

    def damaged(self, visit: int, detector: int) -> tuple[str, ...]:
        """Names of the variables of a complete template that are not, byte for byte, what was written.

        Among them is ``attributes`` if those of the template, or of one of its variables, are not.

        Raises
        ------
        TemplateStoreError
            If there is no complete template.
        """
        return self._damaged(visit, detector, ())

    def _damaged(self, visit: int, detector: int, raised: tuple[type[Exception], ...]) -> tuple[str, ...]:
        """The same; some errors are raised, where others make a damaged variable."""
        digests = self.read(visit, detector).attrs.get("crc32", {})
        found = tuple(n for n, digest in digests.items() if self._digest_of(visit, detector, n, raised) != digest)
        group = self._root[f"{visit}/{detector}"]
        assert isinstance(group, zarr.Group)  # or it could not be read
        about = group.attrs.asdict()
        said = {name: array.attrs.asdict() for name, array in group.members()}
        written = about.get("attributes_crc32")
        return found if written in (None, _digest_of_words(about, said)) else (*found, "attributes")

    def _digest_of(self, visit: int, detector: int, name: str, raised: tuple[type[Exception], ...]) -> int | None:
        """The digest of what is in the store; None if it cannot be read."""
        try:
            array = self._root[f"{visit}/{detector}/{name}"]
            return _digest(np.asarray(array[...])) if isinstance(array, zarr.Array) else None
        except raised:
            raise
        except Exception:
            return None


_SKETCHED = 500  # detector-visits that a sketch shows
_BATCH = 1024  # groups looked up at a time


def _shape(entry: Mapping[str, Any]) -> Shape | None:
    """A template's detector on the sky; None where its attributes do not tell."""
    try:
        wcs = SkyWcs.from_header(dict(entry["wcs"]))
        return sketched("complete", wcs, Box(*entry["bbox"]), _label(entry))
    except (KeyError, TypeError, ValueError):
        return None


def _paths(pairs: Iterable[tuple[int, int]]) -> list[str]:
    return [f"{visit}/{detector}" for visit, detector in pairs]


def _data_id(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """Visit and detector of a journal's line; None if it is damaged."""
    try:
        return int(entry["visit"]), int(entry["detector"])
    except (LookupError, TypeError, ValueError, OverflowError):
        return None


def _asked_for(detectors_by_visit: Any) -> Iterator[tuple[int, int]]:
    """The (visit, detector) of a journal's line; what of it is damaged is left out."""
    for visit, detectors in detectors_by_visit.items() if isinstance(detectors_by_visit, Mapping) else ():
        for detector in detectors if isinstance(detectors, list) else ():
            data_id = _data_id({"visit": visit, "detector": detector})
            if data_id is not None:
                yield data_id


def _numbers(names: Iterable[str]) -> list[int]:
    return sorted(int(n) for n in names if n.isdecimal())


def _label(attributes: Mapping[Any, Any]) -> str:
    return f"visit {attributes.get('visit', '?')} detector {attributes.get('detector', '?')}"


def _coordinates(template: xr.Dataset, name: str) -> dict[str, str]:
    """CF's attribute for the coordinates of a data variable that are not its dimensions."""
    if name not in template.data_vars:
        return {}
    names = sorted(str(c) for c in template[name].coords if c not in template.dims)
    return {"coordinates": " ".join(names)} if names else {}


def _digest(values: NDArray[Any]) -> int:
    return crc32(np.ascontiguousarray(values).reshape(-1).view(np.uint8))


def _digest_of_words(about: Mapping[str, Any], of_variables: Mapping[str, Mapping[str, Any]]) -> int:
    """Of the attributes of a template and of its variables, whatever their order."""
    words = [{k: v for k, v in about.items() if k != "attributes_crc32"}, dict(of_variables)]
    return crc32(json.dumps(words, sort_keys=True).encode())


def _recorded(visit: int, detector: int, attributes: Mapping[str, Any]) -> TemplateRecord:
    """The record of what has a status."""
    record = _record(visit, detector, attributes)
    assert record is not None
    return record


def _record_of(entry: Mapping[str, Any]) -> TemplateRecord:
    return _recorded(entry["visit"], entry["detector"], entry)


def _record(visit: int, detector: int, attributes: Mapping[str, Any]) -> TemplateRecord | None:
    status, coverage, error, damage = (attributes.get(name) for name in ("status", "coverage", "error", "damage"))
    if not isinstance(status, str) or status not in STATUSES:
        return None
    return TemplateRecord(
        visit=visit,
        detector=detector,
        status=status,
        coverage=float(coverage) if coverage is not None and is_number(coverage) else None,
        config_hash=str(attributes.get("config_hash", "")),
        inputs=redacted(str(attributes.get("inputs", ""))),
        error={str(k): str(v) for k, v in error.items()} if isinstance(error, Mapping) else None,
        damage=tuple(map(str, damage)) if isinstance(damage, list | tuple) else (),
    )
