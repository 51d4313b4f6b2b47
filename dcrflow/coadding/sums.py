"""Sums over visits. They are all that the solution of a cell needs, and their size does not depend on the visits.

    A_ij(f) = sum_v w_v |P_v|^2 conj(k_vi) k_vj,      b_i(f) = sum_v w_v conj(P_v k_vi) D_v

where D_v is the Fourier transform of a visit whose pixels without data are filled with a prediction. Sums can be added
in any order: over visits, over workers in a tree, and over nights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.transfer import forward
from dcrflow.kernels.fourier import add_adjoint, add_normal


@dataclass(frozen=True, eq=False)
class CellSums:
    """Sums over some visits on one cell.

    Parameters
    ----------
    normal : ndarray of complex64, shape (num_terms (num_terms + 1) / 2, side, side // 2 + 1)
        A_ij for i <= j, row by row: 00, 01, 02, 11, 12, 22.
    right : ndarray of complex64, shape (num_terms, side, side // 2 + 1)
        b_i.
    weight : ndarray of float32, shape (side, side)
        Sum of the weights of the visits that have data at a pixel, nJy^-2.
    total : float
        Sum of the weights of all visits, masked or not, nJy^-2.
    count : ndarray of int16, shape (side, side)
        Number of visits that have data at a pixel.
    num_visits : int
        Number of visits that were added.
    """

    normal: NDArray[np.complex64]
    right: NDArray[np.complex64]
    weight: NDArray[np.float32]
    total: float
    count: NDArray[np.int16]
    num_visits: int

    @classmethod
    def empty(cls, num_terms: int, side: int) -> CellSums:
        """The sums over no visits: zeros."""
        half = (side, side // 2 + 1)
        return cls(
            np.zeros((num_terms * (num_terms + 1) // 2, *half), np.complex64),
            np.zeros((num_terms, *half), np.complex64),
            np.zeros((side, side), np.float32), 0.0, np.zeros((side, side), np.int16), 0,
        )  # fmt: skip

    def with_visit(
        self, image: NDArray[np.float32], has_data: NDArray[np.bool_], transfer: NDArray[np.complex64], weight: float,
        share: float,
    ) -> CellSums:  # fmt: skip
        """Add one more visit; the arrays are changed in place.

        Parameters
        ----------
        image : ndarray of float32, shape (side, side)
            The visit's image, with pixels without data filled.
        has_data : ndarray of bool, shape (side, side)
            Pixels that have data, and were not filled.
        transfer : ndarray of complex64, shape (num_terms, side, side // 2 + 1)
            Transfer functions T.
        weight : float
            Weight of the visit, sigma^-2.
        share : float
            Factor on the weight if pixels are filled: about the fraction of the cell that has data.
        """
        add_normal(transfer, weight * share, self.normal)
        add_adjoint(transfer, forward(image), weight * share, self.right)
        np.add(self.weight, np.float32(weight), out=self.weight, where=has_data)
        self.count[has_data] += np.int16(1)
        return replace(self, total=self.total + weight * share, num_visits=self.num_visits + 1)


def merge(one: CellSums, other: CellSums) -> CellSums:
    """The sums of two disjoint sets of visits."""
    return CellSums(
        one.normal + other.normal, one.right + other.right, one.weight + other.weight, one.total + other.total,
        one.count + other.count, one.num_visits + other.num_visits,
    )  # fmt: skip
