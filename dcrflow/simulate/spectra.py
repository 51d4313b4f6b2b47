"""Bands, subfilters and the spectra of simulated sources.

A spectrum is named by a short text, so that it fits a table:

- ``blackbody:5000``: Planck's law, kelvin;
- ``vega``: HST CALSPEC's model of Vega, which GalSim ships;
- ``CWW_E_ext``, ``CWW_Sbc_ext``, ``CWW_Scd_ext``, ``CWW_Im_ext``: the galaxies of Coleman, Wu and Weedman 1980 that
  GalSim ships; ``CWW_E_ext:0.3`` at redshift 0.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import eigh_tridiagonal

from dcrflow.simulate._galsim import galsim

Float = NDArray[np.float64]

GALAXIES = ("CWW_E_ext", "CWW_Sbc_ext", "CWW_Scd_ext", "CWW_Im_ext")
_HC_OVER_K = 1.438776877e7  # h c / k, nm kelvin


def photon_spectrum(name: str, wavelength: ArrayLike) -> Float:
    """Photons per nm of a named spectrum, on an arbitrary scale.

    Parameters
    ----------
    name : str
        See the module's description.
    wavelength : array-like
        nm.

    Raises
    ------
    ValueError
        If the name is unknown.
    """
    wavelength = np.asarray(wavelength, np.float64)
    kind, _, value = name.partition(":")
    if kind == "blackbody":
        photons = wavelength**-4.0 / np.expm1(_HC_OVER_K / (wavelength * float(value)))
        return np.asarray(photons / np.max(photons))
    if kind == "vega" or kind in GALAXIES:
        return np.asarray(_shipped(kind, float(value or 0.0))(wavelength), np.float64)
    raise ValueError(f"unknown spectrum {name!r}; it is blackbody:<kelvin>, vega, or one of {', '.join(GALAXIES)}")


@lru_cache(maxsize=256)
def _shipped(kind: str, redshift: float):  # type: ignore[no-untyped-def]
    gs = galsim()
    if kind == "vega":
        sed = gs.SED("vega.txt", wave_type="nm", flux_type="flambda")
    else:
        sed = gs.SED(f"{kind}.sed", wave_type="Ang", flux_type="flambda")
    return sed.atRedshift(redshift) if redshift else sed


@dataclass(frozen=True, eq=False)
class Band:
    """A band cut into subfilters, each cut into fine slices of wavelength.

    Parameters
    ----------
    name : str
        LSST's, one of u g r i z y.
    effective_wavelength : float
        nm, GalSim's: the mean wavelength weighted with the throughput.
    edges : ndarray of float64, shape (num_subfilters + 1,)
        Of the subfilters, nm: equal widths from end to end of the transmission curve.
    curve_wavelength, curve_throughput : ndarray of float64, shape (m,)
        The transmission curve as GalSim's file has it, less the dark ends; nm, fraction.
    wavelength : ndarray of float64, shape (num_subfilters, slices)
        Middle of each slice, nm.
    throughput : ndarray of float64, shape (num_subfilters, slices)
        At the middle of each slice.
    """

    name: str
    effective_wavelength: float
    edges: Float
    curve_wavelength: Float
    curve_throughput: Float
    wavelength: Float
    throughput: Float

    @property
    def num_subfilters(self) -> int:
        """Number of subfilters."""
        return len(self.edges) - 1

    @property
    def bandwidth(self) -> float:
        """From end to end of the transmission curve, nm."""
        return float(self.edges[-1] - self.edges[0])

    @property
    def subfilter_edges(self) -> list[tuple[float, float]]:
        """(low, high) of each subfilter, nm."""
        return [(float(a), float(b)) for a, b in zip(self.edges[:-1], self.edges[1:], strict=True)]

    def photons(self, spectrum: str) -> Float:
        """The detected photons of a spectrum in each slice; they sum to 1.

        Returns
        -------
        ndarray of float64, shape (num_subfilters, slices)
            Summed over the slices: the share of each subfilter in the source's flux.
        """
        photons = self.throughput * photon_spectrum(spectrum, self.wavelength)
        return np.asarray(photons / np.sum(photons))


@lru_cache(maxsize=32)
def lsst_band(name: str, num_subfilters: int = 3, slice_width: float = 0.5) -> Band:
    """An LSST band as GalSim ships it.

    Parameters
    ----------
    name : str
        One of u g r i z y.
    num_subfilters : int
        Number of equal-width subfilters, from end to end of the transmission curve.
    slice_width : float
        Largest width of a slice, nm.

    Raises
    ------
    ValueError
        For another band.
    """
    if name not in tuple("ugrizy"):
        raise ValueError(f"band {name!r} is not one of LSST's: u g r i z y")
    gs = galsim()
    bandpass = gs.Bandpass(f"LSST_{name}.dat", wave_type="nm")
    points = np.asarray(bandpass.wave_list, np.float64)
    lit = np.flatnonzero(bandpass(points) > 0)
    points = points[max(0, lit[0] - 1) : lit[-1] + 2]  # some curves have several dark points at their ends
    edges = np.linspace(points[0], points[-1], num_subfilters + 1)
    slices = int(np.ceil((edges[1] - edges[0]) / slice_width - 1e-9))
    middles = (np.arange(slices) + 0.5) / slices
    wavelength = edges[:-1, None] + np.diff(edges)[:, None] * middles
    return Band(
        name=name,
        effective_wavelength=float(bandpass.effective_wavelength),
        edges=edges,
        curve_wavelength=points,
        curve_throughput=np.asarray(bandpass(points), np.float64),
        wavelength=wavelength,
        throughput=np.asarray(bandpass(wavelength), np.float64),
    )


def condensed(position: Float, weight: Float, num: int = 12) -> tuple[Float, Float]:
    """Replace many weighted points on a line by a few that have the same moments (Gaussian quadrature).

    The few points and their weights give the same integral of every polynomial up to degree ``2 num - 1``, hence the
    same image of a source whose light is spread over the many, to the precision of the drawing: cheaper by the
    ratio of the numbers. Golub & Welsch 1969 on the Jacobi matrix that Lanczos' iteration makes of the points.

    Parameters
    ----------
    position, weight : ndarray of float64, shape (n,)
        The points; weights not negative, not all zero.
    num : int
        How many are wanted at most.

    Returns
    -------
    position, weight : ndarray of float64, shape (<= num,)
    """
    position, weight = position[weight > 0], weight[weight > 0]
    total = float(np.sum(weight))
    middle = float(np.sum(weight * position)) / total
    extent = float(np.max(np.abs(position - middle)))
    if extent == 0.0 or len(position) <= num:
        return (np.array([middle]), np.array([total])) if extent == 0.0 else (position, weight)
    x = (position - middle) / extent
    basis = np.zeros((num, len(x)))
    vector = np.sqrt(weight / total)
    diagonal, off_diagonal = np.zeros(num), np.zeros(num - 1)
    for i in range(num):
        basis[i] = vector
        vector = x * vector
        diagonal[i] = basis[i] @ vector
        for _ in range(2):  # twice is enough to keep the vectors orthogonal to rounding
            vector = vector - basis[: i + 1].T @ (basis[: i + 1] @ vector)
        norm = float(np.linalg.norm(vector))
        if i + 1 == num:
            break
        if norm < 1e-14:
            diagonal, off_diagonal = diagonal[: i + 1], off_diagonal[:i]
            break
        off_diagonal[i] = norm
        vector = vector / norm
    nodes, vectors = eigh_tridiagonal(diagonal, off_diagonal)
    return middle + extent * nodes, total * vectors[0] ** 2
