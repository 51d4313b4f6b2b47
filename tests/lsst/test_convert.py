"""Converters between LSST's objects and dcrflow's; those of afw, which is not on PyPI, by fakes with its methods."""

from __future__ import annotations

import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lsst.images", reason="the extra lsst is not installed")

import astropy.units as u
from lsst.images import DetectorFrame, MaskPlane
from lsst.images.psfs import GaussianPointSpreadFunction
from scenes import WEATHER, tan, visit

from dcrflow.base.errors import InconsistentCoaddsError, ObservationError, WcsError
from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.lsst.convert import (
    ProjectionWcs,
    arrays_of,
    box_of,
    kernel_of,
    lsst_box,
    masked_image,
    observation_row,
    projection_of,
    wcs_of,
)
from dcrflow.lsst.repository import observation_info
from dcrflow.stores.visits.rows import detector_visit

BOX = Box(-20, 35, 60, 40)


def angle(degrees: float) -> Any:
    return SimpleNamespace(asDegrees=lambda: degrees)


class AfwSkyWcs:
    """What of `lsst.afw.geom.SkyWcs` is used."""

    def __init__(self, wcs: SkyWcs, fits: bool) -> None:
        self.wcs, self.isFits = wcs, fits

    def getFitsMetadata(self, precise: bool) -> Any:  # noqa: N802
        return SimpleNamespace(toDict=lambda: {c.keyword: c.value for c in self.wcs.header.cards})

    def pixelToSkyArray(self, x: Any, y: Any, degrees: bool) -> Any:  # noqa: N802
        return self.wcs.pixel_to_sky(x, y)

    def skyToPixelArray(self, ra: Any, dec: Any, degrees: bool) -> Any:  # noqa: N802
        return self.wcs.sky_to_pixel(ra, dec)


def afw_exposure(mean: float = 1.0, constant: bool = True) -> Any:
    plane = np.arange(BOX.area, dtype=np.float32).reshape(BOX.shape)
    masked = SimpleNamespace(
        image=SimpleNamespace(array=plane), variance=SimpleNamespace(array=plane + 1),
        mask=SimpleNamespace(array=np.full(BOX.shape, 2, np.int32), getMaskPlaneDict=lambda: {"BAD": 0, "SAT": 1}),
    )  # fmt: skip
    box = SimpleNamespace(getMinX=lambda: -20, getMinY=lambda: 35, getWidth=lambda: 60, getHeight=lambda: 40)
    calibration = SimpleNamespace(getCalibrationMean=lambda: mean, _isConstant=constant)
    return SimpleNamespace(getBBox=lambda: box, getMaskedImage=lambda: masked, getPhotoCalib=lambda: calibration)


def test_boxes() -> None:
    assert box_of(lsst_box(BOX)) == box_of(BOX) == box_of(afw_exposure().getBBox()) == BOX


@pytest.mark.parametrize("fits", [True, False])
def test_projections(fits: bool) -> None:
    """By FITS cards, or by the object itself: to a millionth of a pixel, also after pickling."""
    wcs = tan(10.0, 50.0, 25.0)
    x, y = BOX.outline(3)
    ra, dec = wcs.pixel_to_sky(x, y)
    projection = projection_of(wcs, DetectorFrame(instrument="X", detector=1, bbox=lsst_box(BOX)), BOX)
    as_it_is = SkyWcs.from_any(ProjectionWcs.of(projection))
    for found in (wcs_of(AfwSkyWcs(wcs, fits), BOX), wcs_of(projection, BOX), as_it_is):
        found = pickle.loads(pickle.dumps(found))
        assert np.abs(np.array(found.sky_to_pixel(ra, dec)) - [x, y]).max() < 1e-6
        assert np.shape(found.pixel_to_sky(1.0, 2.0)[0]) == ()
    assert bool(wcs_of(projection, BOX).cards)


def test_a_distortion_that_does_not_survive_is_refused() -> None:
    """lsst.images takes a SIP of one term for something else."""
    header = tan(10.0, 50.0).header
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
    header["A_ORDER"] = header["B_ORDER"] = 2
    header["B_2_0"] = 1e-4
    frame = DetectorFrame(instrument="X", detector=1, bbox=lsst_box(BOX))
    with pytest.raises(WcsError, match="cannot be converted to a"):
        projection_of(SkyWcs.from_header(header), frame, BOX)


def test_masked_images_round_trip() -> None:
    rng = np.random.default_rng(3)
    image, variance = rng.normal(size=(2, *BOX.shape)).astype(np.float32)
    planes = {**STANDARD_PLANES, "ODD": 19}
    mask = rng.integers(0, 1 << 9, BOX.shape).astype(np.int32) | ((rng.random(BOX.shape) < 0.1).astype(np.int32) << 19)
    made = masked_image(BOX, image, variance, mask, planes, None)
    assert {"SATURATED", "INTERPOLATED", "COSMIC_RAY", "DETECTION_EDGE", "NO_DATA"} <= set(made.mask.schema.names)
    back = arrays_of(made)
    assert (back.box, dict(back.planes)) == (BOX, planes)
    for name, expected in (("image", image), ("variance", variance), ("mask", mask)):
        assert np.array_equal(getattr(back, name), expected)


