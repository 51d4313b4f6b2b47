"""Coadds of drawn visits against the sky that was drawn: suppression, masks, transients, noise, increments."""

import numpy as np
import pytest

pytest.importorskip("galsim")

from dcrflow.base.masks import TEMPLATE_PLANES
from dcrflow.coadding.cell import solve_cell
from dcrflow.coadding.cells import CellGrid
from dcrflow.coadding.output_psf import moffat_stamp
from dcrflow.coadding.patch import PatchSolution, solve_patch
from dcrflow.coadding.visits import VisitOnFrame
from dcrflow.demo.coadd_scene import CoaddScene, Pointing, coadd_scene, pointings, psf_stamp
from dcrflow.demo.coadd_suppression import FWHM, defects, suppression
from dcrflow.model.coadd_config import CoaddConfig

SIZE, SEED, NUMBER = 210, 5, 8
PSF = moffat_stamp(FWHM / 0.2, size=65)
PLAIN = {"reject": False, "self_calibrate": False}


@pytest.fixture(scope="module")
def scene() -> CoaddScene:
    return coadd_scene(SEED, SIZE, ("1e4",))


def solve(scene: CoaddScene, visits: list[VisitOnFrame], **settings: object) -> PatchSolution:
    config = CoaddConfig.make(PLAIN | {"num_subfilters": scene.band.num_subfilters} | settings)
    grid = CellGrid((scene.size, scene.size), config.cell, config.halo, config.taper)
    return solve_patch(grid, visits, scene.basis, PSF, config)


def seen(scene: CoaddScene, noise: int | None = None, number: int = NUMBER, **extra: object) -> list[VisitOnFrame]:
    return [scene.visit(n, p, 1.0, noise, **extra) for n, p in enumerate(pointings(SEED, number))]


@pytest.fixture(scope="module")
def clean(scene: CoaddScene) -> PatchSolution:
    return solve(scene, seen(scene))


def test_held_out_visits_are_matched(scene: CoaddScene, clean: PatchSolution) -> None:
    for (_, angle), (without, matched) in suppression(clean.image, scene).items():
        assert without / matched > 60, angle
    assert clean.left <= CoaddConfig().tolerance


def test_shares_and_fluxes_are_those_of_the_spectra(scene: CoaddScene, clean: PatchSolution) -> None:
    y, x = np.mgrid[:SIZE, :SIZE]
    for source in scene.sources:
        near = (y - source.y) ** 2 + (x - source.x) ** 2 < 25**2
        profile = scene_of_one(scene, source).draw(Pointing(0, 0, FWHM))[near]
        flux = clean.image[:, near] @ profile / np.sum(profile**2)
        assert flux.sum() == pytest.approx(1, abs=5e-4)
        shares = np.sum(scene.band.photons(source.points[0][3]), axis=1)
        np.testing.assert_allclose(flux / flux.sum(), shares, atol=0.004)


def scene_of_one(scene: CoaddScene, source: object) -> CoaddScene:
    return CoaddScene(scene.size, scene.band, (source,))


def test_masked_pixels_hardly_matter(scene: CoaddScene) -> None:
    visits = [scene.visit(n, p, 1.0, None, valid=defects(SEED, n, SIZE)) for n, p in enumerate(pointings(SEED, 12))]
    found = solve(scene, visits)
    for (_, angle), (without, matched) in suppression(found.image, scene).items():
        assert without / matched > 50, angle
    np.testing.assert_array_equal(found.count, np.sum([v.valid for v in visits], axis=0))


# on a star, less than 5 times `reject_model_error` of its light cannot be told from an error of the model
@pytest.mark.parametrize(("flux", "on_star"), [(300.0, False), (3e4, False), (1e3, True), (3e4, True), (3e5, True)])
def test_a_transient_leaves_nothing(scene: CoaddScene, flux: float, on_star: bool) -> None:
    star = scene.sources[0]
    y, x = (star.y + 1, star.x) if on_star else (105, 105 + 30)
    points = ((0.0, 0.0, flux, "blackbody:8000"),)
    new = CoaddScene(SIZE, scene.band, (type(star)("new", y, x, points),))
    at = pointings(SEED, NUMBER)
    visits, spoiled = seen(scene, 3), seen(scene, 3)
    spoiled[2] = scene.visit(2, at[2], 1.0, 3, extra=new.draw(at[2]))
    before, after = solve(scene, visits, reject=True), solve(scene, spoiled, reject=True)
    noise = np.sqrt(np.nanmedian(before.variance.sum(axis=0)))
    # the outermost pixels depend on how many rounds were spent on what lies beyond the data, of which nothing is known
    seen_well = np.s_[:, 2:-2, 2:-2] if flux > 1e5 else np.s_[:]
    assert np.nanmax(np.abs((after.image - before.image)[seen_well].sum(axis=0))) < noise
    others = [r.rejected for name, r in after.reports.items() if name != (2, 0)]
    assert max(others) < 1e-3 * SIZE**2
    assert after.reports[2, 0].rejected > 50
    assert after.mask[round(y), round(x)] & (1 << TEMPLATE_PLANES["CLIPPED"])


