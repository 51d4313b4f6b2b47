"""What the kernels take and fill: groups of arrays that belong together. Numba accepts named tuples as they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


class MaskedImage(NamedTuple):
    """Image, variance and mask of the same pixels.

    Parameters
    ----------
    image : ndarray of float32 or float64, shape ([num_subfilters,] height, width)
        nJy.
    variance : ndarray of float32, shape ([num_subfilters or 1,] height, width)
        nJy^2.
    mask : ndarray of int32, shape ([num_subfilters or 1,] height, width)
        Mask planes.
    """

    image: NDArray[Any]
    variance: NDArray[np.float32]
    mask: NDArray[Any]


class RunningMean(NamedTuple):
    """Weighted means of the contributors so far, pixel by pixel. All arrays have shape (height, width).

    Parameters
    ----------
    image : ndarray of float32 or float64
        Mean, nJy; NaN before the first contributor.
    variance : ndarray of float32
        Mean with the same weights, nJy^2; undefined where the weight is 0.
    mask : ndarray of int32
        OR of the contributors' masks.
    weight : ndarray of float32
        Sum of the weights.
    """

    image: NDArray[Any]
    variance: NDArray[np.float32]
    mask: NDArray[np.int32]
    weight: NDArray[np.float32]


class LightRange(NamedTuple):
    """Range of whole pixels, inclusive, that the light of each image of a stack moves by; shape (n,) each."""

    y_low: Int
    y_high: Int
    x_low: Int
    x_high: Int


class TapTable(NamedTuple):
    """Convolution kernels of different shapes, one after the other in one array.

    Parameters
    ----------
    taps : ndarray of float32, shape (any,)
        The taps of all kernels; each kernel is a stack of shape (m, ky, kx), as `convolve_sum` takes it.
    start : ndarray of int64, shape (num_kernels + 1,)
        Where each kernel begins in `taps`, and one past the last.
    shape : ndarray of int64, shape (num_kernels, 2)
        Number of taps along y and x.
    low : ndarray of int64, shape (num_kernels, 2, m)
        Offset of the first tap along y and x, by image of the stack.
    """

    taps: NDArray[np.float32]
    start: Int
    shape: Int
    low: Int


class CellTable(NamedTuple):
    """The DCR kernels of the pieces of a patch, each different kernel once.

    Parameters
    ----------
    kernel_of : ndarray of int64, shape (num_pieces,)
        Which of the kernels each piece takes.
    image, variance : TapTable
        Kernels of the image and of the variance.
    light : ndarray of int64, shape (num_kernels, 4, num_subfilters or 1)
        The fields of `LightRange`, for the mask.
    """

    kernel_of: Int
    image: TapTable
    variance: TapTable
    light: Int


class CoordinateGrid(NamedTuple):
    """Input coordinates at every `step`-th output pixel along y and x; linear between these nodes.

    Parameters
    ----------
    y, x : ndarray of float64, shape (ny, nx)
        Input pixel coordinates of the nodes.
    step : int
        Output pixels between nodes.
    y0, x0 : int
        Output pixel (0, 0), counted in output pixels from the first node.
    """

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    step: int
    y0: int
    x0: int
