"""The PSF of a patch's coadds in a DCR-coadd store: kernels at nodes."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from dcrflow.base.errors import CoaddStoreError, brief
from dcrflow.compat.zarr_sync import sync
from dcrflow.kernels.nodes import node_weights
from dcrflow.stores.zarr.access import words_of
from dcrflow.stores.zarr.arrays import UNDECODABLE, without_fill

_MOST = 1 << 26  # numbers in all kernels of a patch, at most

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PatchPsf:
    """The PSF of a patch.

    Parameters
    ----------
    kernels : ndarray of float64, shape (num_nodes, height, width)
        Each sums to 1; odd shape, centred.
    x, y : ndarray of float64, shape (num_nodes,)
        Tract pixel position of each node.
    """

    kernels: Float
    x: Float
    y: Float

    def at(self, x: float, y: float) -> Float:
        """The kernel at a tract pixel position, interpolated between nodes; it sums to 1."""
        kernel: Float = np.tensordot(node_weights(x, y, self.x, self.y), self.kernels, 1)
        return kernel


def read_patch_psf(group: zarr.AsyncGroup, where: str) -> PatchPsf | None:
    """Read the PSF of a patch.

    Parameters
    ----------
    group : zarr.AsyncGroup
        Of the patch and band; it has a variable ``psf``.
    where : str
        The patch's name in messages.

    Returns
    -------
    PatchPsf or None
        Nodes whose kernel is not finite or has no flux are left out. None if no node is left.

    Raises
    ------
    CoaddStoreError
        If the kernels or the nodes' positions are missing, do not fit each other, or cannot be read.
    """

    async def one(name: str) -> NDArray[Any]:
        try:
            array: Any = await group.getitem(name)
            if array.dtype.kind != "f" or math.prod(array.shape) > _MOST or math.prod(array.chunks) > _MOST:
                raise ValueError(
                    f"it has dtype {array.dtype}, shape {brief(array.shape)} and chunks {brief(array.chunks)}, "
                    f"expected at most {_MOST} floating-point numbers"
                )
            try:
                return np.asarray(await without_fill(array).getitem(...), np.float64)
            except UNDECODABLE:
                return np.full(array.shape, np.nan)
        except KeyError:
            raise CoaddStoreError(f"{where} has a psf but no variable {name!r}; write the patch again") from None
        except Exception as error:
            raise CoaddStoreError(f"{where}: cannot read variable {name!r}: {words_of(error)}") from error

    async def every() -> list[NDArray[Any]]:
        return await asyncio.gather(*(one(name) for name in ("psf", "psf_node_x", "psf_node_y")))

    kernels, x, y = sync(every())
    if not x.shape == y.shape == kernels.shape[:1]:
        raise CoaddStoreError(
            f"{where}: {len(kernels)} psf kernels, but psf_node_x has shape {x.shape} and psf_node_y {y.shape}"
        )
    flux = kernels.sum(axis=(1, 2))
    good = np.isfinite(flux) & (flux > 0) & np.isfinite(x) & np.isfinite(y)
    if not good.any():
        return None
    return PatchPsf(kernels[good] / flux[good, None, None], x[good], y[good])