def test_nothing_is_rejected_where_nothing_is_wrong(scene: CoaddScene) -> None:
    found = solve(scene, seen(scene, 4), reject=True)
    assert sum(r.rejected for r in found.reports.values()) < 1e-3 * SIZE**2 * NUMBER
    assert all(0.3 < r.residual < 1.02 for r in found.reports.values())  # a visit pulls the model to itself


def test_written_variance_is_the_scatter() -> None:
    empty = CoaddScene(SIZE, coadd_scene(1, SIZE, ("1e4",)).band, ())
    core = np.s_[:, 40:-40, 40:-40]
    values = [solve(empty, seen(empty, noise)) for noise in range(4)]
    scatter = np.std([v.image[core].sum(axis=0) for v in values])
    written = np.sqrt(np.mean([v.variance[core].sum(axis=0) for v in values]))
    assert scatter == pytest.approx(written, rel=0.05)


def test_one_subfilter_is_the_ordinary_coadd_with_one_psf() -> None:
    scene = coadd_scene(SEED, SIZE, ("1e4",), num_subfilters=1)
    zenith = [Pointing(0.0, 0.0, p.fwhm) for p in pointings(SEED, 6)]
    found = solve(scene, [scene.visit(n, p, 1.0, None) for n, p in enumerate(zenith)])
    truth = scene.draw(Pointing(0.0, 0.0, FWHM))
    inner = np.s_[20:-20, 20:-20]
    assert np.max(np.abs(found.image[0] - truth)[inner]) < 1e-3 * truth.max()
    # at least as deep as the weighted mean of the images, each first convolved or sharpened to the same PSF
    side = 210
    output = np.abs(np.fft.rfft2(PSF, (side, side))) ** 2
    kernels = [output / np.abs(np.fft.rfft2(psf_stamp(p, 65), (side, side))) ** 2 for p in zenith]
    best = np.mean(1 / np.sum([1 / np.maximum(k, 1e-6) for k in kernels], axis=0))
    assert np.median(found.variance) == pytest.approx(best, rel=0.1)


def test_added_visits_give_the_coadd_of_all_of_them(scene: CoaddScene) -> None:
    config = CoaddConfig.make(PLAIN)
    grid = CellGrid((SIZE, SIZE), config.cell, config.halo, config.taper)
    visits = [scene.visit(n, p, 1.0, 3, valid=defects(SEED, n, SIZE)) for n, p in enumerate(pointings(SEED, 12))]
    whole = solve_patch(grid, visits, scene.basis, PSF, config)
    first = solve_cell(grid.cells[0], grid, visits[:5], scene.basis, PSF, config, keep=True)
    both = solve_patch(grid, visits[5:], scene.basis, PSF, config, kept={0: first.sums})
    noise = np.sqrt(np.nanmedian(whole.variance.sum(axis=0)))
    difference = (both.image - whole.image).sum(axis=0) / noise
    assert np.nanstd(difference) < 0.1
    assert np.nanmax(np.abs(difference)) < 2
    np.testing.assert_array_equal(both.count, whole.count)


def test_outliers_in_added_visits_with_holes_are_rejected(scene: CoaddScene) -> None:
    config = CoaddConfig.make({"self_calibrate": False})
    grid = CellGrid((SIZE, SIZE), config.cell, config.halo, config.taper)
    valid = np.random.default_rng(1).random((8, SIZE, SIZE)) > 0.02
    at, star = pointings(SEED, 8), type(scene.sources[0])
    visits = [scene.visit(n, p, 1.0, 3, valid=valid[n]) for n, p in enumerate(at)]
    for n in (5, 7):
        new = star("new", 40 + 10 * n, 105, ((0.0, 0.0, 3e4, "blackbody:8000"),))
        extra = CoaddScene(SIZE, scene.band, (new,)).draw(at[n])
        visits[n] = scene.visit(n, at[n], 1.0, 3, valid=valid[n], extra=extra)
    whole = solve_patch(grid, visits, scene.basis, PSF, config)
    first = solve_cell(grid.cells[0], grid, visits[:4], scene.basis, PSF, config, keep=True)
    both = solve_patch(grid, visits[4:], scene.basis, PSF, config, kept={0: first.sums})
    difference = (both.image - whole.image).sum(axis=0) / np.sqrt(np.nanmedian(whole.variance.sum(axis=0)))
    assert np.nanstd(difference) < 0.25  # not quite the same pixels are rejected; without the transients it is 0.08
    assert np.nanmax(np.abs(difference)) < 5  # at the peak of a star of S/N 1400 in each visit
    for n in (5, 7):
        assert both.reports[n, 0].rejected > 50


