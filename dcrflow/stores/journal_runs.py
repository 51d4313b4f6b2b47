"""The long journals of a store in columns, run by run: archives, and the lines of runs that go on or have died."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zarr
from zarr.storage import LocalStore

from dcrflow.stores.journal_archive import ARCHIVE, archived_columns, archived_entries, num_archived
from dcrflow.stores.journal_lines import LINES, columns_in, entries_in, key_of, names_in, num_lines, run_of

if TYPE_CHECKING:
    import pyarrow as pa

_LONG = 4 << 20  # bytes of a file of lines that is read as columns
_LONG_OBJECTS = 20  # the same of objects, each of which has up to 500 lines


@dataclass(frozen=True)
class LongRun:
    """The journal of one run.

    Parameters
    ----------
    root : zarr.Group
        Root group of the store.
    run : str
        The run.
    names : tuple of str
        Names of its files of lines; empty if it is archived. It may be archived at any time.
    """

    root: zarr.Group
    run: str
    names: tuple[str, ...] = ()

    def number(self) -> int | None:
        """The number of its lines; None if an archive does not say it."""
        found: int | None = self._either(num_lines, num_archived)
        return found

    def columns(self, columns: Sequence[str]) -> pa.Table:
        """Some of `dcrflow.stores.journal_columns.COLUMNS` of all lines, in order; without rows if it is damaged."""
        return self._either(columns_in, archived_columns, columns)

    def entries(self, wanted: Any) -> Iterator[dict[str, Any]]:
        """The lines where an array is True, as objects, each with its ``run``."""
        found = self._either(lambda *which: list(entries_in(*which)), archived_entries, wanted)
        yield from ({**entry, "run": self.run} for entry in found)

    def _either(self, of_lines: Callable[..., Any], of_archive: Callable[..., Any], *what: Any) -> Any:
        if self.names:
            with contextlib.suppress(OSError):
                return of_lines(self.root, self.names, *what)
        return of_archive(self.root, f"{self.run}{ARCHIVE}", *what)


def long_runs(root: zarr.Group) -> list[LongRun]:
    """The runs whose journals are archived, then those that have many lines."""
    names = names_in(root)
    archived = [name.removesuffix(ARCHIVE) for name in names if name.endswith(ARCHIVE)]
    lines: dict[str, list[str]] = {}
    for name in names:
        if name.endswith(LINES) and run_of(name) not in archived:  # a crash may leave lines beside their archive
            lines.setdefault(run_of(name), []).append(name)
    return [
        *(LongRun(root, run) for run in archived),
        *(LongRun(root, run, tuple(some)) for run, some in lines.items() if _are_many(root, some)),
    ]


def _are_many(root: zarr.Group, names: Collection[str]) -> bool:
    if not isinstance(root.store, LocalStore):
        return len(names) >= _LONG_OBJECTS
    try:
        return sum((Path(root.store.root) / key_of(root, name)).stat().st_size for name in names) >= _LONG
    except OSError:
        return False
