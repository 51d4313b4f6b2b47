"""LSST's summaries of visits as detector-visits: ExposureCatalogs of afw, and tables of detectors without a WCS.

The WCS of the catalogs are those that the LSST pipeline wrote into its own images (the golden files). Positions in the
tables are computed by astropy, from a WCS with distortion.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import AltAz, SkyCoord
from astropy.time import Time
from summaries import BOX, MJD, RUBIN, catalog, detector_table, distorted, golden_wcs, pixels_off, record
from typer.testing import CliRunner

from dcrflow.base.errors import VisitTableError, WcsError
from dcrflow.cli.app import app
from dcrflow.geometry.box import Box
from dcrflow.geometry.sip import fit_tan_sip
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.stores.visits.summaries.ast_wcs import AstWcs, wcs_of_ast
from dcrflow.stores.visits.tables import BadVisit, read_visit_rows, read_visits, write_visits


@pytest.fixture
def ast() -> None:
    pytest.importorskip("starlink.Ast", reason="starlink-pyast is not installed")


@pytest.mark.parametrize("name", ["1001_0", "1002_1", "1002_2"])
def test_wcs_of_the_lsst_pipeline(ast: None, golden: Path, name: str) -> None:
    """TAN and TAN-SIP; as FITS cards, and by AST itself in another process."""
    text, header = golden_wcs(golden, name)
    made = wcs_of_ast(text, BOX)
    assert made.cards
    assert pixels_off(header, made, BOX) < 2e-6
    exact = pickle.loads(pickle.dumps(SkyWcs.from_any(AstWcs(text.split(maxsplit=3)[3]))))
    assert pixels_off(header, exact, BOX) < 1e-8


@pytest.mark.parametrize(
    "text", ["", "1 SkyWcs 0", "1 SkyWcs 0 Begin FrameSet", "1 SkyWcs 0 Begin Frame\nNaxes = 2\nEnd Frame"]
)
def test_what_is_no_wcs(ast: None, text: str) -> None:
    with pytest.raises(WcsError):
        wcs_of_ast(text, BOX)


def test_a_mapping_that_no_polynomial_follows() -> None:
    """A step of a tenth of a pixel in the middle of the detector."""
    tan = distorted(0.0)

    def to_sky(x: Any, y: Any) -> Any:
        return tan.pixel_to_sky(x + 0.1 * (np.asarray(x) > 150), y)

    with pytest.raises(WcsError, match="no TAN-SIP WCS is nearer to it than"):
        fit_tan_sip(to_sky, BOX)
    assert pixels_off(tan, fit_tan_sip(tan.pixel_to_sky, BOX), BOX) < 1e-6


def test_a_visit_summary(ast: None, golden: Path, tmp_path: Path) -> None:
    """WCS, bbox, PSF, zero point and boresight; a detector without astrometry is a bad row."""
    texts, headers = zip(*(golden_wcs(golden, n) for n in ("1002_1", "1002_2")), strict=True)
    rows = [record(1, 10), record(2, 11, bbox_min_x=-5), record(3, 0), record(4, 99)]
    path = catalog(tmp_path / "visitSummary_x.fits", list(texts), rows)
    first, second, failed, lost = read_visit_rows(path)
    assert isinstance(first, type(second))
    assert (first.visit, first.detector, first.band, first.physical_filter) == (2026110100012, 1, "g", "g_57")
    assert (first.instrument, first.bbox, second.bbox) == ("LSSTCam", BOX, Box(-5, 0, 305, 320))
    for made, header in zip((first, second), headers, strict=True):
        assert pixels_off(header, made.wcs, BOX) < 2e-6
    assert first.psf_fwhm == pytest.approx(1.75 * 0.2 * 2.3548200450309493)
    assert (first.zero_point, first.mjd, first.image) == (31.9, pytest.approx(MJD, abs=1e-9), "")
    seen = first.observation
    assert (seen.ra, seen.dec, seen.rotation_angle) == pytest.approx((53.0, -28.0, 33.0))
    assert (seen.weather.temperature, seen.weather.pressure, seen.weather.humidity) == (11.0, 74300.0, 20.0)
    assert isinstance(failed, BadVisit)
    assert (failed.visit, failed.detector) == (2026110100012, 3)
    assert "it has no WCS: its astrometry failed" in str(failed.error)
    assert "its archive has no WCS with the number 99" in str(lost.error)  # type: ignore[union-attr]


def test_the_altitude_of_a_visit_summary_is_refracted(ast: None, golden: Path, tmp_path: Path) -> None:
    """As in headers: afw keeps the observed altitude; astropy says what it would be without the air."""
    time = Time(MJD, format="mjd", scale="tai")
    sky = SkyCoord(53.0 * u.deg, -28.0 * u.deg)
    frame = AltAz(obstime=time, location=RUBIN)
    true = sky.transform_to(frame).alt.deg
    air = AltAz(obstime=time, location=RUBIN, pressure=743 * u.hPa, temperature=11 * u.deg_C, relative_humidity=0.2,
                obswl=0.5 * u.micron)  # fmt: skip
    seen = sky.transform_to(air).alt.rad
    text, _ = golden_wcs(golden, "1002_1")
    (visit,) = read_visits(catalog(tmp_path / "s.fits", [text], [record(1, 10)], {"boresightazalt_alt": seen}))
    assert visit.observation.altitude == pytest.approx(true, abs=2e-3)


@pytest.mark.parametrize(("change", "words"), [
    ({"visitInfo": 0}, "is missing"), ({"visitInfo": 7}, "no VisitInfo with the number 7"),
    ({"band": ""}, "band is missing"),
])  # fmt: skip
def test_what_a_visit_summary_lacks(ast: None, golden: Path, tmp_path: Path, change: Any, words: str) -> None:
    text, _ = golden_wcs(golden, "1002_1")
    path = catalog(tmp_path / "s.fits", [text], [record(1, 10, **change)])
    with pytest.raises(VisitTableError, match=words) as caught:
        read_visits(path)
    assert str(path) in str(caught.value)


def test_a_catalog_of_something_else(tmp_path: Path) -> None:
    row = record(1, 10)
    del row["bbox_min_x"], row["visit"]
    path = catalog(tmp_path / "s.fits", ["x"], [row])
    with pytest.raises(VisitTableError, match="lacks the columns visit, bboxminx; expected a visitSummary"):
        read_visits(path)


@pytest.mark.parametrize(("size", "labelled"), [((4072, 4000), False), ((4072, 4000), True), ((4000, 4000), False)])
def test_a_table_of_detectors(size: tuple[int, int], labelled: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The corners give the WCS, in whichever order; the observation is right although the boresight is unknown."""
    table, truth = detector_table(*size, labelled)
    first, second = read_visits(table)
    assert (first.visit, first.detector, first.band, first.physical_filter) == (2024120600239, 3, "g", "g_01")
    assert first.bbox == Box(0, 0, *size)
    for made, true in zip((first, second), truth, strict=True):
        assert 1e-4 < pixels_off(true, made.wcs, made.bbox) < 0.1
    assert "made of the corners of the detectors are up to" in caplog.text
    assert first.psf_fwhm == pytest.approx(1.8 * 0.2 * 2.3548, rel=1e-3)
    assert second.psf_fwhm is None
    assert (first.zero_point, first.mjd, first.observation.rotation_angle) == (31.6, MJD, 12.0)
    seen = first.observation
    frame = AltAz(obstime=Time(MJD, format="mjd", scale="tai"), location=RUBIN)
    assert seen.altitude == pytest.approx(
        SkyCoord(seen.ra * u.deg, seen.dec * u.deg).transform_to(frame).alt.deg, abs=1e-6
    )
    assert second.observation == seen
    assert seen.latitude == pytest.approx(-30.24464)


