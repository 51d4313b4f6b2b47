"""Headers in all their variety: angles, times, sites and weather as cameras write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import EarthLocation
from astropy.io import fits
from astropy.time import Time
from scenes import tan

import dcrflow
from dcrflow.stores.visits.from_fits import explain_fits, visit_rows_from_fits
from dcrflow.stores.visits.header_values import in_unit, is_unknown
from dcrflow.stores.visits.mapping import HeaderLook, HeaderMapping, built_in_mappings
from dcrflow.stores.visits.sites import SITES, site

COLUMNS: dict[str, Any] = {
    "visit": {"value": 1}, "detector": {"value": 2}, "band": {"value": "g"}, "ra": "RA", "dec": "DEC", "mjd": "T",
}  # fmt: skip
START = Time(56568.2, format="mjd", scale="utc").tai.mjd


def mapping(site: str = "ctio", **columns: Any) -> HeaderMapping:
    return HeaderMapping.model_validate({"instrument": "X", "site": site, "columns": {**COLUMNS, **columns}})


def row(header: dict[str, Any] | fits.Header, chosen: HeaderMapping) -> dict[str, Any]:
    return chosen.row(HeaderLook(header))


@pytest.mark.parametrize(
    ("ra", "unit"),
    [("03:32:00.0", ""), ("3 32 00", ""), ("03h32m00s", ""), ("53.0", ""), (53.0, ""), (53, ""), ("+03:32:00", ""),
     (53.0 / 15, "hourangle"), ("03:32:00", "hourangle"), ("53:00:00", "deg"), ("53d00m00s", ""),
     (53.0 * 3600, "arcsec"), (float(np.deg2rad(53.0)), "rad")],
)  # fmt: skip
def test_right_ascensions(ra: object, unit: str) -> None:
    found = row({"RA": ra, "DEC": "-28 00 00", "T": 56568.2}, mapping(ra={"keyword": "RA", "unit": unit}))
    assert (found["ra"], found["dec"]) == pytest.approx((53.0, -28.0))


@pytest.mark.parametrize(
    "header",
    [
        {"T": 56568.2}, {"T": "56568.2"}, {"T": 2456568.7}, {"T": "2013-10-03T04:48:00"},
        {"T": "2013-10-03 04:48:00.0"},
        {"T": "2013-10-03T04:48:00Z"}, {"T": "2013-10-03", "UT": "04:48:00.0"}, {"T": "2013-10-03", "UT": " 04:48:00Z"},
        {"T": Time(56568.2, format="mjd", scale="utc").tai.isot, "TIMESYS": "TAI"},
        {"T": Time(56568.2, format="mjd", scale="utc").tt.mjd, "TIMESYS": "TDT"}, {"T": 56568.2, "TIMESYS": "UT"},
        {"T": 56568.2, "TIMESYS": "UTC(NIST)"},
    ],
)  # fmt: skip
def test_times(header: dict[str, Any]) -> None:
    chosen = mapping(mjd={"keyword": "T", "time": ["TIME-OBS", "UT"]})
    assert row({"RA": 53.0, "DEC": -28.0, **header}, chosen)["mjd"] == pytest.approx(START, abs=1e-7)


def test_dates_of_the_last_century_and_exposure_times() -> None:
    chosen = mapping(mjd={"keyword": "T", "time": "UT", "exposure": ["EXPTIME", "EXPOSURE"]})
    found = row({"RA": 53.0, "DEC": -28.0, "T": "24/12/98", "UT": "06:00:00", "EXPOSURE": 120.0}, chosen)
    want = Time("1998-12-24T06:01:00", scale="utc").tai.mjd
    assert found["mjd"] == pytest.approx(want, abs=1e-8)


@pytest.mark.parametrize(
    ("value", "comment", "seconds"),
    [
        (120.0, "", 120.0), (120.0, "[s] open", 120.0), (120.0, "[sec] open", 120.0), (2, "[min] open", 120.0),
        (2.0, "[minutes]", 120.0), (120000, "[ms]", 120.0), (0.5, "[h]", 1800.0), (0.5, "[hours]", 1800.0),
        ("120", "[S] open", 120.0), (120.0, "[J2000] no unit", 120.0),
        (120e6, "[usec]", 120.0), (0.001, "[days]", 86.4),
    ],
)  # fmt: skip
def test_exposure_times_in_the_unit_that_the_card_says(value: Any, comment: str, seconds: float) -> None:
    chosen = mapping(mjd={"keyword": "T", "exposure": "EXPTIME"})
    header = fits.Header(
        [("RA", 53.0), ("DEC", -28.0), ("T", 56568.0), ("TIMESYS", "TAI"), ("EXPTIME", value, comment)]
    )
    assert row(header, chosen)["mjd"] == pytest.approx(56568.0 + seconds / 2 / 86400, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "comment", "message"),
    [(120.0, "[m] open", "EXPTIME says .m., expected a time"), (-1.0, "", "EXPTIME is -1 s"), (1e30, "", "is 1e.30 s")],
)
def test_exposure_times_that_are_none(value: float, comment: str, message: str) -> None:
    chosen = mapping(mjd={"keyword": "T", "exposure": "EXPTIME"})
    header = fits.Header([("RA", 53.0), ("DEC", -28.0), ("T", 56568.0), ("EXPTIME", value, comment)])
    with pytest.raises(ValueError, match=message):
        row(header, chosen)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"T": "yesterday"}, "mjd from T: 'yesterday' is no time"),
        ({"T": "2013-10-03"}, "no time of day"),
        ({"T": 56568.2, "TIMESYS": "MARS"}, "time scale 'MARS'"),
        ({"T": 56568.2, "TIMESYS": "LOCAL"}, "time scale 'LOCAL'"),
        ({"T": 56568.2, "RA": "N/A"}, "ra from RA"),
        ({"T": 56568.2, "RA": True}, "True is no number"),
    ],
)
def test_what_is_none_says_so(header: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        row({"RA": 53.0, "DEC": -28.0, **header}, mapping())


def test_names_of_detectors_need_a_pattern() -> None:
    with pytest.raises(ValueError, match="'S29' is not a whole number; take one"):
        row({"RA": 1.0, "DEC": 1.0, "T": 56568.2, "EXTNAME": "S29"}, mapping(detector="EXTNAME"))
    with pytest.raises(ValueError, match="'12_3' is not a whole number"):
        row({"RA": 1.0, "DEC": 1.0, "T": 56568.2, "EXTNAME": "12_3"}, mapping(detector="EXTNAME"))


@pytest.mark.parametrize("geodetic", [True, False])
def test_the_site_of_obsgeo(geodetic: bool) -> None:
    place = SITES["ctio"]
    if geodetic:
        header = {"OBSGEO-L": place.longitude, "OBSGEO-B": place.latitude, "OBSGEO-H": place.height_m}
    else:
        where = EarthLocation.from_geodetic(place.longitude * u.deg, place.latitude * u.deg, place.height_m * u.m)
        header = {
            f"OBSGEO-{axis}": float(length.to_value("m")) for axis, length in zip("XYZ", where.geocentric, strict=True)
        }
    found = row({"RA": 53.0, "DEC": -28.0, "T": 56568.2, **header}, mapping(site=""))
    assert [found[name] for name in ("longitude", "latitude", "height_m")] == pytest.approx(list(place), abs=1e-3)
    kept = row({"RA": 53.0, "DEC": -28.0, "T": 56568.2, "LON": 10.0, **header}, mapping(site="", longitude="LON"))
    assert kept["longitude"] == 10.0


def test_sites_by_name() -> None:
    assert site("KPNO") == site("kitt_peak") == SITES["kitt peak"]
    assert site(" La  Palma ") == site("ORM")


def test_altitude_from_airmass_alone() -> None:
    chosen = mapping(altitude={"keyword": "AIRMASS", "unit": "airmass"}, parallactic_angle={"keyword": "PARANG"})
    found = row({"RA": 53.0, "DEC": -28.0, "T": 56568.2, "AIRMASS": 2.0, "PARANG": 10.0}, chosen)
    assert found["altitude"] == pytest.approx(30.0)
    assert in_unit(0.9995, "airmass", u.deg) == 90.0
    with pytest.raises(ValueError, match=r"0\.5 is no airmass"):
        in_unit(0.5, "airmass", u.deg)


@pytest.mark.parametrize("value", ["N/A", "", "unknown", "None", "NaN", "--", -999.0, "-9999", float("nan"), None])
def test_weather_that_was_not_measured_is_assumed(value: object) -> None:
    found = row({"RA": 53.0, "DEC": -28.0, "T": 56568.2, "TEMP": value}, mapping(temperature="TEMP"))
    assert found["temperature"] is None


@pytest.mark.parametrize(
    ("column", "source", "value"),
    [
        ("temperature", {"expression": "{V} - 273.15"}, -999.0), ("temperature", {"expression": "{V} - 273.15"}, "N/A"),
        ("pressure", {"keyword": "V", "pattern": "P=(.*)"}, "P=-999"), ("rotation_angle", {"keyword": "V"}, "UNKNOWN"),
        ("header_altitude", {"keyword": "V"}, -999.0), ("altitude", {"keyword": "V", "unit": "airmass"}, 0.0),
        ("longitude", {"keyword": "V"}, "N/A"), ("psf_fwhm", {"keyword": "V"}, -1.0), ("mjd", {"keyword": "V"}, "none"),
    ],
)  # fmt: skip
def test_any_optional_value_may_be_unknown(column: str, source: dict[str, str], value: object) -> None:
    """It is the same as if the header had no such keyword."""
    chosen = mapping(**{column: source})
    header = {"RA": 53.0, "DEC": -28.0, "T": 56568.2}
    assert row({**header, "V": value}, chosen) == row(header, chosen)


def test_the_first_sensor_that_measured() -> None:
    chosen = mapping(temperature=["T1", "T2"])
    assert row({"RA": 1.0, "DEC": 1.0, "T": 56568.2, "T1": -999.0, "T2": 8.0}, chosen)["temperature"] == 8.0


def test_an_angle_may_be_minus_99() -> None:
    assert row({"RA": 1.0, "DEC": 1.0, "T": 56568.2, "R": -99.0}, mapping(rotation_angle="R"))["rotation_angle"] == -99


@pytest.mark.parametrize("value", ["N/A", 0.0])
def test_a_site_that_is_unknown(value: object) -> None:
    assert mapping(site="").place(HeaderLook({f"OBSGEO-{axis}": value for axis in "XYZ"})) == {}


def test_measured_weather_stays() -> None:
    assert not is_unknown(-9.9)
    assert not is_unknown("12.5")
    assert not is_unknown("warm"), "an error says what was found"


@pytest.mark.filterwarnings("ignore:.*HIERARCH card will be created:astropy.io.fits.verify.VerifyWarning")
@pytest.mark.parametrize("name", ["ESO TEL ALT", "HIERARCH ESO TEL ALT"])
def test_hierarch_keywords_and_primary_header(tmp_path: Path, name: str) -> None:
    """A blank keyword of an extension does not hide the primary header's."""
    primary = fits.PrimaryHDU()
    primary.header.update({"RA": "03:32:00", "DEC": "-28:00:00", "T": 56568.2, "FILTER": "g", "ESO TEL ALT": 55.2})
    own = tan(25.0, 20.0).header
    own["FILTER"] = "   "
    fits.HDUList([primary, fits.ImageHDU(np.zeros((40, 50), np.float32), own)]).writeto(tmp_path / "a.fits")
    (found,) = visit_rows_from_fits(tmp_path / "a.fits", mapping(band="FILTER", header_altitude=name))
    assert isinstance(found, dcrflow.DetectorVisit)
    assert found.band == "g"
    assert found.observation.altitude == pytest.approx(55.2, abs=0.05)


