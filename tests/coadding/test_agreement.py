"""Visits that contradict the others are found: a WCS that is off, a wrong zero point; good ones are not."""

from dataclasses import replace

import numpy as np
import pytest

from dcrflow.coadding.agreement import agreement
from dcrflow.coadding.cells import CellGrid
from dcrflow.demo.coadd_scene import CoaddScene, Pointing, coadd_scene, pointings

SIZE = 200


@pytest.fixture(scope="module")
def scene() -> CoaddScene:
    return coadd_scene(3, SIZE, ("1e4", "3e4"), spacing=40, edge=25)


def compared(scene: CoaddScene, seen: list[Pointing]):
    """All visits on one cell, the third cut in half by a mask."""
    (cell,) = CellGrid((SIZE, SIZE), SIZE, 16, 8).cells[:1]
    visits = [scene.visit(n, p, 3.0, 5) for n, p in enumerate(seen)]
    visits[2].valid[:, : SIZE // 2] = False
    return agreement(visits, [cell])


def test_good_visits_agree(scene: CoaddScene) -> None:
    found = compared(scene, pointings(7, 8))
    assert len(found) == 8
    assert max(np.hypot(a.dy, a.dx) for a in found.values()) < 1.0
    assert all(0.9 < a.scale < 1.1 for a in found.values())


def test_a_wcs_and_a_zero_point_that_are_off(scene: CoaddScene) -> None:
    seen = pointings(7, 8)
    seen[3] = replace(seen[3], offset=(3.0, -4.0))
    seen[5] = replace(seen[5], scale=1.3)
    found = compared(scene, seen)
    assert (found[3, 0].dy, found[3, 0].dx) == pytest.approx((3.0, -4.0), abs=0.6)
    assert found[5, 0].scale == pytest.approx(1.3, abs=0.1)
    good = [a for name, a in found.items() if name not in ((3, 0), (5, 0))]
    assert max(np.hypot(a.dy, a.dx) for a in good) < 1.0
    assert all(0.88 < a.scale < 1.12 for a in good)


def test_the_median_of_some_visits_stands_for_that_of_all(scene: CoaddScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dcrflow.coadding.agreement._SAMPLE", 5)
    seen = pointings(7, 9)
    seen[3] = replace(seen[3], offset=(3.0, -4.0))
    found = compared(scene, seen)
    assert len(found) == 9
    off = {name: np.hypot(a.dy, a.dx) for name, a in found.items()}
    assert off.pop((3, 0)) == pytest.approx(5.0, abs=0.6)
    assert max(off.values()) < 1.0


def test_three_visits_cannot_tell(scene: CoaddScene) -> None:
    assert compared(scene, pointings(7, 3)) == {}


def test_an_empty_sky_cannot_tell(scene: CoaddScene) -> None:
    assert compared(replace(scene, sources=()), pointings(7, 5)) == {}