def test_right_ascensions_around_zero() -> None:
    table, truth = detector_table(ra=0.0, xSize=None, ySize=None)
    for made, true in zip(read_visits(table), truth, strict=True):
        assert made.bbox == Box(0, 0, 4072, 4000)
        assert pixels_off(true, made.wcs, made.bbox) < 0.1


def test_a_visit_summary_as_parquet(tmp_path: Path) -> None:
    """Columns as `ExposureCatalog.asAstropy` names them; the time must be added."""
    table, truth = detector_table(512, 640)
    corners = [[table[f"{c}{axis}"] for c in ("llc", "ulc", "urc", "lrc")] for axis in ("ra", "dec")]
    summary = table["ra", "dec", "psfSigma", "pixelScale", "zeroPoint", "zenithDistance", "band", "physical_filter"]
    summary["id"], summary["visit"] = table["detectorId"], table["visitId"]
    summary["raCorners"], summary["decCorners"] = (np.transpose(v) for v in corners)
    for name, value in (("bbox_min_x", 0), ("bbox_min_y", 0), ("bbox_max_x", 511), ("bbox_max_y", 639)):
        summary[name] = [value] * 2
    path = tmp_path / "visitSummary.parquet"
    summary.write(path)
    with pytest.raises(VisitTableError, match=r"lacks expMidptMJD \(or mjd; a visitSummary as Parquet has none"):
        read_visits(path)
    summary["mjd"] = [MJD] * 2
    summary.write(path, overwrite=True)
    for made, true in zip(read_visits(path), truth, strict=True):
        assert made.bbox == Box(0, 0, 512, 640)
        assert pixels_off(true, made.wcs, made.bbox) < 1e-3


