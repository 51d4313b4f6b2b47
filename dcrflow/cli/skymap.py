"""``dcrflow skymap``: tracts and patches from a configuration alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from dcrflow.base.errors import ConfigError
from dcrflow.cli import show
from dcrflow.cli.console import Commands

if TYPE_CHECKING:
    from dcrflow.geometry.layout import SkyMap

app = Commands(help="Show the tracts and patches of a sky map, from its configuration.", no_args_is_help=True)

File = Annotated[
    str,
    typer.Argument(
        help="Sky map: YAML (kind: rings, discrete, tracts), lsst.skymap's configuration (Python or JSON), or a "
        "DCR-coadd store.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(context_settings={"ignore_unknown_options": True})  # a declination below zero is no option
def find(
    file: File,
    ra: Annotated[float, typer.Argument(help="ICRS, degrees.", show_default=False)],
    dec: Annotated[float, typer.Argument(help="ICRS, degrees.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Find the tract and patch that hold a position on the sky."""
    found = _read(file).find(ra, dec)
    if as_json:
        typer.echo(json.dumps(found._asdict()))
    else:
        show.output.print(f"tract {found.tract} patch {found.patch}")


@app.command("show")
def show_(
    file: File,
    tract: Annotated[int | None, typer.Option(help="Show this tract; by default the whole sky map.")] = None,
    as_json: Json = False,
) -> None:
    """Show a sky map, or the boxes, patches and WCS of one of its tracts."""
    from dcrflow.geometry.layout import described

    skymap = _read(file)
    if tract is None:
        ids = skymap.tract_ids
        if as_json:
            typer.echo(json.dumps({"skymap": skymap.name, "num_tracts": len(ids)}))
        else:
            which = f"{len(ids)} tracts, {ids[0]} to {ids[-1]}" if len(ids) > 1 else f"tract {ids[0]}"
            show.output.print(f"{escape(skymap.name)}: {which}")
        return
    about = described(skymap.tract(tract))
    if as_json:
        typer.echo(json.dumps(about))
        return
    nx, ny = about["num_patches"]
    show.output.print(
        f"tract {tract} of {escape(skymap.name)}: {nx} x {ny} patches, middle at RA {about['center'][0]:.6f} Dec "
        f"{about['center'][1]:.6f} deg, bbox {about['bbox']}",
        soft_wrap=True,
    )
    for key, value in about["wcs"].items():
        show.output.print(f"  {key:8} {value}", highlight=False)
    table = show.new_table("patch", "inner: x0, y0, width, height", "outer: x0, y0, width, height", left=0)
    for patch in about["patches"]:
        table.add_row(str(patch["patch"]), *(", ".join(map(str, patch[kind])) for kind in ("inner", "outer")))
    show.output.print(table)


@app.command()
def export(
    file: File,
    out: Annotated[
        Path, typer.Argument(help="File to write: .json, .yaml (kind: tracts) or .ecsv.", show_default=False)
    ],
    tract: Annotated[list[int] | None, typer.Option(help="Use only this tract; can be repeated.")] = None,
) -> None:
    """Write the geometry of tracts and patches: boxes, WCS, and their corners on the sky."""
    from dcrflow.stores.skymaps.write import write_geometry

    skymap = _read(file)
    ids = list(tract) if tract else list(skymap.tract_ids)
    with show.bar("exporting") as update:
        number = write_geometry(skymap, ids, out, progress=update)
    show.output.print(f"{len(ids)} tracts, {number} patches in {escape(str(out))}", soft_wrap=True)


def _read(file: str) -> SkyMap:
    from dcrflow.stores.skymaps.read import read_skymap

    found: Any = read_skymap(file)
    if not len(found.tract_ids):
        raise ConfigError(f"{file} has no tracts")
    skymap: SkyMap = found
    return skymap
