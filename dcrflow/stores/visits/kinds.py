"""Whether something is a data frame or a long table, without the import of pandas and pyarrow for that question."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import pandas as pd

    from dcrflow.stores.visits.long_table import LongTable


def is_data_frame(source: Any) -> TypeGuard[pd.DataFrame]:
    """Whether something is pandas's, which then is imported."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(source, pandas.DataFrame)


def is_long(rows: Any) -> TypeGuard[LongTable]:
    """Whether rows are those of a long table."""
    module = sys.modules.get("dcrflow.stores.visits.long_table")
    return module is not None and isinstance(rows, module.LongTable)


def may_be_long(source: Any) -> bool:
    """Whether a source of detector-visits is of a kind that long tables are read from."""
    if isinstance(source, str | os.PathLike):
        return Path(source).suffix.lower() in PARQUET
    return is_data_frame(source) or hasattr(source, "to_batches")


PARQUET = (".parquet", ".pq", ".parq")
