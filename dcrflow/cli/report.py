"""``dcrflow report``: a campaign as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from dcrflow.base.addresses import redacted
from dcrflow.cli import show
from dcrflow.cli.inputs import coadds_of


def report(
    out: Annotated[str, typer.Argument(help="Template store, or DCR-coadd store.", show_default=False)],
    coadds: Annotated[
        str | None,
        typer.Option(help="The coadds that the templates were made from, for the outlines of tracts and patches."),
    ] = None,
    to: Annotated[Path, typer.Option("--to", help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Write one HTML page: maps, thumbnails, DCR, failures, settings."""
    show.begin(f"collecting what {redacted(out)} holds")
    from dcrflow.stores.coadds.kind import is_coadd_store

    if is_coadd_store(out):
        _report_of_coadds(out, to)
        return
    from dcrflow.campaign.html import campaign_facts, write_report
    from dcrflow.live.words import size

    source = None if coadds is None else coadds_of(coadds)
    with show.bar("collecting") as update:
        facts = campaign_facts(out, update, coadds=source)
    written = write_report(facts, to)
    show.output.print(
        f"{_number(facts)} detector-visits in {escape(str(written))} "
        f"({size(written.stat().st_size)}): open it in a browser",
        soft_wrap=True,
    )


def _number(facts: dict[str, Any]) -> str:
    """How many detector-visits are shown, and of how many."""
    summary, shown = facts["summary"], len(facts["rows"])
    return str(shown) if summary is None else f"{shown} of {sum(summary['counts'].values())}"


def _report_of_coadds(out: str, to: Path) -> None:
    from dcrflow.campaign.coadd_report import coadd_facts, write_coadd_report
    from dcrflow.live.words import size

    with show.bar("collecting") as update:
        facts = coadd_facts(out, update)
    written = write_coadd_report(facts, to)
    show.output.print(
        f"{len(facts.patches)} patches in {escape(str(written))} ({size(written.stat().st_size)}): open it in a "
        "browser",
        soft_wrap=True,
    )
