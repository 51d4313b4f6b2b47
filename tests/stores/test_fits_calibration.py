"""What a FITS file's counts are: afw's archive, zero points, units; refused where nothing says."""

import io
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from dcrflow.stores.fits_calibration import CalibrationError, nanojansky


def _calib(mean: float, constant: bool = True, version: int | None = 1, named: bool = False) -> fits.BinTableHDU:
    columns = [
        fits.Column("flags", "1X", array=[[constant]]), fits.Column("calibrationMean", "D", array=[mean]),
        fits.Column("field", "J", array=[0 if constant else 3]),
    ]  # fmt: skip
    if version is not None:
        columns.append(fits.Column("version", "J", array=[version]))
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update({"TFLAG1": "isConstant", "EXTTYPE": "ARCHIVE_DATA", "AR_NAME": "PhotoCalib"})
    if named:
        table.header["EXTNAME"] = "PhotoCalib"
    return table


def _chebyshev() -> fits.BinTableHDU:
    table = fits.BinTableHDU.from_columns([fits.Column("coefficients", "4D", array=[[1.0, 2.0, 3.0, 4.0]])])
    table.header.update({"AR_NAME": "ChebyshevBoundedField", "EXTNAME": "ChebyshevBoundedField"})
    return table


def _scale(*tables: Any, **cards: Any) -> float:
    header = fits.Header(cards)
    return nanojansky(fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 2)), header), *tables]), header)


def test_a_photo_calib_by_any_of_its_names() -> None:
    assert _scale(_calib(5.0)) == _scale(_calib(5.0, named=True)) == 5.0
    assert _scale(_calib(5.0), _chebyshev(), BUNIT="adu") == 5.0  # an aperture correction is such a field too
    assert _scale(_calib(2e-12, version=None)) == pytest.approx(2e-12 * 3631e9, rel=1e-3)  # maggies
    with pytest.raises(CalibrationError, match="varies"):
        _scale(_calib(5.0, constant=False), _chebyshev())
    with pytest.raises(CalibrationError, match="positive"):
        _scale(_calib(-1.0))


def _index(*row0: int) -> fits.BinTableHDU:
    """An archive's index, with the objects 1, 2, ... at these rows of the first catalog."""
    names = ("id", "cat.archive", "cat.persistable", "row0")
    rows = np.array([(number, 1, 0, row) for number, row in enumerate(row0, 1)], [(name, "i4") for name in names])
    table = fits.BinTableHDU(rows)
    table.header["EXTTYPE"] = "ARCHIVE_INDEX"
    return table


def _two_calibs(number: int) -> float:
    """Those of a coadd's inputs are rows of the same table."""
    table = _calib(5.0)
    rows = fits.BinTableHDU(np.concatenate([table.data, _calib(7.0).data]), table.header)
    primary = fits.PrimaryHDU()
    primary.header["HIERARCH PHOTOCALIB_ID"] = number
    file = fits.HDUList([primary, fits.ImageHDU(np.zeros((2, 2))), _index(1, 9), rows])
    return nanojansky(file, file[1].header)


def test_the_photo_calib_that_the_archive_has_for_the_image() -> None:
    assert _two_calibs(1) == 7.0
    with pytest.raises(CalibrationError, match="several PhotoCalibs, and PHOTOCALIB_ID is 3"):
        _two_calibs(3)
    with pytest.raises(CalibrationError, match="neither a PhotoCalib nor a zero point"):
        _two_calibs(0)  # afw's number of no object: those two are of the coadd's inputs
    with pytest.raises(CalibrationError, match="2 rows, expected 10 or more"):
        _two_calibs(2)


def _archive(calib: fits.BinTableHDU, index: fits.BinTableHDU) -> list[Any]:
    calib.header["AR_CATN"] = 1
    return [index, calib]


@pytest.mark.parametrize("key", ["PHOTOCALIB_ID", "ARCHIVE_ID_PHOTOCALIB"])
@pytest.mark.parametrize("style", [".", "_"])
def test_the_archive_of_the_image_among_others(key: str, style: str) -> None:
    other, mine = _archive(_calib(3.0), _index(0)), _archive(_calib(5.0), _index(0))
    mine[0] = fits.BinTableHDU(mine[0].data, mine[0].header)
    for number, name in enumerate(mine[0].columns.names, 1):
        mine[0].header[f"TTYPE{number}"] = name.replace(".", style)
    primary = fits.PrimaryHDU()
    primary.header[f"HIERARCH {key}"] = 1
    primary.header["AR_HDU"] = 5
    file = fits.HDUList([primary, fits.ImageHDU(np.zeros((2, 2))), *other, *mine])
    written = io.BytesIO()
    file.writeto(written)
    with fits.open(io.BytesIO(written.getvalue())) as read:
        assert nanojansky(read, read[1].header) == 5.0


