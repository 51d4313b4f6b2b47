"""What the journals of a store say of a million detector-visits, without a Python object for each.

Of long journals the ends of detector-visits are in columns. Of nearly all of them these say all: complete, made
alike by every run that tells of them. Only the others' lines are read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray

from dcrflow.base.addresses import redacted
from dcrflow.base.attributes import is_number
from dcrflow.stores.journal import line_entries
from dcrflow.stores.journal_runs import long_runs
from dcrflow.stores.templates.records import TemplateRecord, asked_for, data_id, last_records

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("visit", "detector", "status", "config_hash", "inputs", "coverage", "trouble", "seconds", "written")
_MOST_ID = 1 << 63
_NO_IDS = np.zeros(0, np.int64)

Ids = NDArray[np.int64]
DataId = tuple[int, int]


@dataclass(frozen=True)
class CompleteRows:
    """Complete templates without damage, by visit and detector.

    Parameters
    ----------
    visit, detector : ndarray of int64, shape (n,)
        The data IDs.
    columns : pyarrow.Table or None
        ``coverage``, ``config_hash``, ``inputs``, ``seconds``, ``written`` (bytes) of each.
    """

    visit: Ids = field(default_factory=lambda: _NO_IDS)
    detector: Ids = field(default_factory=lambda: _NO_IDS)
    columns: pa.Table | None = None

    def __len__(self) -> int:
        return len(self.visit)

    def coverage(self) -> tuple[int, float, float]:
        """Of how many the coverage is known, its sum, and the least."""
        if self.columns is None:
            return 0, 0.0, 1.0
        known = self.columns["coverage"].drop_null().to_numpy()
        return len(known), float(known.sum()), float(known.min(initial=1.0))

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column of numbers; NaN where it says nothing."""
        import pyarrow as pa

        if self.columns is None:
            return np.zeros(0)
        found: NDArray[np.float64] = self.columns[name].cast(pa.float64()).to_numpy()
        return found

    def without(self, some: Collection[DataId]) -> CompleteRows:
        """All but some (visit, detector)."""
        if not some or self.columns is None:
            return self
        keep = ~among((self.visit, self.detector), id_columns(some))
        return self.filtered(keep)

    def filtered(self, keep: NDArray[np.bool_]) -> CompleteRows:
        """Those where an array is True."""
        if self.columns is None:
            return self
        return CompleteRows(self.visit[keep], self.detector[keep], self.columns.take(np.flatnonzero(keep)))

    def spread(self, number: int) -> list[DataId]:
        """At most so many (visit, detector), spread evenly over all."""
        some = np.unique(np.linspace(0, max(0, len(self) - 1), min(number, len(self))).astype(np.int64))
        return list(zip(self.visit[some].tolist(), self.detector[some].tolist(), strict=True))

    def records(self) -> Iterator[TemplateRecord]:
        """A record of each."""
        if self.columns is None:
            return
        start = 0
        for batch in self.columns.to_batches(max_chunksize=4096):
            ids = self.visit[start : start + len(batch)].tolist(), self.detector[start : start + len(batch)].tolist()
            values = (batch.column(name).to_pylist() for name in ("coverage", "config_hash", "inputs"))
            for visit, detector, coverage, config, inputs in zip(*ids, *values, strict=True):
                yield TemplateRecord(visit, detector, "complete", coverage, config, redacted(inputs), None)
            start += len(batch)


@dataclass(frozen=True)
class Journalled:
    """What the journals say; see `dcrflow.stores.templates.records.last_records`.

    Parameters
    ----------
    complete : CompleteRows
        What is complete, as far as it is in columns.
    records : dict
        The last record of each other (visit, detector).
    visit, detector : ndarray of int64
        All that any run was asked for.
    """

    complete: CompleteRows
    records: dict[DataId, TemplateRecord]
    visit: Ids
    detector: Ids

    def requested(self) -> list[DataId]:
        """All that any run was asked for, by visit and detector."""
        return list(zip(self.visit.tolist(), self.detector.tolist(), strict=True))

    def left(self) -> list[DataId]:
        """What was asked for and has no record, by visit and detector."""
        wanted = ~among((self.visit, self.detector), (self.complete.visit, self.complete.detector))
        wanted[wanted] = ~among((self.visit[wanted], self.detector[wanted]), id_columns(self.records))
        return sorted(zip(self.visit[wanted].tolist(), self.detector[wanted].tolist(), strict=True))


