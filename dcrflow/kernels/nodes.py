"""A PSF given by kernels at nodes: interpolation between the nodes, and a kernel spread along a line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def node_weights(x: float, y: float, node_x: Float, node_y: Float) -> Float:
    """Weights of the nodes at a position: bilinear between nodes on a grid, constant outside it.

    A grid may have gaps: then those of the four nodes around a position that exist share the weight. Where none of them
    exists, as between nodes that are not on a grid, the nearest node has all of it.

    Parameters
    ----------
    x, y : float
        The position.
    node_x, node_y : ndarray of float64, shape (num_nodes,)
        Of the nodes, in the same frame.

    Returns
    -------
    ndarray of float64, shape (num_nodes,)
        Not negative; they sum to 1.
    """
    weights = _between(x, node_x) * _between(y, node_y)
    if weights.sum() < 1e-3:
        weights = np.zeros(len(node_x))
        weights[np.argmin((node_x - x) ** 2 + (node_y - y) ** 2)] = 1.0
    return weights / weights.sum()


def _between(x: float, nodes: Float) -> Float:
    """Linear weights along one axis, shape as of nodes: of the grid line below x and of the one above."""
    lines = np.unique(nodes)
    x = float(np.clip(x, lines[0], lines[-1]))
    above = int(np.searchsorted(lines, x))
    low, high = lines[max(0, above - 1)], lines[above]
    share = (x - low) / (high - low) if high > low else 1.0
    weights: Float = np.where(nodes == high, share, np.where(nodes == low, 1 - share, 0.0))
    return weights


def spread(kernel: Float, dy: Float, dx: Float, weights: Float) -> Float:
    """A weighted mean of shifted copies of a kernel, by Fourier transform, on the same pixels.

    Parameters
    ----------
    kernel : ndarray of float64, shape (height, width)
        Odd shape, falling to nothing towards its edges.
    dy, dx : ndarray of float64, shape (n,)
        Shifts, pixels.
    weights : ndarray of float64, shape (n,)
        Their sum is the flux that is kept.
    """
    margin = int(np.ceil(np.abs([dy, dx]).max())) + 1
    padded = np.pad(kernel, margin)
    fy, fx = (np.fft.fftfreq(n) for n in padded.shape)
    phase = np.exp(-2j * np.pi * (fy[:, None, None] * dy + fx[None, :, None] * dx)) @ weights
    moved = np.fft.ifft2(np.fft.fft2(padded) * phase).real
    inner: Float = moved[margin:-margin, margin:-margin]
    return inner
