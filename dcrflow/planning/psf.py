"""Where a template's PSF is evaluated, and from which patches; made without reading a pixel, like the plan."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.geometry.mapping import map_pixels
from dcrflow.geometry.skymap import Patch
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.tiles import TractPlan
from dcrflow.stores.coadds.source import CoaddSource

Float = NDArray[np.float64]

NODE_STEP = 256  # detector pixels between nodes, at most
_FINE = 64  # places along each side of a detector that are tried where no node of the grid is on a patch
_HALF_STEP = 2.0  # detector pixels to each side between which the coordinates are differenced


class PsfShare(NamedTuple):
    """One patch's share of the PSF at one node.

    Parameters
    ----------
    node : int
        Index of the node.
    patch : Patch
        The patch; the node is on it.
    x, y : float
        The node's tract pixel position.
    matrix : ndarray of float64, shape (2, 2)
        Jacobian d(x, y) of the tract by d(x, y) of the detector there.
    """

    node: int
    patch: Patch
    x: float
    y: float
    matrix: Float


@dataclass(frozen=True, eq=False)
class PsfPlan:
    """Where a template's PSF is evaluated.

    Parameters
    ----------
    x, y : ndarray of float64, shape (num_nodes,)
        Detector pixel position of each node.
    size : int
        Side of the kernels, odd: what the patches' kernels need when they are turned to the detector's frame.
    shares : tuple of PsfShare
        Which patches contribute where; at least one for each node.
    """

    x: Float
    y: Float
    size: int
    shares: tuple[PsfShare, ...]


def plan_psf(coadds: CoaddSource, plan: TemplatePlan, places: tuple[Float, Float] | None = None) -> PsfPlan | None:
    """Choose the nodes of a template's PSF and find the patches under them.

    The nodes are a grid over the detector's own pixels, with gaps where no patch with a PSF is.

    Parameters
    ----------
    coadds : CoaddSource
        Whose patches may have a PSF; one without it does not contribute.
    plan : TemplatePlan
        Of the template.
    places : (ndarray, ndarray), optional
        Detector pixel positions (x, y) to take for nodes instead of the grid.

    Returns
    -------
    PsfPlan or None
        None if no patch under the detector has a PSF.
    """
    if not any(_psf_shape(coadds, plan, patch) for patch in plan.patches):
        return None
    box = plan.visit.bbox
    x, y = _grid(box, NODE_STEP) if places is None else places
    shares = tuple(_shares(coadds, plan, x, y))
    if not shares and places is None:
        x, y = _grid(box, max(1, max(box.shape) // _FINE))
        covered = np.unique([share.node for share in _shares(coadds, plan, x, y)]).astype(int)
        if len(covered) == 0:
            return None
        x, y = x[covered], y[covered]
        middle = [np.argmin((x - x.mean()) ** 2 + (y - y.mean()) ** 2)]
        x, y = x[middle], y[middle]
        shares = tuple(_shares(coadds, plan, x, y))
    used = np.unique([share.node for share in shares])
    number = {node: i for i, node in enumerate(used.tolist())}
    half = max(_half_size(_psf_shape(coadds, plan, share.patch), share.matrix) for share in shares)
    return PsfPlan(x[used], y[used], 2 * half + 1, tuple(s._replace(node=number[s.node]) for s in shares))


def _psf_shape(coadds: CoaddSource, plan: TemplatePlan, patch: Patch) -> tuple[int, ...] | None:
    return coadds.info(patch.tract, patch.patch, plan.band).psf_shape


def _grid(box: Box, step: int) -> tuple[Float, Float]:
    x, y = (
        np.linspace(first, last - 1, math.ceil((last - first) / step) + 1)
        for first, last in ((box.x0, box.x1), (box.y0, box.y1))
    )
    grid_x, grid_y = np.meshgrid(x, y)
    return grid_x.ravel(), grid_y.ravel()


def _shares(coadds: CoaddSource, plan: TemplatePlan, x: Float, y: Float) -> Iterator[PsfShare]:
    """What the patches that contain the places (detector pixels) and have a PSF contribute there."""
    for tract in plan.tracts:
        u, v, matrices = _local_maps(tract, x, y)
        for patch in tract.patches:
            if _psf_shape(coadds, plan, patch) is None:
                continue
            box = patch.bbox
            within = (np.abs(u - box.x0 - (box.width - 1) / 2) <= box.width / 2) & (
                np.abs(v - box.y0 - (box.height - 1) / 2) <= box.height / 2
            )
            for node in np.flatnonzero(within).tolist():
                yield PsfShare(node, patch, float(u[node]), float(v[node]), matrices[node])


def _local_maps(tract: TractPlan, x: Float, y: Float) -> tuple[Float, Float, Float]:
    """Tract pixel positions of places on the detector, and Jacobians of the map there, shape (n, 2, 2)."""
    source, target = tract.pixel_map.source, tract.pixel_map.target
    steps = _HALF_STEP * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    u, v = map_pixels(source, target, x[:, None] + steps[:, 0], y[:, None] + steps[:, 1])
    mapped = np.stack([u, v], axis=1)
    matrices = np.stack([mapped[..., 1] - mapped[..., 2], mapped[..., 3] - mapped[..., 4]], axis=-1)
    return u[:, 0], v[:, 0], matrices / (2 * _HALF_STEP)


def _half_size(shape: tuple[int, ...] | None, matrix: Float) -> int:
    """Pixels from the middle of a kernel of this shape to its edge, once it is turned to the detector's frame."""
    assert shape is not None  # of the patches that contribute
    half = np.array([shape[2] // 2, shape[1] // 2])
    return max(1, math.ceil(float(np.max(np.abs(np.linalg.inv(matrix)) @ half)) - 0.05))