@dataclass(frozen=True)
class JournalColumns:
    """The journals of the store with this root group."""

    root: zarr.Group

    def journalled(self) -> Journalled:
        """What they say of all detector-visits."""
        return journalled(self.root)

    def lines_of(self, some: Collection[DataId]) -> Iterator[Mapping[str, Any]]:
        """The lines about the ends of some (visit, detector)."""
        return lines_of(self.root, some)

    def history(self, every: int) -> Iterator[Mapping[str, Any]]:
        """The lines as far as a timeline needs them, with the steps of one end in so many."""
        return history(self.root, every)


def journalled(root: zarr.Group) -> Journalled:
    """What the journals of a store say."""
    runs = long_runs(root)
    lines = list(line_entries(root, [run.run for run in runs]))
    told = {data_id(entry) for entry in lines if entry.get("event") == "ended"} - {None}
    tables = [run.columns(_COLUMNS) for run in runs]
    complete, odd = _complete(tables, id_columns(which for which in told if which is not None))
    asked: list[tuple[Ids, Ids]] = []

    def others() -> Iterator[Mapping[str, Any]]:
        for run, rows in zip(runs, odd, strict=True):
            yield from run.entries(rows)
        yield from lines

    def without_requests() -> Iterator[Mapping[str, Any]]:
        for entry in others():
            if entry.get("event") == "requested":
                asked.append(_asked(entry.get("detector_visits")))
            else:
                yield entry

    records, _ = last_records(without_requests())
    return Journalled(complete, records, *distinct(asked))


def lines_of(root: zarr.Group, some: Collection[DataId]) -> Iterator[Mapping[str, Any]]:
    """The journals' lines about the ends of some (visit, detector)."""
    import pyarrow as pa

    runs, wanted = long_runs(root), set(some)
    for run in runs:
        table = run.columns(("visit", "detector"))
        rows = _are_ends(table)
        ends = table.filter(pa.array(rows))
        rows[rows] = among((ends["visit"].to_numpy(), ends["detector"].to_numpy()), id_columns(wanted))
        yield from run.entries(rows)
    for entry in line_entries(root, [run.run for run in runs]):
        if entry.get("event") == "ended" and data_id(entry) in wanted:
            yield entry


def history(root: zarr.Group, every: int) -> Iterator[Mapping[str, Any]]:
    """The journals' lines as far as a timeline needs them.

    Of the ends that are in columns these are ``time`` and ``status``, and ``steps`` of one in so many: of those
    that stand for it, the sum.
    """
    import pyarrow as pa

    runs = long_runs(root)
    for run in runs:
        table = run.columns(("visit", "status", "time"))
        ends = table["visit"].is_valid().to_numpy() & table["time"].is_valid().to_numpy()
        steps = np.zeros(len(ends), np.bool_)
        steps[np.flatnonzero(ends)[::every]] = True
        for entry in run.entries(steps | ~ends):
            if entry.get("event") == "ended" and isinstance(entry.get("steps"), Mapping):
                summed = {k: v * every for k, v in entry["steps"].items() if is_number(v)}
                entry = {**entry, "steps": summed}
            yield entry
        for batch in table.filter(pa.array(ends & ~steps)).to_batches(max_chunksize=4096):
            for status, time in zip(batch["status"].to_pylist(), batch["time"].to_pylist(), strict=True):
                yield {"event": "ended", "time": time, "status": status, "run": run.run}
    yield from line_entries(root, [run.run for run in runs])


