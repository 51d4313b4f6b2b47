"""Configuration of a simulated survey, and the tracts and detector-visits that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dcrflow.base.errors import ConfigError
from dcrflow.base.yamltext import read_yaml
from dcrflow.geometry import sphere
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.observation import Observation
from dcrflow.physics.refraction import Weather
from dcrflow.simulate.draw import Psf
from dcrflow.simulate.projection import detector_wcs, from_tangent_plane, pixel_matrix, tan_wcs
from dcrflow.simulate.sky import Catalogue, random_sky
from dcrflow.simulate.spectra import Band, lsst_band

INSTRUMENT = "SimCam"
SKYMAP = "simulated"
FIRST_TRACT = 9812

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class VisitConfig(BaseModel):
    """One visit: where the camera pointed, how it was turned, and the air."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    zenith_angle: Annotated[float, Field(ge=0, lt=80)] = Field(description="of the boresight, degrees")
    parallactic_angle: float = Field(description="position angle of the zenith at the boresight, degrees, N through E")
    rotation: float = Field(0.0, description="position angle of the camera's +y, degrees, N through E")
    dither: tuple[float, float] = Field(
        (0.0, 0.0), description="middle of the detectors from the middle of the field, east and north, arcsec"
    )
    boresight: tuple[float, float] = Field(
        (0.0, 0.0), description="boresight from the middle of the detectors: distance, position angle, degrees"
    )
    seeing: Positive | None = Field(None, description="FWHM of its PSF, arcsec; psf_fwhm otherwise")
    ellipticity: tuple[float, float] = Field((0.0, 0.0), description="shear of its PSF, along east and north-east")
    astrometric_error: tuple[float, float] = Field((0.0, 0.0), description="of the written WCS, east and north, arcsec")
    flux_error: float = Field(0.0, description="of its zero point: the image is so much brighter, as a fraction")
    psf_error: float = Field(0.0, description="of the written PSF's width, as a fraction")
    temperature: float = Field(10.0, description="Celsius")
    pressure: Positive = Field(73892.0, description="Pa")
    humidity: Annotated[float, Field(ge=0, le=100)] = Field(20.0, description="percent")


