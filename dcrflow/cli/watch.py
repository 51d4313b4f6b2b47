"""``dcrflow watch``: a campaign live in a terminal, or as a line of JSON a second."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def watch(
    source: Annotated[
        str,
        typer.Argument(
            metavar="OUT|ADDRESS",
            help="Template store or DCR-coadd store; or the dashboard's address (http://host:port), a scheduler's, or "
            "a scheduler file.",
            show_default=False,
        ),
    ],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON per update, for other programs.")
    ] = False,
    every: Annotated[float, typer.Option(min=0.2, help="Seconds between updates.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Show the state once and exit.")] = False,
) -> None:
    """Show a campaign, or a build of DCR coadds, while it runs: states on the sky, rate, time left, failures.

    Ends when the run ends. A store is followed by its journals; the dashboard knows the workers, too.
    """
    from dcrflow.cli.show_live import LiveView
    from dcrflow.live.follow import follow

    if as_json:
        for seen in follow(source, every):
            typer.echo(json.dumps(seen.state, separators=(",", ":")))
            if once:
                return
        return
    with LiveView() as view:
        for seen in follow(source, every, view.reading):
            view.update(seen)
            if once:
                return
