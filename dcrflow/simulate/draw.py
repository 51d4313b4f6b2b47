"""Draw sources with GalSim: subfilter coadds without an atmosphere, science images with refraction.

Nothing here uses dcrflow's physics: the amount of the refraction comes from rays traced through the air
(`dcrflow.simulate.air`), its direction from GalSim, so the images test dcrflow's DCR independently. GalSim's own
refraction is tan z alone, which is too large by 0.3 % at z = 45 deg and by 0.6 % at 60.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.observation import Observation
from dcrflow.simulate._galsim import galsim
from dcrflow.simulate.air import traced_dcr
from dcrflow.simulate.projection import local_matrix, tangent_plane
from dcrflow.simulate.sky import Catalogue
from dcrflow.simulate.spectra import Band, condensed

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Psf:
    """A round Moffat PSF, fixed on the sky, and how precisely it is drawn.

    Parameters
    ----------
    fwhm : float
        Arcsec.
    beta : float
        Moffat's.
    pixel : bool
        Whether pixels integrate over their area (what a camera does) or sample the middle. A template can be exact
        only with the latter where the pixels of coadd and detector differ in orientation.
    radius : float
        Arcsec; half the side of the stamp that a point source is drawn on. At 10 arcsec the profile of the
        default is 2e-7 of its peak, and 3e-5 of the flux lies outside.
    precision : float
        GalSim's ``folding_threshold`` and ``maxk_threshold``.
    shear : (float, float)
        Reduced shear (g1 along east, g2 along north-east) that makes it elliptical.
    """

    fwhm: float = 0.75
    beta: float = 3.0
    pixel: bool = True
    radius: float = 10.0
    precision: float = 1e-5
    shear: tuple[float, float] = (0.0, 0.0)

    @property
    def method(self) -> str:
        """GalSim's name of the drawing method."""
        return "auto" if self.pixel else "no_pixel"

    def profile(self) -> Any:
        """The PSF as a GalSim profile of flux 1."""
        profile = galsim().Moffat(beta=self.beta, fwhm=self.fwhm, gsparams=self._parameters())
        return profile.shear(g1=self.shear[0], g2=self.shear[1]) if any(self.shear) else profile

    def _parameters(self) -> Any:
        return galsim().GSParams(
            folding_threshold=self.precision,
            maxk_threshold=self.precision,
            kvalue_accuracy=1e-3 * self.precision,
            stepk_minimum_hlr=5.0,
            maximum_fft_size=16384,
        )


def draw_coadd(sources: Catalogue, wcs: SkyWcs, box: Box, band: Band, psf: Psf) -> Float:
    """Draw the subfilter coadds of a region: the sky without atmosphere, subfilter by subfilter.

    Parameters
    ----------
    sources : Catalogue
        Those whose stamps miss the region are passed over.
    wcs : SkyWcs
        Of the tract.
    box : Box
        The region, absolute tract pixels.
    band : Band
        With its subfilters.
    psf : Psf
        Of all subfilters.

    Returns
    -------
    ndarray of float64, shape (num_subfilters, box.height, box.width)
        nJy per pixel, without noise.
    """
    image = np.zeros((band.num_subfilters, *box.shape))
    for index, stamp, place in _places(sources, wcs, box, psf):
        shares = np.sum(band.photons(str(sources.spectrum[index])), axis=1)
        drawn = _draw(_profile(sources, index, psf), stamp, place, psf)
        part = stamp.intersection(box)
        image[:, *part.slices(box)] += shares[:, None, None] * drawn[part.slices(stamp)]
    return image


def draw_science(
    sources: Catalogue, visit: DetectorVisit, band: Band, psf: Psf, *, dcr: bool = True, box: Box | None = None
) -> Float:
    """Draw the image of a detector-visit, with each wavelength displaced by refraction.

    The displacement is relative to the refraction at the band's effective wavelength: that light is where the WCS
    says. Amount and direction are those at the source's own position.

    Parameters
    ----------
    sources : Catalogue
        Those whose stamps miss the region are passed over.
    visit : DetectorVisit
        Its WCS and observation.
    band : Band
        The band; its slices are the wavelengths.
    psf : Psf
        The same at all wavelengths.
    dcr : bool
        False: no refraction at all.
    box : Box, optional
        The region, absolute detector pixels; the detector's own when not given.

    Returns
    -------
    ndarray of float64, shape (box.height, box.width)
        nJy per pixel, without noise.
    """
    box = visit.bbox if box is None else box
    image = np.zeros(box.shape)
    gs = galsim()
    for index, stamp, place in _places(sources, visit.wcs, box, psf):
        profile = _profile(sources, index, psf)
        if dcr:
            shift, direction = displacements(
                float(sources.ra[index]), float(sources.dec[index]), visit.observation, band
            )
            photons = band.photons(str(sources.spectrum[index]))
            nodes = zip(*condensed(shift.ravel(), photons.ravel()), strict=True)
            east, north = math.sin(math.radians(direction)), math.cos(math.radians(direction))
            spread = gs.Sum([gs.DeltaFunction(flux=f).shift(d * east, d * north) for d, f in nodes])
            profile = gs.Convolve(profile, spread)
        drawn = _draw(profile, stamp, place, psf)
        part = stamp.intersection(box)
        image[part.slices(box)] += drawn[part.slices(stamp)]
    return image