class SurveyConfig(BaseModel):
    """A simulated survey. Unknown keys are an error; the defaults are the demo's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: Annotated[int, Field(ge=0)] = Field(20260101, description="of everything that is drawn by chance")
    precision: Annotated[float, Field(ge=1, le=4096)] | None = Field(
        16.0, description="steps a sigma of the noise to which the coadds' pixels are rounded; None: every bit"
    )
    band: Literal["u", "g", "r", "i", "z", "y"] = Field("g", description="LSST's")
    num_subfilters: Annotated[int, Field(ge=1, le=64)] = Field(3, description="of the coadds")
    ra: float = Field(53.1, description="middle of the field, ICRS degrees")
    dec: Annotated[float, Field(ge=-85, le=85)] = Field(-28.1, description="middle of the field, ICRS degrees")
    pixel_scale: Positive = Field(0.2, description="arcsec")
    latitude: float = Field(-30.244639, description="of the telescope, degrees")
    longitude: float = Field(-70.749417, description="of the telescope, degrees, east positive")
    height: float = Field(2663.0, description="of the telescope, metres")

    num_tracts: Count = Field(2, description="side by side, from west to east")
    tract_overlap: Annotated[int, Field(ge=0)] = Field(400, description="of neighbouring tracts, pixels")
    num_patches: tuple[Count, Count] = Field((3, 4), description="of a tract, along x and y")
    patch_inner: Annotated[int, Field(ge=16)] = Field(512, description="side of a patch's inner part, pixels")
    patch_border: Annotated[int, Field(ge=0)] = Field(50, description="of a patch on each side, pixels")

    detector_width: Count = Field(1018, description="pixels")
    detector_height: Count = Field(1000, description="pixels")
    detectors: tuple[Count, Count] = Field((2, 1), description="of a visit: a block of columns and rows")
    detector_gap: Annotated[int, Field(ge=0)] = Field(25, description="between detectors, pixels")
    flipped: tuple[int, ...] = Field((), description="detectors whose x axis is mirrored")
    sip: float = Field(0.6, description="distortion at half a detector's width, pixels; 0: plain TAN")
    visits: tuple[VisitConfig, ...] = Field(
        (
            VisitConfig(zenith_angle=35, parallactic_angle=-70, rotation=20, boresight=(1.1, 60), humidity=15),
            VisitConfig(
                zenith_angle=55, parallactic_angle=105, rotation=160, dither=(30, -20), boresight=(1.4, 250),
                temperature=7.5, pressure=73600, humidity=30,
            ),
        ),
        min_length=1,
        description="at least one",
    )  # fmt: skip

    star_density: NotNegative = Field(4.0, description="per square arcmin")
    star_magnitudes: tuple[float, float] = Field((17.5, 23.0), description="AB, brightest and faintest")
    star_separation: NotNegative = Field(8.0, description="smallest distance between two stars, arcsec")
    galaxy_density: NotNegative = Field(8.0, description="per square arcmin")
    galaxy_magnitudes: tuple[float, float] = Field((20.0, 24.5), description="AB, brightest and faintest")
    psf_fwhm: Positive = Field(0.75, description="of coadds and visits, arcsec")
    psf_beta: Annotated[float, Field(gt=1.5, le=10)] = Field(3.0, description="of the Moffat profile")
    pixel: bool = Field(True, description="whether pixels integrate over their area")

    science_noise: NotNegative = Field(20.0, description="of the sky in a visit, nJy per pixel; 0: no noise at all")
    science_gain: Positive = Field(1.8, description="of a visit, photoelectrons per nJy")
    coadd_noise: NotNegative = Field(2.0, description="of the sky in a subfilter, nJy per pixel; 0: no noise at all")
    coadd_gain: Positive = Field(180.0, description="of the coadds, photoelectrons per nJy")
    bad_pixels: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="share of a sensor's pixels, in clumps")
    chip_gap: Annotated[int, Field(ge=0)] = Field(0, description="without data down a sensor's middle, pixels")
    transients: Annotated[int, Field(ge=0)] = Field(0, description="stars that shine in one visit each")
    transient_magnitudes: tuple[float, float] = Field((18.0, 23.0), description="AB, brightest and faintest")
    science_defects: NotNegative = Field(12.0, description="per million pixels of a detector")
    coadd_defects: NotNegative = Field(6.0, description="per million pixels of a tract")

    @classmethod
    def demo(cls, **changes: Any) -> Self:
        """Two visits of two detectors of about a megapixel, two overlapping tracts; seconds on two cores."""
        return cls.make(changes)

    @classmethod
    def full(cls, num_visits: int = 2, **changes: Any) -> Self:
        """Detectors of 4072 x 4000 pixels and patches of 4100, two overlapping tracts."""
        values: dict[str, Any] = {
            "detector_width": 4072,
            "detector_height": 4000,
            "patch_inner": 4000,
            "tract_overlap": 1500,
            "num_patches": (2, 3),
            "sip": 4.0,
            "visits": spread_visits(num_visits),
        }
        return cls.make(values | changes)

    @classmethod
    def make(cls, values: Mapping[str, Any]) -> Self:
        """Make a config from keys and values.

        Raises
        ------
        ConfigError
            For an unknown key or an unusable value; names each.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            found = (f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}" for e in error.errors())
            raise ConfigError(f"unusable survey configuration: {'; '.join(found)}") from None

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a YAML file of keys and values, such as a survey's own ``survey.yaml``.

        Raises
        ------
        ConfigError
            If the file cannot be read or used.
        """
        try:
            values = read_yaml(path)
        except (OSError, ValueError) as error:
            raise ConfigError(f"cannot read the survey configuration {path}: {' '.join(str(error).split())}") from error
        if not isinstance(values, Mapping):
            raise ConfigError(f"the survey configuration {path} must hold `key: value` lines")
        return cls.make({str(k): v for k, v in values.items()})

    def as_yaml(self) -> str:
        """All keys and values, as `read` takes them."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @property
    def filters(self) -> Band:
        """The band, cut into subfilters."""
        return lsst_band(self.band, self.num_subfilters)

    @property
    def psf(self) -> Psf:
        """The PSF of coadds and visits."""
        return Psf(fwhm=self.psf_fwhm, beta=self.psf_beta, pixel=self.pixel)


def spread_visits(number: int) -> tuple[VisitConfig, ...]:
    """Visits that differ in everything: airmass, parallactic angle, rotation, dither, place in the focal plane, air."""
    steps = np.arange(number)
    golden = (np.sqrt(5.0) - 1) / 2  # its multiples are spread evenly over a circle for any number of visits
    return tuple(
        VisitConfig(
            zenith_angle=round(float(20 + 40 * ((0.35 + i * golden) % 1)), 2),
            parallactic_angle=round(float(-180 + 360 * ((0.3 + i * golden**2) % 1)), 2),
            rotation=round(float(360 * ((0.06 + i * golden**3) % 1)), 2),
            dither=(round(float(40 * np.cos(2.4 * i)), 1), round(float(40 * np.sin(2.4 * i)), 1)),
            boresight=(round(float(0.3 + 1.4 * ((0.5 + i * golden) % 1)), 3), round(float(137.5 * i % 360), 1)),
            temperature=round(float(6 + 8 * ((0.2 + i * golden) % 1)), 1),
            pressure=round(float(73500 + 800 * ((0.6 + i * golden) % 1))),
            humidity=round(float(10 + 30 * ((0.1 + i * golden) % 1))),
        )
        for i in steps
    )


