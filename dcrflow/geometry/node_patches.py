"""Whose PSF holds where: the nodes of a template's PSF belong to patches, and hold on the pixels of their patch.

A template that was interpolated by Lanczos kernels has, at each place, a PSF that depends on where the place lies
between the pixels of the coadd (`dcrflow.kernels.psf`). Its nodes hold the PSF at their own places. For other places
such a template also keeps the coadds' PSF at the nodes, which is then warped at the place that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.geometry.mapping import local_maps
from dcrflow.geometry.wcs import SkyWcs
from dcrflow.kernels.interpolation import INTERPOLATIONS, Interpolation
from dcrflow.kernels.nodes import node_weights

Float = NDArray[np.float64]


@dataclass(frozen=True)
class NodePatches:
    """The patches that the nodes of a PSF belong to.

    Parameters
    ----------
    wcs : SkyWcs
        Of the image whose PSF it is.
    node_patch : ndarray of int64, shape (num_nodes,)
        Index into `patches` for each node.
    patches : sequence of (Box, SkyWcs)
        Outline and WCS of each patch, in its tract's pixels.
    warp : str, optional
        The interpolation between pixels by which the kernels were made; empty if not known.
    """

    wcs: SkyWcs
    node_patch: NDArray[np.int64]
    patches: Sequence[tuple[Box, SkyWcs]]
    warp: str = ""

    @classmethod
    def of(
        cls, wcs: Mapping[str, Any], node_patch: Any, patches: Sequence[Mapping[str, Any]], warp: str = ""
    ) -> NodePatches:
        """From what a template keeps: cards of its WCS, the variable ``psf_node_patch``, the attribute ``psf_patches``.

        A patch whose WCS FITS cards cannot say holds nowhere.
        """
        nowhere = Box(0, 0, 0, 0), SkyWcs.from_header(dict(wcs))
        known = [
            (Box(*patch["bbox"]), SkyWcs.from_header(dict(patch["wcs"]))) if patch["wcs"] else nowhere
            for patch in patches
        ]
        return cls(SkyWcs.from_header(dict(wcs)), np.asarray(node_patch, np.int64), known, warp)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON has it, for `of`."""
        return {
            "wcs": {c.keyword: c.value for c in self.wcs.header.cards if c.keyword},
            "node_patch": self.node_patch.tolist(),
            "patches": [
                {"bbox": box.as_list(), "wcs": {c.keyword: c.value for c in wcs.header.cards if c.keyword}}
                for box, wcs in self.patches
            ],
            "warp": self.warp,
        }

    def kernel_at(
        self, kernels: Float, node_x: Float, node_y: Float, x: float, y: float, coadds: Float | None = None
    ) -> Float:
        """The PSF at a pixel position: the mean over the patches that contain it, as in LSST's CoaddPsf.

        Parameters
        ----------
        kernels : ndarray of float64, shape (num_nodes, n, n)
            Of the nodes; each sums to 1.
        node_x, node_y : ndarray of float64, shape (num_nodes,)
            Pixel position of each node.
        x, y : float
            The position.
        coadds : ndarray of float64, shape (num_nodes, height, width), optional
            The PSF of each node's patch at the node, in the patch's pixels: needed where the kernels depend on the
            place between them.

        Returns
        -------
        ndarray of float64, shape (n, n)
            Sums to about 1. Interpolated between all nodes where no patch contains the position.
        """
        containing = self._containing(x, y)
        if not containing:
            return np.asarray(np.tensordot(node_weights(x, y, node_x, node_y), kernels, 1))
        interpolation = INTERPOLATIONS.get(self.warp)
        total = np.zeros(kernels.shape[1:])
        for index in containing:
            own = self.node_patch == index
            weights = node_weights(x, y, node_x[own], node_y[own])
            if coadds is not None and interpolation is not None and interpolation.depends_on_place:
                total += self._drawn(index, np.tensordot(weights, coadds[own], 1), x, y, len(total), interpolation)
            else:
                total += np.tensordot(weights, kernels[own], 1)
        return total / len(containing)

    def _drawn(self, index: int, kernel: Float, x: float, y: float, size: int, interpolation: Interpolation) -> Float:
        """The PSF of a patch, warped at a position."""
        from dcrflow.kernels.psf import warp_psf_kernel  # imports numba

        places = local_maps(self.wcs, self.patches[index][1], np.array([x]), np.array([y]))
        ((u, v, matrix),) = zip(*places, strict=True)
        return warp_psf_kernel(kernel, (float(u), float(v)), matrix, size, interpolation)

    def _containing(self, x: float, y: float) -> list[int]:
        """The patches with nodes that contain a pixel position."""
        sky = self.wcs.pixel_to_sky(np.array([x]), np.array([y]))
        found = []
        for index, (box, wcs) in enumerate(self.patches):
            if box.is_empty or index not in self.node_patch:
                continue
            u, v = (float(p[0]) for p in wcs.sky_to_pixel(*sky))
            if box.x0 - 0.5 <= u <= box.x1 - 0.5 and box.y0 - 0.5 <= v <= box.y1 - 0.5:
                found.append(index)
        return found
