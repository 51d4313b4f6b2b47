"""LSST's way to DCR coadds, written plainly with scipy: shift, subtract, shift back, average; a fixed number of rounds.

After the description in DMTN-037 and DMTN-121. It knows no PSF: differences of seeing between visits go into the
subfilters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float = NDArray[np.float64]

ROUNDS = 9
GAIN = 0.5  # of a round's new solution; the rest is the old one


def iterate(
    images: Sequence[NDArray[np.floating]], shifts: Sequence[Float], order: int = 3, rounds: int = ROUNDS
) -> Float:
    """Subfilter coadds of visits of equal weight.

    Parameters
    ----------
    images : sequence of ndarray, shape (height, width)
        The visits on the patch's pixels.
    shifts : sequence of ndarray, shape (num_subfilters, 2)
        (dy, dx) of each subfilter in each visit.
    order : int
        Of the splines that shift: 1 linear, 3 cubic.

    Returns
    -------
    ndarray of float64, shape (num_subfilters, height, width)
    """
    num = len(shifts[0])
    model = np.repeat(np.mean(images, axis=0)[None] / num, num, axis=0)
    for _ in range(rounds):
        total = np.zeros_like(model)
        for image, of_visit in zip(images, shifts, strict=True):
            seen = [ndimage.shift(m, s, order=order) for m, s in zip(model, of_visit, strict=True)]
            for k, shift in enumerate(of_visit):
                rest = image - sum(s for i, s in enumerate(seen) if i != k)
                total[k] += ndimage.shift(rest, -shift, order=order)
        model = GAIN * total / len(images) + (1 - GAIN) * model
    return model
