"""dcrflow lsst: quantum graphs on dask, and small things for a Butler repository."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from dcrflow.base.addresses import redacted
from dcrflow.base.errors import ConfigError
from dcrflow.cli import show
from dcrflow.cli.console import Commands
from dcrflow.cli.inputs import require_lsst
from dcrflow.cli.interrupt import STATUS, interruptible
from dcrflow.cluster import forkserver

if TYPE_CHECKING:
    from dcrflow.lsst.graph_progress import GraphProgress

app = Commands(no_args_is_help=True, help="Run quantum graphs on dask; prepare Butler repositories.")

Repo = Annotated[str, typer.Option("-b", "--butler-config", help="Butler repository.", show_default=False)]


@app.command("run-graph")
def run_graph(
    graph: Annotated[
        str,
        typer.Argument(help="Quantum graph, saved with --qgraph-datastore-records: GRAPH.qg.", show_default=False),
    ],
    repo: Repo,
    cluster: Annotated[str, typer.Option(help="Cluster, as for dcrflow run.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Workers of the cluster.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a quantum that fails is tried again.")] = 2,
    aggregate: Annotated[bool, typer.Option(help="Register the outputs in the repository at the end.")] = True,
    state: Annotated[Path | None, typer.Option(help="Write the progress of the run to this file, as JSON.")] = None,
    memory: Annotated[str | None, typer.Option(help="Memory of a worker, as 4GiB.")] = None,
    jobs: Annotated[
        Path | None, typer.Option(help="Which quanta go together, and what their labels need; `bps` writes it.")
    ] = None,
    final: Annotated[str | None, typer.Option(help="Program to call at the end: PROGRAM GRAPH REPO.")] = None,
    only_if_complete: Annotated[
        bool, typer.Option("--only-if-complete", help="Leave out the end if quanta failed.")
    ] = False,
) -> None:
    """Execute a quantum graph on a dask cluster; run it again to finish what is missing.

    Exit status:

    - 0: every quantum is done
    - 1: some failed
    - 2: unusable arguments
    - 130: interrupted (Ctrl-C or SIGTERM)
    """
    require_lsst(ConfigError, "run-graph")
    show.begin(f"executing the quanta of {redacted(graph)}; starting the cluster: {redacted(cluster)}")
    if cluster == "local":
        forkserver.begin("lsst.pipe.base.single_quantum_executor", "lsst.images")
    from dcrflow.cli.show_campaign import CampaignDisplay
    from dcrflow.cluster import connect
    from dcrflow.lsst.controller import signs_of_life
    from dcrflow.lsst.graph_progress import write_state
    from dcrflow.lsst.jobs import JobPlan, Needs
    from dcrflow.lsst.larger import larger_clusters
    from dcrflow.lsst.quanta import run_graph as execute

    stop, default = Event(), Needs(retries=retries)
    plan = JobPlan(default=default) if jobs is None else JobPlan.read(jobs, default)
    with (
        interruptible(stop.set),
        signs_of_life(None if state is None else state.absolute().parent, stop.set),
        connect(cluster, workers=workers, memory=memory) as client,
        CampaignDisplay(client, "quanta") as display,
        larger_clusters(cluster) as larger,
    ):

        def update(now: GraphProgress) -> None:
            display.update_quanta(now)
            if state is not None:
                write_state(now, state)

        result = execute(
            graph, repo, client=client, plan=plan, larger=larger, aggregate=aggregate, final=final,
            only_if_complete=only_if_complete, progress=update, stop=stop,
        )  # fmt: skip
    for failure in result.failures:
        words = f"[red]failed[/] {failure.task} {escape(failure.data_id)}: {escape(failure.message)}"
        show.output.print(words, soft_wrap=True)
    show.output.print(
        f"{result.complete} complete, {result.skipped} done before, {len(result.failures)} failed, {result.blocked} "
        f"blocked of {result.total} quanta",
        soft_wrap=True,
    )
    if result.final is not None:
        show.output.print(f"[red]failed[/] {escape(result.final)}", soft_wrap=True)
    if result.stopped:
        show.output.print("stopped before the end; the same command again finishes what is missing", soft_wrap=True)
    raise typer.Exit(0 if result.ok else STATUS if result.stopped else 1)


@app.command("make-repository")
def make_repository(
    coadds: Annotated[str, typer.Argument(help="DCR-coadd store.", show_default=False)],
    visits: Annotated[str, typer.Argument(help="Detector-visit table or FITS exposures.", show_default=False)],
    repo: Annotated[str, typer.Argument(help="Directory for the new repository.", show_default=False)],
) -> None:
    """Make a Butler repository from coadds and detector-visits, to try things out; the visits' images are blank."""
    require_lsst(ConfigError, "make-repository")
    from dcrflow.lsst.repository import COADD_RUN, COADDS, VISIT_RUN, VISITS
    from dcrflow.lsst.repository import make_repository as make
    from dcrflow.stores.visits.tables import read_visits

    with show.bar("writing") as update:
        make(repo, coadds, read_visits(visits), progress=update)
    show.output.print(f"{escape(repo)}: {COADDS} in collection {COADD_RUN}, {VISITS} in {VISIT_RUN}", soft_wrap=True)


