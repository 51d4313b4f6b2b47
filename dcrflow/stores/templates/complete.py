"""Which of many detector-visits are complete, by the long journals of earlier runs: without a look at each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray
from zarr.storage import LocalStore

from dcrflow.base.errors import DcrflowError
from dcrflow.stores.journal import line_entries
from dcrflow.stores.journal_columns import concatenated, patches_of
from dcrflow.stores.journal_runs import LongRun, long_runs
from dcrflow.stores.locks import directory_of
from dcrflow.stores.templates.records import data_id

Digest = Callable[[Sequence[tuple[int, int]], str], str]

_KEY = ["visit", "detector"]
_COLUMNS = (
    *_KEY, "status", "config_hash", "inputs", "inputs_digest", "band", "coverage", "made_from", "trouble"
)  # fmt: skip


def complete_before(
    root: zarr.Group, visit: NDArray[np.int64], detector: NDArray[np.int64], config_hash: str, inputs: str, now: Digest,
    all_or_none: bool = False,
) -> NDArray[np.bool_]:  # fmt: skip
    """Which detector-visits a long journal has as complete, made alike, from coadds that are the same.

    A True means that nothing is to be done. It is False where anything is unclear: where several lines tell of a
    detector-visit, where there are gaps or damage, where the coadds have changed. In a directory the template's
    metadata must be there; whether its other files are whole, `dcrflow verify` tells.

    Parameters
    ----------
    root : zarr.Group
        The store's root.
    visit, detector : ndarray of int64
        The data IDs.
    config_hash, inputs : str
        Under which configuration, from which coadds, templates are made now.
    now : callable
        From (tract, patch) pairs and a band to the digest of what these patches contain now.
    all_or_none : bool
        Whether only the answer "all of them" is of use. If the journals do not have all, no file is looked at, and
        nothing is True. Journals of fewer lines are not read.
    """
    runs = long_runs(root)
    if all_or_none and _fewer_lines(runs, len(visit)):  # columns of a million lines take seconds
        return np.zeros(len(visit), np.bool_)
    ends = _ends(runs)
    if ends.empty:
        return np.zeros(len(visit), np.bool_)
    ends = ends.drop_duplicates(_KEY, keep=False)
    alike = (ends["status"] == "complete") & (ends["config_hash"] == config_hash) & (ends["inputs"] == inputs)
    ends = ends[alike & (ends["coverage"] == 1) & ends["trouble"].isna()]
    ends = ends[_unchanged(ends, now)]
    found = pd.MultiIndex.from_frame(ends[_KEY]).get_indexer(pd.MultiIndex.from_arrays([visit, detector])) >= 0
    unclear = {data_id(entry) for entry in line_entries(root, [r.run for r in runs]) if entry.get("event") == "ended"}
    if unclear:
        found &= np.fromiter(
            (pair not in unclear for pair in zip(visit.tolist(), detector.tolist(), strict=True)), bool
        )
    if all_or_none and not found.all():
        return np.zeros(len(visit), np.bool_)
    if isinstance(root.store, LocalStore):
        folder = os.fspath(directory_of(root))
        for place in np.flatnonzero(found):
            found[place] = os.path.exists(f"{folder}/{visit[place]}/{detector[place]}/zarr.json")
    return found


def _fewer_lines(runs: Sequence[LongRun], number: int) -> bool:
    """Whether all runs together have fewer lines; False where one does not say how many."""
    lines = [run.number() for run in runs]
    return sum(n or 0 for n in lines) < number and None not in lines


def _ends(runs: Sequence[LongRun]) -> pd.DataFrame:
    """`_COLUMNS` of the ends of detector-visits in some journals."""
    table = concatenated([run.columns(_COLUMNS) for run in runs], _COLUMNS)
    for name in _KEY:  # in somebody else's archive one of them may be null
        table = table.filter(table[name].is_valid())
    found: pd.DataFrame = table.to_pandas()
    return found


def _unchanged(ends: pd.DataFrame, now: Digest) -> NDArray[np.bool_]:
    """Whether the patches that templates were made from contain the same; they are looked up once for all."""
    same: dict[tuple[str, str, str], bool] = {}
    what = list(zip(ends["made_from"], ends["band"], ends["inputs_digest"], strict=True))
    for key in set(what):
        made_from, band, digest = key
        same[key] = _digest(made_from, band, now) == digest
    return np.array([same[key] for key in what], np.bool_)


def _digest(made_from: str, band: str, now: Digest) -> Any:
    try:
        patches = patches_of(made_from)
        return now(patches, band) if patches else None
    except (ValueError, TypeError, ArithmeticError, RecursionError, DcrflowError):
        return None


def ranges_of(wanted: NDArray[np.bool_]) -> list[range]:
    """The places where an array is True, as ranges."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]]).astype(np.int8)))
    return [range(start, end) for start, end in edges.reshape(-1, 2).tolist()]
