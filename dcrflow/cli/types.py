"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Templates = Annotated[str, typer.Argument(help="Template store.", show_default=False)]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="YAML file of configuration keys.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one configuration key.")]
Where = Annotated[
    str | None,
    typer.Option(
        help="Use only rows for which this holds, such as \"visit == 12 and detector < 4\" or \"band in ['g', 'r']\"."
    ),
]
Limit = Annotated[int | None, typer.Option(min=0, help="Use only this many rows, from the first.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Worker processes; a local cluster has one per core by default.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, as the page on commands describes it.")]
