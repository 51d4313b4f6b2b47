"""The steps of a template: load_patch -> shift_subfilters -> warp_tract -> mosaic_tracts, a module each.

Beside them are map_variance, which takes all tiles, and load_psf and warp_psf, which take none.

Each takes results of the steps before it and returns a `StepResult`: pixels, timing, damage. The lazy graph's tasks
read and shift each tract for a group of tiles, and warp it to each of them. `make_region` makes a whole region in one
task. Both shift a tract band by band (`dcrflow.steps.tract_bands`), so that what tiles share is made once. A pixel of
the result depends on the inputs alone and not on the tile that it was computed in: the DCR is evaluated on a grid
fixed to the tract, coordinates on one fixed to the detector, and every filter has a finite radius that the tile's
margin covers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcrflow.base.lazy import lazy_names

if TYPE_CHECKING:
    from dcrflow.steps.high_variance import flag_high_variance, map_variance
    from dcrflow.steps.load import load_patch, load_patches
    from dcrflow.steps.mosaic import mosaic_tracts
    from dcrflow.steps.psf import TemplatePsf, load_psf, warp_psf
    from dcrflow.steps.region import make_region, make_tile
    from dcrflow.steps.results import StepResult
    from dcrflow.steps.shift import shift_subfilters
    from dcrflow.steps.tract_bands import load_rows, shift_bands
    from dcrflow.steps.warp import warp_tract
    from dcrflow.steps.write import assemble, make_template, write_tiles

__all__ = [
    "StepResult",
    "TemplatePsf",
    "assemble",
    "flag_high_variance",
    "load_patch",
    "load_patches",
    "load_psf",
    "load_rows",
    "make_region",
    "make_template",
    "make_tile",
    "map_variance",
    "mosaic_tracts",
    "shift_bands",
    "shift_subfilters",
    "warp_psf",
    "warp_tract",
    "write_tiles",
]

__getattr__ = lazy_names(
    __name__,
    {
        "dcrflow.steps.high_variance": (
            "flag_high_variance",
            "map_variance",
        ),
        "dcrflow.steps.load": ("load_patch", "load_patches"),
        "dcrflow.steps.mosaic": ("mosaic_tracts",),
        "dcrflow.steps.psf": (
            "TemplatePsf",
            "load_psf",
            "warp_psf",
        ),
        "dcrflow.steps.region": (
            "make_region",
            "make_tile",
        ),
        "dcrflow.steps.results": ("StepResult",),
        "dcrflow.steps.shift": ("shift_subfilters",),
        "dcrflow.steps.tract_bands": ("load_rows", "shift_bands"),
        "dcrflow.steps.warp": ("warp_tract",),
        "dcrflow.steps.write": (
            "assemble",
            "make_template",
            "write_tiles",
        ),
    },
)
