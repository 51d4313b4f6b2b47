"""WCS of real FITS files: what astropy makes of the whole file is the oracle, for every file of its own tests."""

import pickle
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import astropy.wcs
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK5, ICRS, BarycentricMeanEcliptic, Galactic, SkyCoord, SkyOffsetFrame
from astropy.io import fits
from astropy.modeling import models
from astropy.wcs import WCS
from astropy.wcs.wcsapi import SlicedLowLevelWCS
from scenes import tan

from dcrflow.base.errors import WcsError
from dcrflow.geometry.sphere import separation
from dcrflow.geometry.wcs import SkyWcs

DATA = Path(astropy.wcs.__file__).parent / "tests" / "data"
FILES = sorted(p for p in (*DATA.glob("*.hdr"), *DATA.glob("*.fits*"), *DATA.glob("maps/*.hdr")))
X0, Y0 = 1000, -37  # absolute index of an array's first pixel


def images(path: Path) -> Iterator[tuple[str, fits.Header, fits.HDUList | None]]:
    """The headers in a file."""
    if path.suffix == ".hdr":
        content = path.read_bytes()
        yield path.name, fits.Header.fromstring(content, sep="\n" if b"\n" in content[:200] else ""), None
        return
    with fits.open(path, ignore_missing_simple=True) as hdus:
        hdus.readall()
        for number, hdu in enumerate(hdus):
            if "CRVAL1" in hdu.header or "PLTRAH" in hdu.header:
                yield f"{path.name}[{number}]", hdu.header, hdus


def astropys(header: fits.Header, hdus: fits.HDUList | None) -> WCS | None:
    """What astropy makes of it, if that is a position on the sky."""
    try:
        found = WCS(header, hdus)
        if found.naxis != 2:
            found = found.celestial
        found.wcs.set()
        if not found.has_celestial or abs(np.linalg.det(found.pixel_scale_matrix)) == 0:
            return None
        found.pixel_to_world(1.0, 1.0).icrs  # noqa: B018, a frame that astropy cannot transform
        return found
    except Exception:  # what astropy cannot read
        return None


def off(wcs: SkyWcs, oracle: Any, width: float, height: float, x0: float = 0.0, y0: float = 0.0) -> float:
    """By how many pixels it is off, and where there is sky for one of them only, infinity."""
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(0, width - 1, 7), np.linspace(0, height - 1, 6)))
    true = oracle.pixel_to_world(x, y).icrs
    ra, dec = wcs.pixel_to_sky(x + x0, y + y0)
    assert np.array_equal(np.isnan(ra), np.isnan(true.ra.deg))
    good = np.isfinite(ra)
    found = SkyCoord(ra[good], dec[good], unit="deg")
    scale = true[good].separation(oracle.pixel_to_world(x[good] + 1, y[good]).icrs).deg
    known = np.isfinite(scale) & (scale > 0)
    return float(np.max((true[good].separation(found).deg / scale)[known], initial=0.0))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_every_file_that_astropy_can_read(path: Path) -> None:
    for name, header, hdus in images(path):
        oracle = astropys(header, hdus)
        if oracle is None:
            continue
        if "CRVAL1" not in header:  # FITS takes 0, which nobody means
            with pytest.raises(WcsError, match="it lacks CRVAL1"):
                SkyWcs.from_image(header, hdus, X0, Y0)
            continue
        size = float(header.get("NAXIS1", 0) or 400), float(header.get("NAXIS2", 0) or 400)
        absolute = SkyWcs.from_image(header, hdus, X0, Y0)
        assert off(absolute, oracle, *size, X0, Y0) < 1e-3, name
        again = pickle.loads(pickle.dumps(absolute))
        assert again == absolute
        assert off(again, oracle, *size, X0, Y0) < 1e-3, name
        assert off(SkyWcs.from_any(oracle), oracle, *size) < 1e-3, name


def _number_read() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sum(astropys(h, f) is not None for p in FILES for _, h, f in images(p))


def test_most_of_the_files_are_read() -> None:
    assert _number_read() > 40


@pytest.mark.filterwarnings("ignore")
def test_distortions_by_table() -> None:
    """Of Hubble's ACS (CPDIS, AXISCORR). They matter; cards alone are refused by name; the way back, in threads."""
    with fits.open(DATA / "dist_lookup.fits.gz") as hdus:
        header = hdus[1].header
        wcs = SkyWcs.from_image(header, hdus, X0, Y0)
        bare = header.copy()
        for key in [k for k in bare if k.startswith(("CPDIS", "D2IM", "DP", "AXISCORR", "CPERR"))]:
            del bare[key]
        x, y = np.meshgrid(np.linspace(0, 4000, 9) + X0, np.linspace(0, 2000, 7) + Y0)
        (ra, dec), (without_ra, without_dec) = (
            w.pixel_to_sky(x, y) for w in (wcs, SkyWcs.from_image(bare, None, X0, Y0))
        )
        shift = separation(ra, dec, without_ra, without_dec) * 3600 / 0.05
        assert 0.01 < shift.max() < 10
        for make in (SkyWcs.from_header, lambda h: SkyWcs.from_image(h, None)):
            with pytest.raises(WcsError, match="names a lookup table"):
                make(header)
        with pytest.raises(WcsError, match="lookup tables"):
            wcs.header  # noqa: B018
        with ThreadPoolExecutor(8) as pool:
            back = list(pool.map(lambda _: wcs.sky_to_pixel(*wcs.pixel_to_sky(x, y)), range(8)))
        for found in back:
            np.testing.assert_allclose(found, (x, y), atol=1e-3)


