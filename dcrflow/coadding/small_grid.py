"""The visits' responses, and the equations of a cell, on a grid just large enough for a visit's PSF and DCR.

Transfer functions are functions of the spatial frequency; a small grid has the same ones at fewer frequencies. What
they describe must fit into the grid.
"""

from __future__ import annotations

from itertools import count

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.cell_visits import CellVisits
from dcrflow.coadding.cells import is_smooth
from dcrflow.coadding.transfer import Transform, backward, transfer_functions
from dcrflow.kernels.fourier import add_normal
from dcrflow.kernels.hole_pixels import crop_round

Image = NDArray[np.float32]

_LEAST = 128  # pixels
_ENTRIES = 1024  # of the table of transfer functions; errors of 1e-5
_FAINT = 1e-5  # of a response's peak; outer rings of pixels in which it is fainter are left out


class SmallGrid:
    """The visits of a cell on a small grid.

    Parameters
    ----------
    visits : CellVisits
        The visits.

    Attributes
    ----------
    responses : list of ndarray of float32, shape (num_terms, 2 n + 1, 2 n + 1)
        Of each visit, for `dcrflow.kernels.hole_pixels.see_pixels`.
    transfers : ndarray of complex64, shape (num_visits, num_terms, side, side // 2 + 1)
        Transfer functions on half the grid, large enough for what one visit says of another: the PSFs' wings cancel.
    normal : ndarray of complex64, shape (num_terms (num_terms + 1) / 2, side, side // 2 + 1)
        A at the same frequencies.
    """

    def __init__(self, visits: CellVisits) -> None:
        optics = [visits.optics(m) for m in visits.members]
        reach = max(o.reach for o in optics)
        least = max(2 * reach + 2, _LEAST)
        side = min(next(n for n in count(least + -least % 4, 4) if is_smooth(n)), visits.side)
        reach = min(reach, side // 2 - 1)
        step = 2 if side % 4 == 0 else 1
        num, half = visits.basis.num_terms, side // step
        whole = np.empty((num, side, side // 2 + 1), np.complex64)
        self.side = half
        self.responses: list[Image] = []
        self.transfers = np.empty((len(optics), num, half, half // 2 + 1), np.complex64)
        self.normal = np.zeros((num * (num + 1) // 2, half, half // 2 + 1), np.complex64)
        for member, one, few in zip(visits.members, optics, self.transfers, strict=True):
            transfer_functions(one, visits.basis, whole, _ENTRIES)
            self.responses.append(_response(whole, reach))
            few[...] = whole[:, ::step, ::step]
            add_normal(few, member.weight, self.normal)


def _response(transfer: Transform, reach: int) -> Image:
    """The response of a visit's pixel to the sky around it."""
    kernel = np.empty((len(transfer), 2 * reach + 1, 2 * reach + 1), np.float32)
    crop_round(backward(transfer), reach, kernel)
    kernel = kernel[:, ::-1, ::-1]  # that of the sky at +1 is the kernel at -1
    size = np.abs(kernel[0])  # that of a flat spectrum, the brightest
    lines = np.maximum(size.max(axis=0), size.max(axis=1))
    lines = np.maximum(lines, lines[::-1])[:reach]  # the largest at each distance, from the outermost inwards
    bright = np.flatnonzero(lines > _FAINT * size.max())
    cut = int(bright[0]) if len(bright) else reach - 1  # a ring is left even round a single pixel
    return np.ascontiguousarray(kernel[:, cut : 2 * reach + 1 - cut, cut : 2 * reach + 1 - cut])
