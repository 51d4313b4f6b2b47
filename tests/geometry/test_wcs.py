"""World coordinates: any projection there and back, any kind of WCS object, from many threads."""

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from dcrflow.base.errors import WcsError
from dcrflow.geometry.wcs import SkyWcs

TAN = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 501.0, "CRPIX2": 401.0, "CRVAL1": 53.0, "CRVAL2": -28.0,
    "CD1_1": -4.4e-5, "CD1_2": 3.3e-5, "CD2_1": 3.3e-5, "CD2_2": 4.4e-5, "RADESYS": "ICRS",
}  # fmt: skip
SIP = TAN | {
    "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2,
    "A_2_0": 1e-6, "A_1_1": -5e-7, "B_0_2": 8e-7, "B_1_1": 4e-7,
}  # fmt: skip
TPV = TAN | {
    "CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_0": 0.0, "PV1_1": 1.0, "PV1_4": 0.02,
    "PV2_0": 0.0, "PV2_1": 1.0, "PV2_4": -0.03,
}  # fmt: skip


def there_and_back(sky: SkyWcs) -> None:
    x, y = np.meshgrid(np.linspace(-20, 1020, 7), np.linspace(-20, 820, 5))
    ra, dec = sky.pixel_to_sky(x, y)
    u, v = sky.sky_to_pixel(ra, dec)
    np.testing.assert_allclose(u, x, atol=1e-6)
    np.testing.assert_allclose(v, y, atol=1e-6)


@pytest.mark.parametrize("header", [TAN, SIP, TPV], ids=["TAN", "TAN-SIP", "TPV"])
def test_there_and_back(header: dict[str, object]) -> None:
    there_and_back(SkyWcs.from_header(header))


@pytest.mark.parametrize("header", [TAN, SIP, TPV], ids=["TAN", "TAN-SIP", "TPV"])
def test_any_form_gives_the_same(header: dict[str, object]) -> None:
    cards = fits.Header(header)
    forms = [
        header, cards, cards.tostring(sep=""), cards.tostring(sep="\n"), WCS(cards), SkyWcs.from_header(cards),
    ]  # fmt: skip
    expected = WCS(cards).all_pix2world(3.0, 4.0, 0)
    for form in forms:
        np.testing.assert_allclose(SkyWcs.from_any(form).pixel_to_sky(3.0, 4.0), expected, rtol=1e-12)


def test_gwcs() -> None:
    """Anything with the APE-14 interface will do."""
    import astropy.units as u
    import gwcs
    from astropy.coordinates import ICRS
    from astropy.modeling import models

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transform = (
            models.Shift(-500.0) & models.Shift(-400.0)
            | models.AffineTransformation2D(np.array([[-4.4e-5, 3.3e-5], [3.3e-5, 4.4e-5]]))
            | models.Pix2Sky_TAN()
            | models.RotateNative2Celestial(53.0, -28.0, 180.0)
        )
        detector = gwcs.coordinate_frames.Frame2D(name="detector", unit=(u.pix, u.pix))
        sky = gwcs.coordinate_frames.CelestialFrame(reference_frame=ICRS(), name="sky", unit=(u.deg, u.deg))
        made = SkyWcs.from_any(gwcs.WCS([(detector, transform), (sky, None)]))
        there_and_back(made)
        np.testing.assert_allclose(made.pixel_to_sky(7, 8), SkyWcs.from_header(TAN).pixel_to_sky(7, 8), rtol=1e-12)
        assert pickle.loads(pickle.dumps(made)).key == made.key
        with pytest.raises(WcsError, match="not a FITS WCS"):
            _ = made.header


def test_other_frame() -> None:
    """A WCS in galactic coordinates still gives ICRS."""
    header = TAN | {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": 223.6, "CRVAL2": -54.4}
    del header["RADESYS"]
    sky = SkyWcs.from_header(header)
    there_and_back(sky)
    ra, dec = sky.pixel_to_sky(500.0, 400.0)
    assert (float(ra), float(dec)) == pytest.approx((53.0, -28.0), abs=0.3)


def test_threads_agree() -> None:
    """astropy's objects are not thread-safe; each thread works with its own."""
    sky = SkyWcs.from_header(SIP)
    x, y = np.meshgrid(np.arange(0, 900, 30.0), np.arange(0, 800, 30.0))
    expected = sky.sky_to_pixel(*sky.pixel_to_sky(x, y))
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: sky.sky_to_pixel(*sky.pixel_to_sky(x, y)), range(40)):
            np.testing.assert_array_equal(found, expected)


