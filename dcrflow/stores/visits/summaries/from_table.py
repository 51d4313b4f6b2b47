"""Rows of a detector-visit table from LSST's tables of detectors: `visit_detector_table`, or `visitSummary` as Parquet.

These tables have no WCS. They have the sky positions of a detector's corners, which fix a linear WCS. Neither do they
say where the telescope points or stands: the boresight is the mean of a visit's detectors, and the site is that of the
known ones from which the detectors were at the `zenithDistance` of the table.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from dcrflow.base.errors import VisitTableError
from dcrflow.geometry.sip import tangent_plane
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.physics.observation import quick_altitude
from dcrflow.stores.visits.sites import SITES, Site
from dcrflow.stores.visits.summaries.from_fits import FWHM_OF_SIGMA

Float = NDArray[np.float64]
_LOG = logging.getLogger(__name__)

_CORNERS = ("llc", "ulc", "urc", "lrc")  # as the pipelines write them: corners 0, 1, 2, 3 of afw's box
_EXACT = frozenset(
    ("band", "physical_filter", "mjd", "rotation_angle", "longitude", "latitude", "height_m", "temperature", "pressure",
     "humidity", "image", "instrument", "psf_fwhm")
)  # fmt: skip
#: Columns of these tables that are read.
SUMMARY_COLUMNS = frozenset(
    ("visit", "visitId", "detector", "detectorId", "id", "ra", "dec", "decl", "raCorners", "decCorners",
     "bbox_min_x", "bbox_min_y", "bbox_max_x", "bbox_max_y", "xSize", "ySize", "pixelScale", "psfSigma", "seeing",
     "zeroPoint", "expMidptMJD", "obsStartMJD", "expTime", "skyRotation", "zenithDistance",
     *(f"{c}{a}" for c in _CORNERS for a in ("ra", "dec")))
) | _EXACT  # fmt: skip
_TELLING = frozenset(("llcra", "raCorners", "decCorners", "visitId", "psfSigma", "expMidptMJD"))
_FAR = 0.3  # degrees; the pipelines take TAI for UTC in `zenithDistance`, which is 0.15 deg
_SQUARE = 2e-3  # of the ratio of sides: a detector nearer to a square than this has no long side
_SAME_SCALE = 0.02  # to which pixel scale, corners and size must agree
_WORST = 30.0  # pixels that a linear WCS may be off: more, and the corners are not those of the pixels
_SAMPLE = 24  # rows from which the site is found


def is_summary_table(columns: Iterable[str]) -> bool:
    """Whether a table is one of LSST's, by its columns."""
    columns = set(columns)
    return bool(columns & _TELLING) and not {"wcs", "x0", "width"} <= columns


def summary_table_rows(name: str, table: Table) -> list[dict[str, Any]]:
    """The rows; where a row's corners cannot be used, its ``wcs`` is the error that says why.

    Parameters
    ----------
    name : str
        Of the table, for messages.
    table : astropy.table.Table
        With the columns of `SUMMARY_COLUMNS`, or some of them.

    Raises
    ------
    VisitTableError
        If columns are missing, or no known site fits.
    """
    _check(name, table.colnames)
    look = _Columns(table)
    number = len(table)
    visit, detector = (look.integers(*names) for names in (("visit", "visitId"), ("detector", "detectorId", "id")))
    ra, dec = look.numbers("ra"), look.numbers("dec", "decl")
    mjd = _mid_exposure(look)
    sites = _sites(name, look, ra, dec, mjd)
    boresights = _boresights(visit, ra, dec)
    corners = _corners(look)
    sizes, pixel_scale = _sizes(look), look.numbers("pixelScale")
    fwhm = look.numbers("seeing")
    fwhm = np.where(np.isfinite(fwhm), fwhm, look.numbers("psfSigma") * pixel_scale * FWHM_OF_SIGMA)
    rotation, zero = look.numbers("skyRotation"), look.numbers("zeroPoint")
    rows, worst = [], 0.0
    for i in range(number):
        row: dict[str, Any] = {"instrument": "unknown", "visit": visit[i], "detector": detector[i], "image": ""}
        row |= {"x0": 0, "y0": 0, "width": 1, "height": 1, "mjd": _known(mjd[i]), "rotation_angle": _known(rotation[i])}
        row |= {"psf_fwhm": _known(fwhm[i]), "zero_point": _known(zero[i])} | sites[i]._asdict()
        row["ra"], row["dec"] = boresights.get(visit[i], (None, None))
        row |= {c: v for c in _EXACT if (v := look.value(c, i)) is not None}
        try:
            box = _box(sizes[:, i], corners[:, :, i], pixel_scale[i])
            row |= dict(zip(("x0", "y0", "width", "height"), box, strict=True))
            row["wcs"], off = wcs_of_corners(corners[:, :, i], (ra[i], dec[i]), box)
            _check_scale(row["wcs"], pixel_scale[i], box)
            worst = max(worst, off)
        except VisitTableError as error:
            row["wcs"] = error
        rows.append(row)
    if worst:
        _LOG.warning(
            "%s has no WCS; those made of the corners of the detectors are up to %.2g pixels off in the middle. "
            "The FITS files of visitSummary have the WCS themselves", name, worst,
        )  # fmt: skip
    return rows


