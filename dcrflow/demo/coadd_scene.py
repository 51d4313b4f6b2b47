"""A small sky, drawn on a patch's pixels as many visits see it: truth for coadds from visits.

Every source is a set of points, each with its spectrum; a point's light is spread along the zenith direction by
refraction, wavelength by wavelength, and each piece is drawn as a Moffat. Nothing is convolved or interpolated, so the
images share no arithmetic with the solver.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.basis import SpectralBasis, spectral_basis
from dcrflow.coadding.visits import VisitOnFrame
from dcrflow.compat.numba_cache import njit
from dcrflow.physics.bandpass import Bandpass
from dcrflow.physics.dcr import dcr_model
from dcrflow.physics.observation import Observation
from dcrflow.physics.refraction import Weather
from dcrflow.simulate.spectra import Band, condensed, lsst_band

Float = NDArray[np.float64]

PIXEL_SCALE = 0.2  # arcsec
_RADIUS = 50  # pixels around a point that are drawn


@dataclass(frozen=True)
class Source:
    """A star, a blend or a galaxy.

    Parameters
    ----------
    kind : str
        Under which name residuals around it are counted.
    y, x : float
        Pixels.
    points : tuple of (float, float, float, str)
        dy, dx (pixels), flux, spectrum (a name of `dcrflow.simulate.spectra`).
    """

    kind: str
    y: float
    x: float
    points: tuple[tuple[float, float, float, str], ...]


@dataclass(frozen=True)
class Pointing:
    """How one visit sees the sky.

    Parameters
    ----------
    zenith_angle, parallactic_angle : float
        Degrees; the frame's y axis points north and its x axis west.
    fwhm : float
        Of the PSF, arcsec.
    beta : float
        Moffat's.
    shape : (float, float)
        Shear (g1, g2) of the PSF.
    offset : (float, float)
        Astrometric error (dy, dx), pixels: the visit's stars lie further along y and x.
    scale : float
        Photometric error: flux of the visit over the true one.
    width : float
        Error of the PSF: the true one over the one that the solver is told.
    """

    zenith_angle: float
    parallactic_angle: float
    fwhm: float
    beta: float = 3.0
    shape: tuple[float, float] = (0.0, 0.0)
    offset: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    width: float = 1.0


@dataclass(frozen=True, eq=False)
class CoaddScene:
    """A sky in one band.

    Parameters
    ----------
    size : int
        Side of the frame, pixels.
    band : Band
        Its transmission and subfilters.
    sources : tuple of Source
        The sky.
    """

    size: int
    band: Band
    sources: tuple[Source, ...]

    @property
    def bandpass(self) -> Bandpass:
        """Transmission of the band."""
        return Bandpass.from_curve(self.band.curve_wavelength, self.band.curve_throughput)

    @property
    def basis(self) -> SpectralBasis:
        """Of its subfilters."""
        return spectral_basis(self.bandpass, tuple(self.band.subfilter_edges))

    def displacements(self, pointing: Pointing, wavelength: Float) -> Float:
        """(dy, dx), pixels, of wavelengths (nm), shape (n, 2)."""
        observation = Observation(
            ra=0.0, dec=0.0, altitude=90 - pointing.zenith_angle, parallactic_angle=pointing.parallactic_angle,
            weather=Weather(10.0, 75000.0, 30.0), latitude=-30.24, height=2663.0,
        )  # fmt: skip
        edges = tuple((float(w), float(w)) for w in wavelength)
        model = dcr_model("midpoint", self.bandpass, edges, self.band.effective_wavelength, observation)
        along = model.displacement(np.array(np.tan(np.deg2rad(pointing.zenith_angle)))) / PIXEL_SCALE
        angle = np.deg2rad(pointing.parallactic_angle)
        return np.asarray(along[:, None] * np.array([np.cos(angle), -np.sin(angle)]))

    def draw(self, pointing: Pointing) -> Float:
        """The visit's image without noise, shape (size, size)."""
        image = np.zeros((self.size, self.size))
        far = self.displacements(pointing, self.band.wavelength.ravel())
        length = float(np.max(np.hypot(*far.T))) or 1.0
        direction = far[np.argmax(np.hypot(*far.T))] / length
        along = far @ direction
        nodes = {}
        for source in self.sources:
            for dy, dx, flux, spectrum in source.points:
                key = spectrum, len(source.points) > 2
                if key not in nodes:
                    nodes[key] = condensed(along, self.band.photons(spectrum).ravel(), 6 if key[1] else 12)
                at, light = nodes[key]
                y = source.y + dy + pointing.offset[0] + at * direction[0]
                x = source.x + dx + pointing.offset[1] + at * direction[1]
                _add_moffats(image, y, x, light * flux * pointing.scale, *_moffat(pointing))
        return image

    def visit(
        self, number: int, pointing: Pointing, sigma: float, seed: int | None, valid: NDArray[np.bool_] | None = None,
        extra: NDArray[np.floating] | None = None, stamp: int = 65,
    ) -> VisitOnFrame:  # fmt: skip
        """The visit as the solver gets it.

        Parameters
        ----------
        number : int
            Of the visit.
        pointing : Pointing
            The errors in it are not told to the solver.
        sigma : float
            Noise a pixel.
        seed : int, optional
            Of the noise; None: no noise in the image.
        valid : ndarray of bool, optional
            Pixels with data; the others hold garbage.
        extra : ndarray, optional
            Light that is added: transients and the like.
        stamp : int
            Side of the PSF's stamp.
        """
        image = self.draw(pointing) + (0.0 if extra is None else extra)
        if seed is not None:
            image = image + np.random.default_rng((seed, number)).normal(0.0, sigma, image.shape)
        valid = np.ones(image.shape, np.bool_) if valid is None else valid
        image = np.where(valid, image, 1e7)
        told = replace(pointing, width=1.0)
        displacement = self.displacements(pointing, self.basis.wavelength)[None]
        return VisitOnFrame(
            (number, 0), image.astype(np.float32), valid, sigma, 0.0, psf_stamp(told, stamp)[None], displacement
        )


