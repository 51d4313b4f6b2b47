"""Commands and their options."""

from __future__ import annotations

import io
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dcrflow.base.addresses import redacted_text
from dcrflow.base.errors import DcrflowError, SchedulerLostError
from dcrflow.base.texts import one_line
from dcrflow.base.version import __version__
from dcrflow.cli import campaign, files, interrupt, rubin, show, skymap, visits_demo
from dcrflow.cli import cluster as cluster_commands
from dcrflow.cli.coadd import coadd
from dcrflow.cli.console import Commands
from dcrflow.cli.extras import require
from dcrflow.cli.need import need
from dcrflow.cli.report import report
from dcrflow.cli.types import Settings, Workers
from dcrflow.cli.verify import verify
from dcrflow.cli.visits import visits as visits_command
from dcrflow.cli.watch import watch
from dcrflow.cluster import forkserver

_FIRST, _TEMPLATES, _FILES = "To see what it does", "Templates of many detector-visits", "Rubin's pipelines and files"
_COADDS = "DCR coadds from visits"

app = Commands(
    name="dcrflow",
    help="DCR-matched templates for difference imaging, as a distributed dataflow.",
    epilog="Begin with [bold]dcrflow demo[/]; [bold]dcrflow COMMAND --help[/] explains a command.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(cluster_commands.app, name="cluster", rich_help_panel="Clusters")
app.add_typer(rubin.app, name="lsst", rich_help_panel=_FILES)
app.add_typer(skymap.app, name="skymap", rich_help_panel=_FILES)


def main() -> None:
    """Run the command line.

    Exits with 0 on success, 1 if some detector-visits failed, 2 for what cannot be used, 3 if it stopped because the
    walltime was nearly over or the scheduler was lost, 130 if it was interrupted, and 4 if all was made, but some
    without what is damaged in the coadds.
    """
    for stream in (sys.stdout, sys.stderr):  # a log that is not UTF-8 has no degree sign: a question mark does
        if isinstance(stream, io.TextIOWrapper) and (
            stream.errors == "strict"
            or (stream.errors == "surrogateescape" and stream.encoding.lower() != "utf-8")  # what LC_ALL=C makes of it
        ):
            stream.reconfigure(errors="replace")
    try:
        with interrupt.interrupting():
            app()
    except DcrflowError as error:
        show.errors.print(f"[bold red]Error:[/] {show.said(error)}", soft_wrap=True)
        sys.exit(3 if isinstance(error, SchedulerLostError) else 2)
    except SystemExit as ended:
        if ended.code == interrupt.STATUS:
            _interrupted(ended)
        raise
    except OSError as error:  # of the output, which may go to a disk that is full, or of a directory that is gone
        print(f"Error: {one_line(redacted_text(f'{type(error).__name__}: {error}'))}", file=sys.stderr)
        sys.exit(2)
    except BaseException as error:
        if interrupt.was_the_cause(error):  # modules that are being imported may raise another one because of it
            _interrupted(error)
            sys.exit(interrupt.STATUS)
        print(redacted_text(traceback.format_exc()), file=sys.stderr, end="")
        sys.exit(1)


def _interrupted(error: BaseException) -> None:
    """Say that Ctrl-C ended a command, unless something was under way that says so itself."""
    interrupt.ignore()  # one more has nothing to interrupt but the end of Python
    if interrupt.was_the_cause(error):
        print("interrupted before it was done: what was complete is kept", file=sys.stderr)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dcrflow {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options of all commands."""


@app.command(rich_help_panel=_FIRST, examples=["dcrflow demo", "dcrflow demo --from-visits --out DIR --workers 2"])
def demo(
    out: Annotated[Path, typer.Option(help="Directory for all results; it is replaced.")] = Path("dcrflow-demo"),
    from_visits: Annotated[
        bool, typer.Option("--from-visits", help="Build the coadds from simulated visits, too.")
    ] = False,
    workers: Workers = None,
) -> None:
    """Simulate a small survey, build its templates and show the gain."""
    require("dcrflow demo", "sim")
    show.begin(f"simulating a small survey in {out}, then making its templates")
    forkserver.begin()
    from dcrflow.demo import run_demo, run_visits_demo

    if from_visits:
        visits_demo.ended(run_visits_demo(out, show.DemoDisplay(), workers=workers))
    else:
        show.demo(run_demo(out, show.DemoDisplay(), workers=workers))


@app.command(
    rich_help_panel=_FIRST,
    examples=["dcrflow simulate survey --visits 20 --seed 1", "dcrflow simulate survey --set detector_width=1000"],
)
def simulate(
    out: Annotated[Path, typer.Argument(help="Directory to write to.", show_default=False)],
    size: Annotated[
        Literal["demo", "full"], typer.Option(help="demo, or full: 4072 x 4000 px detectors, 4100 px patches.")
    ] = "demo",
    config: Annotated[Path | None, typer.Option("--config", help="YAML file of the survey's keys.")] = None,
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.")] = None,
    visits: Annotated[
        int | None,
        typer.Option(min=1, help="Number of visits; their seeing, PSF shape, airmass, direction and rotation vary."),
    ] = None,
    workers: Workers = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing survey.")] = False,
) -> None:
    """Simulate a survey of any size: coadds, visits, science images."""
    require("dcrflow simulate", "sim")
    show.begin(f"simulating a survey in {out}")
    from dcrflow.model.config import parse_settings
    from dcrflow.simulate.run import simulate_survey
    from dcrflow.simulate.survey import SurveyConfig

    values: dict[str, Any] = {}
    if config is not None:
        values |= SurveyConfig.read(config).model_dump()
    values |= parse_settings(settings or [])
    if seed is not None:
        values["seed"] = seed
    if visits is not None:
        from dcrflow.simulate.visits import varied_visits

        values["visits"] = varied_visits(visits, values.get("seed", 0))
    chosen = SurveyConfig.full(**values) if size == "full" else SurveyConfig.demo(**values)
    with show.bar("simulating the sky") as update:
        survey = simulate_survey(chosen, out, workers=workers or 2, progress=update, overwrite=overwrite)
    show.survey(survey)


app.command(
    rich_help_panel=_TEMPLATES,
    examples=[
        "dcrflow plan coadds.zarr visits.ecsv",
        "dcrflow plan coadds.zarr visits.ecsv --where \"band == 'g'\" --json",
    ],
)(campaign.plan)
app.command(
    rich_help_panel=_TEMPLATES,
    examples=[
        "dcrflow run coadds.zarr visits.ecsv templates.zarr --workers 4",
        "dcrflow run coadds.zarr visits.ecsv templates.zarr --cluster slurm --walltime 02:00:00",
        "dcrflow run coadds.zarr visits.ecsv templates.zarr --quiet --log-file run.log --json",
    ],
)(campaign.run)
app.command(
    rich_help_panel=_TEMPLATES,
    examples=["dcrflow status templates.zarr", "dcrflow status templates.zarr --json | jq .counts"],
)(campaign.status)
app.command(
    rich_help_panel=_TEMPLATES,
    short_help="Show a campaign while it runs.",
    examples=["dcrflow watch templates.zarr", "dcrflow watch http://127.0.0.1:8787 --json"],
)(watch)
app.command(
    rich_help_panel=_TEMPLATES, examples=["dcrflow report templates.zarr --coadds coadds.zarr --to report.html"]
)(report)
app.command(rich_help_panel=_TEMPLATES, examples=["dcrflow verify templates.zarr"])(verify)
app.command(
    rich_help_panel=_COADDS,
    short_help="Build DCR coadds from calibrated visits.",
    examples=[
        "dcrflow coadd visits.ecsv coadds.zarr --plan",
        "dcrflow coadd visits.ecsv coadds.zarr --set num_subfilters=3",
    ],
)(coadd)
app.command(
    rich_help_panel=_COADDS,
    short_help="Estimate how large residuals are without DCR matching.",
    examples=["dcrflow need visits.ecsv --fwhm 0.9"],
)(need)
app.command(
    "visits",
    rich_help_panel=_FILES,
    short_help="Make a detector-visit table from FITS headers.",
    examples=["dcrflow visits --explain image.fits", "dcrflow visits images --mapping mine.yaml --out visits.parquet"],
)(visits_command)
app.command(
    rich_help_panel=_FILES,
    short_help="Copy LSST's DCR coadds into a DCR-coadd store.",
    examples=["dcrflow ingest dcrCoadd_*.fits --out coadds.zarr"],
)(files.ingest)
app.command(
    rich_help_panel=_FILES,
    short_help="Write templates as FITS files that LSST's readers can read.",
    examples=['dcrflow export templates.zarr DIR --where "visit == 1001"'],
)(files.export)