def _complete(tables: list[pa.Table], told: tuple[Ids, Ids]) -> tuple[CompleteRows, list[NDArray[np.bool_]]]:
    """The rows that say all, each data ID once; and of each table the rows whose lines must be read."""
    import pyarrow as pa

    if not tables:
        return CompleteRows(), []
    rows = pa.concat_tables([table.filter(pa.array(_are_ends(table))) for table in tables])
    visit, detector = rows["visit"].to_numpy(), rows["detector"].to_numpy()
    keys, known = keys_of_ids((visit, detector), told)
    fits = pa.compute.equal(rows["status"], "complete").to_numpy() & rows["trouble"].is_null().to_numpy()
    fits &= (detector >= 0) & (visit >= 0) & ~np.isin(keys, known)
    alike = _codes(rows, ["config_hash", "inputs", "coverage"])
    order = np.argsort(keys, kind="stable")
    begins = np.flatnonzero(np.diff(keys[order], prepend=-1))
    plain = np.logical_and.reduceat(fits[order], begins) if len(begins) else np.zeros(0, np.bool_)
    ordered = alike[order]
    same = np.ones(len(order), np.bool_)
    same[1:] = ordered[1:] == ordered[:-1]
    same[begins] = True
    plain &= np.logical_and.reduceat(same, begins) if len(begins) else plain
    sizes = np.diff(begins, append=len(order))
    simple = np.zeros(len(order), np.bool_)
    simple[order] = np.repeat(plain, sizes)
    last = order[(begins + sizes - 1)[plain]]
    found = CompleteRows(visit[last], detector[last], rows.take(last))
    return found, _odd(tables, simple)


def _are_ends(table: pa.Table) -> NDArray[np.bool_]:
    """Which rows are ends of detector-visits; in somebody else's archive one of the two numbers may be null."""
    valid: NDArray[np.bool_] = table["visit"].is_valid().to_numpy() & table["detector"].is_valid().to_numpy()
    return valid


def _odd(tables: list[pa.Table], simple: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    found, start = [], 0
    for table in tables:
        odd = np.ones(table.num_rows, np.bool_)
        ends = np.flatnonzero(_are_ends(table))
        odd[ends] = ~simple[start : start + len(ends)]
        start += len(ends)
        found.append(odd)
    return found


def _codes(rows: pa.Table, names: Iterable[str]) -> NDArray[np.int64]:
    """A number for each row, the same where all these columns are the same."""
    found = np.zeros(rows.num_rows, np.int64)
    for name in names:
        column = rows[name].combine_chunks()
        values = column.dictionary_encode().indices.fill_null(-1).to_numpy() + 1
        found = np.unique(found * (values.max(initial=0) + 1) + values, return_inverse=True)[1]
    return found


def keys_of_ids(*sets: tuple[Ids, Ids]) -> list[Ids]:
    """A number for each data ID of some sets, which increases with visit and detector."""
    of_visit = np.unique(np.concatenate([visit for visit, _ in sets]), return_inverse=True)[1]
    detectors, of_detector = np.unique(np.concatenate([detector for _, detector in sets]), return_inverse=True)
    keys = of_visit.astype(np.int64) * max(1, len(detectors)) + of_detector
    return list(np.split(keys, np.cumsum([len(visit) for visit, _ in sets])[:-1]))


def among(some: tuple[Ids, Ids], others: tuple[Ids, Ids]) -> NDArray[np.bool_]:
    """Which data IDs are among others."""
    keys, wanted = keys_of_ids(some, others)
    return np.isin(keys, wanted)


def id_columns(data_ids: Iterable[DataId]) -> tuple[Ids, Ids]:
    """Visits and detectors; without those that no column holds."""
    fit = [(v, d) for v, d in data_ids if min(v, d) >= -_MOST_ID and max(v, d) < _MOST_ID]
    pairs = np.array(fit, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _asked(by_visit: Any) -> tuple[Ids, Ids]:
    """What a run was asked for; what is damaged, or no data ID, is left out."""
    visits, detectors = [_NO_IDS], [_NO_IDS]
    for visit, some in by_visit.items() if isinstance(by_visit, Mapping) else ():
        if not isinstance(some, list):
            continue
        try:
            here = np.array(some, np.int64).reshape(-1)
            there = np.full(len(here), int(visit), np.int64)
        except (TypeError, ValueError, OverflowError):
            there, here = id_columns(asked_for({visit: some}))
        good = (here >= 0) & (there >= 0)
        visits.append(there[good])
        detectors.append(here[good])
    return np.concatenate(visits), np.concatenate(detectors)


def distinct(sets: list[tuple[Ids, Ids]]) -> tuple[Ids, Ids]:
    """The data IDs of all sets, each once, by visit and detector."""
    visit, detector = (np.concatenate([_NO_IDS, *(pair[i] for pair in sets)]) for i in (0, 1))
    (keys,) = keys_of_ids((visit, detector))
    first = np.unique(keys, return_index=True)[1]
    return visit[first], detector[first]
