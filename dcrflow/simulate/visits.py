"""What differs between the visits of a survey: seeing, shape of the PSF, errors of calibration, gaps, transients."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.model.visit import DetectorVisit
from dcrflow.simulate.draw import Psf
from dcrflow.simulate.projection import from_tangent_plane
from dcrflow.simulate.sky import ZERO_POINT, Catalogue
from dcrflow.simulate.survey import SurveyConfig, VisitConfig, spread_visits

_TRANSIENTS, _BAD = 6, 7  # first parts of the keys of random numbers
_CLUMP = 4.0  # pixels, of the mean clump of bad ones


def varied_visits(
    number: int,
    seed: int = 0,
    *,
    seeing: tuple[float, float] = (0.6, 1.2),
    ellipticity: float = 0.03,
    astrometry: float = 0.0,
    flux: float = 0.0,
    psf: float = 0.0,
    parallactic_angle: float | None = None,
    zenith_angles: tuple[float, float] = (5.0, 52.0),
    dither: float = 10.0,
) -> tuple[VisitConfig, ...]:
    """Visits that differ in seeing and PSF shape besides all that `spread_visits` varies.

    Parameters
    ----------
    number : int
        Of visits.
    seed : int
        Of what is drawn by chance.
    seeing : (float, float)
        FWHM, arcsec: log-uniform.
    ellipticity : float
        Rms of each component of the PSF's shear.
    astrometry : float
        Rms error of the WCS, arcsec along each axis.
    flux, psf : float
        Rms relative error of the zero point, and of the written PSF's width.
    parallactic_angle : float, optional
        Of all visits, degrees; spread over the circle otherwise.
    zenith_angles : (float, float)
        Degrees: uniform in the airmass.
    dither : float
        Largest offset of the pointing along each axis, arcsec.
    """
    rng = np.random.default_rng([seed, 17])
    low, high = (1 / math.cos(math.radians(z)) for z in zenith_angles)
    found = []
    for visit in spread_visits(number):
        airmass = rng.uniform(low, high)
        changes = {
            "zenith_angle": round(math.degrees(math.acos(1 / airmass)), 3),
            "dither": tuple(np.round(rng.uniform(-dither, dither, 2), 1).tolist()),
            "seeing": round(float(seeing[0] * (seeing[1] / seeing[0]) ** rng.random()), 3),
            "ellipticity": tuple(np.round(ellipticity * rng.standard_normal(2), 4).tolist()),
            "astrometric_error": tuple(np.round(astrometry * rng.standard_normal(2), 5).tolist()),
            "flux_error": round(float(flux * rng.standard_normal()), 5),
            "psf_error": round(float(psf * rng.standard_normal()), 5),
        }
        if parallactic_angle is not None:
            changes["parallactic_angle"] = parallactic_angle
        found.append(visit.model_copy(update=changes))
    return tuple(found)


def psf_of_visit(config: SurveyConfig, index: int) -> Psf:
    """The true PSF of a visit, by its place in ``config.visits``."""
    visit = config.visits[index]
    return replace(config.psf, fwhm=visit.seeing or config.psf_fwhm, shear=visit.ellipticity)


def told_psf(config: SurveyConfig, index: int) -> Psf:
    """The PSF that is written with a visit: the true one, except that its width has an error."""
    true = psf_of_visit(config, index)
    return replace(true, fwhm=true.fwhm * (1.0 + config.visits[index].psf_error))


def told(config: SurveyConfig, index: int, visit: DetectorVisit) -> DetectorVisit:
    """A detector-visit as its table has it: the WCS is off by the visit's astrometric error."""
    east, north = config.visits[index].astrometric_error
    if not east and not north:
        return visit
    header = visit.wcs.header
    ra, dec = from_tangent_plane(float(header["CRVAL1"]), float(header["CRVAL2"]), east, north)
    header["CRVAL1"], header["CRVAL2"] = float(ra), float(dec)
    return replace(visit, wcs=SkyWcs.from_header(header))


def transients_of(config: SurveyConfig) -> tuple[Catalogue, NDArray[np.int64]]:
    """Stars that each shine in one visit alone, and the place of that visit in ``config.visits``."""
    rng = np.random.default_rng([config.seed, _TRANSIENTS])
    number = config.transients
    half = 0.4 * min(config.detector_width, config.detector_height) * config.pixel_scale
    ra, dec = from_tangent_plane(config.ra, config.dec, *rng.uniform(-half, half, (2, number)))
    magnitude = rng.uniform(*config.transient_magnitudes, number)
    stars = Catalogue.of_stars(
        np.atleast_1d(ra), np.atleast_1d(dec), 10 ** ((ZERO_POINT - magnitude) / 2.5), ["blackbody:10000"] * number
    )
    return stars, rng.integers(0, len(config.visits), number)


def without_data(config: SurveyConfig, visit: DetectorVisit) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Pixels that a detector does not have: clumps of bad ones, and a gap down its middle; and their mask planes."""
    box = visit.bbox
    missing, mask = np.zeros(box.shape, np.bool_), np.zeros(box.shape, np.int32)
    if config.bad_pixels:
        rng = np.random.default_rng([config.seed, _BAD, visit.detector])  # the sensor's, the same in every visit
        number = int(config.bad_pixels * box.area / _CLUMP)
        y, x = rng.integers(0, box.height, number), rng.integers(0, box.width, number)
        for _ in range(int(_CLUMP)):
            missing[np.clip(y, 0, box.height - 1), np.clip(x, 0, box.width - 1)] = True
            step = rng.integers(0, 2, (2, number))
            y, x = y + step[0], x + step[1]
        mask[missing] |= np.int32(1 << STANDARD_PLANES["BAD"])
    if config.chip_gap:
        gap = Box(box.x0 + (box.width - config.chip_gap) // 2, box.y0, config.chip_gap, box.height)
        where = gap.intersection(box).slices(box)
        missing[where] = True
        mask[where] |= np.int32(1 << STANDARD_PLANES["NO_DATA"])
    return missing, mask