def test_a_table_that_several_classes_share() -> None:
    """It has a card AR_NAME for each, and the name of the last."""
    table = _calib(5.0)
    table.header["AR_NAME"] = "Another"
    table.header["EXTNAME"] = "Another"
    table.header.append(("AR_NAME", "PhotoCalib"))
    assert _scale(table) == 5.0


def test_a_photo_calib_of_a_later_version_is_refused() -> None:
    with pytest.raises(CalibrationError, match="version 2, expected 0 or 1"):
        _scale(_calib(5.0, version=2))


def test_an_empty_table_of_photo_calibs() -> None:
    table = _calib(5.0)
    with pytest.raises(CalibrationError, match="0 rows"):
        _scale(fits.BinTableHDU(table.data[:0], table.header))


@pytest.mark.parametrize("key", ["MAGZERO", "ZP", "MAGZP", "ZEROPT"])
@pytest.mark.parametrize(
    "unit", [{}, {"BUNIT": "adu"}, {"BUNIT": "electron"}, {"BUNIT": "adu/s"}, {"BUNIT": "ADU / second"}]
)
def test_a_zero_point(key: str, unit: dict[str, str]) -> None:
    assert _scale(**unit, **{key: 31.4}) == pytest.approx(1.0)
    assert _scale(**unit, **{key: 27.0}) == pytest.approx(10 ** (0.4 * 4.4))
    assert _scale(**unit, FLUXMAG0=10**12.56) == pytest.approx(1.0)


def test_units_of_flux() -> None:
    assert _scale(BUNIT="nJy") == 1.0
    assert _scale(BUNIT="uJy") == pytest.approx(1000.0)


@pytest.mark.parametrize("unit", ["mag(AB)", "dex(Jy)", "-1 nJy", "1e300 Jy"])
def test_units_that_no_factor_turns_into_flux(unit: str) -> None:
    with pytest.raises(CalibrationError, match="expected a flux density"):
        _scale(BUNIT=unit)


def test_a_unit_in_lower_case_or_of_the_first_header() -> None:
    assert _scale(BUNIT="njy") == _scale(BUNIT="nanoJansky") == 1.0
    assert _scale(BUNIT="ujy") == pytest.approx(1000.0)
    with pytest.raises(CalibrationError, match="'mjy'"):  # 10^-3 or 10^6 Jy
        _scale(BUNIT="mjy")
    for unit, factor in (("nJy", 1.0), ("uJy", 1000.0)):
        image = fits.ImageHDU(np.zeros((2, 2)))
        file = fits.HDUList([fits.PrimaryHDU(header=fits.Header({"BUNIT": unit})), image])
        assert nanojansky(file, image.header) == pytest.approx(factor)
    image.header["BUNIT"] = "adu"
    with pytest.raises(CalibrationError, match="adu"):
        nanojansky(file, image.header)


def test_a_zero_point_that_is_a_text() -> None:
    assert _scale(BUNIT="adu", MAGZERO=" 31.4") == pytest.approx(1.0)
    assert _scale(BUNIT="adu", FLUXMAG0=str(10**12.56)) == pytest.approx(1.0)
    for words in ("unknown", "-99", "nan", ""):
        with pytest.raises(CalibrationError, match="nor a zero point"):
            _scale(BUNIT="adu", MAGZERO=words)


@pytest.mark.parametrize("unit", [{}, {"BUNIT": "adu"}, {"BUNIT": "electron"}, {"BUNIT": "counts"}, {"BUNIT": "K"}])
def test_counts_of_nobody_knows_what_are_refused(unit: dict[str, str]) -> None:
    with pytest.raises(CalibrationError):
        _scale(**unit)


def test_a_zero_point_that_was_not_measured() -> None:
    """-99 would make pixels infinite."""
    for unknown in (-99.0, 0.0, 99.0, 999.0):
        with pytest.raises(CalibrationError, match="nor a zero point"):
            _scale(BUNIT="adu", MAGZERO=unknown)
        assert _scale(BUNIT="adu", MAGZERO=unknown, ZP=31.4) == pytest.approx(1.0)


def test_a_zero_point_that_another_header_measured() -> None:
    for key, unknown, good in (("FLUXMAG0", 0.0, 10**12.56), ("MAGZERO", -99.0, 31.4)):
        for first, second in ((unknown, good), (good, unknown)):
            image = fits.ImageHDU(np.zeros((2, 2)), fits.Header({key: first}))
            file = fits.HDUList([fits.PrimaryHDU(header=fits.Header({key: second})), image])
            assert nanojansky(file, image.header) == pytest.approx(1.0)


def test_a_zero_point_of_elsewhere_is_for_counts_that_say_nothing() -> None:
    header = fits.Header({"BUNIT": "electron"})
    file = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 2)), header)])
    assert nanojansky(file, header, 31.4) == pytest.approx(1.0)
    header["ZP"] = 28.9
    assert nanojansky(file, header, 31.4) == pytest.approx(10.0)
