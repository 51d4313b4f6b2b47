"""warp_psf: the template's PSF at the planned nodes. load_psf: the coadds' PSF there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dcrflow.kernels.interpolation import Interpolation
from dcrflow.kernels.psf import warp_psf_kernel
from dcrflow.planning.psf import PsfPlan, PsfShare
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps.resample import resample_psf_kernel
from dcrflow.stores.coadds.source import CoaddSource


class TemplatePsf(NamedTuple):
    """The PSF of a template; its arrays are in memory or lazy.

    Parameters
    ----------
    nodes : PsfPlan
        Where it is known.
    kernels : array of float32, shape (num_nodes, nodes.size, nodes.size)
        What `warp_psf` made.
    coadds : array of float32, shape (num_nodes, *nodes.coadd_shape), optional
        What `load_psf` read, if the nodes have a `coadd_shape`.
    """

    nodes: PsfPlan
    kernels: Any
    coadds: Any = None

    @classmethod
    def made(cls, source: CoaddSource, plan: TemplatePlan, nodes: PsfPlan) -> TemplatePsf:
        """Make it, in memory."""
        kernels = warp_psf(source, plan, nodes)
        return cls(nodes, kernels, None if nodes.coadd_shape is None else load_psf(source, plan, nodes))


def load_psf(coadds: CoaddSource, plan: TemplatePlan, psf: PsfPlan) -> NDArray[np.float32]:
    """Read the PSF of each node's patch at the node.

    Returns
    -------
    ndarray of float32, shape (num_nodes, *psf.coadd_shape)
        In tract pixels; zero around kernels that are smaller, NaN where the patch's kernels turn out to be unusable.
    """
    assert psf.coadd_shape is not None
    found = np.full((len(psf.x), *psf.coadd_shape), np.nan, np.float32)
    kept = {patch: coadds.read_psf(patch.tract, patch.patch, plan.band) for patch in psf.patches}
    for share in psf.shares:
        of_patch = kept[share.patch]
        if of_patch is not None:
            kernel = of_patch.at(share.x, share.y)
            around = [(n - k) // 2 for n, k in zip(psf.coadd_shape, kernel.shape, strict=True)]
            found[share.node] = np.pad(kernel, [(n, n) for n in around])
    return found


def warp_psf(coadds: CoaddSource, plan: TemplatePlan, psf: PsfPlan) -> NDArray[np.float32]:
    """Average the PSFs of the patches at each node, each turned to the detector's frame by the local affine map.

    Every patch that contains the node has weight 1. The kernels are interpolated as the template's pixels are.

    Parameters
    ----------
    coadds : CoaddSource
        The store.
    plan : TemplatePlan
        Gives the band and the interpolation.
    psf : PsfPlan
        The nodes.

    Returns
    -------
    ndarray of float32, shape (num_nodes, psf.size, psf.size)
        Each sums to 1; NaN where the coadds' kernels turn out to be unusable.
    """
    total = np.zeros((len(psf.x), psf.size, psf.size))
    number = np.zeros(len(psf.x))
    kept = {patch: coadds.read_psf(patch.tract, patch.patch, plan.band) for patch in {s.patch for s in psf.shares}}
    for share in psf.shares:
        of_patch = kept[share.patch]
        if of_patch is not None:
            kernel = of_patch.at(share.x, share.y)
            total[share.node] += _warped(kernel, share, psf.size, plan.interpolation)
            number[share.node] += 1
    total[number == 0] = np.nan  # not 0 / 0, which has another sign: stores do not keep it
    return (total / np.maximum(number, 1)[:, None, None]).astype(np.float32)


def _warped(
    kernel: NDArray[np.float64], share: PsfShare, size: int, interpolation: Interpolation
) -> NDArray[np.float64]:
    if interpolation.weight is None:
        return resample_psf_kernel(interpolation, kernel, share.matrix, size)
    return warp_psf_kernel(kernel, (share.x, share.y), share.matrix, size, interpolation)
