"""A tract from the boxes of its patches."""

from itertools import combinations

import pytest
from scenes import TRACT, tan

from dcrflow.geometry.box import Box
from dcrflow.geometry.patches import fit_tract
from dcrflow.geometry.skymap import Tract


@pytest.mark.parametrize(
    "tract",
    [
        TRACT,
        Tract(1, tan(), Box(-50, 20, 1200, 900), (300, 300), 30, (4, 3)),
        Tract(1, tan(), Box(0, 0, 400, 300), (400, 300), 0, (1, 1)),
        Tract(1, tan(), Box(0, 0, 1150, 900), (300, 300), 30, (4, 3)),  # the last column is narrower
    ],
)
def test_all_patches_give_the_tract(tract: Tract) -> None:
    assert fit_tract(tract.tract, tract.wcs, {p.patch: p.bbox for p in tract.patches}) == tract


def test_some_patches_give_a_tract_that_has_them() -> None:
    tract = Tract(1, tan(), Box(-50, 20, 1500, 1200), (300, 300), 30, (5, 4))
    for some in combinations(tract.patches, 2):
        boxes = {p.patch: p.bbox for p in some}
        found = fit_tract(1, tract.wcs, boxes)
        assert {i: found.patch(i).bbox for i in boxes} == boxes


def test_a_corner_of_a_large_grid() -> None:
    tract = Tract(1, tan(), Box(0, 0, 40000, 40000), (4000, 4000), 100, (10, 10))
    found = fit_tract(1, tract.wcs, {i: tract.patch(i).bbox for i in (24, 25, 34, 35)})
    assert (found.patch_inner, found.patch_border, found.num_patches[0]) == ((4000, 4000), 100, 10)


def test_boxes_of_no_grid() -> None:
    with pytest.raises(ValueError, match="no grid of patches"):
        fit_tract(1, tan(), {0: Box(0, 0, 100, 100), 1: Box(90, 5, 100, 100), 2: Box(300, 0, 50, 60)})
