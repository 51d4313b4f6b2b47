"""Coadds from simulated visits: built, found complete, added to; and templates of a visit that was held out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from distributed import Client, LocalCluster

import dcrflow
from dcrflow.base.errors import CoaddStoreError, ConfigError, VisitTableError
from dcrflow.campaign.coadd_plan import prepare
from dcrflow.campaign.coadd_status import build_status, verify_coadds
from dcrflow.coadd_graph import coadd_task
from dcrflow.model.coadd_config import CoaddConfig
from dcrflow.simulate.draw import Psf, draw_science
from dcrflow.simulate.run import SimulatedSurvey, simulate_survey
from dcrflow.simulate.survey import SurveyConfig, VisitConfig, detector_visits_of, sky_of
from dcrflow.simulate.visits import varied_visits
from dcrflow.steps.coadd import PatchOrder

pytest.importorskip("galsim")

FWHM = 0.85
HELD_OUT = VisitConfig(zenith_angle=45, parallactic_angle=60, rotation=10, seeing=0.8)


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSurvey:
    config = SurveyConfig.demo(
        seed=11, num_tracts=1, num_patches=(1, 1), patch_inner=128, detector_width=260, detector_height=250,
        detectors=(1, 1), sip=0.2, star_density=12, star_magnitudes=(18.5, 21.0), galaxy_density=0, science_noise=3.0,
        science_defects=0, coadd_defects=0,
        visits=(*varied_visits(7, 5, seeing=(0.7, 0.95), dither=2.0), HELD_OUT),
    )  # fmt: skip
    return simulate_survey(config, tmp_path_factory.mktemp("survey"), workers=1)


@pytest.fixture(scope="module")
def client():
    cluster = LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None)
    with cluster, Client(cluster) as connected:
        yield connected


def settings(survey: SimulatedSurvey) -> dict:
    return {
        "psf_fwhm": FWHM, "transmission": str(survey.transmission), "self_calibrate": False, "cell": 128, "margin": 20,
    }  # fmt: skip


@pytest.fixture(scope="module")
def built(survey: SimulatedSurvey, client: Client, tmp_path_factory: pytest.TempPathFactory):
    store = tmp_path_factory.mktemp("out") / "coadds.zarr"
    result = dcrflow.build_coadds(survey.visits[:7], store, client=client, **settings(survey))
    assert result.ok
    assert (result.total, result.complete, result.left_out) == (1, 1, ())
    return store


@pytest.mark.slow
@pytest.mark.integration
def test_a_held_out_visit_is_matched(survey: SimulatedSurvey, built: Path) -> None:
    visit = detector_visits_of(survey.config)[7]
    template = dcrflow.build_template(dcrflow.open_coadds(built), visit, border=0)
    sky, band, psf = sky_of(survey.config), survey.config.filters, Psf(fwhm=FWHM, pixel=False)
    truth, plain = (draw_science(sky, visit, band, psf, dcr=dcr) for dcr in (True, False))
    image = template.image.values
    near = truth > 0.03 * truth.max()
    near &= np.isfinite(image)
    rest, unmatched = (np.sqrt(np.mean((one - truth)[near] ** 2)) for one in (image, plain))
    assert np.count_nonzero(near) > 100
    assert unmatched > 5 * rest
    shine = truth > 5.0
    light = np.sum(image[np.isfinite(image) & shine]) / np.sum(truth[np.isfinite(image) & shine])
    assert light == pytest.approx(1.0, abs=0.01)


@pytest.mark.slow
@pytest.mark.integration
def test_the_store_says_where_it_comes_from(built: Path) -> None:
    group = zarr.open_group(built, mode="r")["0/0/g"]
    assert [row[:2] for row in group.attrs["visits"]] == [[1001 + i, 0] for i in range(7)]
    assert group.attrs["psf_model"]["fwhm"] == FWHM
    assert "ciddor" in group.attrs["refraction"].lower()
    assert sum(group.attrs["subfilter_noise"]["shares"]) == pytest.approx(1, abs=1e-5)
    assert group["count"].dtype == np.int16
    assert group["count"][...].max() == 7
    assert build_status(built).exit_code == 0
    assert [problems for _, problems in verify_coadds(built)] == [()]
    assert not (built / ".dcrflow/warped").exists()
    with xr.open_datatree(built, engine="zarr", consolidated=False) as tree:  # warnings are errors
        assert {"/.dcrflow", "/0/0/g"} <= set(tree.groups)


@pytest.mark.slow
@pytest.mark.integration
def test_what_is_complete_is_not_made_again(survey: SimulatedSurvey, client: Client, built: Path) -> None:
    again = dcrflow.build_coadds(survey.visits[:7], built, client=client, **settings(survey))
    assert (again.skipped, again.complete) == (1, 0)
    with pytest.raises(CoaddStoreError, match="--add"):
        dcrflow.build_coadds(survey.visits, built, client=client, **settings(survey))
    with pytest.raises(CoaddStoreError, match="another configuration"):
        dcrflow.build_coadds(survey.visits[:7], built, client=client, **settings(survey) | {"psf_fwhm": 0.9})


@pytest.fixture(scope="module")
def grown(survey: SimulatedSurvey, client: Client, built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Coadds of four visits on the sky map of `built`, to which three were added."""
    directory = tmp_path_factory.mktemp("grown")
    store = directory / "coadds.zarr"
    bad = replace(survey.visits[2], image=str(directory / "gone.fits"))
    visits = [*survey.visits[:2], bad, *survey.visits[3:5]]
    result = dcrflow.build_coadds(visits, store, skymap=str(built), client=client, **settings(survey))
    assert [(v.visit, v.fault) for v in result.left_out] == [(1003, True)]
    assert "no such file" in result.left_out[0].reason
    assert build_status(store).exit_code == 4
    added = dcrflow.build_coadds(survey.visits[:7], store, client=client, add=True, **settings(survey))
    assert (added.complete, added.left_out) == (1, ())
    return store


