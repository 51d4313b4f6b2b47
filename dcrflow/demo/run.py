"""The demo from beginning to end: simulate, build, compare, draw, sum up."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from astropy.table import Table

from dcrflow.base.errors import DcrflowError
from dcrflow.campaign import Progress, run_campaign
from dcrflow.cluster import connect
from dcrflow.demo.gain import Gain, compare
from dcrflow.demo.laps import Laps
from dcrflow.demo.sheet import draw_sheet
from dcrflow.model.config import TemplateConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.simulate.run import simulate_survey
from dcrflow.simulate.survey import SurveyConfig
from dcrflow.stores.templates.store import TemplateStore


class Watcher(Protocol):
    """What shows the demo's progress."""

    def bar(self, title: str) -> AbstractContextManager[Callable[[int, int, str], None]]:
        """A bar that the yielded function (done, total, label) moves."""

    def campaign(self, client: Any, title: str) -> AbstractContextManager[Callable[[Progress], None]]:
        """A bar for a campaign on a client."""


@dataclass(frozen=True)
class DemoReport:
    """What the demo made.

    Parameters
    ----------
    directory : Path
        Holds all of it.
    gains : tuple of Gain
        What each detector-visit gained.
    sheet, summary : Path
        The picture (PNG) and the figures (JSON).
    seconds : dict of str to float
        How long each part took.
    """

    directory: Path
    gains: tuple[Gain, ...]
    sheet: Path
    summary: Path
    seconds: dict[str, float]


class DemoFailedError(DcrflowError, RuntimeError):
    """The demo's campaign did not finish: something is wrong with this installation."""


def run_demo(
    out: Path, watcher: Watcher, *, workers: int | None = None, config: SurveyConfig | None = None
) -> DemoReport:
    """Simulate a small survey, build its templates on a local cluster, measure and draw what they gained.

    Parameters
    ----------
    out : Path
        Where to put everything; an earlier demo there is replaced.
    watcher : Watcher
        Shows progress.
    workers : int, optional
        Worker processes; 2 otherwise.
    config : SurveyConfig, optional
        The survey; the demo's otherwise.

    Raises
    ------
    DcrflowError
        If `out` holds something else, or a template cannot be made.
    """
    workers = workers or 2
    laps = Laps()

    with watcher.bar("simulating the sky") as update:
        survey = simulate_survey(
            config or SurveyConfig.demo(), out, workers=workers, progress=update, overwrite=is_demo(out)
        )
    laps.end("simulate")
    stores = {"matched": out / "templates.zarr", "plain": out / "plain.zarr"}
    with connect("local", workers=workers) as client:
        laps.end("start the cluster")
        jobs = (
            ("matched", list(survey.visits), TemplateConfig(), "DCR-matched templates"),
            (
                "plain",
                [_at_the_zenith(v) for v in survey.visits],
                TemplateConfig(rotation="boresight"),
                "plain templates",
            ),
        )
        for name, visits, chosen, title in jobs:
            with watcher.campaign(client, title) as tell:
                result = run_campaign(
                    survey.coadds, visits, stores[name], chosen, client=client, overwrite=True, progress=tell
                )
            if not result.ok:
                raise DemoFailedError(f"{len(result.failures)} templates failed, the first with: {result.failures[0]}")
            laps.end(title)
    truth = Table.read(survey.truth, format="ascii.ecsv")
    matched, plain = TemplateStore.open(stores["matched"]), TemplateStore.open(stores["plain"])
    compared = []
    with watcher.bar("comparing") as update:
        for number, visit in enumerate(survey.visits):
            without, with_it = (s.read(visit.visit, visit.detector) for s in (plain, matched))
            compared.append(compare(visit, survey.science(visit), without, with_it, truth))
            update(number + 1, len(survey.visits), "")
    gains = tuple(gain for gain, _ in compared)
    sheet = out / "sheet.png"
    draw_sheet(sheet, [difference for _, difference in compared], gains)
    laps.end("compare and draw")
    summary = out / "summary.json"
    figures = [dataclasses.asdict(g) | {"ratio": g.ratio} for g in gains]
    summary.write_text(json.dumps({"detector_visits": figures, "seconds": laps.seconds}, indent=2) + "\n")
    return DemoReport(out, gains, sheet, summary, laps.seconds)


def _at_the_zenith(visit: DetectorVisit) -> DetectorVisit:
    """The same detector, seen from below: the template that has no DCR at all (under the boresight convention)."""
    observation = dataclasses.replace(visit.observation, altitude=90.0, rotation_angle=0.0)
    return dataclasses.replace(visit, observation=observation)


def is_demo(out: Path) -> bool:
    """Whether a directory holds an earlier demo, and so may be replaced."""
    return (out / "survey.yaml").is_file()
