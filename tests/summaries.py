"""LSST summaries of visits for tests: catalogs of afw with the LSST pipeline's own WCS, and tables of detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time

from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.stores.visits.exposures import origin

RUBIN = EarthLocation.from_geodetic(-70.74942 * u.deg, -30.24464 * u.deg, 2663.0 * u.m)
MJD = 60990.2  # TAI
BOX = Box(0, 0, 300, 320)


def golden_wcs(directory: Path, name: str) -> tuple[str, SkyWcs]:
    """What afw wrote of a detector's WCS into the archive, and the WCS of the image's header."""
    with fits.open(directory / f"calexp_{name}.fits.gz") as file:
        text = file["SkyWcs"].data[0]["wcs"].astype(np.uint8).tobytes().decode()
        return text, SkyWcs.from_image(file["IMAGE"].header, file, *origin(file["IMAGE"].header))


def pixels_off(one: SkyWcs, other: SkyWcs, box: Box) -> float:
    x, y = box.grown(20).outline(15)
    found = other.sky_to_pixel(*one.pixel_to_sky(x, y))
    return float(np.max(np.hypot(found[0] - x, found[1] - y)))


def catalog(path: Path, texts: list[str], rows: list[dict[str, Any]], info: dict[str, Any] | None = None) -> Path:
    """A visitSummary as afw writes it; the WCS of row i is object 10 + i of the archive, the VisitInfo object 1."""
    about = {
        "boresightradec_ra": np.deg2rad(53.0), "boresightradec_dec": np.deg2rad(-28.0),
        "boresightazalt_az": 0.0, "boresightazalt_alt": np.deg2rad(60.0), "boresightrotangle": np.deg2rad(33.0),
        "rottype": 1, "latitude": np.deg2rad(-30.24464), "longitude": np.deg2rad(-70.74942), "elevation": 2663.0,
        "airtemperature": 11.0, "airpressure": 74300.0, "humidity": 20.0,
        "tai": round((MJD - 40587) * 86400e9), "instrumentlabel": "LSSTCam",
    } | (info or {})  # fmt: skip
    columns = [
        fits.Column(name, {int: "1K", str: "32A"}.get(type(rows[0][name]), "1D"), array=[row[name] for row in rows])
        for name in rows[0]
    ]
    table = fits.BinTableHDU.from_columns(columns)
    table.header["AFW_TYPE"] = "EXPOSURE"
    objects = {1: ("VisitInfo", 1, 0)} | {10 + i: ("SkyWcs", 2, i) for i in range(len(texts))}
    index = fits.BinTableHDU.from_columns(
        [
            *(fits.Column(n, "1J", array=values) for n, values in (
                ("id", list(objects)), ("cat.archive", [o[1] for o in objects.values()]),
                ("cat.persistable", [0] * len(objects)), ("row0", [o[2] for o in objects.values()]),
                ("nrows", [1] * len(objects)),
            )),
            fits.Column("name", "64A", array=[o[0] for o in objects.values()]),
        ]
    )  # fmt: skip
    index.header["EXTTYPE"] = "ARCHIVE_INDEX"
    seen = fits.BinTableHDU.from_columns(
        [fits.Column(n, {int: "1K", str: "32A"}.get(type(v), "1D"), array=[v]) for n, v in about.items()]
    )
    arrays = np.empty(len(texts), object)
    arrays[:] = [np.frombuffer(t.encode(), np.uint8) for t in texts]
    wcs = fits.BinTableHDU.from_columns([fits.Column("wcs", "QB()", array=arrays)])
    for number, (hdu, name) in enumerate(((seen, "VisitInfo"), (wcs, "SkyWcs")), 1):
        hdu.header["EXTTYPE"], hdu.header["AR_CATN"], hdu.header["AR_NAME"] = "ARCHIVE_DATA", number, name
    fits.HDUList([fits.PrimaryHDU(), table, index, seen, wcs]).writeto(path)
    return path


def record(detector: int, wcs: int, **changes: Any) -> dict[str, Any]:
    return {
        "id": detector, "bbox_min_x": 0, "bbox_min_y": 0, "bbox_max_x": 299, "bbox_max_y": 319, "wcs": wcs,
        "visitInfo": 1, "visit": 2026110100012, "physical_filter": "g_57", "band": "g", "psfSigma": 1.75,
        "pixelScale": 0.2, "zeroPoint": 31.9,
    } | changes  # fmt: skip


def distorted(strength: float = 2e-10, x: float = 150.0, y: float = 160.0, ra: float = 53.0) -> SkyWcs:
    """A WCS with a distortion of third order, as off a telescope's axis."""
    header = {
        "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRPIX1": x + 1, "CRPIX2": y + 1, "CRVAL1": ra,
        "CRVAL2": -28.0, "CD1_1": 0.8 * 0.2 / 3600, "CD1_2": 0.6 * 0.2 / 3600, "CD2_1": -0.6 * 0.2 / 3600,
        "CD2_2": 0.8 * 0.2 / 3600, "A_ORDER": 3, "B_ORDER": 3, "A_3_0": strength, "A_1_2": strength,
        "B_0_3": strength, "B_2_1": strength, "RADESYS": "ICRS",
    }  # fmt: skip
    return SkyWcs.from_header(header)


def detector_table(
    width: int = 4072, height: int = 4000, labelled: bool = False, ra: float = 53.0, **changes: Any
) -> tuple[Table, list[SkyWcs]]:
    """A `visit_detector_table` of two detectors, by the pipelines' own definitions, and the true WCS."""
    table = Table()
    truth = [distorted(2e-13, 2000.0 + s * 4100, 2000.0, ra) for s in (-0.5, 0.5)]
    corners = np.array([-0.5, width - 0.5, width - 0.5, -0.5]), np.array([-0.5, -0.5, height - 0.5, height - 0.5])
    sky = np.array([w.pixel_to_sky(*corners) for w in truth])  # detector, axis, corner
    middle = np.array([w.pixel_to_sky((width - 1) / 2, (height - 1) / 2) for w in truth])
    table["visitId"] = np.array([2024120600239] * 2)
    table["detectorId"] = [3, 4]
    table["physical_filter"], table["band"] = ["g_01"] * 2, ["g"] * 2
    table["ra"], table["dec"] = middle[:, 0], middle[:, 1]
    table["pixelScale"] = np.array([w.pixel_scale(width / 2, height / 2) for w in truth], np.float32)
    table["psfSigma"], table["zeroPoint"], table["expTime"] = [1.8, np.nan], [31.6, 31.7], [30.0, 30.0]
    table["skyRotation"], table["expMidptMJD"] = [12.0] * 2, [MJD] * 2
    as_utc = Time(MJD, format="mjd", scale="utc")  # as the pipelines have it: TAI taken for UTC
    here = SkyCoord(table["ra"] * u.deg, table["dec"] * u.deg).transform_to(AltAz(obstime=as_utc, location=RUBIN))
    table["zenithDistance"] = 90 - here.alt.deg
    table["xSize"], table["ySize"] = [width - 1] * 2, [height - 1] * 2
    names = ("llc", "lrc", "urc", "ulc") if labelled else ("llc", "ulc", "urc", "lrc")
    for i, name in enumerate(names):
        table[f"{name}ra"], table[f"{name}dec"] = sky[:, 0, i], sky[:, 1, i]
    for name, value in changes.items():
        table.remove_column(name) if value is None else table.__setitem__(name, value)
    return table, truth
