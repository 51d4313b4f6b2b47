"""Patches merged on strips, against numpy."""

import numpy as np
from numpy.testing import assert_array_equal

from dcrflow.base.workspace import Workspace
from dcrflow.geometry.box import Box
from dcrflow.kernels.arrays import MaskedImage
from dcrflow.steps.merge import Matched, MergedTract

BOX = Box(100, 200, 40, 30)
STRIPS = (Box(100, 200, 20, 10), Box(110, 210, 30, 20))


def spoilt(workspace: Workspace) -> Workspace:
    """Memory with something in it."""
    for name, dtype in (("image", float), ("variance", np.float32), ("mask", np.int32), ("weight", np.float32)):
        workspace.array(f"merge: {name}", BOX.shape, dtype).fill(77)
    return workspace


def matched(box: Box, image: float, variance: float, mask: int) -> Matched:
    arrays = (np.full(box.shape, v, d) for v, d in ((image, float), (variance, np.float32), (mask, np.int32)))
    return Matched(box, MaskedImage(*arrays))


def test_two_patches() -> None:
    """The mean by weights of variance^-1/2 where both are; what neither covers is missing; zero outside the strips."""
    merged = MergedTract(BOX, STRIPS, False, spoilt(Workspace()))
    merged.add(matched(Box(100, 200, 40, 15), 10.0, 4.0, 1))
    merged.add(matched(Box(100, 205, 40, 20), 40.0, 16.0, 2))
    masks = merged.valid_masks()
    assert masks is not None
    finite, weighed = masks
    inside = np.zeros(BOX.shape, bool)
    inside[:10, :20] = inside[10:, 10:] = True
    y = np.arange(30)[:, None] + np.zeros(40)
    one, other = inside & (y < 15), inside & (y >= 5) & (y < 25)
    assert_array_equal(weighed, one | other | ~inside)
    assert_array_equal(finite, weighed)
    assert_array_equal(merged.mean.image[one & other], 20.0)
    assert_array_equal(merged.mean.image[one & ~other], 10.0)
    assert_array_equal(merged.mean.mask, np.where(one, 1, 0) | np.where(other, 2, 0))
    assert_array_equal(merged.mean.variance[~(one | other)], 0)
    assert_array_equal(merged.mean.image[~inside], 0)


def test_nothing_is_missing() -> None:
    merged = MergedTract(BOX, STRIPS, True, spoilt(Workspace()))
    merged.add(matched(BOX, 10.0, 4.0, 1))
    assert merged.valid_masks() is None
    merged.clear_outside()
    assert merged.mean.image.sum() == 10.0 * sum(strip.area for strip in STRIPS)


def test_a_mean_that_the_caller_begins() -> None:
    """Each pixel is begun once; what is not begun is cleared."""
    merged = MergedTract(BOX, STRIPS, False, spoilt(Workspace()))
    begun = np.zeros(BOX.shape, int)
    for areas in ([Box(105, 190, 30, 13), Box(95, 205, 20, 10)], [Box(100, 200, 12, 16)]):
        parts = merged.begin(areas)
        assert [part.area for part in parts] == sorted(part.area for part in parts)
        for number, area in enumerate(areas):
            within = np.zeros(BOX.shape, int)
            for part in (part for part in parts if part.area == number):
                within[part.box.slices(BOX)] += 1
                assert np.all(begun[part.box.slices(BOX)] == (not part.begins))
            for strip in STRIPS:
                assert np.all(within[strip.intersection(area).slices(BOX)] == 1)
            assert within.sum() == sum(strip.intersection(area).area for strip in STRIPS)
        for part in (part for part in parts if part.begins):
            begun[part.box.slices(BOX)] += 1
    assert begun.max() == 1
    assert merged.is_whole
    merged.clear()
    assert not merged.is_whole
    merged.clear()
    inside = np.zeros(BOX.shape, bool)
    for strip in STRIPS:
        inside[strip.slices(BOX)] = True
    expected = np.where(inside & (begun == 0), 0, 77)
    assert_array_equal(merged.mean.weight, expected)
    assert_array_equal(merged.mean.mask, expected)
    assert_array_equal(merged.mean.image, np.where(expected == 0, np.nan, 77))
