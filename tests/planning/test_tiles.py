"""How far light reaches, from the source's side and from the other."""

from hypothesis import given
from hypothesis import strategies as st
from scenes import IMAGE, coadds, tan, visit

from dcrflow.geometry.box import Box
from dcrflow.planning.template import plan_template
from dcrflow.planning.tiles import Reach
from dcrflow.stores.coadds.store import open_coadds

ranges = st.tuples(st.integers(-9, 0), st.integers(0, 9))


@given(y=ranges, x=ranges, size=st.integers(20, 60))
def test_reached_is_the_inverse_of_source(y: tuple[int, int], x: tuple[int, int], size: int) -> None:
    """What gets light from the source of a box alone is that box."""
    reach, box = Reach(*y, *x), Box(100, -50, size, size)
    assert reach.reached(reach.source(box)) == box
    assert reach.source(reach.reached(box)) == box


def test_which_side() -> None:
    """Light of pixel q reaches q + low to q + high."""
    assert Reach(-1, 2, 0, 3).source(Box(10, 20, 1, 1)) == Box.from_bounds(7, 18, 11, 22)


def test_tiles_do_not_depend_on_what_is_planned_with_them() -> None:
    """To the last bit: the keys of graphs are made of them."""
    plan = plan_template(open_coadds(coadds(IMAGE)), visit(tan(110.0, 100.0, 25.0), Box(0, 0, 200, 300)))
    boxes = list(plan.bbox.tiles(60))
    assert plan.tiles_of(boxes) == [plan.tile(box) for box in boxes]
    assert {len(tile.parts) for tile in plan.tiles_of([*boxes, Box(9000, 9000, 10, 10)])} == {0, 1}
