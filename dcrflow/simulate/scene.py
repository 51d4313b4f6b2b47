"""A small noise-free field of isolated stars, for acceptance tests: coadds, one detector-visit and its image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from zarr.storage import MemoryStore

from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.geometry import sphere
from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Tract
from dcrflow.model.pixels import PatchPixels
from dcrflow.model.visit import DetectorVisit
from dcrflow.physics.observation import Observation
from dcrflow.physics.refraction import Weather
from dcrflow.simulate.draw import Psf, draw_coadd, draw_psf, draw_science
from dcrflow.simulate.projection import detector_wcs, pixel_matrix, tan_wcs
from dcrflow.simulate.sky import Catalogue
from dcrflow.simulate.spectra import GALAXIES, Band, lsst_band
from dcrflow.stores.coadds.writer import create_coadds

Float = NDArray[np.float64]

SITE_LATITUDE, SITE_LONGITUDE, SITE_HEIGHT = -30.244639, -70.749417, 2663.0
STARS = tuple(f"blackbody:{t}" for t in (3000, 4000, 5000, 6000, 8000, 10000, 15000))
ALL_SPECTRA = (*STARS, "vega", *GALAXIES)

_TRACT = 7
_PIXEL_SCALE = 0.2


@dataclass(frozen=True, eq=False)
class StarField:
    """Isolated stars without noise, as coadds and as one detector-visit sees them.

    Parameters
    ----------
    visit : DetectorVisit
        The one.
    tract : Tract
        The one; 2 x 2 patches.
    band : Band
        With its subfilters.
    psf : Psf
        Of coadds and science image.
    stars : Catalogue
        The truth.
    science : ndarray of float64, shape of `visit.bbox`
        The detector's image with the refraction of traced rays, nJy.
    patches : dict of int to PatchPixels
        Every patch's pixels, without noise; variance 1, mask 0.
    """

    visit: DetectorVisit
    tract: Tract
    band: Band
    psf: Psf
    stars: Catalogue
    science: Float
    patches: dict[int, PatchPixels]

    @cached_property
    def star_pixels(self) -> tuple[Float, Float]:
        """(x, y) of each star on the detector (at the effective wavelength), absolute detector pixels."""
        return self.visit.wcs.sky_to_pixel(self.stars.ra, self.stars.dec)

    @cached_property
    def coadds(self) -> MemoryStore:
        """The patches as a DCR-coadd store in memory."""

        store = MemoryStore()
        writer = create_coadds(store, "simulated")
        writer.write_tract(self.tract)
        for patch, pixels in self.patches.items():
            x, y = pixels.box.x0 + pixels.box.width // 2, pixels.box.y0 + pixels.box.height // 2
            writer.write_patch(
                self.tract.tract,
                patch,
                self.band.name,
                image=pixels.image,
                variance=pixels.variance if len(pixels.variance) > 1 else pixels.variance[0],
                mask=pixels.mask[0],
                planes=dict(STANDARD_PLANES),
                subfilter_edges=self.band.subfilter_edges,
                effective_wavelength=self.band.effective_wavelength,
                bandwidth=self.band.bandwidth,
                transmission={
                    "wavelength": self.band.curve_wavelength.tolist(),
                    "throughput": self.band.curve_throughput.tolist(),
                },
                psf=draw_psf(self.tract.wcs, x, y, self.psf)[None],
                psf_nodes=(np.array([x], np.float64), np.array([y], np.float64)),
            )
        return store

    def draw(self, *, dcr: bool = True) -> Float:
        """Draw the science image anew, with or without refraction."""
        return draw_science(self.stars, self.visit, self.band, self.psf, dcr=dcr)


def star_field(
    *,
    zenith_angle: float = 45.0,
    parallactic_angle: float = 30.0,
    rotation: float = 40.0,
    flipped: bool = False,
    sip: float = 0.0,
    boresight_offset: float = 0.0,
    boresight_bearing: float = 70.0,
    tract_flipped: bool = False,
    tract_rotation: float = 0.0,
    num_subfilters: int = 3,
    band: str = "g",
    spectra: tuple[str, ...] = STARS,
    stars_per_side: int = 6,
    flux: float = 1e5,
    size: int = 500,
    ra: float = 53.0,
    dec: float = -28.0,
    temperature: float = 10.0,
    pressure: float = 73892.0,
    humidity: float = 10.0,
    pixel: bool = False,
    fwhm: float = 0.75,
    seed: int = 1,
) -> StarField:
    """Simulate a field of isolated stars without noise.

    Parameters
    ----------
    zenith_angle, parallactic_angle : float
        Of the boresight, degrees; the zenith lies `zenith_angle` from it at that position angle.
    rotation : float
        Position angle of the camera's +y at the boresight, degrees, north through east.
    flipped : bool
        Whether the detector's pixel axes are mirrored (False: east is left where north is up).
    sip : float
        Distortion of the detector's WCS, pixels at half the detector's width; 0 is plain TAN.
    boresight_offset, boresight_bearing : float
        Distance and position angle of the boresight from the detector's middle, degrees.
    tract_flipped, tract_rotation
        The same of the tract's pixel grid.
    num_subfilters : int
        Of the coadds.
    band : str
        LSST's.
    spectra : tuple of str
        Dealt to the stars in turn and shuffled; `ALL_SPECTRA` has Vega and galaxies as well.
    stars_per_side : int
        Stars along each side of a jittered grid over the detector.
    flux : float
        Of every star in the band, nJy.
    size : int
        Side of the detector, pixels of 0.2 arcsec.
    ra, dec : float
        Of the detector's middle, ICRS degrees.
    temperature, pressure, humidity : float
        Celsius, Pa, percent.
    pixel : bool
        Whether pixels integrate over their area; without, the same PSF is sampled by both grids and a template can
        be exact whatever the rotation.
    fwhm : float
        Of the PSF, arcsec.
    seed : int
        Of the stars' places.
    """
    cut = lsst_band(band, num_subfilters)
    psf = Psf(fwhm=fwhm, pixel=pixel, radius=16.0, precision=1e-6)
    tract = _tract(ra, dec, size, tract_rotation, tract_flipped)
    visit = _visit(
        ra, dec, size, (boresight_offset, boresight_bearing), rotation, flipped, sip, band,
        (zenith_angle, parallactic_angle), Weather(temperature, pressure, humidity),
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    cell = size / stars_per_side
    grid = (np.arange(stars_per_side) + 0.5) * cell - 0.5
    x, y = (g.ravel() for g in np.meshgrid(visit.bbox.x0 + grid, visit.bbox.y0 + grid))
    x, y = x + rng.uniform(-0.1 * cell, 0.1 * cell, x.size), y + rng.uniform(-0.1 * cell, 0.1 * cell, y.size)
    names = rng.permutation(np.resize(np.array(spectra, np.str_), x.size))
    stars = Catalogue.of_stars(*visit.wcs.pixel_to_sky(x, y), flux, names)
    whole = draw_coadd(stars, tract.wcs, tract.bbox, cut, psf).astype(np.float32)
    patches = {}
    for patch in tract.patches:
        shape = (1, *patch.bbox.shape)
        image = np.ascontiguousarray(whole[:, *patch.bbox.slices(tract.bbox)])
        patches[patch.patch] = PatchPixels(patch.bbox, image, np.ones(shape, np.float32), np.zeros(shape, np.int32))
    return StarField(visit, tract, cut, psf, stars, draw_science(stars, visit, cut, psf), patches)


def _tract(ra: float, dec: float, size: int, rotation: float, flipped: bool) -> Tract:
    inner = math.ceil(size / math.sqrt(2)) + 80
    bbox = Box(4000, 6000, 2 * inner, 2 * inner)
    x, y = bbox.x0 + inner - 3.3, bbox.y0 + inner + 2.4  # the detector's middle is on no patch's corner exactly
    return Tract(
        tract=_TRACT,
        wcs=tan_wcs(ra, dec, x, y, pixel_matrix(_PIXEL_SCALE, rotation, flipped)),
        bbox=bbox,
        patch_inner=(inner, inner),
        patch_border=50,
        num_patches=(2, 2),
    )


def _visit(
    ra: float,
    dec: float,
    size: int,
    boresight_from_detector: tuple[float, float],
    rotation: float,
    flipped: bool,
    sip: float,
    band: str,
    zenith: tuple[float, float],
    weather: Weather,
) -> DetectorVisit:
    distance, bearing = boresight_from_detector
    boresight_ra, boresight_dec = (float(v) for v in sphere.offset(ra, dec, bearing, distance))
    bbox = Box(100, 40, size, size)
    camera = tan_wcs(boresight_ra, boresight_dec, 0.0, 0.0, pixel_matrix(_PIXEL_SCALE, rotation))
    place = tuple(float(v) for v in camera.sky_to_pixel(ra, dec))
    return DetectorVisit(
        instrument="SimCam",
        visit=1,
        detector=1,
        band=band,
        bbox=bbox,
        wcs=detector_wcs(
            (boresight_ra, boresight_dec), bbox, (place[0], place[1]),
            pixel_scale=_PIXEL_SCALE, rotation=rotation, flipped=flipped, sip=sip,
        ),
        observation=Observation(
            ra=boresight_ra,
            dec=boresight_dec,
            altitude=90.0 - zenith[0],
            parallactic_angle=zenith[1],
            weather=weather,
            latitude=SITE_LATITUDE,
            height=SITE_HEIGHT,
            rotation_angle=rotation,
        ),
        physical_filter=f"{band}_sim",
    )  # fmt: skip
