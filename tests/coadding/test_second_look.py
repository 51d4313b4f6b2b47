"""A second look at a few squares finds what one at all of all visits finds."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("galsim")

from dcrflow.coadding import reject
from dcrflow.coadding.cell import CellSolution, solve_cell
from dcrflow.coadding.cell_visits import CellVisits
from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.output_psf import moffat_stamp
from dcrflow.coadding.sums import FLAGS
from dcrflow.coadding.transfer import forward, in_blocks
from dcrflow.coadding.visits import VisitOnFrame
from dcrflow.coadding.windows import Squares, Window
from dcrflow.demo.coadd_scene import CoaddScene, coadd_scene, pointings
from dcrflow.model.coadd_config import CoaddConfig

SIZE, NUMBER = 480, 8


@pytest.fixture(scope="module")
def scene() -> CoaddScene:
    return coadd_scene(4, SIZE, ("1e3", "1e4"))


@pytest.fixture(scope="module")
def visits(scene: CoaddScene) -> list[VisitOnFrame]:
    """Noisy visits with bad pixels; two of them have a cosmic ray, one of which hides a fainter one."""
    valid = np.random.default_rng(4).random((NUMBER, SIZE, SIZE)) > 0.005
    seen = [scene.visit(n, p, 1.0, 4, valid=valid[n]) for n, p in enumerate(pointings(4, NUMBER))]
    for number, y, x, flux in ((2, 150, 260, 12.0), (5, 300, 200, 60.0), (6, 303, 206, 12.0)):
        image = seen[number].image.copy()
        image[y : y + 3, x : x + 2] += np.float32(flux * seen[number].sigma)
        seen[number] = replace(seen[number], image=image)
    return seen


def grid_of() -> CellGrid:
    return CellGrid((SIZE, SIZE), 432, 45, 33, margin=24)


def solve(scene: CoaddScene, visits: list[VisitOnFrame]) -> CellSolution:
    grid = grid_of()
    return solve_cell(grid.cells[0], grid, visits, scene.basis, moffat_stamp(3.75, size=47), CoaddConfig())


def test_a_window_shows_what_the_cell_shows(scene: CoaddScene, visits: list[VisitOnFrame]) -> None:
    grid = grid_of()
    cell = CellVisits(grid.cells[0], grid, visits, scene.basis, {})
    cell.first_sums()
    seen = cell.read(cell.members[0])
    sky = np.stack([forward(cell.mean), forward(np.roll(cell.mean, 3, 0)), forward(cell.mean * 0.1)])
    model = seen.transfer.shown(in_blocks(sky))
    rest = np.where(seen.valid, seen.image - model, np.float32(0))
    flux = seen.transfer.matched(rest, 2.0)
    squares = Squares(cell, (33, 450, 40, 460), (45, 430, 45, 430))
    assert 0 < squares.side < cell.side
    assert len(squares) > 4
    numbers = [0, len(squares) // 2, len(squares) - 1]
    skies, window = squares.skies(sky, numbers), Window(squares, seen)
    for number in numbers:
        window.compare(number, skies[number])
        inside, here = (
            np.s_[y0:y1, x0:x1]
            for y0, y1, x0, x1 in (squares.inside(number, squares.bounds)[0], squares.bounds[number])
        )
        for found, expected in ((window.model, model), (window.rest, rest)):
            assert np.max(np.abs(found[inside] - expected[here])) < 1e-5 * np.max(np.abs(model))
        np.testing.assert_array_equal(window.good[inside], seen.valid[here])
        assert np.max(np.abs(window.flux(2.0)[inside] - flux[here])) < 1e-3 * np.max(np.abs(flux))


def test_a_second_look_at_what_changed_is_enough(
    scene: CoaddScene, visits: list[VisitOnFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    whole, windows = reject.Look.at, reject.Squares.see
    monkeypatch.setattr(reject.Look, "at", lambda *a, **k: (looks.append("all"), whole(*a, **k))[1])
    monkeypatch.setattr(reject.Squares, "see", lambda *a: (looks.append("a few"), windows(*a))[1])
    found = solve(scene, visits)
    assert looks.count("all") == 1
    assert "a few" in looks
    looks.clear()
    monkeypatch.setattr(reject, "_WORTH", 0.0)
    expected = solve(scene, visits)
    assert looks.count("all") > 1
    assert "a few" not in looks

    clipped = found.sums.flags & FLAGS["CLIPPED"]
    assert np.count_nonzero(clipped) > 200
    box = found.cell.box
    assert clipped[303 - box.y0, 206 - box.x0]
    np.testing.assert_array_equal(clipped, expected.sums.flags & FLAGS["CLIPPED"])
    core = found.cell.core.slices(found.cell.box)
    error = (found.image - expected.image) / np.sqrt(expected.variance)
    assert np.max(np.abs(error[:, *core])) < 0.01
    for name, report in expected.reports.items():
        assert found.reports[name].rejected == report.rejected
        assert found.reports[name].residual == pytest.approx(report.residual, rel=1e-3)
        one, other = found.calibration[name], expected.calibration[name]
        scale = np.sqrt(np.diag(other[:, :4]))
        assert np.max(np.abs(one[:, :4] - other[:, :4]) / np.outer(scale, scale)) < 1e-3
        assert np.max(np.abs(one[:, 4] - other[:, 4]) / scale) < 0.5  # of what the noise makes of it


def test_a_peak_below_the_threshold_rejects_nothing(
    scene: CoaddScene, visits: list[VisitOnFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    scatters = iter([1.0] * NUMBER)  # of the first look; then, that of the visits with peaks is measured anew
    monkeypatch.setattr(reject.Look, "_scatter", lambda *_: next(scatters, 1e6))
    found = solve(scene, visits)
    assert next(scatters, None) is None
    assert np.isfinite(found.left)
    assert not np.any(found.sums.flags & FLAGS["CLIPPED"])


def test_weights_where_the_visit_that_counts_most_has_no_data(scene: CoaddScene, visits: list[VisitOnFrame]) -> None:
    grid, heavy = grid_of(), replace(visits[0], sigma=visits[0].sigma * 1e-5)
    cell = CellVisits(grid.cells[0], grid, [heavy, *visits[1:]], scene.basis, {})
    weight = cell.first_sums().weight
    expected = np.zeros(weight.shape)
    for member in cell.new:
        expected += member.weight * cell.measured(member)
    assert np.any(cell.measured(cell.new[1]) & ~cell.measured(cell.new[0]))
    np.testing.assert_allclose(weight, expected, rtol=1e-5)
