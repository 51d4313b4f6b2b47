"""``dcrflow need``: would anybody see DCR in these visits?"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from dcrflow.base.errors import ConfigError, VisitTableError
from dcrflow.cli import show
from dcrflow.cli.inputs import visits_of

_SHOWN = 20


def need(
    visits: Annotated[
        str, typer.Argument(help="Detector-visit table, or a directory of FITS exposures.", show_default=False)
    ],
    fwhm: Annotated[
        float, typer.Option(min=0.01, help="FWHM of the PSF in arcsec, for visits without psf_fwhm in the table.")
    ] = 0.8,
    transmission: Annotated[
        str | None,
        typer.Option(help="Transmission of the band: a file or the name of a filter; by default LSST's limits."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Estimate for each visit how large the residuals are without DCR matching."""
    from dcrflow.model.coadd_config import CoaddConfig
    from dcrflow.model.visit import DetectorVisit
    from dcrflow.planning.coadds import CoaddBand
    from dcrflow.planning.need import by_band, by_visit, needs

    every = visits_of(visits)
    rows = [v for v in every if isinstance(v, DetectorVisit)]
    bad = [str(v.error) for v in every if not isinstance(v, DetectorVisit)]
    if not rows:
        first = f"; the first: {bad[0]}" if bad else ""
        raise VisitTableError(f"{visits} has no detector-visit that can be used{first}")
    bands, unknown = {}, []
    for name in sorted({v.band for v in rows}):
        try:
            bands[name] = CoaddBand.of(name, CoaddConfig(transmission=transmission))
        except ConfigError as error:
            unknown.append(str(error))
    if not bands:
        raise ConfigError(unknown[0])
    found = needs(rows, bands, fwhm)
    for line in bad[:_SHOWN]:
        show.console.print(f"[yellow]left out[/]: {escape(line)}", soft_wrap=True)
    if len(bad) > _SHOWN:
        show.console.print(f"... and {len(bad) - _SHOWN} more rows that cannot be used")
    if as_json:
        typer.echo(json.dumps([asdict(n) | {"worth_it": n.is_worth_it} for n in found]))
        return
    table = show.new_table("band", "visits", "z", "median residual", "largest", "worth it", left=1)
    for b in by_band(found):
        table.add_row(
            escape(b.band), str(b.visits), f"{b.low:.0f}-{b.high:.0f}°", f"{100 * b.median:.1f} %",
            f"{100 * b.largest:.1f} %", str(b.worth_it),
        )  # fmt: skip
    show.output.print(table)
    visits_found = by_visit(found)
    table = show.new_table("visit", "band", "z", "blue to red", "spread", "residual", left=0)
    for n in visits_found[:_SHOWN]:
        table.add_row(
            str(n.visit), escape(n.band), f"{n.zenith_angle:.1f}°", f"{1000 * n.shift:.0f} mas",
            f"{1000 * n.width:.0f} mas", f"{100 * n.residual:.1f} %",
        )  # fmt: skip
    show.output.print(table)
    if len(visits_found) > _SHOWN:
        show.output.print(f"... and {len(visits_found) - _SHOWN} visits with smaller residuals")
    for line in unknown:
        show.output.print(f"[yellow]passed over[/]: {escape(line)}", soft_wrap=True)
    worth = sum(n.is_worth_it for n in visits_found)
    show.output.print(
        "residual: largest, of a star of 3000 K or 15000 K subtracted with a template of mean colour at the zenith, "
        "over its peak",
        soft_wrap=True,
    )
    show.output.print(f"{worth} of {len(visits_found)} visits leave more than 1 %: there matching is worth it")
