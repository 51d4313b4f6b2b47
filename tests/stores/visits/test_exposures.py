"""Detector-visits from the headers of FITS exposures: LSST's own files, and made-up ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.io import fits
from astropy.time import Time
from scenes import tan

from dcrflow.base.errors import VisitTableError
from dcrflow.geometry.box import Box
from dcrflow.stores.visits.exposures import read_exposure_row
from dcrflow.stores.visits.tables import BadVisit, read_visit_rows, read_visits

VISIT_INFO = {
    "BORE-RA": 53.0, "BORE-DEC": -28.0, "BORE-AZ": 100.0, "BORE-ALT": 50.0, "BORE-ROTANG": 12.0, "OBS-LONG": -70.75,
    "OBS-LAT": -30.24, "OBS-ELEV": 2663.0, "AIRTEMP": 12.0, "AIRPRESS": 74500.0, "HUMIDITY": 10.0,
    "DATE-AVG": "2025-12-01T00:43:12.000000000", "TIMESYS": "TAI", "IDNUM": 77,
}  # fmt: skip


def exposure(path: Path, label: dict[str, str] | None = None, image: dict[str, Any] | None = None, **more: Any) -> Path:
    """An exposure of 30 x 20 pixels whose first is absolute pixel (100, 200)."""
    primary = fits.PrimaryHDU()
    for key, value in (VISIT_INFO | {k.replace("_", "-"): v for k, v in more.items()}).items():
        if value is not None:
            primary.header[key if len(key) <= 8 else f"HIERARCH {key}"] = value
    pixels = fits.ImageHDU(np.zeros((20, 30), np.float32), name="IMAGE")
    for card in tan(15.0, 10.0).header.cards:
        pixels.header[card.keyword] = card.value
    pixels.header.update(
        {"LTV1": -100.0, "LTV2": -200.0, "CRVAL1A": 100.0, "CRVAL2A": 200.0} if image is None else image
    )
    hdus: list[Any] = [primary, pixels]
    if label is not None:
        columns = [fits.Column(name=n, format="32A", array=[v]) for n, v in label.items()]
        hdus.append(fits.BinTableHDU.from_columns(columns, name="FilterLabel"))
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.mark.parametrize(
    ("where", "detectors"), [("golden", [(1001, 0), (1002, 1), (1002, 2)]), ("golden_here", [(1003, 3)])]
)
def test_files_of_the_lsst_pipeline(
    request: pytest.FixtureRequest, where: str, detectors: list[tuple[int, int]]
) -> None:
    directory = request.getfixturevalue(where)
    truth = json.loads((directory / "truth.json").read_text())
    weather = {v["visit"]: v for v in truth["config"]["visits"]}
    found = read_visits(sorted(directory.glob("calexp_*.fits.gz")))
    assert [(v.visit, v.detector) for v in found] == detectors
    for made, true in zip(found, truth["visits"], strict=True):
        assert made.label == f"visit {true['visit']} detector {true['detector']}"
        assert (made.band, made.physical_filter) == ("g", "g_sim")
        assert made.bbox.as_list() == true["bbox"]
        observation = made.observation
        assert observation.altitude == pytest.approx(true["alt"], abs=1e-9)
        # LSST's takes ICRS coordinates for those of the date: 26 years of precession
        assert observation.parallactic_angle == pytest.approx(true["par_angle"], abs=0.5)
        assert observation.rotation_angle == true["rot"]
        air = weather[made.visit]
        assert made.mjd == pytest.approx(air["mjd"], abs=1e-8)
        assert [observation.ra, observation.dec] == air["boresight"]
        for name in ("temperature", "pressure", "humidity"):
            assert getattr(observation.weather, name) == air[name]
        detector = next(d for d in air["detectors"] if d["detector"] == made.detector)
        sky = made.wcs.pixel_to_sky(*detector["crpix"])
        np.testing.assert_allclose(np.ravel(sky), detector["crval"], atol=1e-9)


def test_pixels_are_absolute(tmp_path: Path) -> None:
    for i, image in enumerate((None, {"LTV1": -100.0, "LTV2": -200.0}, {"CRVAL1A": 100, "CRVAL2A": 200})):
        made = read_visits([exposure(tmp_path / f"e{i}_1_{i}.fits", {"band": "g"}, image)])[0]
        assert made.bbox == Box(100, 200, 30, 20)
        np.testing.assert_allclose(np.ravel(made.wcs.pixel_to_sky(115.0, 210.0)), [53.0, -28.0], atol=1e-12)
    made = read_visits([exposure(tmp_path / "plain_1_4.fits", {"band": "g"}, {})])[0]
    assert made.bbox == Box(0, 0, 30, 20)


def test_where_the_data_id_comes_from(tmp_path: Path) -> None:
    made = read_visits(exposure(tmp_path / "calexp_5_6.fits", {"band": "r", "physical": "r_03"}))[0]
    assert (made.visit, made.detector, made.band, made.physical_filter) == (77, 6, "r", "r_03")
    assert made.instrument == "unknown"
    keywords = {"DETECTOR": 9, "BAND": "i", "FILTER": "i_06", "INSTRUME": "LSSTCam", "IDNUM": None}
    made = read_visits(exposure(tmp_path / "calexp_5_7.fits.gz", **keywords))[0]
    assert (made.visit, made.detector, made.band, made.physical_filter) == (5, 9, "i", "i_06")
    assert made.instrument == "LSSTCam"


def test_a_given_parallactic_angle_and_time_scale(tmp_path: Path) -> None:
    path = exposure(tmp_path / "e_1_2.fits", {"band": "g"}, PARANGLE=-20.0, TIMESYS="UTC")
    made = read_visits(path)[0]
    assert made.observation.parallactic_angle == -20.0
    assert made.mjd == pytest.approx(61010.03 + 37 / 86400, abs=1e-8)


def test_sensors_that_are_silent(tmp_path: Path) -> None:
    path = exposure(tmp_path / "e_1_2.fits", {"band": "g"}, AIRTEMP=-9999.0, BORE_ROTANG="UNKNOWN", TIMESYS="UT")
    made = read_visits(path)[0]
    assert made.observation.weather.assumed == ("temperature",)
    assert made.observation.rotation_angle is None
    assert made.mjd == pytest.approx(61010.03 + 37 / 86400, abs=1e-8)


def test_a_directory(tmp_path: Path) -> None:
    for detector in (2, 1):
        exposure(tmp_path / f"calexp_77_{detector}.fits", {"band": "g"})
    (tmp_path / "notes.txt").write_text("")
    assert [v.detector for v in read_visits(tmp_path)] == [1, 2]
    (tmp_path / "empty").mkdir()
    with pytest.raises(VisitTableError, match="empty is a directory without FITS files"):
        read_visits(tmp_path / "empty")


def test_pixels_are_not_read(tmp_path: Path) -> None:
    path = exposure(tmp_path / "calexp_77_1.fits", BAND="g")
    path.write_bytes(path.read_bytes()[:-2880])  # cuts the pixels off
    with pytest.warns(UserWarning, match="truncated"):
        assert read_exposure_row(path)["width"] == 30


@pytest.mark.parametrize(
    ("name", "label", "more", "message"),
    [
        ("calexp_77_1.fits", None, {}, r"\(visit 77 detector 1\): no band: none of the keywords BAND is there; give"),
        ("nameless.fits", {"band": "g"}, {}, r"no detector: none of the keywords DETECTOR, CCDNUM, CCD"),
        ("nameless.fits", {"band": "g"}, {"IDNUM": None}, r"no visit: none of the keywords VISIT"),
        ("calexp_77_1.fits", {"band": "g"}, {"BORE_ALT": -5.0}, r"visit 77 detector 1\): .*below the horizon"),
        ("calexp_77_1.fits", {"band": "g"}, {"BORE_RA": None}, r"visit 77 detector 1\): ra is missing"),
        ("calexp_77_1.fits", {"band": "g"}, {"DATE_AVG": None}, r"neither altitude and parallactic_angle nor mjd"),
        ("calexp_77_1.fits", {"band": "g"}, {"DATE_AVG": "yesterday"}, r"visit 77 detector 1\): .*yesterday"),
    ],
)
def test_headers_that_say_too_little(
    name: str, label: dict[str, str] | None, more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = exposure(tmp_path / name, label, **more)
    with pytest.raises(VisitTableError, match=message) as caught:
        read_visits([path])
    assert str(caught.value).startswith(str(path))
    rows = read_visit_rows([exposure(tmp_path / "good_1_99.fits", {"band": "g"}), path])
    assert [isinstance(row, BadVisit) for row in rows] == [False, True]


def test_files_that_are_no_exposures(tmp_path: Path) -> None:
    fits.PrimaryHDU().writeto(tmp_path / "calexp_12_3.fits")
    with pytest.raises(VisitTableError, match=r"\(visit 12 detector 3\): no image with a celestial WCS in it"):
        read_visits(tmp_path / "calexp_12_3.fits")
    (tmp_path / "junk.fits").write_text("no FITS")
    with pytest.raises(VisitTableError, match=r"junk\.fits: cannot read its headers"):
        read_visits([tmp_path / "junk.fits"])
    with pytest.raises(VisitTableError, match=r"none\.fits: cannot read its headers: .*No such file"):
        read_visits([tmp_path / "none.fits"])
    with pytest.raises(VisitTableError, match=r"none\.fits does not exist"):
        read_visits(tmp_path / "none.fits")


@pytest.mark.parametrize("date", ["2025-12-01T00:43:12.000", "2025-12-01T07:00:00.000"])
def test_refracted_altitudes_are_converted(tmp_path: Path, date: str, caplog: pytest.LogCaptureFixture) -> None:
    """Time and site tell whether a header has the altitude on the sky or the one that the telescope was driven to."""
    time = Time(date, scale="tai")
    place = EarthLocation.from_geodetic(-70.75 * u.deg, -30.24 * u.deg, 2663.0 * u.m)
    air = {"pressure": 745 * u.hPa, "temperature": 12 * u.deg_C, "relative_humidity": 0.1, "obswl": 0.55 * u.um}
    sky = SkyCoord(53.0 * u.deg, -28.0 * u.deg)
    true, seen = (float(sky.transform_to(AltAz(obstime=time, location=place, **kind)).alt.deg) for kind in ({}, air))
    assert seen > true + 2e-3
    for stated in (true, seen):
        path = exposure(tmp_path / f"e{stated}_77_1.fits", {"band": "g"}, BORE_ALT=stated, DATE_AVG=date)
        assert read_visits([path])[0].observation.altitude == pytest.approx(true, abs=1e-4)
    assert not caplog.records


def test_altitudes_of_headers_without_time(tmp_path: Path) -> None:
    path = exposure(tmp_path / "e_77_1.fits", {"band": "g"}, DATE_AVG=None, PARANGLE=30.0)
    assert read_visits([path])[0].observation.altitude == 50.0


def _several(path: Path, *cards: dict[str, Any], axes: int = 2) -> Path:
    """A file of images that all have the same WCS, as raw data may have; the last has so many axes."""
    primary = fits.PrimaryHDU()
    primary.header.update(
        {"VISIT": 5, "BAND": "g", "BORE-RA": 53.0, "BORE-DEC": -28.0, "BORE-ALT": 45.0, "PARANGLE": 3.0}
    )
    hdus = [fits.ImageHDU(np.zeros((20, 30), np.float32)) for _ in cards[1:]]
    hdus.append(fits.ImageHDU(np.zeros((2,) * (axes - 2) + (20, 30), np.float32)))
    for hdu, more in zip(hdus, cards, strict=True):
        hdu.header.update(tan(15.0, 10.0).header)
        hdu.header.update(more)
    fits.HDUList([primary, *hdus]).writeto(path)
    return path


@pytest.mark.parametrize("key", ["CCDNUM", "IMAGEID", "DETECTOR", "DET-ID", "CCD"])
def test_detectors_of_one_file_that_have_the_same_wcs(tmp_path: Path, key: str) -> None:
    path = _several(tmp_path / "a.fits", {key: 1}, {"EXTNAME": "X"}, {key: 2}, {key: 2, "EXTNAME": "Y"})
    assert [v.detector for v in read_visits(path)] == [1, 2]


def test_a_detector_in_a_cube_is_not_left_out_silently(tmp_path: Path) -> None:
    path = _several(tmp_path / "a.fits", {"CCDNUM": 1}, {"CCDNUM": 2}, axes=3)
    with pytest.raises(VisitTableError, match=r"detector 2 .* 3 axes, expected an image of 2"):
        read_visits(path)


@pytest.mark.parametrize(
    ("date", "scale", "seconds"),
    [
        ("2025-12-01T00:43:12", "TAI", 0.0), ("2025-12-01T00:43:12", None, 0.0), ("2025-12-01T00:43:12", "UTC", 37.0),
        ("2025-12-01T00:43:12Z", None, 37.0), ("2025-12-01T00:43:12Z", "UTC", 37.0), ("2025-12-01", "TAI", None),
    ],
)  # fmt: skip
def test_the_time_of_the_middle(date: str, scale: str | None, seconds: float | None, tmp_path: Path) -> None:
    row = read_exposure_row(exposure(tmp_path / "calexp_77_4.fits", BAND="g", DATE_AVG=date, TIMESYS=scale))
    expected = None if seconds is None else pytest.approx(61010.03 + seconds / 86400, abs=1e-9)
    assert row["mjd"] == expected


def test_a_time_that_is_none_is_quoted(tmp_path: Path) -> None:
    path = exposure(tmp_path / "calexp_77_4.fits", BAND="g", DATE_AVG="2025-12-01T00:43:12+02:00")
    with pytest.raises(VisitTableError, match=r"DATE-AVG: '2025-12-01T00:43:12\+02:00' is no time"):
        read_exposure_row(path)
