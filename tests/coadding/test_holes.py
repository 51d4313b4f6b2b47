"""Holes in real space against Fourier transforms of whole visits, and against the exact equations."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("galsim")

import dcrflow.coadding.exact as exact_rounds
from dcrflow.coadding import holes
from dcrflow.coadding.cell_visits import CellVisits
from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.exact import Filling
from dcrflow.coadding.holes import Unknowns
from dcrflow.coadding.ladder import System
from dcrflow.coadding.neighbours import Neighbours
from dcrflow.coadding.output_psf import moffat_stamp
from dcrflow.coadding.small_grid import SmallGrid
from dcrflow.coadding.transfer import backward, in_blocks, stamp_transform
from dcrflow.demo.coadd_scene import coadd_scene, pointings

SIZE, NUMBER = 150, 5


@pytest.fixture(scope="module")
def visits() -> CellVisits:
    """Visits with 1 % bad pixels, a gap, and one that ends in the cell."""
    scene, random = coadd_scene(8, SIZE, ("1e4",)), np.random.default_rng(8)
    valid = random.random((NUMBER, SIZE, SIZE)) > 0.01
    valid[1, :, 60:72] = False
    valid[2, 90:] = False
    seen = [scene.visit(n, p, 1.0, 8, valid=valid[n]) for n, p in enumerate(pointings(8, NUMBER))]
    grid = CellGrid((SIZE, SIZE), 100, 20, 10, margin=25)
    return CellVisits(grid.cells[0], grid, seen, scene.basis, {})


def filling(visits: CellVisits) -> tuple[Filling, System, float]:
    sums = visits.first_sums()
    system = System(sums.normal, stamp_transform(moffat_stamp(3.75, size=47), visits.side), (0.3, 0.08))
    q = system.lowest * 1e5
    return Filling(visits, system, sums, q), system, q


def test_both_ways_see_and_spread_the_same(visits: CellVisits, monkeypatch: pytest.MonkeyPatch) -> None:
    made, system, q = filling(visits)
    places = {n: of[:200] for n, (of, _) in made._values.items()}
    unknowns, sky = Unknowns(visits, places, SmallGrid(visits)), system.solve(made.right, q)
    vector = 1000 * np.random.default_rng(1).normal(size=len(unknowns)).astype(np.float32)  # as bright as stars
    seen, spread = unknowns.seen(sky), unknowns.spread(vector)
    monkeypatch.setattr(holes, "MANY", 0)
    expected, wide = unknowns.seen(sky), unknowns.spread(vector)
    assert np.max(np.abs(seen - expected)) < 0.02  # of the noise
    assert np.max(np.abs(spread - wide)) < 5e-4 * np.max(np.abs(wide))


def test_neighbours_invert_the_operator(visits: CellVisits) -> None:
    made, system, q = filling(visits)
    small = SmallGrid(visits)
    unknowns = Unknowns(visits, {n: of[:300] for n, (of, _) in made._values.items()}, small)
    ridge = np.random.default_rng(3).choice([0, 0.1], len(unknowns)).astype(np.float32)
    neighbours = Neighbours.of(unknowns, small, system, q, ridge)
    assert neighbours is not None
    rest = np.random.default_rng(2).normal(size=len(unknowns)).astype(np.float32)
    change = neighbours.solve(rest)
    found = (1 + ridge) * change - unknowns.seen(system.solve(unknowns.spread(change), q))
    assert np.sqrt(np.mean((found - rest) ** 2)) < 0.03


@pytest.mark.parametrize("sparse", [True, False])
def test_holes_agree_with_what_the_sky_shows_there(
    visits: CellVisits, sparse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The definition of the solution, with the sparse matrix and without it."""
    if not sparse:
        monkeypatch.setattr(exact_rounds.Neighbours, "of", lambda *_: None)
    made, _, q = filling(visits)
    done = made.solve(q, 0.01, 60, 0)
    assert done.left <= 0.01
    assert done.rounds < 60
    unknowns = Unknowns(visits, {n: of for n, (of, _) in made._values.items()}, SmallGrid(visits))
    value = np.concatenate([values for _, values in made._values.values()])
    assert np.median(np.abs(unknowns.seen(done.sky) - value)) < 0.02


def test_rounds_go_on_from_what_a_comparison_shows(visits: CellVisits) -> None:
    """The same solution, whoever computes what the visits show in their holes."""
    made, _, q = filling(visits)
    other, _, _ = filling(visits)
    for one in (made, other):  # few enough for a matrix of neighbours
        one._values = {n: (of[:300], values[:300]) for n, (of, values) in one._values.items()}
        one._first = {n: values[:300] for n, values in one._first.items()}
    expected, first = other.solve(q, 0.01, 60, 0), made.solve(q, 0.01, 60, 0, looked_at=True)
    assert first.left == np.inf
    for member in visits.members:
        made.shown(member, visits.read(member).transfer.shown(in_blocks(first.sky)))
    done, moved = made.finish()
    assert done.left <= 0.01
    assert 0.01 < moved < np.inf
    flux = [
        backward(stamp_transform(moffat_stamp(3.75, size=47), visits.side) * now.sky[0]) for now in (done, expected)
    ]
    light = np.abs(flux[1]).max()
    assert np.max(np.abs(flux[0] - flux[1])) < 2e-4 * light


def test_rounding_does_not_decide_where_no_visit_has_data() -> None:
    """Nothing tells what is beyond the place where all visits end: a change of 1e-6 of the input may not matter."""
    scene, valid = coadd_scene(8, SIZE, ("1e4",)), np.zeros((SIZE, SIZE), np.bool_)
    valid[28:104, 34:112] = True
    grid, flux = CellGrid((SIZE, SIZE), 100, 20, 10, margin=25), []
    for scale in (1.0, 1 + 1e-6):
        seen = [scene.visit(n, p, 1.0, 8, valid=valid) for n, p in enumerate(pointings(8, 4))]
        seen = [replace(v, image=v.image * np.float32(scale)) for v in seen]
        made, _, q = filling(CellVisits(grid.cells[0], grid, seen, scene.basis, {}))
        done = made.solve(q, 0.01, 60, 0)
        assert done.left < 10  # it was above 1000, and the flux another by half of the brightest star's
        flux.append(backward(stamp_transform(moffat_stamp(3.75, size=47), grid.side) * done.sky[0]))
    assert np.max(np.abs(flux[0] - flux[1])) < 5e-3 * np.abs(flux[1]).max()
