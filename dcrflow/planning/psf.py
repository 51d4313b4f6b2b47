"""Where a template's PSF is evaluated, and from which patches; made without reading a pixel, like the plan."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.geometry.mapping import local_maps, map_pixels
from dcrflow.geometry.skymap import Patch
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.tiles import TractPlan
from dcrflow.stores.coadds.source import CoaddSource

Float = NDArray[np.float64]

NODE_STEP = 256  # detector pixels between nodes, at most
_FINE = 64  # places along each side of a detector at which it is seen whether a patch covers it


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
        Which patches contribute to which node: at least one per node, and exactly one if the nodes are of `patches`.
    patches : tuple of Patch
        Those that the nodes are of; empty where a node is of all patches that contain it.
    node_patch : ndarray of int64, shape (num_nodes,)
        Index into `patches` of each node's; empty with them.
    coadd_shape : (int, int), optional
        Shape (height, width) that holds the kernels of all these patches, if a template keeps them too because the PSF
        between its nodes cannot be had without them: where the interpolation depends on the place between the pixels.
    """

    x: Float
    y: Float
    size: int
    shares: tuple[PsfShare, ...]
    patches: tuple[Patch, ...] = ()
    node_patch: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    coadd_shape: tuple[int, int] | None = None


def plan_psf(coadds: CoaddSource, plan: TemplatePlan, places: tuple[Float, Float] | None = None) -> PsfPlan | None:
    """Choose the nodes of a template's PSF and find the patches under them.

    Every patch with a PSF has nodes of its own, a grid around the part of the detector's own pixels that it covers, so
    that the template's PSF changes at the patches' borders as the coadds' does. `places` are averaged over the patches.

    Parameters
    ----------
    coadds : CoaddSource
        Whose patches may have a PSF; one without it does not contribute.
    plan : TemplatePlan
        Of the template.
    places : (ndarray, ndarray), optional
        Detector pixel positions (x, y) to take for nodes instead of the grids.

    Returns
    -------
    PsfPlan or None
        None if no patch under the detector has a PSF.
    """
    if not any(_psf_shape(coadds, plan, patch) for patch in plan.patches):
        return None
    if places is None:
        return _plan_by_patch(coadds, plan)
    shares = tuple(_shares(coadds, plan, *places))
    if not shares:
        return None
    used = np.unique([share.node for share in shares])
    number = {node: i for i, node in enumerate(used.tolist())}
    renumbered = tuple(s._replace(node=number[s.node]) for s in shares)
    return PsfPlan(places[0][used], places[1][used], _size(coadds, plan, shares), renumbered)


def _plan_by_patch(coadds: CoaddSource, plan: TemplatePlan) -> PsfPlan | None:
    """Nodes of each patch that covers any of the detector."""
    shares: list[PsfShare] = []
    patches: list[Patch] = []
    x: list[float] = []
    y: list[float] = []
    of_patch: list[int] = []
    for tract in plan.tracts:
        for patch in tract.patches:
            covered = None if _psf_shape(coadds, plan, patch) is None else _covered(plan, tract, patch)
            if covered is None:
                continue
            node_x, node_y = _grid(covered, NODE_STEP)
            u, v, matrices = local_maps(tract.pixel_map.source, tract.pixel_map.target, node_x, node_y)
            shares += [PsfShare(len(x) + i, patch, float(u[i]), float(v[i]), matrices[i]) for i in range(len(node_x))]
            x += node_x.tolist()
            y += node_y.tolist()
            of_patch += [len(patches)] * len(node_x)
            patches.append(patch)
    if not shares:
        return None
    size = _size(coadds, plan, shares)
    node_patch = np.array(of_patch, np.int64)
    shape = None
    if plan.interpolation.depends_on_place:
        shapes = np.array([_psf_shape(coadds, plan, patch) for patch in patches])
        shape = int(shapes[:, 1].max()), int(shapes[:, 2].max())
    return PsfPlan(np.array(x), np.array(y), size, tuple(shares), tuple(patches), node_patch, shape)


def _covered(plan: TemplatePlan, tract: TractPlan, patch: Patch) -> Box | None:
    """The box around the detector's own pixels that a patch covers; None if it covers none."""
    box = plan.visit.bbox
    x, y = _grid(box, max(1, max(box.shape) // _FINE))
    source, target = tract.pixel_map.source, tract.pixel_map.target
    within = _contains(patch.bbox, *map_pixels(source, target, x, y))
    edge_x, edge_y = map_pixels(target, source, *patch.bbox.outline())
    on_detector = _contains(box, edge_x, edge_y)
    x, y = (np.concatenate([a[within], b[on_detector]]) for a, b in ((x, edge_x), (y, edge_y)))
    return Box.around(x, y).intersection(box) if len(x) else None


def _contains(box: Box, x: Float, y: Float) -> NDArray[np.bool_]:
    """Which places are on the pixels of a box."""
    across = np.abs(x - box.x0 - (box.width - 1) / 2) <= box.width / 2
    found: NDArray[np.bool_] = across & (np.abs(y - box.y0 - (box.height - 1) / 2) <= box.height / 2)
    return found


def _size(coadds: CoaddSource, plan: TemplatePlan, shares: Iterable[PsfShare]) -> int:
    """Side of the kernels, odd."""
    return 2 * max(_half_size(_psf_shape(coadds, plan, share.patch), share.matrix) for share in shares) + 1


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
        u, v, matrices = local_maps(tract.pixel_map.source, tract.pixel_map.target, x, y)
        for patch in tract.patches:
            if _psf_shape(coadds, plan, patch) is None:
                continue
            for node in np.flatnonzero(_contains(patch.bbox, u, v)).tolist():
                yield PsfShare(node, patch, float(u[node]), float(v[node]), matrices[node])


def _half_size(shape: tuple[int, ...] | None, matrix: Float) -> int:
    """Pixels from the middle of a kernel of this shape to its edge, once it is turned to the detector's frame."""
    assert shape is not None  # of the patches that contribute
    half = np.array([shape[2] // 2, shape[1] // 2])
    return max(1, math.ceil(float(np.max(np.abs(np.linalg.inv(matrix)) @ half)) - 0.05))
