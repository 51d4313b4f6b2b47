"""The template store: one group a detector-visit, its status written last.

A group without ``status`` is not a template. To write one, the arrays go in first, then all attributes, the status
among them, in a single write of the group's metadata: a reader sees a whole template or none, and so does the next run
after a crash anywhere in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import xarray as xr
import zarr
from zarr.core.sync import sync

from dcrflow.errors import TemplateStoreError
from dcrflow.masks import NO_DATA
from dcrflow.stores.access import location, open_root, url_of
from dcrflow.stores.arrays import CHUNK, codecs

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
    """

    visit: int
    detector: int
    status: str
    coverage: float | None
    config_hash: str
    inputs: str
    error: Mapping[str, str] | None

    def matches(self, config_hash: str, inputs: str) -> bool:
        """Whether it was made under this configuration and from these coadds."""
        return (self.config_hash, self.inputs) == (config_hash, inputs)


class TemplateStore:
    """A template store; safe to send to other processes. Make one with `create_or_open` or `open`."""

    def __init__(self, store: Any, root: zarr.Group) -> None:
        self._store = store
        self._root = root

    @classmethod
    def open(cls, store: Any) -> TemplateStore:
        """Open a template store for reading.

        Raises
        ------
        TemplateStoreError
            If there is no such store, or it is none of templates.
        """
        where = location(store)
        return cls(where, open_root(where, KIND, VERSION, TemplateStoreError))

    @classmethod
    def create_or_open(cls, store: TemplateStore | Any) -> TemplateStore:
        """Open a template store for writing, or create it where nothing is.

        Raises
        ------
        TemplateStoreError
            If something else is there, or the place cannot be written.
        """
        if isinstance(store, cls):
            return store
        where = location(store)
        try:
            root = zarr.open_group(where, mode="a", zarr_format=3)
            marks = root.attrs.asdict().get("dcrflow")
            if marks is None and not any(True for _ in root.keys()):  # noqa: SIM118  # a zarr group is no dict
                root.update_attributes({"dcrflow": {"kind": KIND, "version": VERSION}})
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise TemplateStoreError(
                f"cannot write templates to {url_of(where)}: {reason}; give a place that is writable and empty, or a "
                "template store"
            ) from error
        open_root(where, KIND, VERSION, TemplateStoreError)
        return cls(where, zarr.open_group(where, mode="r+", zarr_format=3))

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._store,)

    def __repr__(self) -> str:
        return f"<TemplateStore {self.url}>"

    @property
    def url(self) -> str:
        """Where it is."""
        return url_of(self._store)

    def write(self, template: xr.Dataset) -> TemplateRecord:
        """Write a template, its status last; one that is there already is replaced.

        Parameters
        ----------
        template : xarray.Dataset
            Laid out as `dcrflow.dataset.template_dataset` does, in memory, with ``coverage`` among its attributes.
        """
        attributes = dict(template.attrs)
        visit, detector = attributes["visit"], attributes["detector"]
        digests = {}
        group = self._fresh(visit, detector)
        for name, variable in template.variables.items():
            values = np.asarray(variable.values)
            digests[str(name)] = crc32(np.ascontiguousarray(values).tobytes())
            _write(group, str(name), tuple(str(d) for d in variable.dims), values, variable.attrs)
        return _finish(group, visit, detector, attributes | {"crc32": digests, "status": "complete"})

    def write_status(
        self,
        visit: int,
        detector: int,
        status: str,
        attributes: Mapping[str, Any],
        error: Mapping[str, str] | None = None,
    ) -> TemplateRecord:
        """Write down a detector-visit that has no template.

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
        """
        if status not in STATUSES[1:]:
            raise ValueError(f"status {status!r} is none of {', '.join(STATUSES[1:])}")
        attributes = {**attributes, "visit": visit, "detector": detector}
        if error is not None:
            attributes["error"] = dict(error)
        attributes["status"] = status
        return _finish(self._fresh(visit, detector), visit, detector, attributes)

    def _fresh(self, visit: int, detector: int) -> zarr.Group:
        """An empty group without status, whatever was there; what was there loses its status first."""
        path = f"{visit}/{detector}"
        if path in self._root:
            existing = self._root[path]
            if isinstance(existing, zarr.Group) and "status" in existing.attrs:
                existing.attrs.put({})
        return self._root.create_group(path, overwrite=True)

    def note_requested(self, wanted: Iterable[tuple[int, int]]) -> None:
        """Remember that these (visit, detector) were asked for, so that what is missing can be told."""
        requested = self.requested() | set(wanted)
        by_visit: dict[str, list[int]] = {}
        for visit, detector in sorted(requested):
            by_visit.setdefault(str(visit), []).append(detector)
        self._root.update_attributes({"requested": by_visit})

    def requested(self) -> set[tuple[int, int]]:
        """The (visit, detector) that any run was asked for."""
        attributes = zarr.open_group(self._store, mode="r", zarr_format=3).attrs.asdict()
        return {(int(v), int(d)) for v, detectors in attributes.get("requested", {}).items() for d in detectors}

    def status(self, visit: int, detector: int) -> TemplateRecord | None:
        """What the store says of a detector-visit; None if nothing (complete) is there. One metadata read."""
        try:
            group = self._root[f"{visit}/{detector}"]
        except (KeyError, FileNotFoundError):
            return None
        return _record(visit, detector, group.attrs.asdict()) if isinstance(group, zarr.Group) else None

    def records(self) -> Iterator[TemplateRecord]:
        """All detector-visits that have a status, by visit and detector."""

        async def names(prefix: str) -> list[int]:
            return sorted([int(n) async for n in self._root.store.list_dir(prefix) if n.isdecimal()])

        async def collect() -> list[tuple[int, list[int]]]:
            visits = await names(self._root.path)
            base = f"{self._root.path}/".lstrip("/")
            return list(zip(visits, await asyncio.gather(*(names(f"{base}{v}") for v in visits)), strict=True))

        for visit, detectors in sync(collect()):
            for detector in detectors:
                record = self.status(visit, detector)
                if record is not None:
                    yield record

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
        store = self._root.store
        return xr.open_zarr(store, group=f"{visit}/{detector}", consolidated=False, zarr_format=3)


