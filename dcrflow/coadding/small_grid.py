"""The visits' responses, and the equations of a cell, on a grid just large enough for a visit's PSF and DCR.

Transfer functions are functions of the spatial frequency; a small grid has the same ones at fewer frequencies. What
they describe must fit into the grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.cell_visits import CellVisits
from dcrflow.coadding.transfer import Transform, backward
from dcrflow.kernels.hole_pixels import LANES, TOGETHER, crop_round

Image = NDArray[np.float32]

# of a response's peak; what is fainter than the last is left out
_LEVELS = np.array([1e-2, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5])
_NEAR = 3 / 4  # of the distance over which a visit spreads a point of the sky: farther away, holes do not matter


class SmallGrid:
    """The visits of a cell on a small grid.

    Parameters
    ----------
    visits : CellVisits
        The visits.

    Attributes
    ----------
    responses : list of Response
        Of each visit.
    transfers : ndarray of complex64, shape (num_visits, num_terms, side, side // 2 + 1)
        Transfer functions.
    step : int
        Every which of the cell's frequencies these are.
    reach : int
        Pixels to each side in which holes matter to each other.
    """

    def __init__(self, visits: CellVisits) -> None:
        whole = visits.transfers_of_points()
        side = whole.shape[2]
        reach = min(max(visits.optics(m).reach for m in visits.members), side // 2 - 1)
        self.responses = [_response(transfer, reach) for transfer in whole]
        self.transfers, self.step, self.reach = whole, visits.step, int(_NEAR * reach)


class Response:
    """The response of a visit's pixel to the sky around it, without what is faint.

    Parameters
    ----------
    kernel : ndarray of float32, shape (num_terms, 2 n + 1, 2 n + 1)
        [j, y, x] belongs to term j of the sky at (y - n, x - n).

    Attributes
    ----------
    values : ndarray of float32, shape (num_pieces, LANES)
        Its pieces for `dcrflow.kernels.hole_pixels`, the brighter ones first.
    """

    def __init__(self, kernel: Image) -> None:
        num, size, _ = kernel.shape
        self.reach = size // 2 + LANES  #: pixels to each side that are asked for
        pieces = np.zeros((num, size, -(-size // LANES) * LANES), np.float32)
        pieces[:, :, :size] = kernel
        pieces = pieces.reshape(-1, LANES)
        peak = np.maximum.reduce([np.abs(pieces[:, n]) for n in range(LANES)])  # faster than along a short axis
        level = np.searchsorted(-_LEVELS * peak.max(), -peak)
        found = np.argsort(level, kind="stable")[: np.count_nonzero(level < len(_LEVELS))]
        missing, across = -len(found) % TOGETHER, -(-size // LANES)
        self.values = np.concatenate([pieces[found], np.zeros((missing, LANES), np.float32)])
        self._numbers = np.searchsorted(level[found], np.arange(len(_LEVELS)), "right")
        row, x = np.divmod(np.concatenate([found, np.full(missing, len(pieces) // 2)]), across)
        self._term, y = np.divmod(row, size)
        self._y, self._x = y - size // 2, LANES * x - size // 2

    def offsets(self, side: int, pad: int) -> NDArray[np.int32]:
        """Where the pieces are in a sky that is padded, see `dcrflow.kernels.hole_pixels.see_pixels`."""
        width = side + 2 * pad
        return np.asarray((self._term * width + self._y + pad) * width + self._x + pad, np.int32)

    def number(self, faint: float) -> int:
        """How many of the pieces are brighter than `faint` times the peak; those below 1e-5 are never kept."""
        level = int(np.searchsorted(-_LEVELS, -faint))
        number = int(self._numbers[min(level, len(_LEVELS) - 1)])
        return number + -number % TOGETHER


def _response(transfer: Transform, reach: int) -> Response:
    kernel = np.empty((len(transfer), 2 * reach + 1, 2 * reach + 1), np.float32)
    crop_round(backward(transfer), reach, kernel)
    return Response(kernel[:, ::-1, ::-1])  # that of the sky at +1 is the kernel at -1
