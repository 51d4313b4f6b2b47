"""``dcrflow coadd``: DCR coadds from visits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from dcrflow.base.addresses import redacted
from dcrflow.cli import interrupt, show
from dcrflow.cli.console import since_start
from dcrflow.cli.extras import require_for_cluster
from dcrflow.cli.inputs import visits_of
from dcrflow.cluster import forkserver

if TYPE_CHECKING:
    from dcrflow.campaign.coadd_outcome import CoaddProgress, CoaddResult
    from dcrflow.campaign.coadd_plan import Prepared
    from dcrflow.campaign.coadd_status import BuildStatus
    from dcrflow.planning.coadds import CoaddPlan

_EXIT = {"walltime": 3, "interrupted": interrupt.STATUS}
_SHOWN = 20


def coadd(
    visits: Annotated[
        str,
        typer.Argument(
            help="Detector-visit table (ECSV or Parquet) with a column image, a directory of FITS exposures, or "
            "butler:REPO?collections=A,B&dataset=visit_image.",
            show_default=False,
        ),
    ],
    out: Annotated[str, typer.Argument(help="DCR-coadd store to write: a directory or URL.", show_default=False)],
    skymap: Annotated[
        str, typer.Option(help="Sky map: a file (see dcrflow skymap), or auto: one tract around the visits.")
    ] = "auto",
    cluster: Annotated[str, typer.Option(help="Cluster, as for dcrflow run.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes.")] = None,
    memory: Annotated[
        str | None, typer.Option(help="Memory of each worker, for example 4GiB.", show_default=False)
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="Add new visits; old images are not read.")] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would be read, computed and written, and stop.")
    ] = False,
    config: Annotated[Path | None, typer.Option("--config", help="YAML file of configuration keys.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one configuration key.")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="Use only rows for which this holds, such as 'visit == 12'.")
    ] = None,
    scratch: Annotated[
        Path | None, typer.Option(help="Folder for warped visits, which all workers can reach.", show_default=False)
    ] = None,
    keep_sums: Annotated[
        bool,
        typer.Option(
            "--keep-sums/--no-keep-sums", help="Write the sums that a later --add needs (about 60 bytes per pixel)."
        ),
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make all patches again, also existing ones.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build DCR coadds from visits; run it again to finish what is missing.

    Exit status:

    - 0: all patches are made
    - 1: some failed
    - 2: unusable arguments; nothing was started
    - 3: stopped because the scheduler was lost
    - 4: all are made, without faulty detector-visits
    - 130: interrupted (Ctrl-C or SIGTERM)
    """
    require_for_cluster(cluster)
    show.begin(f"{'planning' if plan else 'building'} DCR coadds from {redacted(visits)}")
    if cluster == "local" and not plan:
        forkserver.begin()
    from dcrflow.campaign.as_json import build_as_json
    from dcrflow.campaign.coadd_plan import prepare
    from dcrflow.cluster.reading import read_description
    from dcrflow.model.coadd_config import CoaddConfig

    chosen = (CoaddConfig.read(config) if config is not None else CoaddConfig()).updated(settings or [])
    of_cluster = {"workers": workers, "memory": memory}
    read_description(cluster, **of_cluster)
    prepared = prepare(visits_of(visits), out, skymap, chosen, add=add, overwrite=overwrite, where=where)
    if plan:
        prepared.check()
        _show_plan(prepared.plan, as_json)
        return
    _ = prepared.begun  # what cannot be is told before a cluster is started
    result = _build(prepared, {"cluster": cluster, **of_cluster}, keep_sums=keep_sums, scratch=scratch)
    damaged = any(v.fault for v in result.left_out)
    code = _EXIT.get(result.stopped, 1 if result.failures else 4 if damaged else 0)
    if as_json:
        typer.echo(json.dumps(build_as_json(result, since_start(), code)))
    else:
        _show_result(result)
    raise typer.Exit(code)


def _build(prepared: Prepared, where: dict[str, Any], **how: Any) -> CoaddResult:
    """Build coadds on a cluster, with a bar of patches."""
    from dcrflow.campaign.coadds import build_prepared
    from dcrflow.campaign.stopping import Stop
    from dcrflow.cluster import connect
    from dcrflow.live.plugin import page_link

    stop = Stop()
    with (
        connect(**where) as client,
        interrupt.interruptible(stop.set),
        show.bar("patches") as update,
    ):
        page = page_link(client.dashboard_link)
        if page:
            show.console.print(f"campaign: {page}", soft_wrap=True)

        def tell(state: CoaddProgress) -> None:
            update(state.complete + state.skipped + state.failed, state.total, f"{state.running} running")

        return build_prepared(prepared, client, progress=tell, stop=stop, **how)