@pytest.mark.parametrize(("changes", "words"), [
    ({"band": None}, "lacks band"),
    ({"expMidptMJD": None, "expTime": None}, "lacks expMidptMJD"),
    ({"zenithDistance": None}, "lacks zenithDistance, which tells the site"),
    ({"zenithDistance": [89.0, 89.0]}, "zenithDistance fits none of the known sites"),
    ({"ulcra": None}, "lacks llcra, llcdec, ulcra"),
    ({"llcra": [np.nan, 53.0]}, "visit 2024120600239 detector 3.*a corner of the detector is missing"),
    ({"ySize": [2000, 2000]}, "its corners make pixels of 0.2... x 0.3... arcsec of a detector of 4072 x 2001"),
])  # fmt: skip
def test_what_a_table_of_detectors_lacks(changes: dict[str, Any], words: str) -> None:
    table, _ = detector_table(**changes)
    with pytest.raises(VisitTableError, match=words):
        read_visits(table)


def test_the_commands(ast: None, golden: Path, tmp_path: Path) -> None:
    """`dcrflow visits` makes a table of either; what was left out is said."""
    text, header = golden_wcs(golden, "1002_1")
    summary = catalog(tmp_path / "visitSummary.fits", [text], [record(1, 10), record(3, 0)])
    out = tmp_path / "visits.ecsv"
    result = CliRunner().invoke(app, ["visits", str(summary), "--out", str(out)])
    assert result.exit_code == 1, result.output
    assert "1 detector-visits of LSSTCam" in result.output.replace("\n", " ")
    assert "its astrometry failed" in result.output.replace("\n", " ")
    (again,) = read_visits(out)
    assert pixels_off(header, again.wcs, BOX) < 2e-6
    assert again.zero_point == 31.9
    table, _ = detector_table()
    table.write(tmp_path / "visit_detector_table.parquet")
    result = CliRunner().invoke(app, ["visits", str(tmp_path / "visit_detector_table.parquet"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert [v.detector for v in read_visits(out)] == [3, 4]
    write_visits(read_visits(table), tmp_path / "copy.parquet")
    assert read_visits(tmp_path / "copy.parquet")[0].zero_point == 31.6
