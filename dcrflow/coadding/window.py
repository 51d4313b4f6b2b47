"""The window of a cell: weights that fall to 0 towards the edges of its box, and bend round the light there.

A cell is solved for the sky times its window w, but what the visits tell is w times the sky as each of them sees it.
The two differ where w changes within a star: through the PSF and DCR, every visit sees another share of the star's
light. No sky explains that, and the colours are spoilt up to 40 px away. Therefore w changes where there is no light.
It is 1 in the middle and 0 at the edges, and in between it minimises

    sum of (noise^2 + light^2) |grad w|^2

which is solved on blocks of pixels, and smoothed. A star in the taper is then inside or outside as a whole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu

from dcrflow.coadding.ladder import smooth

Image = NDArray[np.float32]
Float = NDArray[np.float64]

_BLOCK, _BLOCKS = 4, 5  # pixels of a block; blocks in a taper at least, so that those of a narrow taper are smaller
_SMOOTHING = 2.5  # pixels; sigma of a Gaussian. High frequencies are amplified by up to 10,000 in a solution
_WIDEST = 1 / 10  # of the taper, which that sigma may be
_LIGHT = 1.5  # pixels; sigma of a Gaussian, of the light's smoothing


def window_nodes(light: Image, noise: float, taper: int) -> Image:
    """The window by blocks of pixels, for `window_of`.

    Parameters
    ----------
    light : ndarray of float32, shape (side, side)
        What the visits see on the cell's box, on average; 0 where it is not known.
    noise : float
        Its noise.
    taper : int
        Width of the outer rim of the box in which the window falls to zero, pixels.

    Returns
    -------
    ndarray of float32, shape (n, n)
        From 0 to 1.
    """
    side, block, rim = len(light), _block(taper), 2 * _sigma(taper)
    number = -(-side // block)
    padded = np.zeros((number * block, number * block), np.float32)
    padded[:side, :side] = np.abs(smooth(light, _LIGHT))
    rows = padded.reshape(number, block, number * block).max(axis=1)
    largest = np.maximum.reduce([rows[:, n::block] for n in range(block)]).astype(np.float64)
    cost = 1.0 + (largest / noise) ** 2
    at = (np.arange(number) + 0.5) * block
    along = np.minimum(at, side - at)
    from_edge = np.minimum(along[:, None], along)
    fixed = (from_edge >= taper - rim).astype(np.float64)
    free = (from_edge > max(rim, block / 2)) & (from_edge < taper - rim)  # the outermost blocks never are
    return _least_change(cost, free, fixed).astype(np.float32)


def window_of(nodes: Image, side: int, taper: int) -> Image:
    """The window of `side` pixels a side: linear between the middles of the blocks, then smoothed."""
    at = np.clip((np.arange(side) + 0.5) / _block(taper) - 0.5, 0, len(nodes) - 1)
    first = np.minimum(at.astype(np.intp), len(nodes) - 2)
    share = (at - first).astype(np.float32)
    rows = nodes[first] * (1 - share)[:, None] + nodes[first + 1] * share[:, None]
    left, right = np.take(rows, first, axis=1), np.take(rows, first + 1, axis=1)  # rows[:, first] has columns in a row
    return smooth(np.asarray(left * (1 - share) + right * share, np.float32), _sigma(taper))


def _block(taper: int) -> int:
    return min(_BLOCK, max(1, taper // _BLOCKS))


def _sigma(taper: int) -> float:
    """Sigma of the Gaussian by which the window is smoothed; the outermost 2 sigma of a taper are left to it."""
    return min(_SMOOTHING, _WIDEST * max(taper, 1))


def _least_change(cost: Float, free: NDArray[np.bool_], values: Float) -> Float:
    """Values at the free nodes of a grid that minimise the sum of cost times squared differences of neighbours."""
    number = int(np.count_nonzero(free))
    if not number:
        return values
    index = np.full(free.shape, -1)
    index[free] = np.arange(number)
    diagonal, right = np.zeros(number), np.zeros(number)
    entries = [(np.arange(number), np.arange(number), diagonal)]
    for one, other in (np.s_[:-1, :], np.s_[1:, :]), (np.s_[:, :-1], np.s_[:, 1:]):
        between = (cost[one] + cost[other]) / 2
        for here, there in (one, other), (other, one):
            of_free = index[here] >= 0
            row, column, weight = index[here][of_free], index[there][of_free], between[of_free]
            diagonal += np.bincount(row, weight, number)
            inner = column >= 0
            right += np.bincount(row[~inner], (weight * values[there][of_free])[~inner], number)
            entries.append((row[inner], column[inner], -weight[inner]))
    rows, columns, data = (np.concatenate(part) for part in zip(*entries, strict=True))
    matrix = coo_matrix((data, (rows, columns)), shape=(number, number)).tocsc()
    out = values.copy()
    out[free] = splu(matrix).solve(right)
    return np.clip(out, 0.0, 1.0)
