"""The output PSF of every subfilter of a coadd: one Moffat profile for all patches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def moffat_stamp(fwhm: float, beta: float = 3.0, size: int = 41) -> NDArray[np.float32]:
    """A round Moffat profile, sampled at the centres of pixels.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum, pixels.
    beta : float
        Exponent of the Moffat profile; more than 1.
    size : int
        Side of the stamp, pixels; odd.

    Returns
    -------
    ndarray of float32, shape (size, size)
        The sum is the fraction of the light inside the stamp.
    """
    if not (np.isfinite(fwhm) and fwhm > 0 and beta > 1 and size % 2 == 1):
        raise ValueError(f"a Moffat needs fwhm > 0, beta > 1 and an odd size, found {fwhm}, {beta}, {size}")
    squared = (fwhm / 2) ** 2 / (2 ** (1 / beta) - 1)
    axis = np.arange(size) - size // 2
    radius2 = axis[:, None] ** 2 + axis**2
    return np.asarray((beta - 1) / (np.pi * squared) * (1 + radius2 / squared) ** -beta, np.float32)
