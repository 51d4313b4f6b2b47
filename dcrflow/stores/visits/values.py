"""Say which values columns have, where a condition on them selects nothing."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import brief

_MOST = 12  # values that are listed; a range otherwise
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


def values_in_words(condition: str, columns: dict[str, NDArray[Any]]) -> str:
    """The values of the columns that a condition names: ``band: g, r; visit: 1001 to 2044 (900 values)``.

    Parameters
    ----------
    condition : str
        In the language of `dcrflow.stores.visits.expression`.
    columns : dict of str to ndarray
        All columns.
    """
    named = re.findall(r"[A-Za-z_]\w*", _QUOTED.sub("", condition))
    return "; ".join(f"{name}: {_words(columns[name])}" for name in dict.fromkeys(named) if name in columns)


def _words(values: NDArray[Any]) -> str:
    if values.dtype.kind == "f":
        known = values[~np.isnan(values)]
        if not known.size:
            return "unknown in all rows"
        missing = f" (unknown in {values.size - known.size} rows)" if known.size < values.size else ""
        return f"{known.min():.6g} to {known.max():.6g}{missing}"
    different = np.unique(values)
    if values.dtype.kind == "U":
        words = [brief(str(value)) for value in different[:_MOST]]
    else:
        if different.size > _MOST:
            return f"{different[0]} to {different[-1]} ({different.size} values)"
        words = [str(value) for value in different]
    more = f" and {different.size - _MOST} more" if different.size > _MOST else ""
    return ", ".join(words) + more
