"""load_patch: the pixels of a patch, from the store."""

from __future__ import annotations

from collections.abc import Sequence

from dcrflow.geometry.box import Box
from dcrflow.geometry.footprint import Footprint
from dcrflow.geometry.skymap import Patch
from dcrflow.model.pixels import PatchPixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.steps.results import Recorder, StepResult
from dcrflow.stores.coadds.source import CoaddSource, StripSource


def load_patch(
    coadds: CoaddSource, plan: TemplatePlan, patch: Patch, box: Box, footprints: Sequence[Footprint] = ()
) -> StepResult[PatchPixels]:
    """Read part of a patch's subfilter coadds, with its mask planes moved to the plan's bits.

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
    footprints : sequence of Footprint, optional
        Of the tiles that the part is for: pixels that they do not need may be left out.
    """
    recorder = Recorder("load_patch", patch=f"{patch.tract}/{patch.patch}")
    if footprints and isinstance(coadds, StripSource):
        strips = [strip for footprint in footprints for strip in plan.strips_to_read(patch, box, footprint)]
        pixels = coadds.read_strips(patch.tract, patch.patch, plan.band, box, strips, plan.planes)
    else:
        pixels = coadds.read(patch.tract, patch.patch, plan.band, box, plan.planes)
    return recorder.result(pixels, pixels.damage)
