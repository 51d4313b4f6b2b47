"""A whole simulated survey on disk."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.table import QTable

from dcrflow.base.masks import STANDARD_PLANES
from dcrflow.simulate.run import OutputExistsError, SimulatedSurvey, simulate_survey
from dcrflow.simulate.survey import SurveyConfig, VisitConfig
from dcrflow.stores.visits.exposures import read_exposure_row
from dcrflow.stores.visits.tables import detector_visit, read_visits

pytest.importorskip("galsim")

SMALL = SurveyConfig.demo(
    num_patches=(2, 2),
    patch_inner=150,
    patch_border=20,
    tract_overlap=80,
    detector_width=160,
    detector_height=120,
    detectors=(1, 1),
    visits=(VisitConfig(zenith_angle=40, parallactic_angle=10, rotation=15, boresight=(1.0, 30)),),
    coadd_defects=60,
    science_defects=200,
    sip=0.2,
)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSurvey:
    seen: list[tuple[int, int, str]] = []
    made = simulate_survey(
        SMALL, tmp_path_factory.mktemp("survey"), workers=1, progress=lambda *args: seen.append(args)
    )
    assert [done for done, _, _ in seen] == list(range(10))
    assert {total for _, total, _ in seen} == {9}
    assert {"tract 9812 patch 3", "visit 1001 detector 0"} <= {label for _, _, label in seen}
    return made


def patch(survey: SimulatedSurvey, tract: int, number: int) -> xr.Dataset:
    return xr.open_zarr(
        survey.coadds, group=f"{tract}/{number}/g", consolidated=False, zarr_format=3, chunks=None
    ).load()


def test_coadds_are_laid_out_as_the_interface_says(survey: SimulatedSurvey) -> None:
    for tract in survey.tracts:
        for item in tract.patches:
            data = patch(survey, tract.tract, item.patch)
            assert data.image.dims == ("subfilter", "y", "x")
            assert data.image.shape == (3, *item.bbox.shape)
            assert data.image.dtype == np.float32
            assert (data.x[0], data.y[0]) == (item.bbox.x0, item.bbox.y0)
            hole = (data["mask"].values & (1 << STANDARD_PLANES["NO_DATA"])) != 0
            np.testing.assert_array_equal(np.isnan(data.image.values), hole)
            assert data.attrs["transmission"]["wavelength"][0] == data.subfilter_edges.values[0, 0]
            assert data.attrs["transmission"]["wavelength"][-1] == data.subfilter_edges.values[-1, -1]


def test_overlapping_patches_have_the_same_pixels(survey: SimulatedSurvey) -> None:
    a, b = patch(survey, 9812, 0), patch(survey, 9812, 1)
    a, b = xr.align(a, b, join="inner", exclude=("subfilter", "edge", "psf_node", "psf_y", "psf_x"))
    assert a.sizes["x"] == 40
    for name in ("image", "variance"):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(a["mask"], b["mask"])


def test_tables_and_science_images_open(survey: SimulatedSurvey) -> None:
    (visit,) = read_visits(survey.visit_table)
    (made,) = survey.visits
    assert (visit.visit, visit.detector, visit.band, visit.bbox) == (1001, 0, "g", made.bbox)
    assert visit.observation.altitude == pytest.approx(made.observation.altitude)
    assert visit.observation.zenith == pytest.approx(made.observation.zenith)
    np.testing.assert_allclose(visit.wcs.pixel_to_sky(20, 30), made.wcs.pixel_to_sky(20, 30), rtol=1e-13)
    with fits.open(survey.science(made)) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "MASK", "VARIANCE", "PSF", "PSF_NODES"]
        assert 0.99 < hdus["PSF"].data.sum() < 1.0  # the share of the light inside, not renormalised
        assert hdus["PSF_NODES"].data["x"].tolist() == [(made.bbox.width - 1) / 2]
        assert hdus["IMAGE"].data.shape == made.bbox.shape
        assert hdus["MASK"].header["MP_CR"] == STANDARD_PLANES["CR"]
        bad = (hdus["MASK"].data & (1 << STANDARD_PLANES["BAD"])) != 0
        np.testing.assert_array_equal(np.isnan(hdus["IMAGE"].data), bad)
        assert hdus[0].header["BORE-RA"] == made.observation.ra
    assert len(QTable.read(survey.truth)) > 5
    assert SurveyConfig.read(survey.directory / "survey.yaml") == SMALL


def test_science_images_are_read_as_visits_too(survey: SimulatedSurvey) -> None:
    (made,) = survey.visits
    path = survey.science(made)
    row = read_exposure_row(path)
    visit = detector_visit(row | {"parallactic_angle": fits.getval(path, "PARANGLE")})
    assert (visit.visit, visit.detector, visit.band, visit.bbox) == (1001, 0, "g", made.bbox)
    assert visit.observation == made.observation
    np.testing.assert_allclose(visit.wcs.pixel_to_sky(20, 30), made.wcs.pixel_to_sky(20, 30), rtol=1e-13)


@pytest.mark.slow
def test_workers_do_not_matter(survey: SimulatedSurvey, tmp_path: Path) -> None:
    other = simulate_survey(SMALL, tmp_path / "other", workers=2)
    for tract in survey.tracts:
        for item in tract.patches:
            xr.testing.assert_identical(patch(survey, tract.tract, item.patch), patch(other, tract.tract, item.patch))
    (visit,) = survey.visits
    assert survey.science(visit).read_bytes() == other.science(visit).read_bytes()
    assert survey.truth.read_bytes() == other.truth.read_bytes()
    assert survey.visit_table.read_bytes() == other.visit_table.read_bytes()


def test_seeds_matter(survey: SimulatedSurvey, tmp_path: Path) -> None:
    tiny = SMALL.model_copy(update={"seed": 5, "num_patches": (1, 1), "num_tracts": 1})
    other = simulate_survey(tiny, tmp_path, workers=1)
    (visit,) = survey.visits
    with fits.open(survey.science(visit)) as a, fits.open(other.science(visit)) as b:
        assert not np.array_equal(a["IMAGE"].data, b["IMAGE"].data, equal_nan=True)


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    tiny = SMALL.model_copy(update={"num_patches": (1, 1), "num_tracts": 1})
    with pytest.raises(OutputExistsError, match="not empty"):
        simulate_survey(tiny, tmp_path, workers=1)
    simulate_survey(tiny, tmp_path, workers=1, overwrite=True)
    simulate_survey(tiny, tmp_path, workers=1, overwrite=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(OutputExistsError, match="is a file"):
        simulate_survey(tiny, tmp_path / "notes.txt", workers=1)


def test_errors_name_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("out of ink")

    monkeypatch.setattr("dcrflow.simulate.run.draw_science", broken)
    with pytest.raises(RuntimeError, match="out of ink") as caught:
        simulate_survey(SMALL.model_copy(update={"num_patches": (1, 1)}), tmp_path, workers=1)
    assert caught.value.__notes__ == ["while simulating visit 1001 detector 0"]
