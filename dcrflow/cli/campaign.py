"""``dcrflow plan``, ``run`` and ``status``: templates of many detector-visits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dcrflow.base.addresses import redacted
from dcrflow.base.errors import ClusterError
from dcrflow.cli import interrupt, show
from dcrflow.cli.console import since_start
from dcrflow.cli.extras import require_for_cluster
from dcrflow.cli.inputs import coadds_of, refuse_within, visits_of
from dcrflow.cli.types import Coadds, ConfigFile, Json, Limit, Settings, Visits, Where, Workers
from dcrflow.cluster import forkserver

if TYPE_CHECKING:
    from dcrflow.campaign.outcome import CampaignResult
    from dcrflow.model.config import TemplateConfig

_STOPPED = {"walltime": 3, "interrupted": interrupt.STATUS}
_EVERY = 1 << 62


def plan(
    coadds: Coadds,
    visits: Visits,
    config: ConfigFile = None,
    settings: Settings = None,
    where: Where = None,
    limit: Limit = None,
    every: Annotated[bool, typer.Option("--all", help="Show every row, not only the first.")] = False,
    as_json: Json = False,
) -> None:
    """Show what a run would read, compute and write; no pixels are read.

    Exit status:

    - 0: every template can be made, or has no overlap
    - 1: some cannot be made
    - 2: unusable arguments
    """
    show.begin(f"planning the templates of {redacted(visits)} from {redacted(coadds)}")
    from dcrflow.campaign.as_json import plan_as_json
    from dcrflow.campaign.plans import plan_campaign
    from dcrflow.cli import show_campaign
    from dcrflow.planning.template import require_transmission
    from dcrflow.stores.visits.select import select_some

    chosen = _config(config, settings)
    require_transmission(chosen)
    store = coadds_of(coadds)
    rows = select_some(visits_of(visits), where, limit)
    planned = plan_campaign(store, rows, chosen)
    if as_json:
        found = plan_as_json(planned, every)
        typer.echo(json.dumps(found))
        raise typer.Exit(found["exit_status"])
    raise typer.Exit(1 if show_campaign.plans(planned, len(rows), every) else 0)


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
    memory: Annotated[
        str | None, typer.Option(help="Memory of each worker, for example 4GiB.", show_default=False)
    ] = None,
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
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again the detector-visits that failed before.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make all templates again, also complete ones.")
    ] = False,
    limit: Limit = None,
    where: Where = None,
    window: Annotated[int | None, typer.Option(min=1, help="Templates in flight at once.")] = None,
    performance_report: Annotated[
        Path | None, typer.Option(help="Write dask's performance report: FILE.html, FILE-2.html, ...")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, in the last line.")] = False,
) -> None:
    """Build templates; run it again to finish what is missing.

    Exit status:

    - 0: every detector-visit is complete or has no overlap
    - 1: some failed
    - 2: unusable arguments; nothing was started
    - 3: stopped because the walltime was nearly over, or the scheduler was lost
    - 4: all are made, some without what is damaged in the coadds
    - 130: interrupted (Ctrl-C or SIGTERM)

    """
    require_for_cluster(cluster)
    seconds = None if walltime is None else _seconds(walltime)
    show.begin(f"making the templates of {redacted(visits)} from {redacted(coadds)}")
    if cluster == "local":
        forkserver.begin()
    from dcrflow.campaign.as_json import result_as_json
    from dcrflow.campaign.nothing_left import nothing_left
    from dcrflow.cli import show_campaign
    from dcrflow.cluster.reading import read_description
    from dcrflow.planning.template import require_usable
    from dcrflow.stores.templates.store import TemplateStore
    from dcrflow.stores.visits.select import select_some

    chosen = _config(config, settings)
    store = coadds_of(coadds)
    require_usable(store, chosen)
    rows = select_some(visits_of(visits), where, limit)
    refuse_within(out, coadds)
    target = TemplateStore.create_or_open(out)
    of_cluster = {"workers": workers, "memory": memory, "adaptive": adaptive or None}
    read_description(cluster, **of_cluster)  # a mistake in it is told, also if no cluster is needed
    result = None if overwrite and len(rows) else nothing_left(store, rows, target, chosen, retry_failed)
    if result is not None:
        show.begin(f"{len(rows)} detector-visits, and nothing left to do: no cluster is started")
    else:
        show.begin(f"{len(rows)} detector-visits; starting the cluster: {redacted(cluster)}")
        result = _on_cluster(
            {"cluster": cluster, **of_cluster}, seconds, coadds=store, visits=rows, out=target, config=chosen,
            window=window, overwrite=overwrite, retry_failed=retry_failed, report=performance_report,
        )  # fmt: skip
    wall_clock, code = since_start(), _exit_status(result)
    if as_json:
        typer.echo(json.dumps(result_as_json(result, target.url, wall_clock, code)))
    else:
        show_campaign.result(result, target.url, wall_clock)
    raise typer.Exit(code)


def _on_cluster(where: dict[str, Any], walltime: int | None, **campaign: Any) -> CampaignResult:
    """Run a campaign on a cluster, with a bar; Ctrl-C and the walltime stop it in good order."""
    from dcrflow.campaign import run_campaign
    from dcrflow.campaign.stopping import Stop
    from dcrflow.cli.show_campaign import CampaignDisplay
    from dcrflow.cluster import connect

    stop = Stop(walltime)
    with (
        connect(**where) as client,
        interrupt.interruptible(stop.set),
        CampaignDisplay(client) as display,
    ):
        return run_campaign(client=client, progress=display.update, stop=stop, **campaign)


def status(
    out: Annotated[str, typer.Argument(help="Template store, or DCR-coadd store.", show_default=False)],
    failures: Annotated[
        int, typer.Option(min=0, help="Also list this many detector-visits that are not complete, one per line.")
    ] = 0,
    every: Annotated[bool, typer.Option("--all", help="List all of them, one per line.")] = False,
    scan: Annotated[
        bool, typer.Option("--scan", help="Read every template instead of the journals of the runs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what is complete, failed or missing, and why.

    It also says whether a run is alive, where, since when, how fast it is, and when it will end.

    Exit status:

    - 0: everything is complete or has no overlap
    - 1: some failed
    - 2: there is no such store
    - 3: none failed, some are missing
    - 4: all are made, some without what is damaged in the coadds

    """
    from dcrflow.campaign.as_json import status_as_json
    from dcrflow.campaign.status import campaign_status
    from dcrflow.cli import show_campaign
    from dcrflow.stores.coadds.kind import is_coadd_store

    if is_coadd_store(out):
        from dcrflow.campaign.coadd_status import build_status
        from dcrflow.cli.coadd import show_status

        built = build_status(out)
        show_status(built, as_json=as_json)
        raise typer.Exit(built.exit_code)
    found = campaign_status(out, scan)
    if as_json:
        typer.echo(json.dumps(status_as_json(found)))
    else:
        show_campaign.status(found, _EVERY if every else failures)
    raise typer.Exit(found.exit_status)


def _exit_status(result: CampaignResult) -> int:
    return _STOPPED.get(result.stopped, 1 if not result.ok else 4 if result.damaged else 0)


def _seconds(walltime: str) -> int:
    from dcrflow.cluster.description import seconds

    try:
        return seconds(walltime)
    except ValueError as error:
        raise ClusterError(f"--walltime: {error}") from None


def _config(path: Path | None, settings: list[str] | None) -> TemplateConfig:
    from dcrflow.model.config import TemplateConfig

    chosen = TemplateConfig.read(path) if path is not None else TemplateConfig()
    return chosen.updated(settings or [])
