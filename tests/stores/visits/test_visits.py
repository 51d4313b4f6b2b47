"""Detector-visit tables in all the forms that astropy and pandas give them, and what is said of bad rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time
from astropy.utils.masked import Masked
from pyarrow import parquet
from scenes import WEATHER, visit

from dcrflow.base.errors import VisitTableError
from dcrflow.geometry.box import Box
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.observation import Observation, altitude_and_parallactic_angle
from dcrflow.physics.refraction import Weather
from dcrflow.stores.visits import long_table
from dcrflow.stores.visits.select import select
from dcrflow.stores.visits.tables import BadVisit, read_visit_rows, read_visits, write_visits

VISITS = [
    visit(visit=v, detector=d, mjd=61000.25 + v, physical_filter="g_01", box=Box(-3, 7, 200, 180), altitude=40.0 + d)
    for v in (1, 2)
    for d in (3, 4)
]


def table(**changes: Any) -> Table:
    """The visits as a plain astropy table in the contract's units, with some columns changed, or None to drop them."""
    rows = [
        {
            "instrument": v.instrument, "visit": v.visit, "detector": v.detector, "band": v.band,
            "physical_filter": v.physical_filter, "x0": v.bbox.x0, "y0": v.bbox.y0, "width": v.bbox.width,
            "height": v.bbox.height, "wcs": v.wcs.cards, "ra": v.observation.ra, "dec": v.observation.dec, "mjd": v.mjd,
            "altitude": v.observation.altitude, "parallactic_angle": v.observation.parallactic_angle,
            "rotation_angle": v.observation.rotation_angle, "latitude": v.observation.latitude,
            "height_m": v.observation.height, "temperature": WEATHER.temperature, "pressure": WEATHER.pressure,
            "humidity": WEATHER.humidity,
        }
        for v in VISITS
    ]  # fmt: skip
    made = Table(rows)
    for name, values in changes.items():
        if values is None:
            del made[name]
        else:
            made[name] = values
    return made


def test_a_table_in_memory() -> None:
    assert read_visits(table()) == VISITS
    assert read_visits(table().to_pandas()) == VISITS
    assert read_visits(QTable(table())) == VISITS
    assert read_visits(table()[:0]) == []


