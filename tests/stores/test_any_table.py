"""IDs to 2^63 - 1 from every kind of table, also beside nulls; columns that nobody asked for do no harm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from pyarrow import parquet
from scenes import visit

from dcrflow.base.errors import VisitTableError
from dcrflow.stores.visits.tables import BadVisit, read_visit_rows, read_visits, write_visits

LARGE = [2**53 + 1, 2**63 - 1]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Two detector-visits with IDs that no floating-point number holds."""
    path = tmp_path_factory.mktemp("good") / "visits.ecsv"
    write_visits([visit(visit=n) for n in LARGE], path)
    return Table(QTable.read(path, format="ascii.ecsv"))


def ecsv(table: Table, path: Path) -> Any:
    table.write(path / "x.ecsv", format="ascii.ecsv", overwrite=True)
    return path / "x.ecsv"


def astropys_parquet(table: Table, path: Path) -> Any:
    table.write(path / "x.parquet", format="parquet", overwrite=True)
    return path / "x.parquet"


def arrow(table: Table, _: Path) -> Any:
    return pa.table({n: table[n].tolist() for n in table.colnames})


def arrows_parquet(table: Table, path: Path) -> Any:
    parquet.write_table(arrow(table, path), path / "y.parquet")
    return path / "y.parquet"


def pandas(table: Table, _: Path) -> Any:
    return table.to_pandas()


WAYS = [ecsv, astropys_parquet, arrow, arrows_parquet, pandas, lambda t, _: t, lambda t, _: QTable(t)]


@pytest.mark.parametrize("way", WAYS)
def test_large_ids(good: Table, way: Callable[[Table, Path], Any], tmp_path: Path) -> None:
    assert [v.visit for v in read_visits(way(good, tmp_path))] == LARGE


@pytest.mark.parametrize("way", WAYS)
def test_large_ids_beside_nulls(good: Table, way: Callable[[Table, Path], Any], tmp_path: Path) -> None:
    table = good.copy()
    table["visit"] = MaskedColumn(table["visit"], mask=[False, True])
    found = read_visit_rows(way(table, tmp_path))
    assert found[0].visit == LARGE[0]
    assert isinstance(found[1], BadVisit)
    assert "visit is missing" in str(found[1].error)


@pytest.mark.parametrize("kind", ["Int64", "UInt64", "int64[pyarrow]", "object"])
def test_nullable_columns_of_pandas(good: Table, kind: str) -> None:
    frame = good.to_pandas()
    frame["visit"] = pd.Series([LARGE[0], None], dtype=kind)
    frame["band"] = frame["band"].astype("string")
    found = read_visit_rows(frame)
    assert found[0].visit == LARGE[0]
    assert isinstance(found[1], BadVisit)


def test_a_floating_point_number_holds_no_such_id(good: Table) -> None:
    table = good.copy()
    table["visit"] = np.array([7.0, float(LARGE[0])])
    first, second = read_visit_rows(table)
    assert first.visit == 7
    assert isinstance(second, BadVisit)
    assert "column of integers" in str(second.error)


@pytest.mark.parametrize("way", WAYS)
def test_columns_of_any_shape_are_left_alone(good: Table, way: Callable[[Table, Path], Any], tmp_path: Path) -> None:
    table = good.copy()
    table["corners"] = np.arange(16.0).reshape(2, 8)
    table["masked"] = MaskedColumn(np.arange(8).reshape(2, 2, 2), mask=np.arange(8).reshape(2, 2, 2) % 3 == 0)
    if way is pandas:
        source: Any = good.to_pandas().assign(lists=[[1, 2], [3]], objects=[{"a": 1}, None])
    elif way is astropys_parquet:
        del table["masked"]
        source = way(table, tmp_path)
    else:
        source = way(table, tmp_path)
    assert [v.visit for v in read_visits(source)] == LARGE


def test_lists_in_a_parquet_file(good: Table, tmp_path: Path) -> None:
    table = arrow(good, tmp_path).append_column("amps", pa.array([[1, 2], [3]]))
    table = table.append_column("about", pa.array([{"a": 1}, None]))
    parquet.write_table(table, tmp_path / "x.parquet")
    assert [v.visit for v in read_visits(tmp_path / "x.parquet")] == LARGE


def test_an_array_where_a_number_should_be(good: Table) -> None:
    table = good.copy()
    table["ra"] = u.Quantity(np.ones((2, 2)), u.deg)
    with pytest.raises(VisitTableError, match=r"column ra has an array of shape \(2,\) in each row"):
        read_visit_rows(table)
