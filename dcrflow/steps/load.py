"""load_patch: the pixels of a patch, from the store."""

from __future__ import annotations

from dcrflow.geometry.box import Box
from dcrflow.geometry.skymap import Patch
from dcrflow.pixels import PatchPixels
from dcrflow.plan import TemplatePlan
from dcrflow.stores.source import CoaddSource


def load_patch(coadds: CoaddSource, plan: TemplatePlan, patch: Patch, box: Box) -> PatchPixels:
    """Read part of a patch's subfilter coadds, its mask planes moved to the plan's bits.

    Parameters
    ----------
    coadds : CoaddSource
        The subfilter coadds.
    plan : TemplatePlan
        Gives the band and the mask planes.
    patch : Patch
        Which patch.
    box : Box
        Which part of it, absolute tract pixels.
    """
    return coadds.read(patch.tract, patch.patch, plan.band, box, plan.planes)