def _show_plan(plan: CoaddPlan, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_plan_as_json(plan)))
        return
    from dcrflow.live.words import size

    table = show.new_table("tract", "patch", "visits", "pixels", "reads", "time", left=0)
    for patch in plan.patches[:_SHOWN]:
        box = patch.patch.bbox
        table.add_row(
            str(patch.tract.tract), str(patch.patch.patch), str(len(patch.visits)), f"{box.width} x {box.height}",
            size(patch.bytes_read()), f"{max(1, round(patch.seconds()))} s",
        )  # fmt: skip
    show.output.print(table)
    if len(plan.patches) > _SHOWN:
        show.output.print(f"... and {len(plan.patches) - _SHOWN} more")
    _show_notes({p.label: p.notes for p in plan.patches})
    _show_left_out(plan.left_out)
    show.output.print(
        f"{_number(len(plan.patches), 'patch', 'patches')} of band {escape(plan.band.name)} from {plan.num_visits} "
        "detector-visits, "
        f"{plan.config.num_subfilters} subfilters, PSF {plan.psf_fwhm:.2f} arcsec\n"
        f"{plan.num_tasks()} tasks, reads {size(plan.bytes_read())}, writes {size(plan.bytes_written())} "
        f"(uncompressed), at most about {_duration(plan.hours())} of a processor",
        soft_wrap=True,
    )
    if plan.band.is_top_hat:
        show.output.print(
            "no transmission curve is given: the band is taken as a top-hat; set transmission (a file or a filter's "
            "name) for exact colours",
            soft_wrap=True,
        )


def _plan_as_json(plan: CoaddPlan) -> dict[str, Any]:
    return {
        "kind": "coadds",
        "total": len(plan.patches),
        "band": plan.band.name,
        "psf_fwhm": plan.psf_fwhm,
        "patches": [
            {
                "tract": p.tract.tract, "patch": p.patch.patch, "visits": [[v.visit, v.detector] for v in p.visits],
                "bytes_read": p.bytes_read(), "seconds": round(p.seconds(), 1), "notes": list(p.notes),
            }
            for p in plan.patches
        ],
        "left_out": [v.as_list() for v in plan.left_out],
        "tasks": plan.num_tasks(),
        "bytes_read": plan.bytes_read(),
        "bytes_written": plan.bytes_written(),
        "hours": round(plan.hours(), 4),
        "exit_status": 0,
    }  # fmt: skip


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _duration(hours: float) -> str:
    """Hours, or minutes or seconds where there is less than one."""
    if hours >= 1:
        return f"{hours:.1f} hours"
    return f"{60 * hours:.0f} minutes" if hours >= 1 / 30 else f"{max(1, round(3600 * hours))} s"


def _show_notes(notes: Mapping[str, Iterable[str]]) -> None:
    """What the visits of patches cannot determine; each sentence once, with the patches that it is true of."""
    labels: dict[str, list[str]] = {}
    for label, several in notes.items():
        for note in several:
            labels.setdefault(note, []).append(label)
    for note, where in labels.items():
        more = f" and {len(where) - 1} more" if len(where) > 1 else ""
        show.output.print(f"[yellow]{where[0]}{more}[/]: {escape(note)}", soft_wrap=True)


def _show_left_out(left_out: Any, words: str = "left out", shown: int = _SHOWN) -> None:
    for left in left_out[:shown]:
        who = f"visit {left.visit} detector {left.detector}" if left.visit >= 0 else "a row"
        show.output.print(f"[yellow]{words}[/] {who}: {escape(left.reason)}", soft_wrap=True)
    if len(left_out) > shown:
        show.output.print(f"... and {len(left_out) - shown} more")


def _show_result(result: CoaddResult) -> None:
    _show_left_out(result.left_out)
    _show_left_out(result.suspects, "does not fit")
    _show_notes(result.notes)
    for failure in result.failures[:_SHOWN]:
        show.console.print(
            f"[red]failed[/] tract {failure.tract} patch {failure.patch}: {failure.kind}: {escape(failure.message)}",
            soft_wrap=True,
        )
    parts = [f"[green]{result.complete} made[/]"]
    parts += [f"{result.skipped} made before"] if result.skipped else []
    parts += [f"[red]{len(result.failures)} failed[/]"] if result.failures else []
    show.output.print(
        f"{', '.join(parts)} of {result.total} patches in {result.elapsed:.1f} s: {escape(result.url)}", soft_wrap=True
    )
    if result.stopped:
        show.output.print("stopped before the end; the same command again finishes what is missing", soft_wrap=True)


def show_status(found: BuildStatus, as_json: bool) -> None:
    """Print the state of a coadd store."""
    if as_json:
        typer.echo(json.dumps(found.as_json()))
        return
    show.output.print(escape(found.url), soft_wrap=True)
    for run in found.runs:
        show.output.print(escape(run.words), soft_wrap=True)
    table = show.new_table("status", "patches", left=1)
    for name, number in (
        ("complete", len(found.complete)),
        ("failed", len(found.failed)),
        ("missing", len(found.missing)),
    ):
        table.add_row(name, str(number))
    show.output.print(table)
    for tract, patch, band, message in found.failed[:_SHOWN]:
        show.output.print(f"[red]failed[/] tract {tract} patch {patch} band {band}: {escape(message)}", soft_wrap=True)
    for tract, patch, band in found.missing[:_SHOWN]:
        show.output.print(f"[magenta]missing[/] tract {tract} patch {patch} band {band}: requested, not made yet")
    _show_left_out(found.left_out)
    _show_left_out(found.suspects, "does not fit")
