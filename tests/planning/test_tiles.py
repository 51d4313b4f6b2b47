"""How far light reaches, from the source's side and from the other."""

from hypothesis import given
from hypothesis import strategies as st

from dcrflow.geometry.box import Box
from dcrflow.planning.tiles import Reach

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
