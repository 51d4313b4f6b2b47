"""Boxes: their algebra, and how they are cut into tiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcrflow.geometry.box import Box

boxes = st.builds(Box, st.integers(-50, 50), st.integers(-50, 50), st.integers(0, 40), st.integers(0, 40))


def pixels(box: Box) -> set[tuple[int, int]]:
    return {(x, y) for x in range(box.x0, box.x1) for y in range(box.y0, box.y1)}


@given(boxes, boxes)
def test_intersection_is_that_of_the_pixels(a: Box, b: Box) -> None:
    assert pixels(a.intersection(b)) == pixels(a) & pixels(b)
    assert a.overlaps(b) == bool(pixels(a) & pixels(b))
    assert a.contains(b) == (pixels(b) <= pixels(a))


@given(boxes, boxes)
def test_union_holds_both(a: Box, b: Box) -> None:
    union = a.union(b)
    assert union.contains(a)
    assert union.contains(b)
    assert a.union(a) == a


@given(boxes, st.lists(boxes, max_size=4))
def test_without_is_the_rest_of_the_pixels(box: Box, others: list[Box]) -> None:
    rest = list(box.without(others))
    assert sum(part.area for part in rest) == len(set().union(*map(pixels, rest)))
    assert set().union(*map(pixels, rest)) == pixels(box).difference(*map(pixels, others))


@given(boxes, st.integers(1, 60))
def test_tiles_cover_once(box: Box, size: int) -> None:
    tiles = list(box.tiles(size))
    assert sum(t.area for t in tiles) == box.area
    assert set().union(*map(pixels, tiles)) == pixels(box)
    heights, widths = box.cuts(size)
    if tiles:
        assert [t.shape for t in tiles] == [(h, w) for h in heights for w in widths]
        assert max(heights) <= size + size // 8


@pytest.mark.parametrize(
    ("length", "expected"),
    [(4112, (1024,) * 3 + (1040,)), (1024, (1024,)), (1100, (1100,)), (1300, (1024, 276)), (10, (10,))],
)
def test_no_slivers(length: int, expected: tuple[int, ...]) -> None:
    assert Box(0, 0, length, 1).cuts(1024)[1] == expected


@given(boxes, st.integers(0, 9))
def test_grown(box: Box, margin: int) -> None:
    assert box.grown(margin).contains(box)
    if not box.is_empty:
        assert box.grown(margin).grown(-margin) == box


@given(boxes, boxes)
def test_slices(a: Box, b: Box) -> None:
    image = np.arange(b.area).reshape(b.shape)
    if b.contains(a) and not a.is_empty:
        assert image[a.slices(b)].shape == a.shape
        assert image[a.slices(b)][0, 0] == image[a.y0 - b.y0, a.x0 - b.x0]
    elif not b.contains(a):
        with pytest.raises(ValueError, match="reaches outside"):
            a.slices(b)


def test_around_covers_pixel_areas() -> None:
    assert Box.around(np.array([0.4, 2.6]), np.array([-0.4, 0.0])) == Box(0, 0, 4, 1)


def test_negative_extent() -> None:
    with pytest.raises(ValueError, match="negative extent"):
        Box(0, 0, -1, 3)


def test_outline_is_half_a_pixel_out() -> None:
    x, y = Box(10, 20, 4, 6).outline(4)
    assert (x.min(), x.max(), y.min(), y.max()) == (9.5, 13.5, 19.5, 25.5)
