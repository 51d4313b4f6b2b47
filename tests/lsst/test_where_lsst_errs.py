"""Where LSST's DCR templates go wrong, each shown by an oracle that is neither LSST's code nor ours.

The refraction: `physics/test_lsst_refraction.py` and `simulate/test_air.py`, against traced rays. The coordinates of
distorted detectors: `test_lsst_parity.py`, against the WCS itself.
"""

import dataclasses

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import AltAz, EarthLocation, SkyCoord
from astropy.time import Time
from astropy.wcs import WCS
from scenes import IMAGE, TRACT, WEATHER, coadds, tan, visit
from scipy import ndimage

import dcrflow
from dcrflow.demo.suppression import suppression
from dcrflow.geometry.box import Box
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import Pixels
from dcrflow.physics.dcr import zenith_vectors
from dcrflow.physics.observation import Observation, altitude_and_parallactic_angle
from dcrflow.planning.template import plan_template
from dcrflow.simulate.scene import StarField, star_field
from dcrflow.steps import make_tile
from dcrflow.stores.coadds.store import open_coadds

SITE = {"longitude": -70.749417, "latitude": -30.244639, "height": 2663.0}
NO_DATA = 1 << 8
AS_LSST = {"dcr": "split", "warp": "lanczos3", "rotation": "boresight"}


def with_rotator(field: StarField, angle: float) -> StarField:
    observation = dataclasses.replace(field.visit.observation, rotation_angle=angle)
    return dataclasses.replace(field, visit=dataclasses.replace(field.visit, observation=observation))


def template(where: dcrflow.DetectorVisit, store: object, **settings: object) -> Pixels:
    opened = open_coadds(store)
    plan = plan_template(opened, where, TemplateConfig.make(settings))
    return make_tile(opened, plan, plan.bbox).pixels


# direction of the shift ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("east_left", [True, False])
@pytest.mark.parametrize("rotation", [0.0, 57.0, 180.0, 301.0])
@pytest.mark.parametrize("parallactic_angle", [-100.0, 20.0, 75.0])
def test_direction_against_astropy(east_left: bool, rotation: float, parallactic_angle: float) -> None:
    """An arcsec towards the zenith in pixels, by astropy's coordinates and WCS; the rotator has no say on a coadd."""
    flip = -1.0 if east_left else 1.0
    grid = tan(rotation=rotation, flip=flip)
    here = SkyCoord(53.0 * u.deg, -28.0 * u.deg)
    there = here.directional_offset_by(parallactic_angle * u.deg, 1 * u.arcsec)
    wcs = WCS(grid.header)
    expected = np.subtract(there.to_pixel(wcs), here.to_pixel(wcs))
    for rotator in (0.0, 37.0):
        seen = Observation(53.0, -28.0, 45.0, parallactic_angle, WEATHER, -30.0, 2663.0, rotator)
        _, dy, dx = zenith_vectors(seen, grid, np.array([300.0]), np.array([300.0]), "local", (300.0, 300.0))
        np.testing.assert_allclose([dx[0], dy[0]], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("tract_flipped", "rotator", "lsst_is_right"), [(False, 0.0, False), (True, 0.0, True), (True, 100.0, False)]
)
def test_direction_against_galsim(tract_flipped: bool, rotator: float, lsst_is_right: bool) -> None:
    """On the usual east-left coadd LSST leaves as much as no matching does, and with a turned camera on any coadd."""
    field = with_rotator(star_field(zenith_angle=45, tract_flipped=tract_flipped), rotator)
    lsst = suppression(field, **AS_LSST)
    assert lsst > 2.5 if lsst_is_right else lsst < 1.3
    assert suppression(field) > 150


