"""Sums over visits. They are all that the solution of a cell needs of the visits' pixels.

    A_ij(f) = sum_v w_v |P_v|^2 conj(k_vi) k_vj,      b_i(f) = sum_v w_v conj(P_v k_vi) D_v

where D_v is the Fourier transform of a visit. Pixels without data are filled with a prediction in `right`, and are 0 in
`data`. For the pixels without data to be predicted again when visits are added, the sums also hold which pixels these
are, and the PSF and DCR of every visit (about 50 kB).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class KeptVisit:
    """What is kept of a visit on a cell; its pixels are in the sums.

    Parameters
    ----------
    name : tuple of (int, int)
        Visit and detector.
    sigma : float
        Noise of the sky, nJy a pixel.
    holes : ndarray of uint8
        `numpy.packbits` of the pixels of the cell without data, row by row; rejected pixels are among them.
    psf : ndarray of float32, shape (n, n)
        PSF on the cell.
    displacement : ndarray of float64, shape (num_nodes, 2)
        Displacement by DCR at each wavelength.
    correction : tuple of (float, float, float)
        Flux scale, dy and dx that were applied.
    """

    name: tuple[int, int]
    sigma: float
    holes: NDArray[np.uint8]
    psf: NDArray[np.float32]
    displacement: Float
    correction: tuple[float, float, float] = (1.0, 0.0, 0.0)


@dataclass(frozen=True, eq=False)
class CellSums:
    """Sums over some visits on one cell.

    Parameters
    ----------
    normal : ndarray of complex64, shape (num_terms (num_terms + 1) / 2, side, side // 2 + 1)
        A_ij for i <= j, row by row: 00, 01, 02, 11, 12, 22.
    right : ndarray of complex64, shape (num_terms, side, side // 2 + 1)
        b_i, with pixels without data filled by the model.
    data : ndarray of complex64, shape (num_terms, side, side // 2 + 1)
        b_i, with 0 in pixels without data.
    weight : ndarray of float32, shape (side, side)
        Sum of the weights of the visits that have data at a pixel, nJy^-2.
    total : float
        Sum of the weights of all visits, masked or not, nJy^-2.
    count : ndarray of int16, shape (side, side)
        Number of visits that have data at a pixel.
    flags : ndarray of uint8, shape (side, side)
        Bits of `FLAGS`: what happened to a pixel in any of the visits.
    visits : tuple of KeptVisit
        The visits.
    window : ndarray of float32, shape (n, n)
        `dcrflow.coadding.window.window_nodes` of the window by which the visits are multiplied; empty without visits.
    """

    normal: NDArray[np.complex64]
    right: NDArray[np.complex64]
    data: NDArray[np.complex64]
    weight: NDArray[np.float32]
    total: float
    count: NDArray[np.int16]
    flags: NDArray[np.uint8]
    visits: tuple[KeptVisit, ...] = ()
    window: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    @classmethod
    def empty(cls, num_terms: int, side: int) -> CellSums:
        """The sums over no visits: zeros."""
        half = (side, side // 2 + 1)
        return cls(
            np.zeros((num_terms * (num_terms + 1) // 2, *half), np.complex64),
            np.zeros((num_terms, *half), np.complex64), np.zeros((num_terms, *half), np.complex64),
            np.zeros((side, side), np.float32), 0.0, np.zeros((side, side), np.int16),
            np.zeros((side, side), np.uint8),
        )  # fmt: skip


#: Bits of `CellSums.flags`, by the mask plane that they become.
FLAGS = {"CLIPPED": 1, "REJECTED": 2, "SENSOR_EDGE": 4}
