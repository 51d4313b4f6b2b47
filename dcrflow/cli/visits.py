"""``dcrflow visits``: a detector-visit table from the headers of FITS images of any camera."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from dcrflow.base.errors import VisitTableError
from dcrflow.cli import show

if TYPE_CHECKING:
    from dcrflow.stores.visits.from_fits import Explanation


def visits(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="FITS images, directories of them, or LSST's visitSummary or visit_detector_table.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Table to write: .ecsv or .parquet.", show_default=False)
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            help="Which keyword each column comes from: a YAML file or a camera (decam, hsc, ztf, ...); INSTRUME tells "
            "otherwise.",
            show_default=False,
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show which keyword each column comes from, and what is missing."),
    ] = False,
) -> None:
    """Make a detector-visit table from the headers of FITS images of any camera, or from LSST's tables of detectors.

    Exit status:

    - 0: the table has every image
    - 1: some images could not be used; the others are written
    - 2: no image could be used, or unusable arguments
    """
    from dcrflow.stores.visits.from_fits import explain_fits, visit_rows_from_fits
    from dcrflow.stores.visits.tables import BadVisit, write_visits

    if explain:
        for path in files:
            for explanation in explain_fits(path, mapping):
                _show(explanation)
        return
    if out is None:
        raise VisitTableError("say where to write the table with --out FILE.parquet, or look at headers with --explain")
    rows = [row for path in files for row in visit_rows_from_fits(path, mapping)]
    bad = [row for row in rows if isinstance(row, BadVisit)]
    good = [row for row in rows if not isinstance(row, BadVisit)]
    for row in bad:
        show.console.print(f"[yellow]left out:[/] {escape(str(row.error))}", soft_wrap=True)
    if not good:
        raise VisitTableError("no image could be used, so no table is written; --explain shows what is missing")
    write_visits(good, out)
    cameras = ", ".join(sorted({v.instrument for v in good}))
    show.output.print(
        f"{len(good)} detector-visits of {escape(cameras)} in {escape(str(out))}"
        + (f", {len(bad)} left out" if bad else ""),
        soft_wrap=True,
    )
    raise typer.Exit(1 if bad else 0)


def _show(explanation: Explanation) -> None:
    title = f"{explanation.image}: {explanation.mapping or 'no mapping'}"
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("column", "value", "keywords", "nearest"):
        table.add_column(name, overflow="fold")
    for found in explanation.found:
        value = (
            "[red]missing[/]"
            if found.value is None
            else escape(f"{found.value:.10g}" if isinstance(found.value, float) else f"{found.value}")
        )
        notes = escape(found.problem or ", ".join(found.candidates))
        table.add_row(found.column, value, escape(", ".join(found.keywords)), notes)
    show.output.print(table)
    if explanation.problem:
        show.output.print(f"[red]cannot be used:[/] {escape(explanation.problem)}", soft_wrap=True)