def _check(name: str, columns: list[str]) -> None:
    """Say which columns are missing, by what each is for."""
    has = set(columns)
    needs = {
        "visit or visitId": {"visit", "visitId"}, "detector, detectorId or id": {"detector", "detectorId", "id"},
        "band": {"band"}, "ra": {"ra"}, "dec": {"dec", "decl"},
        "expMidptMJD (or mjd; a visitSummary as Parquet has none, its FITS file has)":
            {"expMidptMJD", "obsStartMJD", "mjd"},
    }  # fmt: skip
    missing = [words for words, names in needs.items() if not names & has]
    if not ({f"{c}{a}" for c in _CORNERS for a in ("ra", "dec")} <= has or {"raCorners", "decCorners"} <= has):
        missing.append("llcra, llcdec, ulcra, ... (the detector's corners), or raCorners and decCorners")
    if not ({"xSize", "ySize"} <= has or {"bbox_min_x", "bbox_max_x"} <= has or "pixelScale" in has):
        missing.append("xSize and ySize, or the bbox")
    if not ({"longitude", "latitude"} <= has or "zenithDistance" in has):
        missing.append("zenithDistance, which tells the site (or longitude and latitude)")
    if missing:
        raise VisitTableError(
            f"{name} looks like a table of detectors of LSST, but lacks {'; '.join(missing)}; it has "
            f"{', '.join(columns)}"
        )


