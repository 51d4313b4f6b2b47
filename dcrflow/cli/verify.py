"""``dcrflow verify``: check that every template is what was written."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from dcrflow.base.addresses import redacted
from dcrflow.base.texts import one_line
from dcrflow.cli import show
from dcrflow.cli.types import Json, Templates

_TELL_EVERY = 100  # templates between two movements of the bar, with --quick
_MOST_SHOWN = 1000  # templates of which problems are printed
_AS_FAR_AS = ", as far as names and sizes of files tell: no pixels were read"


def verify(
    out: Templates,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Read no pixels. In a directory, compare the sizes of files; in an object store, only look whether "
            "templates are there. Damage that leaves the sizes of pixels as they were is not found.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Read every template again and list those that are not sound.

    Exit status:

    - 0: all are sound
    - 1: some are not
    - 2: there is no such store
    """
    show.begin(f"{'looking at the files' if quick else 'reading all'} of {redacted(out)}")
    from dcrflow.campaign.as_json import verdicts_as_json
    from dcrflow.campaign.data_ids import label
    from dcrflow.stores.coadds.kind import is_coadd_store

    if is_coadd_store(out):
        raise typer.Exit(_verify_coadds(out, as_json))
    from dcrflow.campaign.verify import verify as check

    total, expected = 0, list[int]()
    bad = []
    with show.bar("verifying") as update:
        for verdict in check(out, quick, expected.append):
            total += 1
            if verdict.problems:
                bad.append(verdict)
            if total % (_TELL_EVERY if quick else 1) == 0:
                update(total, max(total, *expected))
    code = 1 if bad else 0
    if as_json:
        typer.echo(json.dumps(verdicts_as_json(out, total, bad, code)))
        raise typer.Exit(code)
    for verdict in bad[:_MOST_SHOWN]:
        for problem in verdict.problems:
            show.output.print(f"[red]{label(verdict.visit, verdict.detector)}[/]: {show.said(problem)}", soft_wrap=True)
    if len(bad) > _MOST_SHOWN:
        show.output.print(f"and {len(bad) - _MOST_SHOWN} more: --json lists all")
    show.output.print(f"{total - len(bad)} of {total} templates are sound{_AS_FAR_AS if quick else ''}", soft_wrap=True)
    if bad:
        show.output.print("make them again: dcrflow run with --overwrite and --where", soft_wrap=True)
    raise typer.Exit(code)


def _verify_coadds(out: str, as_json: bool) -> int:
    """The same of a DCR-coadd store; the exit status."""
    from dcrflow.campaign.coadd_status import verify_coadds

    bad: list[dict[str, Any]] = []
    total = 0
    for (tract, patch, band), problems in verify_coadds(out):
        total += 1
        if problems:
            words = [one_line(problem) for problem in problems]
            bad.append({"tract": tract, "patch": patch, "band": band, "problems": words})
    code = 1 if bad else 0
    if as_json:
        found = {"kind": "coadds", "store": redacted(out), "total": total, "sound": total - len(bad)}
        typer.echo(json.dumps({**found, "problems": bad, "exit_status": code}))
        return code
    for one in bad:
        for problem in one["problems"]:
            where = f"tract {one['tract']} patch {one['patch']} band {show.said(one['band'])}"
            show.output.print(f"[red]{where}[/]: {show.said(problem)}", soft_wrap=True)
    show.output.print(f"{total - len(bad)} of {total} patches are sound")
    if bad:
        show.output.print("make them again: dcrflow coadd with --overwrite", soft_wrap=True)
    return code