# field dependence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bearing", [0.0, 110.0, 290.0])
def test_field_dependence_against_astropy(bearing: float) -> None:
    """1.75 deg off the boresight: tan z by astropy's horizontal coordinates; the boresight's is off by 1 to 6 %."""
    mjd, boresight = 61010.33, SkyCoord(53.3 * u.deg, -27.6 * u.deg)
    altitude, parallactic = altitude_and_parallactic_angle(53.3, -27.6, mjd, **SITE)
    place = EarthLocation.from_geodetic(SITE["longitude"] * u.deg, SITE["latitude"] * u.deg, SITE["height"] * u.m)
    frame = AltAz(obstime=Time(mjd, format="mjd", scale="tai"), location=place)
    edge = boresight.directional_offset_by(bearing * u.deg, 1.75 * u.deg)
    truth = np.tan(edge.transform_to(frame).zen.rad)
    seen = Observation(53.3, -27.6, altitude, parallactic, WEATHER, SITE["latitude"], SITE["height"], 0.0)
    grid = tan(ra=edge.ra.deg, dec=edge.dec.deg)
    middle = np.array([300.0]), np.array([300.0])
    ours, _, _ = zenith_vectors(seen, grid, *middle, "local", (300.0, 300.0))
    lsst, _, _ = zenith_vectors(seen, grid, *middle, "boresight", (300.0, 300.0))
    assert ours[0] == pytest.approx(truth, rel=5e-5)
    assert abs(lsst[0] / truth - 1) > 0.01


# NaN in a coadd -----------------------------------------------------------------------------------------------------


def test_one_nan_does_not_spoil_rows_and_columns() -> None:
    """A recursive spline filter spreads one NaN over its row, its column and from there; ours over 13 px at most."""

    def spoil(tract: int, patch: int, arrays: dict[str, np.ndarray]) -> None:
        if patch == 0:
            arrays["image"][1, 150, 140] = np.nan

    with_nan = IMAGE[1].copy()
    with_nan[150, 140] = np.nan
    recursive = ndimage.spline_filter(with_nan.astype(float), order=3)
    assert np.isnan(recursive).mean() > 0.99

    made = template(visit(TRACT.wcs, Box(40, 40, 200, 200)), coadds(IMAGE, change=spoil))
    gone = np.argwhere(np.isnan(made.image)) - [130, 120]
    assert len(gone)
    assert np.abs(gone).max() <= 13


# data IDs -----------------------------------------------------------------------------------------------------------


def test_patches_keep_their_own_identity() -> None:
    """Whatever order the store lists them in: each patch's pixels land where its data ID says."""

    def paint(tract: int, patch: int, arrays: dict[str, np.ndarray]) -> None:
        arrays["image"][:] = 10.0 + patch

    made = template(visit(TRACT.wcs, Box(100, 100, 400, 400)), coadds(IMAGE, change=paint), border=0)
    for patch in TRACT.patches:
        own = np.full(TRACT.bbox.shape, True)
        for other in TRACT.patches:
            if other != patch:
                own[other.bbox.grown(10).intersection(TRACT.bbox).slices(TRACT.bbox)] = False
        own = own[made.box.slices(TRACT.bbox)]
        assert own.any()
        np.testing.assert_allclose(made.image[own], 3 * (10.0 + patch.patch), rtol=1e-5)


# variance and mask of each subfilter --------------------------------------------------------------------------------


def test_each_subfilter_counts_with_its_own_variance_and_mask() -> None:
    """LSST keeps the first subfilter's. The oracle: the scatter of many noisy coadds, and which pixel was flagged."""
    sigma = np.array([1.0, 3.0, 5.0], np.float32)[:, None, None]
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 1, (3, 600, 600)).astype(np.float32) * sigma

    def change(tract: int, patch: int, arrays: dict[str, np.ndarray]) -> None:
        shape = arrays["image"].shape
        arrays["variance"] = np.broadcast_to(sigma**2, shape).copy()
        arrays["mask"] = np.zeros(shape, np.int32)
        if patch == 0:
            arrays["mask"][2, 150, 140] = 2  # saturated in the last subfilter alone

    store = coadds(noise, change=change)
    on_tract = visit(TRACT.wcs, Box(50, 50, 200, 200), altitude=45.0)
    made = template(on_tract, store, dcr="midpoint")
    assert made.image.var() == pytest.approx(float(made.variance.mean()), rel=0.05)
    assert made.variance.mean() > 10  # LSST's would be three times the first subfilter's: 3
    flagged = np.argwhere(made.mask & 2) - [120, 110]
    assert len(flagged)
    assert np.abs(flagged).max() <= 5
