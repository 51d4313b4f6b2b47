"""What shift_subfilters hands to the warp, in all orders of steps."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scenes import IMAGE, coadds, visit

from dcrflow.base.masks import NO_DATA
from dcrflow.base.workspace import Workspace
from dcrflow.model.config import TemplateConfig
from dcrflow.model.pixels import PatchPixels
from dcrflow.planning.template import TemplatePlan, plan_template
from dcrflow.planning.tiles import TilePart
from dcrflow.steps import StepResult, load_patch, shift_subfilters
from dcrflow.steps.strips import boxes_read
from dcrflow.stores.coadds.store import open_coadds

METHODS = [
    {},
    {"warp": "lanczos3"},
    {"warp": "nearest"},
    {"dcr": "split", "warp": "lanczos3"},
    {"dcr": "split", "warp": "lanczos3", "rotation": "boresight"},
]


def loaded(settings: dict[str, str]) -> tuple[TemplatePlan, TilePart, list[StepResult[PatchPixels]]]:
    image = IMAGE.copy()
    image[:, 290:300, 310:316] = np.nan
    source = open_coadds(coadds(image))
    plan = plan_template(source, visit(), TemplateConfig(**settings))
    part = plan.part(0, plan.bbox)
    assert part is not None
    return plan, part, [load_patch(source, plan, patch, box) for patch, box in part.reads]


@pytest.mark.parametrize("settings", METHODS)
def test_finite_and_marked(settings: dict[str, str]) -> None:
    """No kernel meets a NaN; where a pixel is missing is NO_DATA."""
    plan, part, patches = loaded(settings)
    made = shift_subfilters(plan, part, patches).pixels
    assert made.box == part.region.grown(plan.margins.merge)
    assert np.isfinite(made.image).all()
    assert (made.image.dtype, made.variance.dtype, made.mask.dtype) == (np.float32, np.float32, np.int32)
    missing = made.mask[293 - made.box.y0, 312 - made.box.x0]
    assert missing & (1 << plan.planes[NO_DATA])


@pytest.mark.parametrize("settings", METHODS)
def test_the_same_in_memory_that_is_used_again(settings: dict[str, str]) -> None:
    """Where the warp looks; the result is lent by the workspace."""
    plan, part, patches = loaded(settings)
    alone, workspace = shift_subfilters(plan, part, patches).pixels, Workspace()
    for _ in range(2):
        again = shift_subfilters(plan, part, patches, workspace).pixels
        for strip in part.footprint.strips(part.region, 1, plan.margins.warp):
            where = strip.slices(alone.box)
            for name in ("image", "variance", "mask"):
                assert_array_equal(getattr(again, name)[where], getattr(alone, name)[where])
        first, again.image[...] = again, 9.0
    assert np.shares_memory(first.image, shift_subfilters(plan, part, patches, workspace).pixels.image)


@pytest.mark.parametrize("settings", METHODS)
def test_it_looks_at_no_other_pixels(settings: dict[str, str]) -> None:
    """What `boxes_read` leaves out may be anything."""
    plan, part, patches = loaded(settings)
    spoilt = []
    for result, (_, box) in zip(patches, part.reads, strict=True):
        pixels = result.pixels
        arrays = {name: np.full_like(getattr(pixels, name), 5) for name in ("image", "variance", "mask")}
        for name, array in arrays.items():
            for read in boxes_read(plan, part, box):
                array[(..., *read.slices(box))] = getattr(pixels, name)[(..., *read.slices(box))]
        spoilt.append(StepResult(PatchPixels(box, **arrays)))
    one, other = (shift_subfilters(plan, part, p).pixels for p in (patches, spoilt))
    for strip in part.footprint.strips(part.region, 1, plan.margins.warp):
        where = strip.slices(one.box)
        assert_array_equal(one.image[where], other.image[where])
        assert_array_equal(one.mask[where], other.mask[where])


def test_timing_and_damage_of_the_patches_are_passed_on() -> None:
    plan, part, patches = loaded({})
    broken = [StepResult(p.pixels, p.timing, frozenset({f"chunk {n}"})) for n, p in enumerate(patches)]
    made = shift_subfilters(plan, part, broken)
    assert made.damage == {f"chunk {n}" for n in range(len(patches))}
    assert [key.step for key in made.timing].count("load_patch") == len(patches)
    (own,) = (key for key in made.timing if key.step == "shift_subfilters")
    assert (own.tract, own.patch, own.box) == (0, "", made.pixels.box)
