"""The examples in docstrings do what they show, on a survey of one patch row and one detector-visit."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from scenes import IMAGE, coadds, visit

import dcrflow
from dcrflow.view.accessor import TemplateAccessor

#: The functions and classes that a user meets first; each has an example.
SHOWN = {
    "open_coadds": dcrflow.open_coadds,
    "read_visits": dcrflow.read_visits,
    "write_visits": dcrflow.write_visits,
    "build_template": dcrflow.build_template,
    "run_campaign": dcrflow.run_campaign,
    "campaign_status": dcrflow.campaign_status,
    "coadds_from_arrays": dcrflow.coadds_from_arrays,
    "DetectorVisit": dcrflow.DetectorVisit,
    "TemplateConfig": dcrflow.TemplateConfig,
    "TemplateStore.open": dcrflow.TemplateStore.open,
    "SkyWcs.from_header": dcrflow.SkyWcs.from_header,
    "template.dcrflow.psf_at": TemplateAccessor.psf_at,
}


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with ``survey/``: coadds with a PSF, a table of one detector-visit, its template."""
    y, x = np.mgrid[-10:11, -10:11]
    kernel = np.exp(-(x**2 + y**2) / 8.0)
    place = tmp_path_factory.mktemp("examples")
    (place / "survey").mkdir()
    psf = (kernel / kernel.sum())[None].astype(np.float32)
    store = coadds(IMAGE, store=str(place / "survey/coadds.zarr"), psf=psf)
    dcrflow.write_visits([visit()], place / "survey/visits.ecsv")
    made = dcrflow.build_template(store, visit())
    dcrflow.write_template(made, str(place / "survey/templates.zarr"))
    return place


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # distributed leaves a socket unclosed
@pytest.mark.parametrize("name", SHOWN)
def test_example(name: str, survey: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(survey)
    found = [t for t in doctest.DocTestFinder(recurse=False).find(SHOWN[name], name) if t.examples]
    assert found, f"{name} shows no example"
    runner, said = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE), []
    for test in found:
        test.globs = {}
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)
