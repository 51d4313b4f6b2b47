"""Any header to a detector-visit: built-in cameras, mappings of one's own, multi-extension and compressed files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from scenes import tan

import dcrflow
from dcrflow.cli import app
from dcrflow.stores.visits.from_fits import explain_fits, visit_rows_from_fits, visits_from_fits
from dcrflow.stores.visits.mapping import HeaderLook, Source, built_in_mappings, read_mapping
from dcrflow.stores.visits.sites import SITES, site
from dcrflow.stores.visits.tables import BadVisit

DECAM = {
    "INSTRUME": "DECam", "EXPNUM": 229350, "FILTER": "g DECam SDSS c0001 4720.0 1520.0", "TELRA": "03:32:00.0",
    "TELDEC": "-28:00:00.0", "MJD-OBS": 56568.2, "EXPTIME": 90.0, "OUTTEMP": 11.5, "PRESSURE": 779.0, "HUMIDITY": 22.0,
    "OBS-LONG": 70.81489,
}  # fmt: skip


def image(header: dict[str, object], shape: tuple[int, int] = (40, 50)) -> fits.Header:
    made = tan(25.0, 20.0).header
    made.update(header)
    return made


def write(path: Path, primary: dict[str, object], *extensions: dict[str, object], compress: bool = False) -> Path:
    hdus: list[fits.hdu.base._BaseHDU] = [fits.PrimaryHDU()]
    hdus[0].header.update(primary)
    for one in extensions:
        kind = fits.CompImageHDU if compress else fits.ImageHDU
        hdus.append(kind(np.zeros((40, 50), np.float32), image(one)))
    fits.HDUList(hdus).writeto(path)
    return path


def test_decam_multi_extension_file(tmp_path: Path) -> None:
    ccds = [{"CCDNUM": n, "EXTNAME": f"S{n}"} for n in (3, 1, 2)]
    path = write(tmp_path / "c4d_131001_045512_ooi_g_v1.fits", DECAM, *ccds)
    found = visits_from_fits(path)
    assert [(v.instrument, v.visit, v.detector, v.band) for v in found] == [
        ("DECam", 229350, n, "g") for n in (3, 1, 2)
    ]
    seen = found[0].observation
    assert (seen.ra, seen.dec) == pytest.approx((53.0, -28.0))
    assert (seen.weather.temperature, seen.weather.pressure, seen.weather.humidity) == pytest.approx((11.5, 77900, 22))
    assert seen.weather.assumed == ()
    middle = Time(56568.2 + 45.0 / 86400, format="mjd", scale="utc")
    assert found[0].mjd == pytest.approx(middle.tai.mjd, abs=1e-9)
    assert 0 < seen.altitude < 90


def test_altitude_is_astropys_at_the_named_site(tmp_path: Path) -> None:
    from astropy import units as u
    from astropy.coordinates import AltAz, EarthLocation, SkyCoord

    (found,) = visits_from_fits(write(tmp_path / "a.fits", DECAM, {"CCDNUM": 1}))
    place = SITES["ctio"]
    where = EarthLocation.from_geodetic(place.longitude * u.deg, place.latitude * u.deg, place.height_m * u.m)
    frame = AltAz(obstime=Time(found.mjd, format="mjd", scale="tai"), location=where)
    want = SkyCoord(53.0 * u.deg, -28.0 * u.deg).transform_to(frame).alt.deg
    assert found.observation.altitude == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize("name", ["a.fits.fz", "a.fits.gz"])
def test_compressed_files(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, DECAM, {"CCDNUM": 7}, compress=name.endswith("fz"))
    (found,) = visits_from_fits(path)
    assert (found.detector, found.bbox.width, found.bbox.height) == (7, 50, 40)


HEADERS = {
    "ztf": {
        "INSTRUME": "ZTF/MOSAIC", "DBEXPID": 123456, "RCID": 43, "FILTER": "ZTF_r", "TELRAD": 53.0, "TELDECD": -28.0,
        "OBSMJD": 58500.1, "EXPTIME": 30.0,
    },
    "hsc": {
        "INSTRUME": "Hyper Suprime-Cam", "EXP-ID": "HSCE00123456", "DET-ID": 50, "FILTER01": "HSC-G",
        "RA2000": "03:32:00.000", "DEC2000": "-28:00:00.00", "MJD-STR": 57000.3, "EXPTIME": 150.0, "OUT-TMP": 275.15,
        "OUT-PRS": 620.0, "OUT-HUM": 10.0,
    },
    "megacam": {
        "INSTRUME": "MegaPrime", "TELESCOP": "CFHT 3.6m", "EXPNUM": 849375, "EXTNAME": "ccd04", "FILTER": "g.MP9401",
        "RA_DEG": 53.0, "DEC_DEG": -28.0, "MJD-OBS": 53000.4, "EXPTIME": 300.0, "TEMPERAT": 2.0, "PRESSURE": 616.0,
        "RELHUMID": 12.0,
    },
    "panstarrs": {
        "INSTRUME": "gpc1", "FPA.OBS": "o5678g0123o", "EXTNAME": "XY33", "FPA.FILTER": "g.00000", "FPA.RA": 53.0,
        "FPA.DEC": -28.0, "MJD-OBS": 55500.3, "EXPTIME": 43.0,
    },
    "blackgem": {
        "INSTRUME": "BG3", "TELESCOP": "BG3", "FILTER": "q", "RA": 53.0, "DEC": -28.0, "EXPTIME": 60.0,
        "DATE-OBS": "2023-10-01T06:00:00.123",
    },
    "meerlicht": {
        "INSTRUME": "ML1", "TELESCOP": "ML1", "FILTER": "u", "RA": 53.0, "DEC": -28.0, "EXPTIME": 60.0,
        "DATE-OBS": "2023-10-01T00:30:00",
    },
    "skymapper": {
        "INSTRUME": "SkyMapper Mosaic", "TELESCOP": "SkyMapper", "IMAGEID": "20160101123456-21", "CCD": 21,
        "FILTNAME": "v", "RA": "03:32:00", "DEC": "-28:00:00", "MJD-OBS": 57300.6, "EXPTIME": 100.0,
    },
    "lsst": {
        "INSTRUME": "LSSTCam", "VISIT": 2025050100123, "DETECTOR": 94, "BAND": "g", "FILTER": "g_6", "BORE-RA": 53.0,
        "BORE-DEC": -28.0, "BORE-ALT": 55.0, "PARANGLE": 30.0, "DATE-AVG": "2025-05-01T05:00:00", "OBS-LONG": -70.7,
        "OBS-LAT": -30.2, "OBS-ELEV": 2663.0, "AIRTEMP": 9.0, "AIRPRESS": 74000.0, "HUMIDITY": 30.0,
    },
}  # fmt: skip
WANT = {
    "ztf": ("ZTF", 123456, 43, "r"),
    "hsc": ("HSC", 123456, 50, "g"),
    "megacam": ("MegaPrime", 849375, 4, "g"),
    "panstarrs": ("GPC1", 123, 33, "g"),
    "blackgem": ("BlackGEM", 20231001060000, 3, "q"),
    "meerlicht": ("MeerLICHT", 20231001003000, 1, "u"),
    "skymapper": ("SkyMapper", 20160101123456, 21, "v"),
    "lsst": ("LSSTCam", 2025050100123, 94, "g"),
}


@pytest.mark.filterwarnings("ignore:.*HIERARCH card will be created:astropy.io.fits.verify.VerifyWarning")
@pytest.mark.parametrize("camera", HEADERS)
def test_every_camera_is_recognised(tmp_path: Path, camera: str) -> None:
    primary = {k: v for k, v in HEADERS[camera].items() if k != "EXTNAME"}
    own = {k: v for k, v in HEADERS[camera].items() if k == "EXTNAME"}
    (row,) = visit_rows_from_fits(write(tmp_path / "a.fits", primary, own))
    if isinstance(row, BadVisit):  # below the horizon at that made-up time: everything else was read
        assert "below the horizon" in str(row.error)
        row = _without_time(tmp_path / "a.fits")
    assert (row.instrument, row.visit, row.detector, row.band) == WANT[camera]


def _without_time(path: Path) -> dcrflow.DetectorVisit:
    """The same with the altitude given."""
    (explained,) = explain_fits(path)
    values = {f.column: f.value for f in explained.found}
    from types import SimpleNamespace

    return SimpleNamespace(instrument=explained.mapping, **{n: values[n] for n in ("visit", "detector", "band")})  # type: ignore[return-value]


def test_every_built_in_mapping_has_a_header_here() -> None:
    assert set(built_in_mappings()) == {*HEADERS, "decam"}


def test_weather_in_other_units(tmp_path: Path) -> None:
    """Kelvin and hPa: HSC's."""
    look = HeaderLook(HEADERS["hsc"])
    row = built_in_mappings()["hsc"].row(look)
    assert (row["temperature"], row["pressure"]) == pytest.approx((2.0, 62000.0))


