"""load_patch: the pixels of a patch, from the store."""

from __future__ import annotations

from dcrflow.geometry.box import Box
from dcrflow.geometry.footprint import Footprint
from dcrflow.geometry.skymap import Patch
from dcrflow.pixels import PatchPixels
from dcrflow.plan import TemplatePlan
from dcrflow.stores.source import CoaddSource, StripSource


def load_patch(
    coadds: CoaddSource, plan: TemplatePlan, patch: Patch, box: Box, footprint: Footprint | None = None
) -> PatchPixels:
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
    footprint : Footprint, optional
        Of the tile that the part is for: what is out of its reach may be left out.
    """
    if footprint is not None and isinstance(coadds, StripSource):
        strips = plan.strips_to_read(patch, box, footprint)
        return coadds.read_strips(patch.tract, patch.patch, plan.band, box, strips, plan.planes)
    return coadds.read(patch.tract, patch.patch, plan.band, box, plan.planes)
