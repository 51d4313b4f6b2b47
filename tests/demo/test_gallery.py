"""The pictures of the steps: what they show is what the steps make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dcrflow.simulate.run import simulate_survey
from dcrflow.simulate.survey import SurveyConfig

pytest.importorskip("matplotlib", reason="wants the extra plot")
pytest.importorskip("galsim", reason="wants the extra sim")

DOCUMENTED = Path(__file__).parents[2] / "dcrflow" / "docs" / "steps"


@pytest.mark.slow
def test_pictures_of_the_steps(tmp_path: Path) -> None:
    from dcrflow.demo.gallery import NAMES, SURVEY, draw, stages
    from dcrflow.steps import make_tile
    from dcrflow.stores.coadds.store import open_coadds

    survey = simulate_survey(SurveyConfig.make(SURVEY), tmp_path / "survey", workers=1)
    visit = survey.visits[0]
    made = stages(survey, visit)
    want = make_tile(open_coadds(survey.coadds), made.plan, made.plan.bbox).pixels
    np.testing.assert_array_equal(made.template.image, want.image)
    assert len(made.warped) == 2
    both = np.isfinite(made.warped[0].image) & np.isfinite(made.warped[1].image)
    assert both.any()
    assert not both.all()
    changed = made.matched - made.plain
    assert np.nanstd(changed) > 0
    assert abs(np.nansum(changed)) < 0.02 * np.nansum(np.abs(made.matched)), "DCR moves light and makes none"
    paths = draw(survey, visit, tmp_path / "pictures")
    assert [path.stem for path in paths] == list(NAMES)
    for path in paths:
        with Image.open(path) as picture:
            assert picture.width > 600


def test_the_documentation_has_them() -> None:
    from dcrflow.demo.gallery import NAMES

    page = (DOCUMENTED.parent / "steps.md").read_text()
    for name in NAMES:
        assert f"(steps/{name}.jpeg)" in page
        assert (DOCUMENTED / f"{name}.jpeg").stat().st_size < 120_000