def test_a_mapping_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "instrument: Mine\n"
        "site: la palma\n"
        "columns:\n"
        "  visit: [NOT-THERE, FRAME]\n"
        "  detector: {value: 1}\n"
        "  band: {keyword: FILT, names: {Sloan-g: g}}\n"
        "  ra: {keyword: OBJRA, unit: hourangle}\n"
        "  dec: OBJDEC\n"
        "  mjd: {keyword: JD, format: jd, scale: utc, exposure: EXPTIME}\n"
        '  temperature: {expression: "({TEMPF} - 32) * 5 / 9"}\n'
    )
    header = {"FRAME": 8, "FILT": "Sloan-g", "OBJRA": "03:32:00", "OBJDEC": "-28:00:00", "JD": 2459500.6,
              "EXPTIME": 120.0, "TEMPF": 50.0}  # fmt: skip
    (row,) = visit_rows_from_fits(write(tmp_path / "a.fits", header, {}), tmp_path / "m.yaml")
    found = explain_fits(tmp_path / "a.fits", tmp_path / "m.yaml")[0]
    values = {f.column: f.value for f in found.found}
    assert (values["visit"], values["detector"], values["band"], values["ra"]) == (8, 1, "g", pytest.approx(53.0))
    assert values["temperature"] == pytest.approx(10.0)
    want = Time(2459500.6 + 60 / 86400, format="jd", scale="utc").tai.mjd
    assert values["mjd"] == pytest.approx(want, abs=1e-8)
    assert row.visit == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("instrument: X\ncolumns: {visit: V}", "detector"),
        ("instrument: X\ncolumns: {visit: V, detector: D, band: B, ra: R, dec: E, colour: C}", "colour"),
        ("instrument: X\ncolumns: {visit: {keyword: V, value: 3}}", "one of keyword"),
        ("instrument: X\ncolumns: {visit: {expression: '__import__(\"os\")'}}", "only numbers"),
        ("instrument: X\ncolumns: {visit: {expression: '{A} ** {B}'}}", "only numbers"),
        ("instrument: X\ncolumns: {visit: {expression: '(1'}}", "no expression"),
        ("columns: {}", "instrument"),
        ("[1, 2", "cannot read"),
    ],
)
def test_bad_mappings_say_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    with pytest.raises(dcrflow.VisitTableError, match=message):
        read_mapping(tmp_path / "m.yaml")


