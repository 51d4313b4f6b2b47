"""Select detector-visits by a condition on their metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.errors import VisitTableError, brief
from dcrflow.stores.visits.expression import holds
from dcrflow.stores.visits.kinds import is_long
from dcrflow.stores.visits.values import values_in_words

if TYPE_CHECKING:
    from dcrflow.stores.visits.long_table import LongTable

_TEXTS, _INTEGERS = ("instrument", "band", "physical_filter"), ("visit", "detector")
_OBSERVED = ("ra", "dec", "altitude", "parallactic_angle", "rotation_angle")  # degrees
_COMPUTED = ("altitude", "parallactic_angle")  # from time and site, where a table has none
_NAMES = ("instrument", *_INTEGERS, "band", "physical_filter")
_OF_VISITS, _OF_TEMPLATES = (*_NAMES, "mjd", *_OBSERVED), (*_NAMES, "coverage")


def select[Row](rows: Sequence[Row], where: str | None, limit: int | None = None) -> Sequence[Row]:
    """The rows for which a condition is true, at most `limit` of them.

    Parameters
    ----------
    rows : sequence
        Detector-visits from `read_visit_rows`, or entries of a template store from `TemplateStore.entries`.
    where : str, optional
        A condition in the language of `dcrflow.stores.visits.expression`, such as ``visit == 12 and detector < 4`` or
        ``band in ["g", "r"]``, on instrument, visit, detector, band and physical_filter; of detector-visits also on
        mjd, ra, dec, altitude, parallactic_angle and rotation_angle (days, degrees), of templates also on coverage.
        Unknown numbers are NaN, so no comparison with them is true. A bad row has only visit and detector.
    limit : int, optional
        Largest number of rows to return.

    Raises
    ------
    VisitTableError
        If the condition is not understood; names the part that is not.
    """
    if where is None:
        return rows[:limit] if is_long(rows) else list(rows[:limit])
    names = _names_of(rows)
    try:
        kept = np.flatnonzero(holds(where, _columns(rows, names, where)))
    except (ValueError, OverflowError) as error:
        raise VisitTableError(
            f"cannot select detector-visits by {brief(where)}: {' '.join(str(error).split())}; "
            f"compare any of {', '.join(names)}"
        ) from error
    if is_long(rows):
        return rows.take(kept[:limit])
    return [rows[i] for i in kept[:limit]]


def _names_of(rows: Sequence[object]) -> tuple[str, ...]:
    """What rows can be selected by."""
    of_templates = not is_long(rows) and len(rows) > 0 and isinstance(rows[0], Mapping)
    return _OF_TEMPLATES if of_templates else _OF_VISITS


def _columns(rows: Sequence[object], names: Sequence[str], where: str) -> dict[str, NDArray[Any]]:
    """Columns by name; of a long table, only those that a condition names have values."""
    if not is_long(rows):
        return {name: _column(rows, name) for name in names}
    used = set(re.findall(r"\w+", where))
    nothing = np.broadcast_to(np.nan, len(rows))
    return {name: _column_of_table(rows, name) if name in used else nothing for name in names}


def _column_of_table(rows: LongTable, name: str) -> NDArray[Any]:
    """A column as the detector-visits have it: what a table leaves out is computed row by row."""
    found = rows.column(name)
    if found is None and name not in rows.names and name not in _COMPUTED:
        return np.full(len(rows), np.nan) if name not in _TEXTS else np.full(len(rows), "")
    kinds = "U" if name in _TEXTS else "iu" if name in _INTEGERS else "iuf"
    if found is None or found.dtype.kind not in kinds or (name in _COMPUTED and np.isnan(found).any()):
        return _column(list(rows), name)
    return found


def select_some[Row](rows: Sequence[Row], where: str | None, limit: int | None = None) -> Sequence[Row]:
    """The same rows as `select` gives, but a condition that no row fulfils is an error.

    Raises
    ------
    VisitTableError
        Also if there are rows, and the condition is true for none of them; says which values the columns have.
    """
    chosen = select(rows, where)
    if len(rows) and not len(chosen) and where is not None:
        there = values_in_words(where, _columns(rows, _names_of(rows), where))
        raise VisitTableError(
            f"no detector-visit fulfils {brief(where)}; the {len(rows)} that are there have {there or 'other values'}"
        )
    return chosen[:limit]


def _column(rows: Sequence[object], name: str) -> NDArray[Any]:
    values = [_value(row, name) for row in rows]
    if name in _INTEGERS:
        return np.array(values, np.int64 if all(abs(v) < 1 << 63 for v in values) else object)
    if name in _TEXTS:
        return np.array(["" if v is None else str(v) for v in values], np.str_)
    return np.array([v if isinstance(v, int | float) else np.nan for v in values], np.float64)


def _value(row: object, name: str) -> Any:
    if isinstance(row, Mapping):
        return row.get(name)
    return getattr(getattr(row, "observation", None) if name in _OBSERVED else row, name, None)