def test_explain_says_where_the_site_comes_from(tmp_path: Path) -> None:
    header = tan(25.0, 20.0).header
    header.update({"RA": "03:32:00", "DEC": "-28:00:00", "T": 56568.2})
    fits.PrimaryHDU(np.zeros((40, 50), np.float32), header).writeto(tmp_path / "a.fits")
    (explained,) = explain_fits(tmp_path / "a.fits", mapping())
    found = {f.column: f for f in explained.found}
    assert found["longitude"].value == SITES["ctio"].longitude
    assert found["longitude"].keywords == ("site: ctio",)
    assert found["altitude"].keywords == ("computed from time and site",)
    assert (found["pressure"].value, found["pressure"].keywords) == (pytest.approx(78000, abs=2000), ("assumed",))
    assert explained.problem == ""


def test_reduced_images_of_blackbox() -> None:
    """Its TELESCOP is BlackGEM-2 and MeerLICHT-1; DATE-OBS and MJD-OBS are the middle of the exposure."""
    header = {"TELESCOP": "BlackGEM-2", "DATE-OBS": "2023-10-01T06:00:30.123", "MJD-OBS": 60218.25034865,
              "EXPTIME": 60.0,
              "FILTER": "q", "RA": 53.0, "DEC": -28.0, "TIMESYS": "UTC"}  # fmt: skip
    look = HeaderLook(header)
    chosen = [m for m in built_in_mappings().values() if m.matches(look)]
    assert [m.instrument for m in chosen] == ["BlackGEM"]
    found = chosen[0].row(look)
    assert (found["detector"], found["band"]) == (2, "q")
    assert found["mjd"] == pytest.approx(Time(60218.25034865, format="mjd", scale="utc").tai.mjd, abs=1e-9)
    assert built_in_mappings()["meerlicht"].matches(HeaderLook({"TELESCOP": "MeerLICHT-1"}))