def test_many_planes_get_bits_that_fit() -> None:
    from lsst.images import Mask, MaskSchema

    schema = MaskSchema([MaskPlane(f"P{i}", "") if i % 2 else None for i in range(40)])
    mask = Mask(schema=schema, bbox=lsst_box(BOX))
    mask.array[2, 3] = schema.bitmask("P39")
    made = masked_image(BOX, *np.zeros((2, *BOX.shape), np.float32), np.zeros(BOX.shape, np.int32), {"A": 0}, None)
    made.mask = mask
    found = arrays_of(made)
    assert max(found.planes.values()) == 19
    assert np.argwhere(found.mask).tolist() == [[2, 3]]
    assert found.mask[2, 3] == 1 << found.planes["P39"]


def test_afw_exposures() -> None:
    found = arrays_of(afw_exposure(mean=2.0))
    assert (found.box, found.planes) == (BOX, {"BAD": 0, "SAT": 1})
    assert (found.image[0, 1], found.variance[0, 1], found.mask[0, 1]) == (2.0, 8.0, 2)
    with pytest.raises(InconsistentCoaddsError, match="varies over the image"):
        arrays_of(afw_exposure(constant=False))


def test_units() -> None:
    zero = np.zeros(BOX.shape, np.float32)
    made = masked_image(BOX, zero + 1, zero + 1, zero.astype(np.int32), {"BAD": 0}, None)
    assert arrays_of(made).image[0, 0] == 1
    from lsst.images import Image, MaskedImage

    micro = MaskedImage(Image(zero + 1, bbox=lsst_box(BOX), unit=u.uJy), mask=made.mask)
    assert arrays_of(micro).image[0, 0] == pytest.approx(1000)
    with pytest.raises(InconsistentCoaddsError, match="expected a flux density"):
        arrays_of(MaskedImage(Image(zero, bbox=lsst_box(BOX), unit=u.electron), mask=made.mask))


def test_observation_info() -> None:
    """There and back: a visit without a time gets one at which the sky is about right."""
    first = visit(altitude=60.0, parallactic_angle=98.0)
    row = observation_row(observation_info(first, longitude=-70.7))
    anywhere = {"visit": 1, "detector": 2, "band": "g", "x0": 0, "y0": 0, "width": 9, "height": 9, "wcs": first.wcs}
    again = detector_visit(row | anywhere).observation
    assert again.altitude == pytest.approx(60.0)
    assert (again.ra, again.dec) == pytest.approx((53.0, -28.0))
    assert again.weather.temperature == pytest.approx(WEATHER.temperature)
    assert again.weather.pressure == pytest.approx(WEATHER.pressure)
    assert again.weather.humidity == pytest.approx(WEATHER.humidity)
    assert (again.latitude, again.height) == pytest.approx((-30.0, 2663.0))
    with pytest.raises(ObservationError, match="tracking_radec"):
        observation_row(SimpleNamespace(tracking_radec=None))


def test_visit_info() -> None:
    direction = SimpleNamespace(getRa=lambda: angle(53.0), getDec=lambda: angle(-28.0), getLatitude=lambda: angle(45.0))
    place = SimpleNamespace(
        getLongitude=lambda: angle(-70.0), getLatitude=lambda: angle(-30.0), getElevation=lambda: 2e3
    )
    weather = SimpleNamespace(
        getAirTemperature=lambda: 10.0, getAirPressure=lambda: 74000.0, getHumidity=lambda: float("nan")
    )
    info = SimpleNamespace(
        getBoresightRaDec=lambda: direction, getBoresightAzAlt=lambda: direction, getObservatory=lambda: place,
        getWeather=lambda: weather, getDate=lambda: SimpleNamespace(nsecs=lambda: int((61000.5 - 40587) * 86400e9)),
        getBoresightParAngle=lambda: angle(33.0), getBoresightRotAngle=lambda: angle(7.0),
        getInstrumentLabel=lambda: "X",
    )  # fmt: skip
    row = observation_row(info)
    assert row["mjd"] == pytest.approx(61000.5)
    anywhere = {"visit": 1, "detector": 2, "band": "g", "x0": 0, "y0": 0, "width": 9, "height": 9, "wcs": tan()}
    found = detector_visit(row | anywhere).observation
    assert (found.altitude, found.parallactic_angle, found.rotation_angle) == (45.0, 33.0, 7.0)
    assert found.weather.assumed == ("humidity",)


def test_kernels() -> None:
    psf = GaussianPointSpreadFunction(1.5, lsst_box(BOX), 15)
    found = kernel_of(psf, 0.0, 50.0)
    assert found is not None
    assert found.shape == (15, 15)
    assert found.sum() == pytest.approx(1.0)
    assert kernel_of(object(), 0.0, 0.0) is None
