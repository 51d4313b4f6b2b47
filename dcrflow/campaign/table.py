"""The status of a campaign as a table for notebooks."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dcrflow.campaign import status
from dcrflow.stores.templates.store import TemplateStore


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
    timings = store.timings()
    rows: list[dict[str, Any]] = []
    for record in found.records:
        error = record.error or {}
        rows.append(
            {
                "visit": record.visit, "detector": record.detector, "status": record.status,
                "coverage": record.coverage,
                "seconds": timings.get((record.visit, record.detector), {}).get("seconds"),
                "damage": len(record.damage), "error": error.get("type", ""), "message": error.get("message", ""),
            }
        )  # fmt: skip
    rows += [{"visit": v, "detector": d, "status": "missing", "damage": 0} for v, d in found.missing]
    names = ["visit", "detector", "status", "coverage", "seconds", "damage", "error", "message"]
    table = pd.DataFrame(rows, columns=names).fillna({"error": "", "message": ""})
    table = table.astype({"coverage": float, "seconds": float, "damage": int})
    return table.sort_values(["visit", "detector"], kind="stable", ignore_index=True)
