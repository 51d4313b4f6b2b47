"""``dcrflow verify``: check that every template is what was written."""

from __future__ import annotations

from typing import Annotated

import typer

from dcrflow.cli import show


def verify(out: Annotated[str, typer.Argument(help="Template store.", show_default=False)]) -> None:
    """Read every template again and say which are not sound."""
    from dcrflow.campaign.status import campaign_status
    from dcrflow.stores.coadds.builds import is_coadd_store

    if is_coadd_store(out):
        raise typer.Exit(_verify_coadds(out))
    from dcrflow.campaign.verify import verify as verdicts

    total = campaign_status(out, scan=True).count("complete")
    bad = []
    with show.bar("verifying") as update:
        for number, verdict in enumerate(verdicts(out), 1):
            update(number, total)
            if verdict.problems:
                bad.append(verdict)
    for verdict in bad:
        for problem in verdict.problems:
            show.output.print(
                f"[red]visit {verdict.visit} detector {verdict.detector}[/]: {show.said(problem)}", soft_wrap=True
            )
    show.output.print(f"{total - len(bad)} of {total} templates are sound")
    if bad:
        show.output.print("make them again: dcrflow run with --overwrite and --where", soft_wrap=True)
    raise typer.Exit(1 if bad else 0)


def _verify_coadds(out: str) -> int:
    """The same of a DCR-coadd store; the exit status."""
    from dcrflow.campaign.coadd_status import verify_coadds

    total = bad = 0
    for (tract, patch, band), problems in verify_coadds(out):
        total, bad = total + 1, bad + bool(problems)
        for problem in problems:
            show.output.print(f"[red]tract {tract} patch {patch} band {band}[/]: {show.said(problem)}", soft_wrap=True)
    show.output.print(f"{total - bad} of {total} patches are sound")
    if bad:
        show.output.print("make them again: dcrflow coadd with --overwrite", soft_wrap=True)
    return 1 if bad else 0
