"""Some of many detector-visits, by an expression on what they are called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dcrflow.base.errors import VisitTableError, brief

_NAMES = ("instrument", "visit", "detector", "band", "physical_filter")


def select[Row](rows: Sequence[Row], where: str | None, limit: int | None = None) -> list[Row]:
    """The rows for which an expression holds, at most `limit` of them.

    Parameters
    ----------
    rows : sequence
        From `read_visit_rows` or `TemplateStore.entries`: what has names as attributes or keys.
    where : str, optional
        An expression in instrument, visit, detector, band and physical_filter, as `pandas.DataFrame.query` has them;
        for a bad row only its visit and detector are known.
    limit : int, optional
        How many at most.

    Raises
    ------
    VisitTableError
        If the expression cannot be understood.
    """
    if where is None:
        return list(rows[:limit])
    frame = pd.DataFrame([[_value(row, name) for name in _NAMES] for row in rows], columns=list(_NAMES))
    try:
        if "**" in where:  # 9**9**9**9 takes for ever
            raise ValueError("powers are not understood")
        holds = frame.eval(where, engine="python")
        if not (isinstance(holds, pd.Series) and holds.dtype == bool):
            raise ValueError("it is not true or false of each")
        kept = frame.index[holds]
    except Exception as error:
        raise VisitTableError(
            f"cannot select detector-visits by {brief(where)}: {' '.join(str(error).split())}; "
            f"compare any of {', '.join(_NAMES)}"
        ) from error
    return [rows[i] for i in kept[:limit]]


def _value(row: object, name: str) -> Any:
    return row.get(name, "") if isinstance(row, Mapping) else getattr(row, name, "")