def test_equal_cards_equal_key() -> None:
    a, b = SkyWcs.from_header(TAN), SkyWcs.from_header(dict(TAN))
    assert a == b
    assert a.key == b.key
    assert a.key != SkyWcs.from_header(TAN | {"CRVAL1": 53.0001}).key
    assert pickle.loads(pickle.dumps(a)) == a


@pytest.mark.parametrize("dec", [-28.0, 0.0, 89.99999, 90.0, -90.0])
def test_pixel_scale(dec: float) -> None:
    """Also of a pixel that is next to a pole, or on it, where right ascensions jump."""
    scale = SkyWcs.from_header(TAN | {"CRVAL2": dec}).pixel_scale(500.0, 400.0)
    assert scale == pytest.approx(3600 * np.hypot(4.4e-5, 3.3e-5), rel=1e-6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no FITS cards"),
        ("rubbish", "no celestial WCS"),
        (fits.Header(TAN | {"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"}).tostring(sep=""), "celestial"),
        (fits.Header(TAN | {"CD1_1": 0.0, "CD1_2": 0.0}).tostring(sep="\n"), "singular"),
        (fits.Header(TAN | {"CD1_1": 0.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 0.0}).tostring(sep=""), "singular"),
        (fits.Header(TAN).tostring(sep="\n").replace("501.0", "  NaN"), "CRPIX1 is 'NaN', expected a finite number"),
    ],
)
def test_unusable(text: str, message: str) -> None:
    with pytest.raises(WcsError, match=message):
        SkyWcs.from_cards(text)


def test_not_a_wcs() -> None:
    with pytest.raises(WcsError, match="not a WCS: int"):
        SkyWcs.from_any(3)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"CRPIX1": "501.0"}, "its CRPIX1 is '501.0', expected a finite number"),
        ({"CRPIX2": True}, "its CRPIX2 is True, expected a finite number"),
        ({"CRVAL1": float("nan")}, "its CRVAL1 is nan, expected degrees"),
        ({"CD1_2": float("inf")}, "its CD1_2 is inf, expected a finite number"),
        ({"CD1_1": [1]}, r"its CD1_1 is \[1\], expected a finite number"),
        ({"LONPOLE": "north"}, "its LONPOLE is 'north', expected a finite number"),
        ({"REMARK": [1]}, r"its 'REMARK' is \[1\], expected what a FITS card can hold"),
        ({"A_ORDER": 100_000}, "its A_ORDER is 100000, expected an integer from 0 to 9"),
        ({"WCSAXES": 1_000_000}, "its WCSAXES is 1000000, expected an integer from 0 to 9"),
    ],
)
def test_a_card_that_no_wcs_can_have(card: dict[str, object], message: str) -> None:
    """Astropy takes a default for some of these, and says nothing."""
    with pytest.raises(WcsError, match=message):
        SkyWcs.from_header(SIP | card)


def test_cards_that_are_no_mapping() -> None:
    with pytest.raises(WcsError, match=r"expected FITS keyword -> value, found a list: \[1, 2\]"):
        SkyWcs.from_header([1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["CRVAL1", "CRPIX2"])
def test_a_card_that_is_missing(key: str) -> None:
    with pytest.raises(WcsError, match=f"it lacks {key}"):
        SkyWcs.from_header({k: v for k, v in TAN.items() if k != key})


def test_cards_that_are_none_are_an_error_and_no_warnings() -> None:
    """Warnings are errors here; on a terminal there would be three for each row of a table."""
    with pytest.raises(WcsError, match="no celestial WCS in these FITS cards: 'nonsense"):
        SkyWcs.from_cards("nonsense")