def carded(**cards: tuple[object, str]) -> fits.Header:
    header = fits.Header()
    for keyword, card in {"EXPNUM": (1, ""), "CCD": (2, ""), "FILTER": ("g", ""), "RA": (10.0, ""), **cards}.items():
        header[keyword] = card
    return header


@pytest.mark.parametrize(("value", "comment", "expected"), [
    (755.0, "[hPa] Barometer", 75500.0), (0.755, " [bar]", 75500.0), (755.0, "[mb]", 75500.0),
    (75500.0, "barometer", 75500.0), (75500.0, "[Barometer 3]", 75500.0), (75500.0, "[] x", 75500.0),
    (75500.0, "in [hPa], they say", 75500.0), (566.0, "[mm Hg]", 75460.5), (566.0, "[mmHg]", 75460.5),
    (22.3, "[inHg]", 75516.5), (566.0, "[Torr]", 75460.5), (0.75, "[atm]", 75993.75), (10.95, "[psi]", 75497.6),
    (75.5, "[KPA]", 75500.0),
])  # fmt: skip
def test_units_that_cards_state(value: float, comment: str, expected: float) -> None:
    chosen = mapping(pressure="BAROM")
    assert chosen.value("pressure", HeaderLook(carded(BAROM=(value, comment)))) == pytest.approx(expected)


