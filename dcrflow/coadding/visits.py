"""One visit on a patch, and on one cell of the patch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dcrflow.coadding.cells import Cell, CellGrid, cut
from dcrflow.kernels.coadd_pixels import blank_holes

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VisitOnFrame:
    """One visit (or one detector-visit), warped to the pixel grid of a patch's frame.

    `image` and `valid` may be memory-mapped files or other objects that slice like numpy arrays. They are read one cell
    at a time, so a worker's memory does not grow with the number of visits.

    Parameters
    ----------
    name : tuple of (int, int)
        Visit and detector; detector -1 where several detectors of a visit are on one frame.
    image : array of float32, shape (height, width)
        nJy per pixel of the patch, background subtracted. Pixels that are not valid may have any value, also NaN.
    valid : array of bool, shape (height, width)
        Pixels with good data: no bad, saturated or cosmic-ray pixel within reach of the warping kernel.
    sigma : float
        Noise of the sky, nJy per pixel, before the warp correlated it: sqrt of the median variance of sky pixels, times
        the ratio of pixel areas. Weights are sigma^-2. The photon noise of sources must not be included, because it
        would bias the fluxes of bright stars.
    gain : float
        Photon noise: variance (nJy^2) per nJy of a pixel's light; 0 if unknown.
    psf : ndarray of float32, shape (1 or num_cells, n, n)
        PSF of the warped image on the frame's pixels, at each cell's `centre`; n is odd, and the PSF is centred on the
        middle pixel. Its sum is the fraction of a star's light inside the stamp; do not renormalise it.
    displacement : ndarray of float64, shape (1 or num_cells, num_nodes, 2)
        Displacement (dy, dx) by DCR at each cell's centre, frame pixels, for each wavelength of
        `SpectralBasis.wavelength`, relative to the band's effective wavelength.
    edges : array of bool, shape (height, width), optional
        Pixels near the edge of a sensor; only used for the plane SENSOR_EDGE.
    """

    name: tuple[int, int]
    image: NDArray[np.float32]
    valid: NDArray[np.bool_]
    sigma: float
    gain: float
    psf: NDArray[np.float32]
    displacement: Float
    edges: NDArray[np.bool_] | None = None

    def check(self, grid: CellGrid, num_nodes: int) -> None:
        """Raise ValueError, with the name of the visit, if shapes or values cannot be used."""
        who = f"visit {self.name[0]} detector {self.name[1]}"
        if self.image.shape != grid.shape or self.valid.shape != grid.shape:
            raise ValueError(f"{who}: image {self.image.shape} and valid {self.valid.shape} do not fit {grid.shape}")
        if not (np.isfinite(self.sigma) and self.sigma > 0 and np.isfinite(self.gain) and self.gain >= 0):
            raise ValueError(f"{who}: sigma {self.sigma} must be positive and gain {self.gain} not negative")
        n = self.psf.shape[-1]
        if self.psf.ndim != 3 or self.psf.shape[1] != n or n % 2 == 0 or len(self.psf) not in (1, len(grid)):
            raise ValueError(f"{who}: psf of shape {self.psf.shape}; expected ({len(grid)} or 1, n, n) with n odd")
        if not np.all(np.isfinite(self.psf)) or np.any(self.psf.sum(axis=(1, 2)) <= 0):
            raise ValueError(f"{who}: the psf is not finite, or its sum is not positive")
        shape = self.displacement.shape
        if len(shape) != 3 or shape[0] not in (1, len(grid)) or shape[1:] != (num_nodes, 2):
            raise ValueError(f"{who}: displacement of shape {shape}; expected ({len(grid)} or 1, {num_nodes}, 2)")
        if not np.all(np.isfinite(self.displacement)):
            raise ValueError(f"{who}: the displacement is not finite")

    def on(self, cell: Cell) -> VisitOnCell | None:
        """The part of the visit on a cell; None if it has no valid pixel there."""
        valid = np.asarray(cut(self.valid, cell.box, False), np.bool_)
        if not valid.any():
            return None
        image = np.asarray(cut(self.image, cell.box, 0.0), np.float32)
        blank_holes(image, valid)
        psf = self.psf[cell.index if len(self.psf) > 1 else 0]
        displacement = self.displacement[cell.index if len(self.displacement) > 1 else 0]
        return VisitOnCell(self.name, image, valid, self.sigma, self.gain, psf, displacement)


@dataclass(frozen=True, eq=False)
class VisitOnCell:
    """One visit on one cell; fields as in `VisitOnFrame`, with shapes (side, side), (n, n) and (num_nodes, 2).

    The image is 0 where it is not valid.
    """

    name: tuple[int, int]
    image: NDArray[np.float32]
    valid: NDArray[np.bool_]
    sigma: float
    gain: float
    psf: NDArray[np.float32]
    displacement: Float


@dataclass(frozen=True)
class Correction:
    """Flux scale and shift of a visit relative to the model, from self-calibration.

    Parameters
    ----------
    scale : float
        Ratio of the visit's flux to the model's.
    dy, dx : float
        Position of the visit's stars minus that of the model's, pixels.
    error : (float, float, float)
        Standard errors of the three.
    """

    scale: float = 1.0
    dy: float = 0.0
    dx: float = 0.0
    error: tuple[float, float, float] = (0.0, 0.0, 0.0)