@pytest.mark.parametrize("suffix", ["ecsv", "parquet"])
def test_round_trip(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"visits.{suffix}"
    missing = visit(visit=9, mjd=None, rotation_angle=None)
    weather = Weather.measured(None, 74000.0, None, 2663.0)
    assumed = visit(visit=10, observation=Observation(53.0, -28.0, 45.0, 33.0, weather, -30.0, 2663.0, 1.0))
    visits = [*VISITS, missing, assumed]
    write_visits(visits, path)
    assert read_visits(path) == read_visits(str(path)) == visits
    write_visits(iter(visits[:1]), path)
    assert read_visits(path) == visits[:1]
    write_visits([], path)
    assert read_visits(path) == []


@pytest.mark.parametrize("long", [False, True])
def test_flipped_bits_of_a_parquet_file_are_errors(long: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its values; without checksums most would be another WCS or another place."""
    if long:
        monkeypatch.setattr(long_table, "LONG", 2)
    write_visits(VISITS, tmp_path / "v.parquet")
    content = (tmp_path / "v.parquet").read_bytes()
    about = parquet.read_metadata(tmp_path / "v.parquet").row_group(0)
    names = [about.column(i).path_in_schema for i in range(about.num_columns)]
    for name in ("wcs", "ra", "band", "width"):
        column = about.column(names.index(name))
        start = column.dictionary_page_offset or column.data_page_offset
        flipped = bytearray(content)
        flipped[start + column.total_compressed_size - 1] ^= 4  # the last byte of its last page
        (tmp_path / "bad.parquet").write_bytes(flipped)
        with pytest.raises(VisitTableError, match=r"bad\.parquet.*checksum"):
            list(read_visits(tmp_path / "bad.parquet"))
    (tmp_path / "bad.parquet").write_bytes(content)
    assert read_visits(tmp_path / "bad.parquet") == VISITS
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.parquet", "v.parquet"]


@pytest.mark.parametrize("suffix", ["ecsv", "parquet"])
def test_a_table_that_cannot_be_written_whole_leaves_the_old_one(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"v.{suffix}"
    write_visits(VISITS, path)

    def full(table: Table, name: Path, **_: Any) -> None:
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Table, "write", full)
    with pytest.raises(VisitTableError, match=rf"cannot write .*v\.{suffix}: .*No space"):
        write_visits(VISITS[:1], path)
    assert read_visits(path) == VISITS
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_link_to_a_table_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "v.ecsv").symlink_to(tmp_path / "there" / "w.ecsv")
    for visits in (VISITS, VISITS[:1]):
        write_visits(visits, tmp_path / "v.ecsv")
        assert (tmp_path / "v.ecsv").is_symlink()
        assert read_visits(tmp_path / "there" / "w.ecsv") == visits


def test_what_is_written_has_units_and_opens_with_pandas(tmp_path: Path) -> None:
    write_visits(VISITS, tmp_path / "v.ecsv")
    found = QTable.read(tmp_path / "v.ecsv")
    assert {n: str(found[n].unit) for n in ("ra", "mjd", "height_m", "temperature", "pressure", "humidity", "x0")} == {
        "ra": "deg", "mjd": "d", "height_m": "m", "temperature": "deg_C", "pressure": "Pa", "humidity": "%",
        "x0": "pix",
    }  # fmt: skip
    write_visits(VISITS, tmp_path / "v.parquet")
    frame = pd.read_parquet(tmp_path / "v.parquet")
    assert frame["altitude"].tolist() == [43.0, 44.0, 43.0, 44.0]
    assert frame["width"].dtype == np.int64


def test_units_are_honoured(tmp_path: Path) -> None:
    plain = table()
    made = QTable(plain)
    made["ra"] = (plain["ra"] * u.deg).to(u.rad)
    made["altitude"] = (plain["altitude"] * u.deg).to(u.arcsec)
    made["temperature"] = [WEATHER.temperature + 273.15] * 4 * u.K
    made["pressure"] = (plain["pressure"] * u.Pa).to(u.hPa)
    made["height_m"] = (plain["height_m"] * u.m).to(u.km)
    made["mjd"] = Time(plain["mjd"], format="mjd", scale="tai").utc
    made.write(tmp_path / "v.ecsv")
    made["mjd"] = made["mjd"].tai.mjd
    made.write(tmp_path / "v.parquet")
    for source in (made, tmp_path / "v.ecsv", tmp_path / "v.parquet"):
        for found, expected in zip(read_visits(source), VISITS, strict=True):
            assert found.mjd == pytest.approx(expected.mjd, abs=1e-9)
            for name in ("ra", "altitude", "height"):
                assert getattr(found.observation, name) == pytest.approx(getattr(expected.observation, name), rel=1e-12)
            for name in ("temperature", "pressure", "humidity"):
                assert getattr(found.observation.weather, name) == pytest.approx(getattr(WEATHER, name), rel=1e-12)


def test_what_may_be_missing_may_be_absent_masked_nan_or_none(tmp_path: Path) -> None:
    absent = table(temperature=None, physical_filter=None)
    masked = table(temperature=MaskedColumn([1.0] * 4, mask=True), physical_filter=MaskedColumn(["a"] * 4, mask=True))
    quantity = QTable(absent)
    quantity["temperature"] = Masked([1.0] * 4 * u.deg_C, mask=[True] * 4)
    frame = table().to_pandas()
    frame["temperature"] = pd.array([None] * 4, dtype="Float64")
    frame["physical_filter"] = [None] * 4
    frame.to_parquet(tmp_path / "v.parquet")
    expected = Weather.measured(None, WEATHER.pressure, WEATHER.humidity, 2663.0)
    nan = table(temperature=np.nan, physical_filter="")
    for source in (absent, masked, quantity, nan, frame, tmp_path / "v.parquet"):
        for found in read_visits(source):
            assert found.observation.weather == expected
            assert found.physical_filter == ""


def test_direction_from_time_and_site() -> None:
    place = {"longitude": [-70.7] * 4, "latitude": [-30.2] * 4, "mjd": [61000.05] * 4}
    altitude, parallactic = altitude_and_parallactic_angle(53.0, -28.0, 61000.05, -70.7, -30.2, 2663.0)
    made = table(**place, altitude=None, parallactic_angle=None)
    assert {(v.observation.altitude, v.observation.parallactic_angle) for v in read_visits(made)} == {
        (altitude, parallactic)
    }
    mixed = table(**place, altitude=MaskedColumn([50.0] * 4, mask=[False, True, False, False]))
    assert [v.observation.altitude for v in read_visits(mixed)] == [50.0, altitude, 50.0, 50.0]
    with pytest.raises(
        VisitTableError, match=r"row 1 \(visit 1 detector 4\): found neither altitude and parallactic_angle"
    ):
        read_visits(table(altitude=MaskedColumn([50.0] * 4, mask=[False, True, False, False])))


@pytest.mark.parametrize(
    ("mjd", "cause"),
    [
        (2461000.55, r"2461000\.55, a time in the year 8596; .*Julian date: subtract 2400000\.5 to have 61000\.05"),
        (1764200000.0, "seconds since 1970"),
        (2026.9, "it looks like a year"),
        (-5.0, "between 15020 and 88069"),
    ],
)
def test_times_that_are_no_mjd(mjd: float, cause: str) -> None:
    for changes in ({}, {"altitude": None, "longitude": [-70.7] * 4}):
        with pytest.raises(VisitTableError, match=f"row 0 .*: mjd is .*{cause}"):
            read_visits(table(mjd=[mjd] * 4, **changes))


def test_altitude_in_radians() -> None:
    with pytest.raises(
        VisitTableError, match=r"row 0 .*altitude is 0\.785398 deg.*radians: convert it to 45\.0000 deg"
    ):
        read_visits(table(altitude=[np.pi / 4] * 4))


def test_altitude_against_time_and_site(caplog: pytest.LogCaptureFixture) -> None:
    """More than 0.3 deg apart: said once a visit, with both numbers, and the table's is kept."""
    place = {"longitude": [-70.7] * 4, "latitude": [-30.2] * 4, "height_m": [2663.0] * 4}
    true = [altitude_and_parallactic_angle(53.0, -28.0, v.mjd, -70.7, -30.2, 2663.0)[0] for v in VISITS]
    assert [v.observation.altitude for v in read_visits(table(**place, altitude=true))] == true
    near = [a + 0.2 for a in true]
    assert [v.observation.altitude for v in read_visits(table(**place, altitude=near))] == near
    assert not caplog.records
    found = read_visits(table(**place, altitude=[40.0, 40.0, 90 - true[2], 90 - true[3]]))
    assert [v.observation.altitude for v in found] == [40.0, 40.0, 90 - true[2], 90 - true[3]]
    first, second = (record.getMessage() for record in caplog.records)
    assert first.startswith(f"visit 1: altitude is 40.0000 deg, but {true[0]:.4f} deg by ra, dec, mjd and site")
    assert second.startswith("visit 2: ")
    assert "is it the zenith angle?" in second


def test_a_site_that_is_not_given_hardly_matters() -> None:
    found = read_visits(table(latitude=None, height_m=None))[0].observation
    assert (found.latitude, found.height) == (45.0, 0.0)


def test_wcs_with_newlines(tmp_path: Path) -> None:
    lines = ["\n".join(v.wcs.cards[i : i + 80] for i in range(0, len(v.wcs.cards), 80)) for v in VISITS]
    stripped = [v.wcs.cards.rstrip() for v in VISITS]
    for cards in (lines, stripped):
        made = table(wcs=cards)
        made.write(tmp_path / "v.ecsv", overwrite=True)
        assert read_visits(made) == read_visits(tmp_path / "v.ecsv") == VISITS


def test_numbers_may_be_text_or_floats_and_text_may_be_bytes() -> None:
    assert read_visits(table(visit=[1.0, 1.0, 2.0, 2.0], x0=["-3"] * 4, band=[b"g"] * 4)) == VISITS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"visit": [1, 1, 2, -2]}, r"row 3 \(visit -2 detector 4\): visit is -2, expected an ID of 0 to \d+"),
        ({"visit": [1, 1, 2, 2.5]}, r"row 3 \(detector 4\): visit is 2.5, expected an integer"),
        ({"width": [9, 9, 0, 9]}, r"row 2 \(visit 2 detector 3\): width is 0, expected at least 1 pixel"),
        ({"x0": ["0", "0", "0", "left"]}, r"x0 is 'left', expected an integer"),
        ({"ra": [53.0, 53.0, np.nan, 53.0]}, r"row 2 \(visit 2 detector 3\): ra is missing"),
        ({"dec": [-28.0, -28.0, -91.0, -28.0]}, r"row 2 .*dec of the observation is -91 deg"),
        ({"altitude": [-3.0, 9, 9, 9]}, r"row 0 \(visit 1 detector 3\): .*altitude is -3 deg: below the horizon"),
        ({"altitude": [np.inf, 9, 9, 9]}, r"row 0 .*: altitude is inf, expected a finite number"),
        ({"pressure": [740.0] * 4}, r"row 0 .*: pressure 740 is not within 10000 to 120000"),
        ({"humidity": ["dry"] * 4}, r"row 0 .*: humidity is 'dry', expected a number"),
        ({"wcs": ["no wcs"] * 4}, r"row 0 .*: .*WCS"),
        ({"band": ["g", "g", "", "g"]}, r"row 2 .*: band is '', expected a name"),
        ({"band": ["g" * 100_000] * 4}, r"row 0 .*: band is 'g{1,40}\.\.\.g{1,40}' of 100000 letters, expected 200 at"),
        (
            {"width": [10**9] * 4},
            r"row 0 .*: width and height are 1000000000 and \d+, expected 268435456 pixels at most",
        ),
        ({"latitude": [100.0] * 4}, r"row 0 .*: latitude of the observation is 100 deg, expected -90 to 90"),
        ({"height_m": [1e9] * 4}, r"row 0 .*: height is 1e\+09 m, expected -1000 to 50000"),
        ({"ra": [1e30] * 4}, r"row 0 .*: ra of the observation is 1e\+30 deg, expected -720 to 720"),
        ({"rotation_angle": [1e30] * 4}, r"row 0 .*: rotation_angle of the observation is 1e\+30 deg"),
        ({"x0": MaskedColumn([0] * 4, mask=[0, 0, 0, 1], unit="pix")}, r"row 3 .*: x0 is missing"),
    ],
)
def test_a_bad_row_is_named_and_fails_alone(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(VisitTableError, match=message) as caught:
        read_visits(table(**changes))
    assert str(caught.value).startswith("the table, row ")
    assert "\n" not in str(caught.value)
    rows = read_visit_rows(table(**changes))
    assert len(rows) == 4
    bad = [row for row in rows if isinstance(row, BadVisit)]
    assert str(bad[0].error) == str(caught.value)
    assert len(bad) in (1, 4)
    assert all(isinstance(row, BadVisit | DetectorVisit) for row in rows)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: table(band=None, wcs=None), r"the table lacks the column band, wcs; it has instrument, visit"),
        (lambda: table(altitude=None), r"needs the columns altitude and parallactic_angle, or mjd, longitude and lat"),
        (lambda: table(pressure=[1.0] * 4 * u.m), r"column pressure has unit m, expected Pa"),
        (lambda: table(visit=[1, 2, 1, 3], detector=[3, 3, 3, 3]), r"row 0 and row 2 are both visit 1 detector 3"),
        (lambda: 12, r"no detector-visits can be read from int: 12; expected the path of a table"),
        (lambda: [1, 2], r"no detector-visits can be read from list: \[1, 2\]"),
        (lambda: "nothing.ecsv", r"nothing\.ecsv does not exist; expected a detector-visit table"),
    ],
)  # fmt: skip
def test_unusable_sources(make: Callable[[], Any], message: str) -> None:
    for read in (read_visits, read_visit_rows):
        with pytest.raises(VisitTableError, match=message):
            read(make())