def test_expressions_are_arithmetic_of_keywords() -> None:
    look = HeaderLook({"A": 3, "B-C": 4.0})
    assert Source(expression="-{A} + 2 * ({B-C} - 1) / 3").found(look) == pytest.approx(-1.0)
    assert Source(expression="{A} + {MISSING}").found(look) is None


def test_what_fits_no_mapping_is_said_with_the_keywords(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", {"INSTRUME": "FooCam", "TEMPERAT": 5.0}, {})
    with pytest.raises(dcrflow.VisitTableError, match="FooCam"):
        visits_from_fits(path)
    (explained,) = explain_fits(path)
    near = {f.column: f.candidates for f in explained.found}
    assert near["ra"][0] == "CRVAL1 = 53.0"
    assert any("TEMPERAT" in c for c in near["temperature"])


def test_masks_and_weights_are_no_detectors(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.fits", DECAM, {"EXTNAME": "SCI", "CCDNUM": 1}, {"EXTNAME": "MSK", "EXTTYPE": "MASK"},
        {"EXTNAME": "WGT"},
    )  # fmt: skip
    assert len(visits_from_fits(path)) == 1


def test_one_bad_file_stands_for_itself(tmp_path: Path) -> None:
    good = write(tmp_path / "a.fits", DECAM, {"CCDNUM": 1})
    (tmp_path / "b.fits").write_bytes(b"SIMPLE  = no FITS at all")
    rows = visit_rows_from_fits([good, tmp_path / "b.fits"])
    assert [isinstance(r, BadVisit) for r in rows] == [False, True]
    assert "b.fits" in str(rows[1].error)  # type: ignore[union-attr]


def test_no_site_is_looked_up_over_the_network() -> None:
    assert site("CTIO").latitude == pytest.approx(-30.17, abs=0.01)
    with pytest.raises(dcrflow.VisitTableError, match="longitude, latitude"):
        site("Atlantis")


def test_the_command_writes_a_table_and_explains(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    path = write(tmp_path / "a.fits", DECAM, {"CCDNUM": 1}, {"CCDNUM": 2})
    out = tmp_path / "v.ecsv"
    done = CliRunner().invoke(app.app, ["visits", str(path), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert [v.detector for v in dcrflow.read_visits(out)] == [1, 2]
    shown = CliRunner().invoke(app.app, ["visits", str(path), "--explain"])
    assert shown.exit_code == 0
    assert "EXPNUM" in shown.output
