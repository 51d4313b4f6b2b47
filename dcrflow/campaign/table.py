"""The status of a campaign as a table for notebooks."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dcrflow.campaign import status
from dcrflow.stores.templates.ends import CompleteRows
from dcrflow.stores.templates.store import TemplateStore

_NAMES = ["visit", "detector", "status", "coverage", "seconds", "damage", "error", "message"]


def campaign_status(out: TemplateStore | Any, scan: bool = False) -> pd.DataFrame:
    """The status of every detector-visit that the runs of a template store were asked for.

    Parameters
    ----------
    out : TemplateStore, or anything that `TemplateStore.open` takes
        The store; a run may be writing to it.
    scan : bool
        Look at every template instead of reading the journals of the runs.

    Returns
    -------
    pandas.DataFrame
        A row for each detector-visit, in order: ``visit``, ``detector`` (-1 for a row of the table that has no data
        ID); ``status``: ``complete``, ``no-overlap``, ``failed`` or ``missing``; ``coverage``, fraction of its pixels
        that have data; ``seconds`` on the worker; ``damage``, number of chunks of the coadds that could not
        be read; ``error`` and ``message``, class and text of what went wrong.

    Raises
    ------
    TemplateStoreError
        If there is no such store.

    Examples
    --------
    >>> import dcrflow
    >>> found = dcrflow.campaign_status("survey/templates.zarr")
    >>> found.status.value_counts().to_dict()
    {'complete': 1}
    """
    store = TemplateStore.open(out)
    found = status.campaign_status(store, scan)
    timings = store.timings() if scan else {}
    rows: list[dict[str, Any]] = []
    for record in found.records:
        error = record.error or {}
        took = timings.get((record.visit, record.detector), record.took)
        rows.append(
            {
                "visit": record.visit, "detector": record.detector, "status": record.status,
                "coverage": record.coverage, "seconds": took.get("seconds"),
                "damage": len(record.damage), "error": error.get("type", ""), "message": error.get("message", ""),
            }
        )  # fmt: skip
    rows += [{"visit": v, "detector": d, "status": "missing", "damage": 0} for v, d in found.missing]
    table = pd.DataFrame(rows, columns=_NAMES)
    if len(found.complete):
        table = pd.concat([_of_columns(found.complete), table], ignore_index=True)
    table = table.fillna({"error": "", "message": ""}).astype({"coverage": float, "seconds": float, "damage": int})
    return table.sort_values(["visit", "detector"], kind="stable", ignore_index=True)


def _of_columns(complete: CompleteRows) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "visit": complete.visit, "detector": complete.detector, "status": "complete",
            "coverage": complete.numbers("coverage"), "seconds": complete.numbers("seconds"),
            "damage": 0, "error": "", "message": "",
        }
    )  # fmt: skip