def draw_psf(
    wcs: SkyWcs, x: float, y: float, psf: Psf, size: int = 41, *, normalised: bool = True
) -> NDArray[np.float32]:
    """The PSF as the pixels see it at a position, centred on a pixel; odd `size`.

    Sums to 1, or where it is not to be `normalised`, to the share of a star's light inside.
    """
    place = _Place(0.0, 0.0, local_matrix(wcs, np.array([x]), np.array([y]))[0])
    drawn = _draw(psf.profile(), Box(0, 0, size, size), place, psf)
    return np.asarray(drawn / np.sum(drawn) if normalised else drawn, np.float32)


def displacements(ra: float, dec: float, observation: Observation, band: Band) -> tuple[Float, float]:
    """Where refraction puts the light of each wavelength slice at a sky position.

    Parameters
    ----------
    ra, dec : float
        ICRS, degrees.
    observation : Observation
        Its boresight, true altitude and parallactic angle give the zenith; its weather and site the air.
    band : Band
        Whose effective wavelength is not displaced.

    Returns
    -------
    shift : ndarray of float64, shape of `band.wavelength`
        Arcsec towards the zenith.
    direction : float
        Position angle of the zenith at the position, degrees, north through east.
    """
    gs = galsim()
    zenith = _offset(observation.ra, observation.dec, observation.parallactic_angle, 90.0 - observation.altitude)
    zenith_angle, parallactic_angle, _ = gs.dcr.parse_dcr_angles(
        obj_coord=gs.CelestialCoord(ra * gs.degrees, dec * gs.degrees), zenith_coord=zenith
    )
    arcsec = traced_dcr(
        band.wavelength, band.effective_wavelength, float(zenith_angle / gs.degrees),
        observation.weather, observation.latitude, observation.height,
    )  # fmt: skip
    return arcsec.reshape(band.wavelength.shape), float(parallactic_angle / gs.degrees)


@dataclass(frozen=True)
class _Place:
    """Where a source is: offset from the middle of its stamp (pixels), and arcsec east and north per pixel."""

    dx: float
    dy: float
    matrix: Float


def _places(sources: Catalogue, wcs: SkyWcs, box: Box, psf: Psf) -> Iterator[tuple[int, Box, _Place]]:
    """Each source whose stamp meets the box: its index, stamp and place."""
    x0, y0 = box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2
    scale = wcs.pixel_scale(x0, y0)
    reach = np.maximum(psf.radius, psf.radius / 2 + 6.0 * sources.half_light_radius)
    ra0, dec0 = wcs.pixel_to_sky(x0, y0)
    away = np.hypot(*tangent_plane(ra0, dec0, sources.ra, sources.dec))
    near = np.flatnonzero(away < 1.05 * (0.5 * math.hypot(box.width, box.height) * scale + reach * math.sqrt(2)))
    if near.size == 0:
        return
    x, y = wcs.sky_to_pixel(sources.ra[near], sources.dec[near])
    good = np.isfinite(x) & np.isfinite(y)
    near, x, y = near[good], x[good], y[good]
    matrices = local_matrix(wcs, x, y)
    # from the scale at the source, so that its stamp does not depend on the box in which it is drawn
    half = np.ceil(reach[near] / np.sqrt(np.abs(np.linalg.det(matrices)))).astype(int)
    for i, index in enumerate(near):
        cx, cy, r = round(float(x[i])), round(float(y[i])), int(half[i])
        stamp = Box(cx - r, cy - r, 2 * r + 1, 2 * r + 1)
        if stamp.overlaps(box):
            yield int(index), stamp, _Place(float(x[i]) - cx, float(y[i]) - cy, matrices[i])


def _profile(sources: Catalogue, index: int, psf: Psf) -> Any:
    """A source above the atmosphere's refraction, seen through the PSF; GalSim's u is east and v north."""
    gs = galsim()
    profile = psf.profile()
    radius = float(sources.half_light_radius[index])
    if radius > 0:
        disk = gs.Exponential(half_light_radius=radius, gsparams=psf._parameters())
        angle = (90.0 - float(sources.position_angle[index])) * gs.degrees  # from east to north
        disk = disk.shear(q=float(sources.axis_ratio[index]), beta=angle)
        profile = gs.Convolve(profile, disk)
    return profile * float(sources.flux[index])


def _draw(profile: Any, stamp: Box, place: _Place, psf: Psf) -> Float:
    gs = galsim()
    image = gs.ImageD(stamp.width, stamp.height)
    (a, b), (c, d) = place.matrix
    profile.drawImage(image=image, offset=(place.dx, place.dy), wcs=gs.JacobianWCS(a, b, c, d), method=psf.method)
    return np.asarray(image.array, np.float64)


def _offset(ra: float, dec: float, angle: float, distance: float) -> Any:
    """The point at a distance along a position angle (degrees), as GalSim's coordinate, from unit vectors."""
    gs = galsim()
    a, d, p, s = (math.radians(v) for v in (ra, dec, angle, distance))
    here = np.array([math.cos(d) * math.cos(a), math.cos(d) * math.sin(a), math.sin(d)])
    east = np.array([-math.sin(a), math.cos(a), 0.0])
    north = np.cross(here, east)
    there = math.cos(s) * here + math.sin(s) * (math.cos(p) * north + math.sin(p) * east)
    return gs.CelestialCoord(
        math.atan2(there[1], there[0]) * gs.radians, math.atan2(there[2], math.hypot(there[0], there[1])) * gs.radians
    )
