"""Spectra inside a band, described by a few coefficients: flux, slope, curvature.

The image of subfilter k is s_k = sum_j B_kj c_j with B_kj = share_k p_j(w_k). share_k is the fraction of a flat
spectrum's light in subfilter k. The p_j are polynomials in wavelength, orthonormal with the shares as weights.
Therefore c_0 is the flux in the whole band for any spectrum; c_1 and c_2 are slope and curvature in units of flux.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcrflow.physics.bandpass import Bandpass, Edges
from dcrflow.physics.dcr import BINS, spectral_weights

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SpectralBasis:
    """The relation between coefficients, subfilters and wavelengths.

    Parameters
    ----------
    wavelength : ndarray of float64, shape (num_nodes,)
        The nodes, nm: wavelengths at which the displacement of a visit is needed (`VisitOnFrame.displacement`).
    weights : ndarray of float64, shape (num_nodes, num_subfilters)
        Fraction of a subfilter's flux at each node; columns sum to 1. As in `dcrflow.physics.dcr.DcrModel`.
    shares : ndarray of float64, shape (num_subfilters,)
        Fraction of a flat spectrum's light in each subfilter; they sum to 1.
    subfilters : ndarray of float64, shape (num_subfilters, num_terms)
        The matrix B.
    """

    wavelength: Float
    weights: Float
    shares: Float
    subfilters: Float

    @property
    def num_terms(self) -> int:
        """Number of coefficients, equal to the number of subfilters."""
        return int(self.subfilters.shape[1])

    @property
    def nodes(self) -> Float:
        """Light at each node if one coefficient is 1 and the others 0, shape (num_nodes, num_terms)."""
        return np.asarray(self.weights @ self.subfilters)


def spectral_basis(bandpass: Bandpass, edges: Edges, bins: int = BINS) -> SpectralBasis:
    """The basis of a band's subfilters.

    Parameters
    ----------
    bandpass : Bandpass
        Transmission of the whole band.
    edges : tuple of (float, float)
        Lower and upper wavelength of each subfilter, nm.
    bins : int
        Nodes per subfilter.
    """
    wavelength, weights = spectral_weights(bandpass, edges, bins)
    number = len(edges)
    bounds = np.array([edges[0][0], *(e[1] for e in edges)], np.float64)
    bounds[0], bounds[-1] = bandpass.limits
    area, middle = bandpass.integrals(bounds)
    shares = area / area.sum()
    x = middle - np.sum(shares * middle)
    powers = np.vander(x / max(float(np.max(np.abs(x))), 1e-300), number, increasing=True)
    orthonormal, upper = np.linalg.qr(np.sqrt(shares)[:, None] * powers)
    polynomials = orthonormal * np.sign(np.diag(upper)) / np.sqrt(shares)[:, None]
    return SpectralBasis(wavelength, weights, shares, shares[:, None] * polynomials)
