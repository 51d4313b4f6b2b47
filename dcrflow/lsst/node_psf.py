"""A PSF that varies over an image, given by kernels at nodes; `lsst.images` has no such class without afw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pydantic
from lsst.images import Image
from lsst.images.psfs import PointSpreadFunction
from lsst.images.serialization import (
    ArchiveTree,
    ArrayReferenceModel,
    InlineArrayModel,
    InputArchive,
    InvalidParameterError,
    OutputArchive,
)
from numpy.typing import NDArray
from scipy.ndimage import shift

from dcrflow.geometry.box import Box
from dcrflow.geometry.node_patches import NodePatches
from dcrflow.kernels.nodes import node_weights
from dcrflow.lsst.convert import box_of, lsst_box
from dcrflow.stores.coadds.patch_psf import PatchPsf

Float = NDArray[np.float64]


class NodePsf(PointSpreadFunction):
    """A PSF interpolated between kernels at nodes, by the weights that a coadd store and a template have.

    Parameters
    ----------
    nodes : PatchPsf
        Kernels of shape (num_nodes, height, width), each with sum 1 and its centre in the middle pixel; the nodes' x
        and y in the pixels of the image.
    bbox : Box
        The pixels for which it holds.
    owners : NodePatches, optional
        The patches of a template that the nodes belong to: the PSF at a position is the mean of those of the patches
        that contain it. Without it, all nodes are one grid.
    coadds : ndarray, shape (num_nodes, h, w), optional
        The coadds' own kernels at the nodes, as `NodePatches.kernel_at` takes them.
    """

    def __init__(
        self, nodes: PatchPsf, bbox: Box, owners: NodePatches | None = None, coadds: Float | None = None
    ) -> None:
        self.nodes, self._bbox, self._owners, self._coadds = nodes, bbox, owners, coadds

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, NodePsf):
            return NotImplemented
        mine, theirs = ((p.nodes.kernels, p.nodes.x, p.nodes.y) for p in (self, other))
        owners = [None if p._owners is None else p._owners.as_json() for p in (self, other)]
        same = all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))
        ours, others = ((p._coadds if p._coadds is not None else np.zeros(0)) for p in (self, other))
        return same and np.array_equal(ours, others) and self._bbox == other._bbox and owners[0] == owners[1]

    __hash__ = None  # type: ignore[assignment]

    @property
    def bounds(self) -> Any:
        """The pixels for which it holds, a `lsst.images.Box`."""
        return lsst_box(self._bbox)

    @property
    def kernel_bbox(self) -> Any:
        """The box of every kernel image; (0, 0) is its middle pixel."""
        height, width = self.nodes.kernels.shape[1:]
        return lsst_box(Box(-(width // 2), -(height // 2), width, height))

    def compute_kernel_image(self, *, x: float, y: float) -> Any:
        """The PSF at a position, centred on the middle pixel; it sums to 1."""
        return Image(self._kernel(x, y), bbox=self.kernel_bbox)

    def compute_stellar_image(self, *, x: float, y: float) -> Any:
        """The PSF of a star at a position, drawn where the star is, by a quintic spline."""
        whole = [int(np.floor(p + 0.5)) for p in (y, x)]
        kernel = shift(self._kernel(x, y), [y - whole[0], x - whole[1]], order=5, mode="grid-constant")
        return Image(kernel / kernel.sum(), bbox=self.compute_stellar_bbox(x=x, y=y))

    def compute_stellar_bbox(self, *, x: float, y: float) -> Any:
        """The box of `compute_stellar_image`."""
        height, width = self.nodes.kernels.shape[1:]
        x0, y0 = (int(np.floor(p + 0.5)) - n // 2 for p, n in ((x, width), (y, height)))
        return lsst_box(Box(x0, y0, width, height))

    def _kernel(self, x: float, y: float) -> Float:
        nodes = self.nodes.kernels, self.nodes.x, self.nodes.y
        if self._owners is None:
            kernel: Float = np.tensordot(node_weights(x, y, *nodes[1:]), nodes[0], 1)
        else:
            kernel = self._owners.kernel_at(*nodes, x, y, self._coadds)
        return kernel / kernel.sum()

    def to_legacy(self) -> Any:
        """The same as a `lsst.meas.algorithms.CoaddPsf`; needs the LSST stack."""
        from dcrflow.lsst.afw_psf import coadd_psf_of_nodes

        return coadd_psf_of_nodes(self.nodes, self._bbox)

    def serialize(self, archive: OutputArchive[Any]) -> NodePsfModel:
        """Write it to an archive of `lsst.images`."""
        return NodePsfModel(
            kernels=archive.add_array(self.nodes.kernels.astype(np.float32), name="kernels"),
            x=self.nodes.x.tolist(),
            y=self.nodes.y.tolist(),
            bbox=(self._bbox.x0, self._bbox.y0, self._bbox.width, self._bbox.height),
            owners=None if self._owners is None else self._owners.as_json(),
            coadds=None if self._coadds is None else archive.add_array(self._coadds.astype(np.float32), name="coadds"),
        )

    @staticmethod
    def _get_archive_tree_type(pointer_type: type[pydantic.BaseModel]) -> type[NodePsfModel]:
        return NodePsfModel


class NodePsfModel(ArchiveTree):
    """How a `NodePsf` is written."""

    SCHEMA_NAME: ClassVar[str] = "dcrflow_node_psf"
    SCHEMA_VERSION: ClassVar[str] = "1.0.0"
    MIN_READ_VERSION: ClassVar[int] = 1
    PUBLIC_TYPE: ClassVar[type] = NodePsf

    kernels: ArrayReferenceModel | InlineArrayModel = pydantic.Field(
        description="Kernels, shape (num_nodes, height, width); each sums to 1."
    )
    x: list[float] = pydantic.Field(description="Pixel x of each node.")
    y: list[float] = pydantic.Field(description="Pixel y of each node.")
    bbox: tuple[int, int, int, int] = pydantic.Field(description="x0, y0, width, height of where it holds.")
    owners: dict[str, Any] | None = pydantic.Field(
        None, description="Patches that the nodes belong to: wcs, node_patch, warp, and bbox and wcs of each patch."
    )
    coadds: ArrayReferenceModel | InlineArrayModel | None = pydantic.Field(
        None, description="The coadds' own kernels at the nodes, where the warped ones depend on the exact place."
    )

    def deserialize(self, archive: InputArchive[Any], **kwargs: Any) -> NodePsf:
        """Read it from an archive."""
        if kwargs:
            raise InvalidParameterError(f"a NodePsf takes no parameters, found {', '.join(map(str, kwargs))}")
        kernels = np.asarray(archive.get_array(self.kernels), np.float64)
        nodes = PatchPsf(kernels, np.asarray(self.x, float), np.asarray(self.y, float))
        coadds = None if self.coadds is None else np.asarray(archive.get_array(self.coadds), np.float64)
        return NodePsf(nodes, Box(*self.bbox), None if self.owners is None else NodePatches.of(**self.owners), coadds)


def node_psf(
    kernels: NDArray[Any],
    x: NDArray[Any],
    y: NDArray[Any],
    bbox: Any,
    owners: NodePatches | None = None,
    coadds: NDArray[Any] | None = None,
) -> NodePsf | None:
    """A `NodePsf` of the nodes whose kernel is finite; None if there is none.

    Parameters
    ----------
    kernels : ndarray, shape (num_nodes, height, width)
        NaN where a node has none.
    x, y : ndarray, shape (num_nodes,)
        Pixel position of each node.
    bbox : Box or lsst.images.Box
        The pixels for which it holds.
    owners : NodePatches, optional
        The patches that the nodes belong to.
    coadds : ndarray, shape (num_nodes, h, w), optional
        The coadds' own kernels at the nodes.
    """
    kernels = np.asarray(kernels, np.float64)
    good = np.isfinite(kernels).all(axis=(1, 2))
    good[good] = kernels[good].sum(axis=(1, 2)) > 0
    if not good.any():
        return None
    x, y = (np.asarray(v, np.float64)[good] for v in (x, y))
    if owners is not None:
        owners = replace(owners, node_patch=owners.node_patch[good])
    of_coadds = None if coadds is None else np.asarray(coadds[good], np.float64)
    return NodePsf(PatchPsf(kernels[good], x, y), box_of(bbox), owners, of_coadds)
