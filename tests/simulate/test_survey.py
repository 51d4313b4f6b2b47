"""A survey's configuration, tracts and detector-visits."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dcrflow.base.errors import ConfigError
from dcrflow.geometry import sphere
from dcrflow.geometry.skymap import Outline, overlapping_patches
from dcrflow.simulate.survey import SurveyConfig, detector_visits_of, sky_of, spread_visits, tracts_of

PRESETS = {"demo": SurveyConfig.demo(), "full": SurveyConfig.full(num_visits=3)}


@pytest.mark.parametrize("name", list(PRESETS))
def test_every_detector_is_covered_and_straddles_patches(name: str) -> None:
    config = PRESETS[name]
    tracts = tracts_of(config)
    both = 0
    for visit in detector_visits_of(config):
        outline = Outline.of(visit.wcs, visit.bbox)
        found = [overlapping_patches(outline, tract, tract.patches) for tract in tracts]
        assert sum(len(patches) for patches in found) >= 4
        both += all(found)
        inside = np.zeros(outline.ra.shape, bool)
        for tract in tracts:
            x, y = outline.on(tract)
            inside |= (x > tract.bbox.x0) & (x < tract.bbox.x1 - 1) & (y > tract.bbox.y0) & (y < tract.bbox.y1 - 1)
        assert np.all(inside)
    assert both >= 2


def test_neighbouring_tracts_overlap_as_asked() -> None:
    config = SurveyConfig.demo(num_tracts=3)
    tracts = tracts_of(config)
    for west, east in pairwise(tracts):
        assert sphere.bearing(*west.centre, *east.centre) == pytest.approx(90, abs=1)
        pitch = sphere.separation(*west.centre, *east.centre) * 3600 / config.pixel_scale
        assert west.bbox.width - pitch == pytest.approx(config.tract_overlap, abs=1)
    patches = tracts[0].patches
    assert patches[0].bbox.intersection(patches[1].bbox).width == 2 * config.patch_border


def test_observations_are_what_was_asked_for() -> None:
    config = SurveyConfig.demo()
    visits = detector_visits_of(config)
    assert [(v.visit, v.detector) for v in visits] == [(1001, 0), (1001, 1), (1002, 0), (1002, 1)]
    for visit in visits:
        asked, seen = config.visits[visit.visit - 1001], visit.observation
        assert seen.altitude == 90 - asked.zenith_angle
        assert sphere.separation(seen.ra, seen.dec, *seen.zenith) == pytest.approx(asked.zenith_angle)
        assert sphere.bearing(seen.ra, seen.dec, *seen.zenith) == pytest.approx(asked.parallactic_angle % 360)
        x, y = visit.bbox.width / 2, visit.bbox.height / 2
        ra, dec = visit.wcs.pixel_to_sky(x, y)
        assert sphere.separation(ra, dec, seen.ra, seen.dec) == pytest.approx(asked.boresight[0], abs=0.05)
        ra, dec = visit.wcs.pixel_to_sky([x, x], [y, y + 20])
        up = sphere.bearing(ra[0], dec[0], ra[1], dec[1])
        assert abs((up - asked.rotation + 180) % 360 - 180) < 1.5  # meridians converge between boresight and detector


def test_detectors_of_a_visit_do_not_overlap() -> None:
    first, second = detector_visits_of(SurveyConfig.demo())[:2]
    x, _ = first.wcs.sky_to_pixel(*second.wcs.pixel_to_sky(*second.bbox.outline()))
    assert x.min() > first.bbox.x1


def test_flipped_detectors_are_mirrored() -> None:
    plain, flipped = (detector_visits_of(SurveyConfig.demo(flipped=f, sip=0))[1] for f in ((), (1,)))
    width = plain.bbox.width
    ra, dec = plain.wcs.pixel_to_sky([10.0, 300.0], [20.0, 700.0])
    x, y = flipped.wcs.sky_to_pixel(ra, dec)
    np.testing.assert_allclose(x, width - 1 - np.array([10.0, 300.0]), atol=1e-6)
    np.testing.assert_allclose(y, [20.0, 700.0], atol=1e-6)


def test_sources_cover_every_detector() -> None:
    config = SurveyConfig.demo()
    sky = sky_of(config)
    for visit in detector_visits_of(config):
        x, y = visit.wcs.sky_to_pixel(sky.ra, sky.dec)
        inside = (x > -50) & (x < visit.bbox.x1 + 50) & (y > -50) & (y < visit.bbox.y1 + 50)
        assert inside.sum() > 100


def test_config_comes_back_from_its_own_file(tmp_path: Path) -> None:
    config = SurveyConfig.full(num_visits=2, seed=7)
    (tmp_path / "survey.yaml").write_text(config.as_yaml())
    assert SurveyConfig.read(tmp_path / "survey.yaml") == config


def test_unusable_configurations_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="patch_size"):
        SurveyConfig.make({"patch_size": 3})
    with pytest.raises(ConfigError, match="band"):
        SurveyConfig.demo(band="H")
    with pytest.raises(ConfigError, match="cannot read"):
        SurveyConfig.read(tmp_path / "missing.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="key: value"):
        SurveyConfig.read(tmp_path / "list.yaml")


def test_many_visits_all_differ() -> None:
    visits = spread_visits(40)
    assert len({(v.zenith_angle, v.parallactic_angle, v.rotation) for v in visits}) == 40
    assert all(20 <= v.zenith_angle <= 60 for v in visits)
