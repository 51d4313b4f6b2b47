"""load_patch: the pixels of a patch, from the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import starmap

from dcrflow.geometry.box import Box
from dcrflow.geometry.footprint import Footprint
from dcrflow.geometry.skymap import Patch
from dcrflow.model.pixels import PatchPixels
from dcrflow.planning.template import TemplatePlan
from dcrflow.planning.tiles import TilePart
from dcrflow.steps.results import Recorder, StepResult
from dcrflow.stores.coadds.source import CoaddSource, StripSource

READS_AT_ONCE = 6  # where the coadds are far away, as many requests are under way together


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


def load_patches(
    coadds: CoaddSource, plan: TemplatePlan, parts: Sequence[TilePart]
) -> tuple[list[StepResult[PatchPixels]], ...]:
    """`load_patch` for all that a tile needs: for each of its parts, the patches in the order of ``part.reads``.

    Patches are read at the same time, from a source that several threads may read from.
    """
    wanted = [(patch, region, part.footprint) for part in parts for patch, region in part.reads]

    def load(patch: Patch, region: Box, footprint: Footprint) -> StepResult[PatchPixels]:
        return load_patch(coadds, plan, patch, region, [footprint])

    if coadds.concurrent_reads and len(wanted) > 1:
        with ThreadPoolExecutor(READS_AT_ONCE) as pool:
            found: Iterator[StepResult[PatchPixels]] = pool.map(load, *zip(*wanted, strict=True))
    else:
        found = starmap(load, wanted)
    return tuple([next(found) for _ in part.reads] for part in parts)