def tracts_of(config: SurveyConfig) -> tuple[Tract, ...]:
    """The tracts: side by side along right ascension, each with its own tangent point in its middle, north up."""
    nx, ny = config.num_patches
    width, height = nx * config.patch_inner, ny * config.patch_inner
    pitch = (width - config.tract_overlap) * config.pixel_scale
    tracts = []
    for i in range(config.num_tracts):
        east = (i - (config.num_tracts - 1) / 2) * pitch
        ra, dec = (float(v) for v in from_tangent_plane(config.ra, config.dec, east, 0.0))
        bbox = Box(1000 * (i + 1), 300 * (i + 1), width, height)
        matrix = pixel_matrix(config.pixel_scale)
        tracts.append(
            Tract(
                tract=FIRST_TRACT + i,
                wcs=tan_wcs(ra, dec, bbox.x0 + (width - 1) / 2, bbox.y0 + (height - 1) / 2, matrix),
                bbox=bbox,
                patch_inner=(config.patch_inner, config.patch_inner),
                patch_border=config.patch_border,
                num_patches=config.num_patches,
            )
        )
    return tuple(tracts)


def detector_visits_of(config: SurveyConfig) -> tuple[DetectorVisit, ...]:
    """Every detector of every visit; visits count from 1001, detectors from 0 along the block's rows."""
    return tuple(
        _detector_visit(config, number, visit, column, row)
        for number, visit in enumerate(config.visits)
        for row, column in product(range(config.detectors[1]), range(config.detectors[0]))
    )


def _detector_visit(config: SurveyConfig, number: int, visit: VisitConfig, column: int, row: int) -> DetectorVisit:
    columns, rows = config.detectors
    detector = row * columns + column
    middle = tuple(float(v) for v in from_tangent_plane(config.ra, config.dec, *visit.dither))
    distance, bearing = visit.boresight
    boresight = tuple(float(v) for v in sphere.offset(middle[0], middle[1], bearing, distance))
    camera = tan_wcs(boresight[0], boresight[1], 0.0, 0.0, pixel_matrix(config.pixel_scale, visit.rotation))
    x, y = (float(v) for v in camera.sky_to_pixel(*middle))
    place = (
        x + (column - (columns - 1) / 2) * (config.detector_width + config.detector_gap),
        y + (row - (rows - 1) / 2) * (config.detector_height + config.detector_gap),
    )
    bbox = Box(0, 0, config.detector_width, config.detector_height)
    return DetectorVisit(
        instrument=INSTRUMENT,
        visit=1001 + number,
        detector=detector,
        band=config.band,
        bbox=bbox,
        wcs=detector_wcs(
            (boresight[0], boresight[1]),
            bbox,
            place,
            pixel_scale=config.pixel_scale,
            rotation=visit.rotation,
            flipped=detector in config.flipped,
            sip=config.sip,
        ),
        observation=Observation(
            ra=boresight[0],
            dec=boresight[1],
            altitude=90.0 - visit.zenith_angle,
            parallactic_angle=visit.parallactic_angle,
            weather=Weather(visit.temperature, visit.pressure, visit.humidity),
            latitude=config.latitude,
            height=config.height,
            rotation_angle=visit.rotation % 360.0,
        ),
        physical_filter=f"{config.band}_sim",
    )


def sky_of(config: SurveyConfig) -> Catalogue:
    """The sources: over the tracts and a margin, the same however the survey is drawn."""
    nx, ny = config.num_patches
    tract = nx * config.patch_inner - config.tract_overlap
    width = config.num_tracts * tract + config.tract_overlap
    height = ny * config.patch_inner
    margin = max(config.detector_width, config.detector_height) // 4 + 100
    return random_sky(
        np.random.default_rng([config.seed, 1]),
        (config.ra, config.dec),
        ((width + 2 * margin) * config.pixel_scale, (height + 2 * margin) * config.pixel_scale),
        star_density=config.star_density,
        galaxy_density=config.galaxy_density,
        star_magnitudes=config.star_magnitudes,
        galaxy_magnitudes=config.galaxy_magnitudes,
        separation=config.star_separation,
    )