BASE = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 151.0, "CRPIX2": 141.0, "CRVAL1": 53.1, "CRVAL2": -28.3}
S = 0.2 / 3600
CD = {"CD1_1": -S * 0.8, "CD1_2": S * 0.6, "CD2_1": S * 0.6, "CD2_2": S * 0.8}


def _wat() -> dict[str, str]:
    """IRAF's TNX: a polynomial in words, cut every 68 letters."""
    box = "3. 3. 3. 2. -0.009 0.009 -0.009 0.009"
    cards = {"CTYPE1": "RA---TNX", "CTYPE2": "DEC--TNX", "WAT0_001": "system=image"}
    for axis, name, numbers in (
        (1, "ra", "1e-5 2e-3 1e-2 3e-3 1e-2 2e-2"),
        (2, "dec", "2e-5 1e-3 2e-2 1e-3 3e-2 1e-2"),
    ):
        text = f'wtype=tnx axtype={name} {"lng" if axis == 1 else "lat"}cor="{box} {numbers} "'
        cards |= {f"WAT{axis}_{i // 68 + 1:03d}": text[i : i + 68] for i in range(0, len(text), 68)}
    return cards


WAYS: dict[str, dict[str, Any]] = {
    "CD": CD,
    "CDELT and CROTA2": {"CDELT1": -S, "CDELT2": S, "CROTA2": 36.87},
    "CDELT and CROTA1": {"CDELT1": -S, "CDELT2": S, "CROTA1": 36.87},
    "CDELT and PC": {"CDELT1": -S, "CDELT2": S, "PC1_1": 0.8, "PC1_2": 0.6, "PC2_1": -0.6, "PC2_2": 0.8},
    "CDELT and PC00i00j": {
        "CDELT1": -S, "CDELT2": S, "PC001001": 0.8, "PC001002": 0.6, "PC002001": -0.6, "PC002002": 0.8,
    },
    "CD00i00j": {"CD001001": -S, "CD001002": 0.0, "CD002001": 0.0, "CD002002": S},
    "RADECSYS FK5 of 1975": CD | {"RADECSYS": "FK5", "EQUINOX": 1975.0},
    "RADECSYS FK4": CD | {"RADECSYS": "FK4", "EQUINOX": 1950.0, "DATE-OBS": "1984-02-03"},
    "EPOCH": CD | {"EPOCH": 1950.0},
    "Galactic": CD | {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"},
    "TNX": CD | _wat(),
    "TPV": CD | {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.0, "PV1_4": 3e-3, "PV2_1": 1.0, "PV2_6": 2e-3},
    "ZPN": CD | {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0, "PV2_3": 42.0},
    "SIP": CD | {
        "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 3e-5, "B_1_1": 2e-5,
    },
    "lines in arcsec": {"CUNIT1": "arcsec", "CUNIT2": "arcsec", "CDELT1": -0.2, "CDELT2": 0.2,
                        "CRVAL1": 53.1 * 3600, "CRVAL2": -28.3 * 3600},
    "Dec, RA": {
        "CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": -28.3, "CRVAL2": 53.1,
        "CD1_1": S * 0.6, "CD1_2": S * 0.8, "CD2_1": -S * 0.8, "CD2_2": S * 0.6,
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WAYS)
def test_ways_to_write_a_header(name: str) -> None:
    header = fits.Header(BASE | WAYS[name] | {"NAXIS": 2, "NAXIS1": 300, "NAXIS2": 280, "OBJECT": "x", "EXPTIME": 30.0})
    oracle = WCS(header)
    for wcs, x0, y0 in ((SkyWcs.from_image(header, None, X0, Y0), X0, Y0), (SkyWcs.from_header(header), 0, 0),
                        (SkyWcs.from_any(oracle), 0, 0)):  # fmt: skip
        assert off(wcs, oracle, 300, 280, x0, y0) < 1e-3
        x, y = np.array([3.0, 150.0, 290.0]) + x0, np.array([270.0, 140.0, 5.0]) + y0
        np.testing.assert_allclose(wcs.sky_to_pixel(*wcs.pixel_to_sky(x, y)), (x, y), atol=1e-3)
    kept = SkyWcs.from_image(header, None, X0, Y0).header
    assert "EXPTIME" not in kept


def test_ecliptic_and_supergalactic() -> None:
    """Which astropy's own look-up of frames lacks."""
    sky = SkyCoord(53.1, -28.3, unit="deg")
    for lon, lat, frame in (("ELON", "ELAT", BarycentricMeanEcliptic()), ("SLON", "SLAT", "supergalactic")):
        there = sky.transform_to(frame)
        first, second = there.spherical.lon.deg, there.spherical.lat.deg
        header = BASE | CD | {"CTYPE1": f"{lon}-TAN", "CTYPE2": f"{lat}-TAN", "CRVAL1": first, "CRVAL2": second}
        ra, dec = SkyWcs.from_header(header).pixel_to_sky(150.0, 140.0)
        assert sky.separation(SkyCoord(ra, dec, unit="deg")).arcsec < 0.01


def _gwcs(frame: Any, lon: float, lat: float, unit: u.Unit = u.deg, swapped: bool = False) -> Any:
    gwcs = pytest.importorskip("gwcs")
    from gwcs import coordinate_frames as cf

    pixels = models.Shift(-150) & models.Shift(-140) | models.Scale(-S) & models.Scale(S) | models.Pix2Sky_TAN()
    whole = pixels | models.RotateNative2Celestial(lon, lat, 180)
    if unit != u.deg:
        whole = whole | models.Scale(np.pi / 180) & models.Scale(np.pi / 180)
    order = (1, 0) if swapped else (0, 1)
    if swapped:
        whole = whole | models.Mapping((1, 0))
    sky = cf.CelestialFrame(reference_frame=frame, name="sky", unit=(unit, unit), axes_order=order)
    return gwcs.WCS([(cf.Frame2D(name="detector", unit=(u.pix, u.pix)), whole), (sky, None)])


@pytest.mark.parametrize("unit", [u.deg, u.rad])
@pytest.mark.parametrize("frame", [ICRS(), FK5(), FK5(equinox="J1975"), Galactic(), BarycentricMeanEcliptic()])
@pytest.mark.parametrize("swapped", [False, True])
def test_objects_in_the_frame_that_they_state(frame: Any, unit: u.Unit, swapped: bool) -> None:
    sky = SkyCoord(53.1, -28.3, unit="deg")
    there = sky.transform_to(frame).spherical
    wcs = SkyWcs.from_any(_gwcs(frame, there.lon.deg, there.lat.deg, unit, swapped))
    again = pickle.loads(pickle.dumps(wcs))
    ra, dec = again.pixel_to_sky([150.0, 10.0], [140.0, 250.0])
    assert sky.separation(SkyCoord(ra[0], dec[0], unit="deg")).arcsec < 1e-6
    np.testing.assert_allclose(wcs.sky_to_pixel(ra, dec), ([150.0, 10.0], [140.0, 250.0]), atol=1e-6)


def test_offsets_from_a_position_are_no_icrs() -> None:
    """astropy's class of them is a subclass of ICRS."""
    middle = SkyCoord(53.1, -28.3, unit="deg")
    wcs = SkyWcs.from_any(_gwcs(SkyOffsetFrame(origin=middle), 0.0, 0.0))
    ra, dec = wcs.pixel_to_sky(150.0, 140.0)
    assert middle.separation(SkyCoord(ra, dec, unit="deg")).arcsec < 1e-6


class _WithoutUnits(SlicedLowLevelWCS):  # type: ignore[misc]
    world_axis_units = ("", "")

    @property
    def world_axis_object_classes(self) -> dict[str, Any]:
        return {"celestial": (SkyCoord, (), {"frame": ICRS(), "unit": (u.one, u.one)})}


def test_an_object_whose_units_do_not_fit_is_refused() -> None:
    """An error of one line, not one of a library when pixels are warped."""
    made = _gwcs(ICRS(), 53.1, -28.3)

    with pytest.raises(WcsError, match="where on the sky"):
        SkyWcs.from_any(_WithoutUnits(made, Ellipsis))


def test_an_object_without_a_place_on_the_sky_is_refused() -> None:
    gwcs = pytest.importorskip("gwcs")
    from gwcs import coordinate_frames as cf

    flat = models.Shift(1) & models.Shift(2)
    frames = cf.Frame2D(name="detector", unit=(u.pix, u.pix)), cf.Frame2D(name="focal", unit=(u.mm, u.mm))
    with pytest.raises(WcsError, match=r"where on the sky|position on the sky"):
        SkyWcs.from_any(gwcs.WCS([(frames[0], flat), (frames[1], None)]))


def test_a_table_of_visits_refuses_what_it_cannot_carry(tmp_path: Path) -> None:
    from dataclasses import replace

    from scenes import visit

    from dcrflow.base.errors import VisitTableError
    from dcrflow.stores.visits.tables import write_visits

    with warnings.catch_warnings(), fits.open(DATA / "dist_lookup.fits.gz") as hdus:
        warnings.simplefilter("ignore")
        wcs = SkyWcs.from_image(hdus[1].header, hdus)
    with pytest.raises(VisitTableError, match="lookup tables"):
        write_visits([replace(visit(), wcs=wcs)], tmp_path / "x.ecsv")
    assert SkyWcs.from_any(tan()) == tan()
