"""Checksums of the tiles of a warped visit, at the speed of memory: what is read of it is a cell at a time."""

from __future__ import annotations

import numpy as np

from dcrflow.compat.numba_cache import njit

# odd, so that a change of any one bit changes the sum modulo 2^32; bits by which the flags are moved, for the same end
_TURN, _OF_VALID, _OF_EDGE = np.uint32(0x9E3779B1), np.uint32(9), np.uint32(18)


@njit(cache=True, nogil=True)
def sum_tiles(bits, valid, edges, size, wanted, out):  # type: ignore[no-untyped-def]
    """Sums that depend on every bit of the pixels of tiles, and on the pixels' order.

    Parameters
    ----------
    bits : ndarray of uint32, shape (height, width)
        The image's values, bit by bit.
    valid, edges : ndarray of uint8, shape (height, width)
        What else is known of the pixels.
    size : int
        Side of a tile.
    wanted : ndarray of bool, shape (num_tiles_y, num_tiles_x)
        Which tiles.
    out : ndarray of uint32, shape (num_tiles_y, num_tiles_x)
        Overwritten where wanted.
    """
    height, width = bits.shape
    along = np.empty(width, np.uint32)
    for ty in range(wanted.shape[0]):
        if not wanted[ty].any():
            continue
        along[:] = 0
        for y in range(ty * size, min(height, (ty + 1) * size)):
            row = np.uint64(y)  # indices without a sign, which numba would test
            for tx in range(wanted.shape[1]):
                if wanted[ty, tx]:
                    left = np.uint64(tx * size)
                    for k in range(min(size, width - tx * size)):  # vectorised
                        x = left + np.uint64(k)
                        flags = (np.uint32(valid[row, x]) << _OF_VALID) + (np.uint32(edges[row, x]) << _OF_EDGE)
                        along[x] = np.uint32(along[x] * _TURN + bits[row, x] + flags)
        for tx in range(wanted.shape[1]):
            if wanted[ty, tx]:
                total = np.uint32(0)
                for part in along[tx * size : (tx + 1) * size]:
                    total = np.uint32(total * _TURN + part)
                out[ty, tx] = total