def _reopen(store: Any) -> TemplateStore:
    return TemplateStore(store, zarr.open_group(store, mode="r+", zarr_format=3))


def _finish(group: zarr.Group, visit: int, detector: int, attributes: Mapping[str, Any]) -> TemplateRecord:
    """Write the attributes, the status among them, in one go."""
    group.update_attributes(dict(attributes))
    record = _record(visit, detector, attributes)
    assert record is not None
    return record


def _record(visit: int, detector: int, attributes: Mapping[str, Any]) -> TemplateRecord | None:
    if attributes.get("status") not in STATUSES:
        return None
    return TemplateRecord(
        visit=visit,
        detector=detector,
        status=attributes["status"],
        coverage=attributes.get("coverage"),
        config_hash=str(attributes.get("config_hash", "")),
        inputs=str(attributes.get("inputs", "")),
        error=attributes.get("error"),
    )


def _write(group: zarr.Group, name: str, dims: tuple[str, ...], values: Any, attributes: Mapping[str, Any]) -> None:
    """Write a variable: images in inner chunks of 1 MiB inside one shard, the rest in one chunk."""
    fill: Any = np.nan if values.dtype.kind == "f" else 0
    if name == "mask":
        names = str(attributes["flag_meanings"]).split()
        fill = np.int32(attributes["flag_masks"][names.index(NO_DATA)])
    chunks, shards = values.shape, None
    if dims == ("y", "x"):
        chunks = tuple(min(CHUNK, n) for n in values.shape)
        shards = tuple(-(-n // c) * c for n, c in zip(values.shape, chunks, strict=True))
    array = group.create_array(
        name,
        shape=values.shape,
        dtype=values.dtype,
        chunks=chunks,
        shards=shards,
        compressors=codecs(),
        fill_value=fill,
        attributes=dict(attributes),
        dimension_names=dims,
    )
    array[...] = values
