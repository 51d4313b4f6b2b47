"""The demo's second half: coadds built from visits, and templates of visits that are not among them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from astropy.table import Table

from dcrflow.campaign import run_campaign
from dcrflow.campaign.coadd_outcome import CoaddProgress
from dcrflow.campaign.coadds import build_coadds
from dcrflow.cluster import connect
from dcrflow.demo.gain import compare
from dcrflow.demo.laps import Laps
from dcrflow.demo.run import DemoFailedError, DemoReport, Watcher, is_demo
from dcrflow.demo.sheet import Marks, Words, draw_sheet
from dcrflow.geometry.layout import ListedSkyMap
from dcrflow.model.config import TemplateConfig
from dcrflow.model.visit import DetectorVisit
from dcrflow.simulate.run import simulate_survey
from dcrflow.simulate.survey import SKYMAP, SurveyConfig, VisitConfig
from dcrflow.simulate.visits import transients_of, varied_visits
from dcrflow.stores.skymaps.write import write_geometry
from dcrflow.stores.templates.store import TemplateStore
from dcrflow.stores.visits.tables import write_visits

NUM_VISITS = 16  # that go into the coadds

#: Visits that do not: what they see is new to the coadds.
HELD_OUT = (
    VisitConfig(zenith_angle=30, parallactic_angle=123, rotation=3, dither=(3, -2), seeing=0.85),
    VisitConfig(zenith_angle=45, parallactic_angle=-60, rotation=182, dither=(-4, 5), seeing=0.85),
    VisitConfig(zenith_angle=60, parallactic_angle=15, rotation=268, dither=(2, 4), seeing=0.9),
)
PSF_FWHM = 0.75  # arcsec, of the coadds
_WORDS = Words(
    ("science", "template from an ordinary coadd", "dcrflow's template", "science − ordinary", "science − dcrflow"),
    "Visits that are not in the coadds, subtracted without and with DCR matching (±8σ of the sky); a free matching "
    "kernel was fitted to both templates",
)


def demo_of_visits() -> SurveyConfig:
    """The survey: one detector of 400 x 400 pixels, 16 visits for the coadds, 3 that are held out, transients."""
    # near multiples of a right angle, so that square detectors of all visits cover the same square of the sky
    seen = (
        v.model_copy(update={"rotation": 90.0 * (i % 4) + round(v.rotation % 8 - 4, 2)})
        for i, v in enumerate(varied_visits(NUM_VISITS, 3, dither=4.0))
    )
    return SurveyConfig.demo(
        seed=20270101, num_tracts=1, num_patches=(1, 1), patch_inner=384, patch_border=32, detectors=(1, 1),
        detector_width=400, detector_height=400, sip=0.2, star_density=16, star_magnitudes=(16.8, 20.0),
        star_separation=6.0, transients=60, transient_magnitudes=(21.0, 22.5), visits=(*seen, *HELD_OUT),
    )  # fmt: skip


def run_visits_demo(
    out: Path, watcher: Watcher, *, workers: int | None = None, config: SurveyConfig | None = None
) -> DemoReport:
    """Simulate visits, build coadds from them, then templates of held-out visits; measure and draw what they gained.

    The last visits, as many as `HELD_OUT` has, go into no coadd. A template from an ordinary coadd (one subfilter, the
    same visits, the same code) is what is compared with. A matching kernel is fitted to both templates, which favours
    the ordinary one.

    Parameters and errors as of `dcrflow.demo.run_demo`.
    """
    workers = workers or 2
    laps = Laps()

    chosen = config or demo_of_visits()
    with watcher.bar("simulating the visits") as update:
        survey = simulate_survey(chosen, out, workers=workers, progress=update, overwrite=is_demo(out), coadds=False)
    laps.end("simulate")
    number = len(survey.visits) // len(chosen.visits) * len(HELD_OUT)
    seen, held = list(survey.visits[:-number]), list(survey.visits[-number:])
    skymap = ListedSkyMap(survey.tracts, SKYMAP)
    write_geometry(skymap, [t.tract for t in survey.tracts], out / "skymap.yaml")
    write_visits(seen, out / "seen.ecsv")
    write_visits(held, out / "held_out.ecsv")
    with connect("local", workers=workers) as client:
        laps.end("start the cluster")
        for name, subfilters in (("coadds.zarr", chosen.num_subfilters), ("ordinary.zarr", 1)):
            title = "DCR coadds" if subfilters > 1 else "ordinary coadds"
            with watcher.bar(title) as update:
                built = build_coadds(
                    seen, out / name, skymap=skymap, client=client, overwrite=True, keep_sums=subfilters > 1,
                    num_subfilters=subfilters, psf_fwhm=PSF_FWHM, transmission=str(survey.transmission),
                    progress=_moving(update),
                )  # fmt: skip
            if not built.ok:
                raise DemoFailedError(f"{len(built.failures)} patches failed, the first with: {built.failures[0]}")
            laps.end(title)
        jobs = (
            ("DCR-matched templates", "templates.zarr", "coadds.zarr", held, TemplateConfig()),
            ("ordinary templates", "plain.zarr", "ordinary.zarr", [_below_the_zenith(v) for v in held],
             TemplateConfig(num_subfilters=1)),
        )  # fmt: skip
        for title, name, coadds, visits, settings in jobs:
            with watcher.campaign(client, title) as tell:
                done = run_campaign(
                    out / coadds, visits, out / name, settings, client=client, overwrite=True, progress=tell
                )
            if not done.ok:
                raise DemoFailedError(f"{len(done.failures)} templates failed, the first with: {done.failures[0]}")
            laps.end(title)
    sheet, summary = out / "sheet.png", out / "summary.json"
    gains = _compared(out, survey, chosen, held, sheet)
    laps.end("compare and draw")
    figures = [dataclasses.asdict(g) | {"ratio": g.ratio, "excess_ratio": g.excess_ratio} for g in gains]
    summary.write_text(json.dumps({"detector_visits": figures, "seconds": laps.seconds}, indent=2) + "\n")
    return DemoReport(out, gains, sheet, summary, laps.seconds)


def _compared(out: Path, survey: Any, chosen: SurveyConfig, held: list[DetectorVisit], sheet: Path) -> tuple[Any, ...]:
    """Compare the templates of the held-out visits with their science images, and draw the sheet; the gains."""
    truth = Table.read(survey.truth, format="ascii.ecsv")
    matched, plain = (TemplateStore.open(out / n) for n in ("templates.zarr", "plain.zarr"))
    compared = [
        compare(
            v, survey.science(v), plain.read(v.visit, v.detector), matched.read(v.visit, v.detector), truth,
            free_kernel=True,
        )
        for v in held
    ]  # fmt: skip
    gains = tuple(gain for gain, _ in compared)
    draw_sheet(sheet, [d for _, d in compared], gains, _WORDS, [_transients(chosen, v) for v in held])
    return gains


def _below_the_zenith(visit: DetectorVisit) -> DetectorVisit:
    """The same detector with the zenith in its middle: its template has no DCR."""
    box = visit.bbox
    ra, dec = visit.wcs.pixel_to_sky(box.x0 + (box.width - 1) / 2, box.y0 + (box.height - 1) / 2)
    seen = dataclasses.replace(visit.observation, ra=float(ra), dec=float(dec), altitude=90.0)
    return dataclasses.replace(visit, observation=seen)


def _moving(update: Any) -> Any:
    def tell(state: CoaddProgress) -> None:
        update(state.complete + state.skipped + state.failed, state.total, "")

    return tell


def _transients(config: SurveyConfig, visit: DetectorVisit) -> Marks:
    """Where a visit has transients, absolute detector pixels."""
    stars, when = transients_of(config)
    mine = stars[when == visit.visit - 1001]
    x, y = visit.wcs.sky_to_pixel(mine.ra, mine.dec)
    return Marks("a transient: it shines in this visit alone", x, y)
