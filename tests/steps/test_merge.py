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
    """What it does not begin is cleared; after that nothing is."""
    merged = MergedTract(BOX, STRIPS, False, spoilt(Workspace()))
    begun = [Box(105, 200, 10, 10), Box(110, 210, 30, 15)]
    assert merged.begin(begun)
    assert not merged.begin(begun)
    merged.clear()
    expected = np.full(BOX.shape, 77.0)
    for strip in STRIPS:
        expected[strip.slices(BOX)] = 0
    for part in begun:
        expected[part.slices(BOX)] = 77
    assert_array_equal(merged.mean.weight, expected)
    assert_array_equal(merged.mean.mask, expected)
    assert_array_equal(merged.mean.image, np.where(expected == 0, np.nan, 77))
