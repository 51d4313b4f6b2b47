"""Image subtraction with a free matching kernel, as Alard and Lupton (1998) fit it, for fair comparisons.

The kernel takes up what differs between the PSFs of the science image and the template, and a shift that all stars
have in common. What is left is what no single kernel can mend: residuals that depend on a star's colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

REACH = 3  # pixels from the middle of the kernel to its edge


@dataclass(frozen=True, eq=False)
class Subtraction:
    """A template, matched to a science image.

    Parameters
    ----------
    template : ndarray of float64, shape (height, width)
        The template convolved with the kernel, plus the background; NaN within the kernel's reach of a NaN.
    kernel : ndarray of float64, shape (2 reach + 1, 2 reach + 1)
        The kernel.
    background : float
        Added to the convolved template.
    """

    template: Float
    kernel: Float
    background: float


def subtract(science: Float, template: Float, variance: Float, fitted: Bool, reach: int = REACH) -> Subtraction:
    """Fit a kernel and a constant background by least squares, the same over the whole image.

    Parameters
    ----------
    science, template, variance : ndarray of float64, shape (height, width)
        Of the same pixels; `variance` weighs the fit.
    fitted : ndarray of bool, shape (height, width)
        Pixels that are fitted: usable ones around stars.
    reach : int
        Pixels from the middle of the kernel to its edge.

    Raises
    ------
    ValueError
        If fewer pixels can be fitted than the kernel has values.
    """
    side = 2 * reach + 1
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(template, reach, constant_values=np.nan), (side, side))
    clean = np.isfinite(windows).all(axis=(2, 3))
    used = fitted & clean & np.isfinite(science) & np.isfinite(variance) & (variance > 0)
    if np.count_nonzero(used) <= side * side:
        raise ValueError(f"{np.count_nonzero(used)} pixels cannot determine a kernel of {side} x {side} pixels")
    weight = 1.0 / np.sqrt(variance[used])
    design = np.column_stack([windows[used].reshape(-1, side * side), np.ones(np.count_nonzero(used))])
    found = np.linalg.lstsq(design * weight[:, None], science[used] * weight, rcond=1e-10)[0]
    kernel, background = found[:-1].reshape(side, side), float(found[-1])
    return Subtraction(np.einsum("yxij,ij->yx", windows, kernel) + background, kernel[::-1, ::-1], background)