@pytest.mark.parametrize("suffix", ["ecsv", "parquet", "txt"])
def test_a_file_that_is_no_table(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"v.{suffix}"
    path.write_text("Dear all,\n\nhere are the visits.\n")
    with pytest.raises(VisitTableError, match=rf"cannot read {path} as a detector-visit table: ") as caught:
        read_visits(path)
    assert "\n" not in str(caught.value)


def test_visits_pass_through() -> None:
    assert read_visits(VISITS) == read_visits(tuple(VISITS)) == read_visits(v for v in VISITS) == VISITS
    assert read_visits([]) == []


def test_writing_where_it_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(VisitTableError, match=r"v\.csv: a detector-visit table is written as \.ecsv or \.parquet"):
        write_visits(VISITS, tmp_path / "v.csv")
    with pytest.raises(VisitTableError, match=r"cannot write .*none/v\.ecsv"):
        write_visits(VISITS, tmp_path / "none" / "v.ecsv")


def test_select() -> None:
    rows = read_visit_rows(table(altitude=[-3.0, 9, 9, 9]))
    assert select(rows, None) == rows
    assert select(rows, None, 2) == rows[:2]
    assert [r.detector for r in select(rows, "visit == 2 and detector < 4")] == [3]
    assert select(rows, "band == 'g'", 1) == [rows[1]]  # of a bad row only the data ID is known
    assert select(rows, "visit > 99") == []
    with pytest.raises(VisitTableError, match=r"cannot select detector-visits by 'vist == 1': .*; compare any of"):
        select(rows, "vist == 1")