def psf_stamp(pointing: Pointing, size: int) -> NDArray[np.float32]:
    """The PSF of a visit, sampled at the middle of pixels; its sum is the share of the light inside."""
    image = np.zeros((size, size))
    middle = np.array([size // 2], float)
    _add_moffats(image, middle, middle, np.ones(1), *_moffat(pointing))
    return image.astype(np.float32)


def _moffat(pointing: Pointing) -> tuple[float, float, float, float, float]:
    """Beta and the quadratic form of a sheared Moffat; and its peak for a flux of 1."""
    scale = pointing.width * pointing.fwhm / PIXEL_SCALE / 2 / np.sqrt(2 ** (1 / pointing.beta) - 1)
    g1, g2 = pointing.shape
    shear = np.array([[1 + g1, g2], [g2, 1 - g1]]) / np.sqrt(1 - g1 * g1 - g2 * g2)
    form = np.linalg.inv(shear @ shear.T) / scale**2
    return pointing.beta, form[0, 0], form[0, 1], form[1, 1], (pointing.beta - 1) / np.pi / scale**2


@njit(cache=True, nogil=True)
def _add_moffats(image, y, x, flux, beta, xx, xy, yy, peak):  # type: ignore[no-untyped-def]
    height, width = image.shape
    for n in range(len(y)):
        iy, ix = int(np.floor(y[n] + 0.5)), int(np.floor(x[n] + 0.5))
        for j in range(max(iy - _RADIUS, 0), min(iy + _RADIUS + 1, height)):
            for i in range(max(ix - _RADIUS, 0), min(ix + _RADIUS + 1, width)):
                dy, dx = j - y[n], i - x[n]
                image[j, i] += flux[n] * peak * (1 + xx * dx * dx + 2 * xy * dx * dy + yy * dy * dy) ** -beta


def coadd_scene(
    seed: int, size: int = 400, kinds: Sequence[str] = ("1e3", "1e4", "1e5"), num_subfilters: int = 3, band: str = "g",
    spacing: int = 60, edge: int = 45,
) -> CoaddScene:  # fmt: skip
    """Sources on a jittered grid, of each kind in turn.

    Parameters
    ----------
    seed : int
        Of places, temperatures and blends.
    size, spacing, edge : int
        Pixels: of the frame, between the sources, and around them; edge negative: sources beyond the frame, too.
    kinds : sequence of str
        A star's flux, ``blend`` (two stars of 1e4 within 2 to 6 px) or ``galaxy`` (2e4, red middle, blue disc).
    """
    random = np.random.default_rng(seed)
    number = max(1, (size - 2 * edge) // spacing + 1)
    places = edge + (size - 2 * edge - (number - 1) * spacing) / 2 + spacing * np.arange(number)
    order = random.permutation(number * number)
    sources = []
    for n, at in enumerate(order):
        kind = kinds[n % len(kinds)]
        y, x = places[at // number] + random.uniform(-4, 4), places[at % number] + random.uniform(-4, 4)
        sources.append(Source(kind, y, x, tuple(_points(kind, random))))
    return CoaddScene(size, lsst_band(band, num_subfilters), tuple(sources))


def _points(kind: str, random: np.random.Generator) -> list[tuple[float, float, float, str]]:
    def star() -> str:
        return f"blackbody:{10 ** random.uniform(np.log10(3000), np.log10(15000)):.0f}"

    if kind == "blend":
        angle, apart = random.uniform(0, 2 * np.pi), random.uniform(2, 6)
        return [(0, 0, 1e4, star()), (apart * np.sin(angle), apart * np.cos(angle), 1e4, star())]
    if kind == "galaxy":
        points = []
        for radius, flux, spectrum, num in ((1.2, 8e3, "blackbody:3500", 20), (3.5, 1.2e4, "blackbody:9000", 60)):
            places = random.normal(0, radius, (num, 2))
            points += [(float(dy), float(dx), flux / num, spectrum) for dy, dx in places]
        return points
    return [(0, 0, float(kind), star())]


def pointings(
    seed: int, number: int, one_angle: bool = False, shapes: float = 0.0, beta: tuple[float, float] = (3.0, 3.0)
) -> list[Pointing]:
    """Visits of a survey: seeing 0.6 to 1.2", zenith angle 5 to 52 degrees, any parallactic angle.

    Parameters
    ----------
    one_angle : bool
        One parallactic angle for all, airmass 1.1 to 1.4.
    shapes : float
        Rms of the PSF's shear components.
    beta : (float, float)
        Between which Moffat's beta lies.
    """
    random = np.random.default_rng((seed, 1))
    out = []
    for _ in range(number):
        angle = np.rad2deg(np.arccos(1 / random.uniform(1.1, 1.4))) if one_angle else random.uniform(5, 52)
        out.append(
            Pointing(
                float(angle), 70.0 if one_angle else float(random.uniform(0, 360)),
                float(np.clip(random.lognormal(np.log(0.82), 0.2), 0.6, 1.2)), float(random.uniform(*beta)),
                (float(random.normal(0, shapes)), float(random.normal(0, shapes))),
            )
        )  # fmt: skip
    return out
