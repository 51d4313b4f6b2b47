"""Whose PSF holds where: the nodes of a template's PSF belong to patches, and hold on the pixels of their patch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dcrflow.geometry.box import Box
from dcrflow.geometry.wcs import SkyWcs


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
    """

    wcs: SkyWcs
    node_patch: NDArray[np.int64]
    patches: Sequence[tuple[Box, SkyWcs]]

    @classmethod
    def of(cls, wcs: Mapping[str, Any], node_patch: Any, patches: Sequence[Mapping[str, Any]]) -> NodePatches:
        """From what a template keeps: cards of its WCS, the variable ``psf_node_patch``, the attribute ``psf_patches``.

        A patch whose WCS FITS cards cannot say holds nowhere.
        """
        nowhere = Box(0, 0, 0, 0), SkyWcs.from_header(dict(wcs))
        known = [
            (Box(*patch["bbox"]), SkyWcs.from_header(dict(patch["wcs"]))) if patch["wcs"] else nowhere
            for patch in patches
        ]
        return cls(SkyWcs.from_header(dict(wcs)), np.asarray(node_patch, np.int64), known)

    def as_json(self) -> dict[str, Any]:
        """The same as JSON has it, for `of`."""
        return {
            "wcs": {c.keyword: c.value for c in self.wcs.header.cards if c.keyword},
            "node_patch": self.node_patch.tolist(),
            "patches": [
                {"bbox": box.as_list(), "wcs": {c.keyword: c.value for c in wcs.header.cards if c.keyword}}
                for box, wcs in self.patches
            ],
        }

    def at(self, x: float, y: float) -> list[NDArray[np.bool_]]:
        """The nodes of each patch that contains a pixel position; all nodes together where none does."""
        sky = self.wcs.pixel_to_sky(np.array([x]), np.array([y]))
        chosen = []
        for index, (box, wcs) in enumerate(self.patches):
            own = self.node_patch == index
            if box.is_empty or not own.any():
                continue
            u, v = (float(p[0]) for p in wcs.sky_to_pixel(*sky))
            if box.x0 - 0.5 <= u <= box.x1 - 0.5 and box.y0 - 0.5 <= v <= box.y1 - 0.5:
                chosen.append(own)
        return chosen or [np.ones(len(self.node_patch), np.bool_)]