class _Columns:
    """Columns of a table by any of their names, as numbers with NaN for what is missing."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def numbers(self, *names: str) -> Float:
        name = next((n for n in names if n in self._table.colnames), None)
        if name is None:
            return np.full(len(self._table), np.nan)
        return _floats(self._table[name])

    def integers(self, *names: str) -> list[Any]:
        name = next(n for n in names if n in self._table.colnames)
        return [v.item() if hasattr(v, "item") else v for v in np.ma.getdata(self._table[name])]

    def arrays(self, name: str) -> Float:
        """Four numbers a row, shape (4, rows)."""
        values = self._table[name]
        found = np.full((4, len(values)), np.nan)
        for i, value in enumerate(values):
            if value is not None and np.size(value) == 4:
                found[:, i] = _floats(np.ma.asarray(value))
        return found

    def has(self, *names: str) -> bool:
        return set(names) <= set(self._table.colnames)

    def value(self, name: str, row: int) -> Any:
        """A value as it stands; None if it is missing."""
        if name not in self._table.colnames:
            return None
        value = self._table[name][row]
        if value is None or np.ma.is_masked(value):
            return None
        value = value.item() if hasattr(value, "item") else value
        return None if isinstance(value, float) and np.isnan(value) else value


def _floats(values: Any) -> Float:
    values = getattr(values, "value", values)
    if getattr(values, "dtype", np.dtype(float)).kind == "O":
        return np.array([np.nan if v is None or np.ma.is_masked(v) else float(v) for v in values])
    return np.ma.filled(np.ma.asarray(values, np.float64), np.nan)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _mid_exposure(look: _Columns) -> Float:
    start = look.numbers("obsStartMJD") + look.numbers("expTime") / 2 / 86400
    for values in (look.numbers("mjd"), look.numbers("expMidptMJD"), start):
        if np.isfinite(values).any():
            return values
    return start


def _corners(look: _Columns) -> Float:
    """Right ascension and declination of the corners, shape (2, 4, rows)."""
    if look.has("raCorners", "decCorners"):
        return np.stack([look.arrays("raCorners"), look.arrays("decCorners")])
    return np.stack([[look.numbers(f"{c}{axis}") for c in _CORNERS] for axis in ("ra", "dec")])


def _sizes(look: _Columns) -> Float:
    """x0, y0, width and height of every row; NaN where the table does not say."""
    if look.has("bbox_min_x", "bbox_min_y", "bbox_max_x", "bbox_max_y"):
        x0, y0, x1, y1 = (look.numbers(f"bbox_{n}") for n in ("min_x", "min_y", "max_x", "max_y"))
        return np.stack([x0, y0, x1 - x0 + 1, y1 - y0 + 1])
    zero = np.zeros_like(look.numbers("xSize"))
    return np.stack([zero, zero, look.numbers("xSize") + 1, look.numbers("ySize") + 1])  # they are the last indices


def _box(size: Float, corners: Float, pixel_scale: float) -> tuple[int, int, int, int]:
    if np.isfinite(size).all():
        return tuple(int(v) for v in size)  # type: ignore[return-value]
    ra, dec = corners
    plane = np.stack(tangent_plane(ra, dec, float(ra[0]), float(dec[0]))) * 3600 / pixel_scale
    if not np.isfinite(plane).all():
        raise VisitTableError("neither its size nor its corners and pixelScale are known")
    sides = np.hypot(*(plane - np.roll(plane, -1, axis=1)))
    return 0, 0, round(float(sides[0] + sides[2]) / 2), round(float(sides[1] + sides[3]) / 2)


def wcs_of_corners(corners: Float, centre: tuple[float, float], box: tuple[int, int, int, int]) -> tuple[SkyWcs, float]:
    """The TAN WCS nearest to four corners of a detector.

    The pipelines write the corners in the order of afw's boxes, counter-clockwise from the lower left, and name the
    second ``ulc`` and the fourth ``lrc``. A table in which these names are right would be mirrored. So the longer side
    decides, and the order of afw's boxes is taken for detectors that are squares.

    Parameters
    ----------
    corners : array of float64, shape (2, 4)
        Right ascension and declination, degrees, of the outer corners of the corner pixels.
    centre : (float, float)
        That of the middle of the detector.
    box : (int, int, int, int)
        x0, y0, width, height.

    Returns
    -------
    wcs : SkyWcs
        Linear on the tangential plane at the centre.
    off : float
        How far it is off in the corners or in the middle, pixels.

    Raises
    ------
    VisitTableError
        If a corner is missing, or the corners are no rectangle of that size.
    """
    x0, y0, width, height = box
    if not np.isfinite([*np.ravel(corners), *centre]).all():
        raise VisitTableError("a corner of the detector is missing: its astrometry failed")
    plane = np.stack(tangent_plane(corners[0], corners[1], *centre))
    first, second = (float(np.hypot(*(plane[:, i] - plane[:, 0]))) for i in (1, 3))
    ratio, expected = np.log(first / second), np.log(width / height)
    if abs(expected) > _SQUARE and abs(ratio + expected) < abs(ratio - expected):
        plane = plane[:, [0, 3, 2, 1]]
    left, right, low, high = x0 - 0.5, x0 + width - 0.5, y0 - 0.5, y0 + height - 0.5
    middle = (left + right) / 2, (low + high) / 2
    u = np.array([left, right, right, left]) - middle[0]
    v = np.array([low, low, high, high]) - middle[1]
    terms = np.stack([u, v, np.ones(4)], axis=1)
    found = np.linalg.lstsq(terms, plane.T, rcond=None)[0].T
    matrix, shift = found[:, :2], found[:, 2]
    if not abs(np.linalg.det(matrix)) > 0:
        raise VisitTableError("the corners of the detector are on one line")
    pixels = np.linalg.solve(matrix, np.column_stack([plane - (found @ terms.T), shift]))
    off = float(np.max(np.hypot(*pixels)))
    if off > _WORST:
        raise VisitTableError(f"the corners are {off:.0f} pixels off those of a detector of {width} x {height} pixels")
    at = np.linalg.solve(matrix, -shift)
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = centre[0] % 360.0, centre[1]
    header["CRPIX1"], header["CRPIX2"] = (float(m + a + 1) for m, a in zip(middle, at, strict=True))
    for i in (0, 1):
        for j in (0, 1):
            header[f"CD{i + 1}_{j + 1}"] = float(matrix[i, j])
    header["CUNIT1"], header["CUNIT2"], header["RADESYS"] = "deg", "deg", "ICRS"
    return SkyWcs.from_header(header), off


def _check_scale(wcs: SkyWcs, pixel_scale: float, box: tuple[int, int, int, int]) -> None:
    """Make sure that the corners are as far apart as the size and the pixel scale of the table say."""
    header = wcs.header
    found = [3600 * float(np.hypot(header[f"CD1_{i}"], header[f"CD2_{i}"])) for i in (1, 2)]
    if np.isfinite(pixel_scale) and max(abs(f / pixel_scale - 1) for f in found) > _SAME_SCALE:
        raise VisitTableError(
            f"its corners make pixels of {found[0]:.4f} x {found[1]:.4f} arcsec of a detector of {box[2]} x {box[3]}, "
            f"its pixelScale is {pixel_scale:.4f}: one of them is wrong"
        )


def _boresights(visit: list[Any], ra: Float, dec: Float) -> Mapping[Any, tuple[float, float]]:
    """The mean position of each visit's detectors.

    The zenith is computed from time and site at that very position, so it needs not be the boresight itself.
    """
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    unit = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=1)
    sums: dict[Any, Float] = {}
    for one, vector in zip(visit, unit, strict=True):
        if np.isfinite(vector).all():
            sums[one] = sums.get(one, np.zeros(3)) + vector
    return {
        v: (float(np.rad2deg(np.arctan2(y, x))) % 360.0, float(np.rad2deg(np.arctan2(z, np.hypot(x, y)))))
        for v, (x, y, z) in sums.items()
    }


def _sites(name: str, look: _Columns, ra: Float, dec: Float, mjd: Float) -> list[Site]:
    """Where the telescope stands, for each row."""
    number = len(ra)
    if look.has("longitude", "latitude"):
        height = look.numbers("height_m")
        return [Site(*(float(v) for v in s)) for s in zip(look.numbers("longitude"), look.numbers("latitude"),
                                                          np.nan_to_num(height), strict=True)]  # fmt: skip
    zenith = look.numbers("zenithDistance")
    usable = np.flatnonzero(np.isfinite(zenith + ra + dec + mjd))
    if not len(usable):
        raise VisitTableError(
            f"{name}: no row has ra, dec, zenithDistance and the time, which tell the site; add the columns longitude, "
            "latitude and height_m"
        )
    some = usable[np.linspace(0, len(usable) - 1, min(_SAMPLE, len(usable))).astype(int)]
    off = {
        site: max(abs(90 - quick_altitude(ra[i], dec[i], mjd[i], *place) - zenith[i]) for i in some)
        for site, place in SITES.items()
    }
    found = next((site for site, most in off.items() if most < _FAR), None)  # Rubin first
    if found is None:
        nearest = min(off, key=lambda site: off[site])
        raise VisitTableError(
            f"{name}: zenithDistance fits none of the known sites ({nearest} is {off[nearest]:.2g} deg off); add the "
            "columns longitude, latitude and height_m"
        )
    return [SITES[found]] * number
