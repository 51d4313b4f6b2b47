"""Commands and their options."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dcrflow.base.errors import ClusterError, DcrflowError
from dcrflow.base.version import __version__
from dcrflow.cli import cluster as cluster_commands
from dcrflow.cli import files, interrupt, rubin, show, skymap
from dcrflow.cli.coadd import coadd, show_status
from dcrflow.cli.inputs import coadds_of, refuse_within, visits_of
from dcrflow.cli.need import need
from dcrflow.cli.report import report
from dcrflow.cli.verify import verify
from dcrflow.cli.visits import visits as visits_command
from dcrflow.cluster import forkserver
from dcrflow.model.config import TemplateConfig, parse_settings

_FIRST, _TEMPLATES, _FILES = "To see what it does", "Templates of many detector-visits", "Rubin's pipelines and files"
_COADDS = "DCR coadds from visits"

app = typer.Typer(
    name="dcrflow",
    help="DCR-matched templates for difference imaging, as a distributed dataflow.",
    epilog="Begin with [bold]dcrflow demo[/]; [bold]dcrflow COMMAND --help[/] explains a command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(cluster_commands.app, name="cluster", rich_help_panel="Clusters")
app.add_typer(rubin.app, name="lsst", rich_help_panel=_FILES)
app.add_typer(skymap.app, name="skymap", rich_help_panel=_FILES)

_EXIT = {"walltime": 3, "interrupted": interrupt.STATUS}

Coadds = Annotated[
    str,
    typer.Argument(
        help="DCR-coadd store: a zarr directory, zip file or URL; or butler:REPO?collections=A,B.", show_default=False
    ),
]
Visits = Annotated[
    str,
    typer.Argument(
        help="Detector-visit table (ECSV or Parquet), a directory of FITS exposures, or butler:REPO?collections=A,B.",
        show_default=False,
    ),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of configuration keys.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one configuration key.")]
Where = Annotated[
    str | None,
    typer.Option(
        help="Only rows for which this holds, such as \"visit == 12 and detector < 4\" or \"band in ['g', 'r']\"."
    ),
]
Limit = Annotated[int | None, typer.Option(min=0, help="Only the first so many rows.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Worker processes; a local cluster has one a core otherwise.")]


def main() -> None:
    """Run the command line.

    Exits with 0 on success, 1 if some detector-visits failed, 2 for what cannot be used, 3 if it stopped for the
    walltime, 130 if it was interrupted, and 4 if all was made, but some without what is damaged in the coadds.
    """
    for stream in (sys.stdout, sys.stderr):  # a log that is not UTF-8 has no degree sign: a question mark does
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")
    try:
        app()
    except DcrflowError as error:
        show.console.print(f"[bold red]Error:[/] {show.said(error)}", soft_wrap=True)
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dcrflow {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and leave.")
    ] = False,
) -> None:
    """Nothing of its own: the options above belong to all commands."""


@app.command(rich_help_panel=_FIRST)
def demo(
    out: Annotated[Path, typer.Option(help="Where to put everything; made anew.")] = Path("dcrflow-demo"),
    workers: Workers = None,
) -> None:
    """Simulate a small survey, build its templates, show what they gain."""
    forkserver.begin()
    from dcrflow.demo import run_demo

    show.demo(run_demo(out, show.DemoDisplay(), workers=workers))


@app.command(rich_help_panel=_FIRST)
def simulate(
    out: Annotated[Path, typer.Argument(help="Directory to write to.", show_default=False)],
    size: Annotated[
        Literal["demo", "full"], typer.Option(help="demo, or full: 4072 x 4000 px detectors, 4100 px patches.")
    ] = "demo",
    config: Annotated[Path | None, typer.Option("--config", help="YAML file of the survey's keys.")] = None,
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    visits: Annotated[
        int | None,
        typer.Option(min=1, help="So many visits, of varying seeing, PSF shape, airmass, direction and rotation."),
    ] = None,
    workers: Workers = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a survey that is there.")] = False,
) -> None:
    """Simulate a survey of any size: coadds, visits, science images."""
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


@app.command(rich_help_panel=_TEMPLATES)
def plan(
    coadds: Coadds,
    visits: Visits,
    config: ConfigFile = None,
    settings: Settings = None,
    where: Where = None,
    limit: Limit = None,
) -> None:
    """Show what a run would read, compute and write."""
    from dcrflow.campaign.status import plan_campaign
    from dcrflow.stores.visits.select import select

    store = coadds_of(coadds)
    rows = select(visits_of(visits), where, limit)
    show.plans(plan_campaign(store, rows, _config(config, settings)), total=len(rows))


@app.command(rich_help_panel=_TEMPLATES)
def run(
    coadds: Coadds,
    visits: Visits,
    out: Annotated[str, typer.Argument(help="Template store to write: a zarr directory or URL.", show_default=False)],
    cluster: Annotated[
        str,
        typer.Option(
            help="local, slurm, pbs, htcondor, kubernetes, a YAML file that describes one (see dcrflow cluster), a "
            "scheduler file, or a scheduler's address: tcp://host:port."
        ),
    ] = "local",
    workers: Workers = None,
    memory: Annotated[str | None, typer.Option(help="Of each worker, as 4GiB.", show_default=False)] = None,
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="Start and stop workers with the load, up to --workers.")
    ] = False,
    walltime: Annotated[
        str | None,
        typer.Option(
            help="Time this run has, HH:MM:SS; it stops early enough to finish what it began.", show_default=False
        ),
    ] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Make again what failed before.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make again what is complete.")] = False,
    limit: Limit = None,
    where: Where = None,
    window: Annotated[int | None, typer.Option(min=1, help="Templates in flight at once.")] = None,
    performance_report: Annotated[
        Path | None, typer.Option(help="Write dask's performance report: FILE.html, FILE-2.html, ...")
    ] = None,
) -> None:
    """Build templates; run it again to finish what is missing."""
    if cluster == "local":
        forkserver.begin()
    from dcrflow.campaign import run_campaign
    from dcrflow.campaign.stopping import Stop
    from dcrflow.cluster import connect
    from dcrflow.stores.templates.store import TemplateStore
    from dcrflow.stores.visits.select import select

    chosen = _config(config, settings)
    store = coadds_of(coadds)
    rows = select(visits_of(visits), where, limit)
    refuse_within(out, coadds)
    target = TemplateStore.create_or_open(out)
    changes = {"workers": workers, "memory": memory, "adaptive": adaptive or None}
    stop = Stop(None if walltime is None else _seconds(walltime))
    with (
        connect(cluster, **changes) as client,
        interrupt.interruptible(stop.set),
        show.CampaignDisplay(client) as display,
    ):
        result = run_campaign(
            store, rows, target, chosen, client=client, window=window, overwrite=overwrite,
            retry_failed=retry_failed, progress=display.update, stop=stop, report=performance_report,
        )  # fmt: skip
    show.result(result, target.url)
    raise typer.Exit(_EXIT.get(result.stopped, 1 if not result.ok else 4 if result.damaged else 0))


@app.command(rich_help_panel=_TEMPLATES)
def status(
    out: Annotated[str, typer.Argument(help="Template store.", show_default=False)],
    failures: Annotated[int, typer.Option(min=0, help="Show at most so many of what is not complete.")] = 20,
    scan: Annotated[
        bool, typer.Option("--scan", help="Look at every template instead of the journals of the runs.")
    ] = False,
) -> None:
    """Say what is complete, failed, without overlap or missing, and why.

    Exits with 0 when all is done, 1 if some failed, 3 if some are missing, 4 if some were made without what is damaged
    in the coadds.
    """
    from dcrflow.campaign.status import campaign_status
    from dcrflow.stores.coadds.builds import is_coadd_store

    if is_coadd_store(out):
        from dcrflow.campaign.coadd_status import build_status

        built = build_status(out)
        show_status(built, as_json=False)
        raise typer.Exit(built.exit_code)
    found = campaign_status(out, scan)
    show.status(found, failures)
    raise typer.Exit(found.exit_status)


app.command(rich_help_panel=_TEMPLATES)(report)
app.command(rich_help_panel=_TEMPLATES)(verify)
app.command(rich_help_panel=_COADDS, short_help="Build DCR coadds from calibrated visits.")(coadd)
app.command(rich_help_panel=_COADDS, short_help="Say how large DCR is without matching.")(need)
app.command("visits", rich_help_panel=_FILES, short_help="Make a detector-visit table of FITS headers.")(visits_command)
app.command(rich_help_panel=_FILES, short_help="Copy LSST's DCR coadds into a DCR-coadd store.")(files.ingest)
app.command(rich_help_panel=_FILES, short_help="Write templates as FITS files that LSST's readers know.")(files.export)


def _seconds(walltime: str) -> int:
    from dcrflow.cluster.description import seconds

    try:
        return seconds(walltime)
    except ValueError as error:
        raise ClusterError(f"--walltime: {error}") from None


def _config(path: Path | None, settings: list[str] | None) -> TemplateConfig:
    chosen = TemplateConfig.read(path) if path is not None else TemplateConfig()
    return chosen.updated(settings or [])