@pytest.mark.slow
@pytest.mark.integration
def test_new_visits_are_added_and_a_bad_one_is_left_out(
    survey: SimulatedSurvey, client: Client, built: Path, grown: Path
) -> None:
    group, whole = (zarr.open_group(store, mode="r")["0/0/g"] for store in (grown, built))
    assert [row[0] for row in group.attrs["visits"]] == [row[0] for row in whole.attrs["visits"]]
    assert dcrflow.build_coadds(survey.visits[:7], grown, client=client, add=True, **settings(survey)).skipped == 1


@pytest.mark.slow
@pytest.mark.integration
def test_added_visits_give_the_coadd_of_all_of_them(built: Path, grown: Path) -> None:
    group, whole = (zarr.open_group(store, mode="r")["0/0/g"] for store in (grown, built))
    assert group.attrs["wcs"] == whole.attrs["wcs"]
    # pixels stay rejected that were outliers when there were fewer visits: a few places by chance
    assert np.mean(group["count"][...] != whole["count"][...]) < 2e-3
    one, other = (g["image"][...].sum(axis=0) for g in (group, whole))
    np.testing.assert_array_equal(np.isfinite(one), np.isfinite(other))
    noise = np.sqrt(np.nanmedian(whole["variance"][...].sum(axis=0)))
    difference = (one - other)[np.isfinite(other)] / noise
    assert np.std(difference) < 0.1  # what `tolerance` leaves
    assert np.max(np.abs(difference)) < 3


def test_steps_have_names_and_the_same_keys_again(survey: SimulatedSurvey, tmp_path: Path) -> None:
    config = CoaddConfig.make(settings(survey) | {"self_calibrate": "auto"})
    plan = prepare(survey.visits[:3], tmp_path / "none.zarr", "auto", config).plan
    (patch,) = plan.patches
    order = PatchOrder(patch.tract, patch.patch, patch.frame, plan.band, config, plan.psf_fwhm, str(tmp_path))
    one, other = (coadd_task(patch, order, "store", {}, "token").__dask_graph__() for _ in range(2))
    assert set(one) == set(other)
    names = {str(key).partition("-")[0] for key in one}
    steps = {"load_visit", "warp_visit", "check_visits", "accumulate", "calibrate_visits", "solve_patch", "write_patch"}
    assert names == steps
    assert len(one) == plan.num_tasks()
    assert sum(str(key).startswith("load_visit") for key in one) == 3


def test_what_visits_cannot_determine_is_said(survey: SimulatedSurvey, tmp_path: Path) -> None:
    def notes(visits) -> str:
        plan = prepare(visits, tmp_path / "none.zarr", "auto", CoaddConfig.make(settings(survey))).plan
        return " ".join(n for p in plan.patches for n in p.notes)

    def seen(visit, **changes):
        return replace(visit, observation=replace(visit.observation, **changes))

    visits = survey.visits[:5]
    assert notes(visits) == ""
    assert "2 visits only" in notes(visits[:2])
    assert "nearly alike" in notes([seen(v, altitude=89.9) for v in visits])
    assert "along one line" in notes([seen(v, parallactic_angle=30.0) for v in visits])


def test_bad_input_is_said(survey: SimulatedSurvey, tmp_path: Path) -> None:
    config = CoaddConfig.make(settings(survey))
    visits = survey.visits[:3]

    def plan(rows, **changes):
        return prepare(rows, tmp_path / "none.zarr", changes.pop("skymap", "auto"), config, **changes)

    with pytest.raises(VisitTableError, match="is there twice"):
        plan([*visits, visits[0]])
    with pytest.raises(ConfigError, match=r"several bands .1 of g, 2 of r."):
        plan([visits[0], *(replace(v, band="r") for v in visits[1:])])
    far = replace(visits[0], wcs=_moved(visits[0].wcs, 40.0))
    with pytest.raises(ConfigError, match=r"spread|from the middle"):
        plan([*visits[1:], far])
    with pytest.raises(CoaddStoreError, match="nothing to add"):
        plan(visits, add=True).check()
    mixed = [*visits, replace(visits[0], visit=9, band="r")]
    chosen = prepare(mixed, tmp_path / "none.zarr", "auto", CoaddConfig.make(settings(survey) | {"band": "g"})).plan
    assert [(v.visit, v.fault) for v in chosen.left_out] == [(9, False)]


def _moved(wcs, degrees: float):
    header = wcs.header
    header["CRVAL2"] = header["CRVAL2"] + degrees
    return dcrflow.SkyWcs.from_header(header)
