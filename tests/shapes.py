"""Shapes of stars and PSF kernels, measured by GalSim."""

import galsim
import numpy as np


def hsm(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """Adaptive second moments (xx, yy, xy), pixels^2, and the centroid, by GalSim."""
    found = galsim.hsm.FindAdaptiveMom(
        galsim.Image(np.ascontiguousarray(image, np.float64)), guess_centroid=galsim.PositionD(x + 1, y + 1)
    )
    ellipse, size = found.observed_shape, found.moments_sigma**2  # sigma = det^(1/4)
    half = size / np.sqrt(1 - ellipse.e**2)
    return np.array([half * (1 + ellipse.e1), half * (1 - ellipse.e1), half * ellipse.e2,
                     found.moments_centroid.x - 1, found.moments_centroid.y - 1])  # fmt: skip
