"""The demo's second half on a survey that is as small as it may be."""

import json
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from astropy.io import ascii as tables

from dcrflow.demo.from_visits import HELD_OUT, demo_of_visits, run_visits_demo
from dcrflow.simulate.visits import transients_of
from dcrflow.stores.coadds.store import open_coadds

pytest.importorskip("galsim")


class Silent:
    """Shows nothing."""

    @contextmanager
    def bar(self, title: str):
        yield lambda *_: None

    @contextmanager
    def campaign(self, client: object, title: str):
        yield lambda *_: None


def test_the_survey() -> None:
    config = demo_of_visits()
    assert [v.zenith_angle for v in config.visits[-3:]] == [30, 45, 60]
    assert {v.parallactic_angle for v in HELD_OUT}.isdisjoint(v.parallactic_angle for v in config.visits[:-3])
    _, when = transients_of(config)
    assert all((when == len(config.visits) - n).sum() >= 2 for n in (1, 2, 3)), "every held-out visit has transients"


@pytest.mark.slow
@pytest.mark.integration
def test_it_runs(tmp_path: Path) -> None:
    small = demo_of_visits().model_copy(
        update={
            "patch_inner": 128, "patch_border": 16, "detector_width": 150, "detector_height": 150, "transients": 4,
            "star_density": 80.0, "star_separation": 4.0, "visits": (*demo_of_visits().visits[:5], *HELD_OUT),
        }
    )  # fmt: skip
    report = run_visits_demo(tmp_path / "demo", Silent(), workers=1, config=small)
    assert [g.visit for g in report.gains] == [1006, 1007, 1008]
    assert all(g.stars > 0 and np.isfinite(g.matched) for g in report.gains)
    assert sum(g.unmatched for g in report.gains) > sum(g.matched for g in report.gains)
    assert report.sheet.stat().st_size > 50_000
    figures = json.loads(report.summary.read_text())["detector_visits"]
    assert [f["visit"] for f in figures] == [1006, 1007, 1008]
    numbers = {name: len(open_coadds(report.directory / name).info(9812, 0, "g").subfilter_edges) for name in
               ("coadds.zarr", "ordinary.zarr")}  # fmt: skip
    assert numbers == {"coadds.zarr": 3, "ordinary.zarr": 1}
    assert len(tables.read(report.directory / "seen.ecsv")) == 5
    assert len(tables.read(report.directory / "held_out.ecsv")) == 3
