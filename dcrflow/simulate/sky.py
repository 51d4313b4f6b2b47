"""The simulated sky: a seeded catalogue of stars and galaxies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from astropy import units as u
from astropy.table import QTable
from numpy.typing import ArrayLike, NDArray

from dcrflow.simulate.projection import from_tangent_plane
from dcrflow.simulate.spectra import GALAXIES

Float = NDArray[np.float64]

ZERO_POINT = 31.4  # AB magnitude of 1 nJy


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Sources on the sky; every field has shape (n,).

    Parameters
    ----------
    ra, dec : ndarray of float64
        ICRS, degrees.
    flux : ndarray of float64
        nJy, in the whole band.
    spectrum : ndarray of str
        Names of spectra, see `dcrflow.simulate.spectra`.
    half_light_radius : ndarray of float64
        Arcsec, of an exponential disk; 0 for a star.
    axis_ratio : ndarray of float64
        Of the disk.
    position_angle : ndarray of float64
        Of the disk's major axis, degrees, north through east.
    """

    ra: Float
    dec: Float
    flux: Float
    spectrum: NDArray[np.str_]
    half_light_radius: Float
    axis_ratio: Float
    position_angle: Float

    def __len__(self) -> int:
        return len(self.ra)

    @classmethod
    def of_stars(cls, ra: ArrayLike, dec: ArrayLike, flux: ArrayLike, spectrum: ArrayLike) -> Self:
        """Point sources."""
        ra = np.asarray(ra, np.float64)
        zero = np.zeros(len(ra))
        return cls(
            ra,
            np.asarray(dec, np.float64),
            np.broadcast_to(np.asarray(flux, np.float64), ra.shape).copy(),
            np.asarray(spectrum, np.str_),
            zero,
            zero + 1.0,
            zero,
        )

    def __add__(self, other: Catalogue) -> Catalogue:
        return Catalogue(
            *(np.concatenate([getattr(self, name), getattr(other, name)]) for name in self.__dataclass_fields__)
        )

    def __getitem__(self, which: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Catalogue:
        return Catalogue(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def table(self) -> QTable:
        """The catalogue as a table with units, one row a source."""
        return QTable(
            {
                "ra": self.ra * u.deg,
                "dec": self.dec * u.deg,
                "flux": self.flux * u.nJy,
                "magnitude": (ZERO_POINT - 2.5 * np.log10(self.flux)) * u.mag,
                "spectrum": self.spectrum,
                "half_light_radius": self.half_light_radius * u.arcsec,
                "axis_ratio": self.axis_ratio,
                "position_angle": self.position_angle * u.deg,
            }
        )


def isolated_points(
    rng: np.random.Generator, width: float, height: float, density: float, separation: float
) -> tuple[Float, Float]:
    """Points on a jittered grid, none closer to another than `separation`.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws the jitter.
    width, height : float
        Of the rectangle to fill, centred on (0, 0).
    density : float
        Points per unit area; lowered where it does not leave room for the separation.
    separation : float
        Smallest distance between two points.

    Returns
    -------
    x, y : ndarray of float64, shape (n,)
    """
    if density <= 0:
        return np.zeros(0), np.zeros(0)
    cell = max(1.0 / math.sqrt(density), separation)
    nx, ny = max(1, round(width / cell)), max(1, round(height / cell))
    x, y = np.meshgrid((np.arange(nx) - (nx - 1) / 2) * cell, (np.arange(ny) - (ny - 1) / 2) * cell)
    room = (cell - separation) / 2
    jitter = rng.uniform(-room, room, size=(2, nx * ny))
    return x.ravel() + jitter[0], y.ravel() + jitter[1]


def random_sky(
    rng: np.random.Generator,
    centre: tuple[float, float],
    extent: tuple[float, float],
    *,
    star_density: float,
    galaxy_density: float,
    star_magnitudes: tuple[float, float],
    galaxy_magnitudes: tuple[float, float],
    separation: float,
) -> Catalogue:
    """Stars (black bodies of 3000 to 15000 K, a few Vegas) and galaxies (CWW templates) over a rectangle.

    Parameters
    ----------
    rng : numpy.random.Generator
        Draws everything.
    centre : (float, float)
        ICRS, degrees.
    extent : (float, float)
        East-west and north-south, arcsec, in the plane tangent at the centre.
    star_density, galaxy_density : float
        Per square arcmin.
    star_magnitudes, galaxy_magnitudes : (float, float)
        Brightest and faintest; number counts rise with 10^(0.2 m) and 10^(0.35 m).
    separation : float
        Smallest distance between two stars, arcsec; galaxies fall where they may.
    """
    east, north = isolated_points(rng, *extent, star_density / 3600.0, separation)
    ra, dec = from_tangent_plane(*centre, east, north)
    kelvin = np.exp(rng.uniform(np.log(3000.0), np.log(15000.0), len(ra)))
    is_vega = rng.random(len(ra)) < 0.05
    names = ["vega" if v else f"blackbody:{t:.0f}" for t, v in zip(kelvin, is_vega, strict=True)]
    stars = Catalogue.of_stars(ra, dec, _fluxes(rng, len(ra), star_magnitudes, 0.2), np.array(names, np.str_))
    number = rng.poisson(galaxy_density * extent[0] * extent[1] / 3600.0)
    ra, dec = from_tangent_plane(*centre, *(rng.uniform(-side / 2, side / 2, number) for side in extent))
    kinds = rng.choice(np.array(GALAXIES), number)
    redshifts = np.round(rng.uniform(0.0, 0.8, number), 1)
    names = [f"{kind}:{z:g}" for kind, z in zip(kinds, redshifts, strict=True)]
    galaxies = Catalogue(
        ra,
        dec,
        _fluxes(rng, number, galaxy_magnitudes, 0.35),
        np.array(names, np.str_),
        np.exp(rng.uniform(np.log(0.2), np.log(0.8), number)),
        rng.uniform(0.3, 1.0, number),
        rng.uniform(0.0, 180.0, number),
    )
    return stars + galaxies


def _fluxes(rng: np.random.Generator, number: int, magnitudes: tuple[float, float], slope: float) -> Float:
    """nJy, of magnitudes whose number counts rise with 10^(slope m)."""
    low, high = (10.0 ** (slope * m) for m in magnitudes)
    magnitude = np.log10(rng.uniform(low, high, number)) / slope
    return np.asarray(10.0 ** (0.4 * (ZERO_POINT - magnitude)))