@app.command()
def prepare(
    repo: Annotated[str, typer.Option("-b", "--butler-config", help="Directory of the repository.")] = "",
    where: Annotated[
        bool, typer.Option("--show", help="Only print the value for DAF_BUTLER_CONFIG_PATH, and change nothing.")
    ] = False,
) -> None:
    """Add dcrflow's dataset classes to the butler.yaml of a repository; repeating it changes nothing."""
    require_lsst(ConfigError, "prepare")
    from dcrflow.lsst import storage

    if where:
        show.output.print(escape(str(storage.CONFIG_PATH)), soft_wrap=True)
        return
    if not repo:
        raise ConfigError("which repository? give its directory with -b, or --show")
    new = storage.prepare(repo)
    names = " and ".join(storage.STORAGE_CLASSES)
    show.output.print(f"{escape(repo)}: {names} {'are known now' if new else 'were known'}", soft_wrap=True)


@app.command("register-subfilters")
def register_subfilters(
    repo: Repo,
    number: Annotated[int, typer.Option(min=1, help="Subfilters of each band.")] = 3,
    bands: Annotated[str, typer.Option(help="The bands.")] = "ugrizy",
) -> None:
    """Register the DCR subfilters of bands in a Butler repository."""
    require_lsst(ConfigError, "register-subfilters")
    from dcrflow.lsst.butler import writeable_butler
    from dcrflow.lsst.subfilters import register_subfilters as register

    new = register(writeable_butler(repo), number, bands)
    show.output.print(f"{new} subfilters are new, {number * len(bands) - new} were there")


@app.command("put-coadds")
def put_coadds(
    coadds: Annotated[str, typer.Argument(help="DCR-coadd store.", show_default=False)],
    repo: Repo,
    run: Annotated[str, typer.Option("--run", help="RUN collection to put them into; made if missing.")],
    skymap: Annotated[
        str | None, typer.Option(help="Name of the sky map in the repository; that of the store otherwise.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="Dataset type.")] = "dcrCoadd",
) -> None:
    """Put DCR coadds into a Butler repository, one dcrCoadd a subfilter; what is there already stays."""
    require_lsst(ConfigError, "put-coadds")
    from dcrflow.lsst.put_coadds import put_coadds as put

    with show.bar("patches") as update:
        done = put(coadds, repo, run, skymap=skymap, dataset=dataset, progress=update)
    before = f", {done.before} there before" if done.before else ""
    show.output.print(
        f"{done.new} patch{'es' * (done.new != 1)} put{before}: {escape(dataset)} in {escape(run)} of {escape(repo)}",
        soft_wrap=True,
    )
