"""Long tables say what short ones say, of the same rows; they are selected and ordered by columns."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from scenes import tan, visit

import dcrflow
from dcrflow.model.visit import sky_order
from dcrflow.stores.visits import long_table
from dcrflow.stores.visits.centres import card_values, centres
from dcrflow.stores.visits.long_table import LongTable, TableRow
from dcrflow.stores.visits.select import select, select_some
from dcrflow.stores.visits.tables import BadVisit, read_visit_rows, visit_of, write_visits
from dcrflow.stores.visits.texts import TextFile

NUMBER = 60


def rows() -> list[dcrflow.DetectorVisit]:
    rng = np.random.default_rng(1)
    found = []
    for i, (ra, dec) in enumerate(zip(rng.uniform(0, 360, NUMBER), rng.uniform(-80, 80, NUMBER), strict=True)):
        wcs = tan(ra=float(ra), dec=float(dec), rotation=10.0 * i)
        one = visit(wcs, visit=100 + i // 3, detector=i % 3, altitude=30.0 + i / 2)
        found.append(replace(one, observation=replace(one.observation, ra=float(ra), dec=float(dec))))
    return found


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(long_table, "LONG", 10)
    write_visits(rows(), tmp_path / "visits.parquet")
    return tmp_path / "visits.parquet"


def test_rows_are_those_of_a_short_table(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dcrflow.read_visits(file)
    assert isinstance(found, LongTable)
    assert len(found) == NUMBER
    assert found == rows()
    assert list(found[5:8]) == rows()[5:8]
    assert found[-1] == rows()[-1]
    with pytest.raises(IndexError):
        found[NUMBER]
    frame = pd.read_parquet(file)
    for table in (frame, pa.Table.from_pandas(frame)):
        assert isinstance(read_visit_rows(table), LongTable)
        assert read_visit_rows(table) == rows()
    monkeypatch.setattr(long_table, "LONG", 1000)
    assert isinstance(dcrflow.read_visits(file), list)


@pytest.mark.parametrize("where", ["visit == 103", "band == 'g' and altitude > 45", "detector in [0, 2]", "mjd > 0"])
def test_conditions_select_the_same(file: Path, where: str) -> None:
    found = read_visit_rows(file)
    assert list(select(found, where)) == select(rows(), where)
    assert list(select(found, where, 2)) == select(rows(), where, 2)
    assert list(select(found, None, 4)) == rows()[:4]


def test_nothing_is_selected(file: Path) -> None:
    with pytest.raises(dcrflow.VisitTableError, match="no detector-visit fulfils"):
        select_some(read_visit_rows(file), "visit == 5")
    with pytest.raises(dcrflow.VisitTableError, match="compare any of"):
        select(read_visit_rows(file), "colour == 5")


def test_only_texts_of_selected_rows_are_kept(file: Path) -> None:
    some = select(read_visit_rows(file), "visit == 103")
    assert isinstance(some, LongTable)
    assert some._loaded is None, "nothing of the texts is read yet"
    assert [v.label for v in some] == [v.label for v in rows() if v.visit == 103]
    assert some._loaded is not None
    assert len(some._loaded.texts["wcs"]) == 3


def test_the_order_on_the_sky_is_that_of_the_rows(file: Path) -> None:
    ordered = sky_order(read_visit_rows(file))
    assert [v.label for v in ordered] == [v.label for v in sky_order(rows())]


def test_a_bad_row_is_one_when_it_is_used(file: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(file)
    frame.loc[7, "wcs"] = "nonsense"
    frame.loc[8, "altitude"] = -120.0
    frame.to_parquet(tmp_path / "bad.parquet")
    found = read_visit_rows(tmp_path / "bad.parquet")
    bad = [row for row in found if isinstance(row, BadVisit)]
    assert [(b.visit, b.detector) for b in bad] == [(102, 1), (102, 2)]
    assert "bad.parquet, row 7 (visit 102 detector 1): " in str(bad[0].error)
    strict = dcrflow.read_visits(tmp_path / "bad.parquet")
    assert strict[6] == rows()[6]
    with pytest.raises(dcrflow.VisitTableError, match="row 7"):
        strict[7]


def test_what_all_rows_share_is_checked_at_once(file: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(file)
    pd.concat([frame, frame[3:4]]).to_parquet(tmp_path / "twice.parquet")
    with pytest.raises(dcrflow.VisitTableError, match=f"row 3 and row {NUMBER} are both visit 101 detector 0"):
        dcrflow.read_visits(tmp_path / "twice.parquet")
    frame.drop(columns="wcs").to_parquet(tmp_path / "lacking.parquet")
    with pytest.raises(dcrflow.VisitTableError, match="lacks the column wcs"):
        dcrflow.read_visits(tmp_path / "lacking.parquet")
    frame.drop(columns="altitude").to_parquet(tmp_path / "directionless.parquet")
    with pytest.raises(dcrflow.VisitTableError, match="needs the columns altitude and parallactic_angle"):
        dcrflow.read_visits(tmp_path / "directionless.parquet")


def said(table: Any, where: str | None) -> list[tuple[Any, ...]]:
    """What is read of a table, or the error."""
    try:
        return [(r.visit, r.detector, str(getattr(r, "error", ""))) for r in select(read_visit_rows(table), where)]
    except dcrflow.VisitTableError as error:
        return [(str(error),)]


@pytest.mark.parametrize(
    ("columns", "where"),
    [
        ({"visit": [str(i) for i in range(NUMBER)]}, "visit == 7"),
        ({"visit": [float(i) for i in range(NUMBER)]}, "visit == 7"),
        ({"visit": [np.nan, *map(float, range(1, NUMBER))]}, None),
        ({"visit": [7.0] * NUMBER}, None),
        ({"visit": [-5] * NUMBER, "detector": [3] * NUMBER}, None),
        ({"visit": np.array([2**63 + 5, *range(1, NUMBER)], np.uint64)}, None),
        ({"visit": pd.Series([10**30, *range(1, NUMBER)], dtype=object)}, None),
        ({"visit": np.arange(NUMBER)[::-1] // 2, "detector": [3] * NUMBER}, None),
        ({"altitude": [f"{30 + i / 2}" for i in range(NUMBER)]}, "altitude > 45"),
        ({"band": [1] * NUMBER}, "band == '1'"),
        ({"band": pd.Series([1, *"g" * (NUMBER - 1)], dtype=object)}, "band == 'g'"),
        ({"wcs": [None, "", *"x" * (NUMBER - 2)]}, None),
    ],
    ids=["text IDs", "float IDs", "a missing ID", "twins", "negative IDs", "unsigned", "beyond all", "several twins",
         "text numbers", "number bands", "mixed", "missing wcs"],
)  # fmt: skip
def test_odd_tables_are_what_they_are_if_short(
    columns: dict[str, Any], where: str | None, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = pd.read_parquet(file).assign(**columns)
    long = said(frame, where)
    monkeypatch.setattr(long_table, "LONG", 1000)
    assert long == said(frame, where)


def test_ids_of_other_types_are_known_before_rows_are_used(file: Path) -> None:
    frame = pd.read_parquet(file)
    for kind in (str, float):
        found = read_visit_rows(frame.assign(visit=frame.visit.astype(kind)))
        assert isinstance(found, LongTable)
        assert found.data_ids()[0].tolist() == frame.visit.tolist()
        assert found.raw([4])[0].visit == frame.visit[4]


def test_what_arrow_cannot_read_is_an_error_of_the_table(file: Path, tmp_path: Path) -> None:
    frame = pd.read_parquet(file)
    table = pa.Table.from_pandas(frame)
    odd = pa.Array.from_buffers(
        pa.string(), NUMBER, [None, pa.py_buffer(np.arange(NUMBER + 1, dtype=np.int32)), pa.py_buffer(b"\xff" * NUMBER)]
    )
    with pytest.raises(dcrflow.VisitTableError, match="cannot read the table"):
        read_visit_rows(table.set_column(table.column_names.index("band"), "band", odd))
    with pytest.raises(dcrflow.VisitTableError, match="cannot read the table"):
        read_visit_rows(table.append_column("ra", table["ra"]))
    texts = TextFile()
    texts.add(odd)
    assert texts.rows([0]) == ["\ufffd"], "only this row is bad"
    path = tmp_path / "gone.parquet"
    frame.to_parquet(path)
    found = read_visit_rows(path)
    path.unlink()
    with pytest.raises(dcrflow.VisitTableError, match=r"gone\.parquet: cannot copy its column wcs to a temporary file"):
        found[0]


def test_units_in_the_file_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from astropy import units as u
    from astropy.table import Table

    monkeypatch.setattr(long_table, "LONG", 10)
    write_visits(rows(), tmp_path / "visits.parquet")
    table = Table.read(tmp_path / "visits.parquet")
    table["pressure"] = (table["pressure"].astype(float)).to(u.hPa)
    table["ra"] = table["ra"].to(u.rad)
    table.write(tmp_path / "others.parquet")
    found = dcrflow.read_visits(tmp_path / "others.parquet")
    assert isinstance(found, LongTable)
    assert found[4].observation.ra == pytest.approx(rows()[4].observation.ra)
    assert found[4].observation.weather.pressure == pytest.approx(rows()[4].observation.weather.pressure)


def test_a_row_goes_to_a_worker_as_it_is(file: Path) -> None:
    found = read_visit_rows(file)
    assert isinstance(found, LongTable)
    (row,) = found.raw([3])
    sent = pickle.loads(pickle.dumps(row))
    assert isinstance(sent, TableRow)
    assert (sent.visit, sent.detector) == (101, 0)
    assert visit_of(sent) == rows()[3]
    assert len(pickle.dumps(row)) < 4000


def test_middles_of_detectors_are_those_of_the_wcs(file: Path) -> None:
    found = read_visit_rows(file)
    assert isinstance(found, LongTable)
    for place, (ra, dec) in enumerate(zip(*found.positions(), strict=True)):
        box = rows()[place].bbox
        expected = rows()[place].wcs.pixel_to_sky(box.x0 + box.width / 2, box.y0 + box.height / 2)
        np.testing.assert_allclose((ra, dec), expected, atol=1e-5)


def test_cards_of_any_layout() -> None:
    """Rows of several cameras, with newlines, or without cards at all."""
    cards = [rows()[0].wcs.cards, "\n".join(f"CRVAL{i} = {i}.5D0" for i in (1, 2)), "nothing", None]
    values = card_values(pa.array(cards))
    assert values["CRVAL1"][1] == 1.5
    assert np.isnan(values["CRVAL1"][2:]).all()
    numbers = np.zeros(4)
    ra, dec = centres(pa.array(cards), numbers, numbers, numbers + 7, numbers + 8)
    assert list(ra[2:]) == [7, 7]
    assert list(dec[2:]) == [8, 8]


def test_axes_in_another_order_are_left_to_the_boresight() -> None:
    straight = rows()[0].wcs.cards
    swapped = straight.replace("RA---TAN", "DEC--TAN", 1)
    galactic = straight.replace("RA---TAN", "GLON-TAN")
    numbers = np.zeros(3)
    ra, dec = centres(pa.array([straight, swapped, galactic]), numbers, numbers, numbers + 7, numbers + 8)
    assert ra.tolist()[1:] == [7, 7]
    assert dec.tolist()[1:] == [8, 8]
    assert ra[0] != 7


def test_numbers_longer_than_usual_keep_their_exponent() -> None:
    card = "CD1_1   = -5.55555555555555555E-05 / deg".ljust(80)
    assert card_values(pa.array([card] * 3))["CD1_1"].tolist() == [-5.55555555555555555e-05] * 3


def test_texts_in_a_file() -> None:
    texts: list[Any] = ["one", None, "", "zwölf", "x" * 5000]
    file = TextFile()
    file.add(pa.array(texts[:2]))
    assert file.rows([0, 1]) == texts[:2]
    file.add(pa.array(["no", *texts[2:]])[1:])
    assert len(file) == 5
    assert file.rows([4, 3, 2, 1, 0]) == texts[::-1]


def test_runs_of_equal_rows_are_no_long_table(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"visit": pa.array(np.zeros(10**6, np.int64))}), tmp_path / "equal.parquet")
    assert long_table.long_table(tmp_path / "equal.parquet", frozenset(["visit"]), visit_of) is None