def test_a_cell_without_new_data_stays_as_it_was(scene: CoaddScene) -> None:
    """Visits that are added may cover only a part of a patch."""
    config = CoaddConfig.make({"self_calibrate": False})
    grid = CellGrid((SIZE, SIZE), config.cell, config.halo, config.taper)
    first = solve_cell(grid.cells[0], grid, seen(scene, 3, 5), scene.basis, PSF, config, keep=True)
    elsewhere = seen(scene, 3, 1, valid=np.zeros((SIZE, SIZE), np.bool_))
    again = solve_cell(grid.cells[0], grid, elsewhere, scene.basis, PSF, config, kept=first.sums, keep=True)
    core = (slice(None), *again.cell.core.slices(again.cell.box))
    inner = np.s_[:, 40:-40, 40:-40]  # what lies beyond the frame is predicted by the model only when visits are added
    difference = (again.image - first.image)[core][inner].sum(axis=0)
    assert np.max(np.abs(difference)) < 0.5 * np.sqrt(np.median(first.variance[core][inner].sum(axis=0)))
    assert len(again.sums.visits) == 5
    assert again.reports == {}


def test_where_no_visit_has_data_the_coadd_says_so(scene: CoaddScene) -> None:
    valid = np.ones((SIZE, SIZE), np.bool_)
    valid[:, 150:] = False
    found = solve(scene, seen(scene, number=4, valid=valid))
    no_data = (found.mask & (1 << TEMPLATE_PLANES["NO_DATA"])) != 0
    np.testing.assert_array_equal(no_data, ~valid)
    np.testing.assert_array_equal(np.isnan(found.image[0]), ~valid)


def test_where_fewer_visits_than_subfilters_have_data_there_is_an_ordinary_coadd(scene: CoaddScene) -> None:
    """Two of three visits end in the middle; what the third says of colours is noise, and INEXACT_PSF says so."""
    cut, bad = np.ones((SIZE, SIZE), np.bool_), np.ones((SIZE, SIZE), np.bool_)
    cut[:, 100:] = False
    known = next(s for s in scene.sources if s.x < 60 and 60 < s.y < SIZE - 60)
    y0, x0 = round(known.y), round(known.x)
    bad[y0 - 1 : y0 + 2, x0 - 1 : x0 + 2] = False  # a star's bad pixels are no place with too few visits
    valid, at = (cut & bad, cut, bad), pointings(SEED, 3)
    visits = [scene.visit(n, p, 1.0, None, valid=v) for n, (p, v) in enumerate(zip(at, valid, strict=True))]
    found = solve(scene, visits, min_weight=0.05)
    inexact = (found.mask & (1 << TEMPLATE_PLANES["INEXACT_PSF"])) != 0
    assert inexact[:, 103:].all()
    shares = found.image[:, :, 103:] / found.image[:, :, 103:].sum(axis=0)
    np.testing.assert_allclose(shares, np.broadcast_to(scene.basis.shares[:, None, None], shares.shape), rtol=1e-3)
    middle = found.image[:, y0, x0] / found.image[:, y0, x0].sum()
    assert np.max(np.abs(middle - scene.basis.shares)) > 0.005
    # the sum is the flux: what a template at the zenith shows
    y, x = np.mgrid[:SIZE, :SIZE]
    star = next(s for s in scene.sources if 125 < s.x < SIZE - 40 and 40 < s.y < SIZE - 40)
    near = (y - star.y) ** 2 + (x - star.x) ** 2 < 20**2
    assert found.image[:, near].sum() == pytest.approx(1e4, rel=0.03)


def test_an_unusable_visit_is_named(scene: CoaddScene) -> None:
    visit = seen(scene, number=1)[0]
    bad = VisitOnFrame((7, 3), visit.image, visit.valid, 0.0, 0.0, visit.psf, visit.displacement)
    with pytest.raises(ValueError, match=r"visit 7 detector 3: sigma 0\.0"):
        solve(scene, [bad])


def test_astrometric_errors_are_found() -> None:
    scene, random = coadd_scene(SEED, SIZE, ("1e4",)), np.random.default_rng(2)
    offsets = random.normal(0, 0.05, (NUMBER, 2))
    at = [Pointing(p.zenith_angle, p.parallactic_angle, p.fwhm) for p in pointings(SEED, NUMBER)]
    wrong = [
        Pointing(p.zenith_angle, p.parallactic_angle, p.fwhm, offset=tuple(o)) for p, o in zip(at, offsets, strict=True)
    ]
    visits = [scene.visit(n, p, 1.0, None) for n, p in enumerate(wrong)]
    plain, better = solve(scene, visits), solve(scene, visits, self_calibrate="auto")
    for key, (without, matched) in suppression(plain.image, scene).items():
        assert suppression(better.image, scene)[key][1] < 0.8 * matched, (key, without)
