"""A detector-visit's pixels: image, mask, variance and PSF, on the detector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcrflow.kernels.nodes import node_weights
from dcrflow.model.pixels import Pixels

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VisitPsf:
    """The PSF of a detector-visit: kernels at nodes.

    Parameters
    ----------
    kernels : ndarray of float64, shape (num_nodes, size, size)
        Odd size, centred; the sum of each is the share of a star's light inside the stamp.
    x, y : ndarray of float64, shape (num_nodes,)
        Absolute detector pixel position of each node.
    """

    kernels: Float
    x: Float
    y: Float

    def at(self, x: float, y: float) -> Float:
        """The kernel at a detector pixel position, interpolated between nodes."""
        kernel: Float = np.tensordot(node_weights(x, y, self.x, self.y), self.kernels, 1)
        return kernel


@dataclass(frozen=True, eq=False)
class VisitImage:
    """A detector-visit's pixels on a part of the detector.

    Parameters
    ----------
    pixels : Pixels
        nJy and nJy^2, absolute detector pixels; mask planes at the bits of `dcrflow.base.masks.TEMPLATE_PLANES`.
    psf : VisitPsf
        Of the image.
    digest : str
        Of the pixels and the PSF as they were read.
    """

    pixels: Pixels
    psf: VisitPsf
    digest: str


def moffat_psf(fwhm: float, beta: float, size: int) -> Float:
    """A round Moffat sampled at the middle of pixels, shape (size, size); its sum is the share of the light inside.

    Parameters
    ----------
    fwhm : float
        Pixels.
    beta : float
        Moffat's; more than 1.
    size : int
        Odd.
    """
    squared = (fwhm / 2) ** 2 / (2 ** (1 / beta) - 1)
    axis = np.arange(size) - size // 2
    radius2 = axis[:, None] ** 2 + axis**2
    profile: Float = (beta - 1) / (np.pi * squared) * (1 + radius2 / squared) ** -beta
    return profile


def width_of(kernel: Float, beta: float = 3.0) -> float:
    """FWHM of the Moffat that has a kernel's effective area (1 / the sum of the squared normalised kernel), pixels."""
    total = float(np.sum(kernel))
    area = total**2 / float(np.sum(kernel**2))
    squared = area * (beta - 1) ** 2 / (np.pi * (2 * beta - 1))
    return float(2 * np.sqrt(squared * (2 ** (1 / beta) - 1)))