def test_units_of_temperatures_angles_and_humidity() -> None:
    header = carded(RA=(1.5, "[h] Pointing"), T=(283.15, "[K]"), T2=(10.0, "[C] outside"), H=(0.3, "[1] fraction"),
                    A=(1.0, "[rad]"))  # fmt: skip
    look = HeaderLook(header)
    for column, keyword, expected in (
        ("ra", "RA", 22.5), ("temperature", "T", 10.0), ("temperature", "T2", 10.0), ("humidity", "H", 0.3),
        ("altitude", "A", 57.29578),
    ):  # fmt: skip
        assert mapping(**{column: keyword}).value(column, look) == pytest.approx(expected), keyword
    text = HeaderLook(carded(RA=("01:30:00", "[deg] as text")))
    assert mapping(ra="RA").value("ra", text) == pytest.approx(22.5)


@pytest.mark.parametrize(("column", "value", "comment", "expected"), [
    ("temperature", 50.0, "[degF]", 10.0), ("temperature", 50.0, "[F]", 10.0), ("temperature", 283.15, "[k]", 10.0),
    ("height_m", 1000.0, "[ft]", 304.8), ("ra", 1.5, "[hrs]", 22.5), ("ra", 1.5, "[DEG]", 1.5),
    ("ra", 1.5, "[J2000] pointing", 1.5), ("ra", 1.5, "[B1950.0]", 1.5), ("psf_fwhm", 900.0, "[MAS]", 0.9),
])  # fmt: skip
def test_units_by_other_names(column: str, value: float, comment: str, expected: float) -> None:
    look = HeaderLook(carded(V=(value, comment)))
    assert mapping(**{column: "V"}).value(column, look) == pytest.approx(expected)


def test_the_mapping_names_units_as_headers_do() -> None:
    look = HeaderLook(carded(BAROM=(566.0, "[Pa]")))
    given = mapping(pressure={"keyword": "BAROM", "unit": "mmHg"})
    assert given.value("pressure", look) == pytest.approx(75460.5)
    assert given.contradiction("pressure", look) == "its card says [Pa], the mapping mmHg, which is used"
    with pytest.raises(ValueError, match="'furlongs' is no unit"):
        mapping(pressure={"keyword": "BAROM", "unit": "furlongs"})


def test_a_unit_that_contradicts_is_said() -> None:
    look = HeaderLook(carded(SEEING=(3.1, "[pix] FWHM"), BAROM=(755.0, "[Pa]")))
    with pytest.raises(ValueError, match=r"psf_fwhm from SEEING: its card says \[pix\], the table needs arcsec"):
        mapping(psf_fwhm="SEEING").value("psf_fwhm", look)
    given = mapping(pressure={"keyword": "BAROM", "unit": "hPa"})
    assert given.value("pressure", look) == pytest.approx(75500.0)  # the mapping's wins
    assert given.contradiction("pressure", look) == "its card says [Pa], the mapping hPa, which is used"
    assert mapping(pressure={"keyword": "BAROM", "unit": "Pa"}).contradiction("pressure", look) == ""
