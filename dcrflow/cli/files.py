"""``dcrflow ingest`` and ``dcrflow export``: LSST's files, and a Butler's datasets, in and out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from dcrflow.base.addresses import redacted
from dcrflow.base.errors import ConfigError
from dcrflow.cli import show
from dcrflow.cli.inputs import coadds_of, require_lsst


def ingest(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Coadd FITS files, directories of them, or one butler:REPO?collections=A,B.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="DCR-coadd store to write.", show_default=False)],
    skymap: Annotated[str, typer.Option(help="Name of the skymap.")] = "",
    num_subfilters: Annotated[int, typer.Option(min=1, help="Subfilters that every patch must have.")] = 3,
    effective_wavelength: Annotated[
        float | None, typer.Option(help="Middle of the subfilters, nm; by default that of the LSST band.")
    ] = None,
    bandwidth: Annotated[float | None, typer.Option(help="Width of all subfilters together, nm.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing store.")] = False,
) -> None:
    """Copy LSST's DCR coadds into a DCR-coadd store: pixels, mask planes, PSF and WCS are unchanged."""
    show.begin(f"reading coadds from {', '.join(map(redacted, sources[:3]))}{' ...' if len(sources) > 3 else ''}")
    from dcrflow.lsst.fits_coadds import open_fits_coadds
    from dcrflow.lsst.ingest import ingest as copy
    from dcrflow.lsst.subfilter_coadd import Subfilters
    from dcrflow.lsst.subfilters import subfilters_of_band

    if (effective_wavelength is None) != (bandwidth is None):
        raise ConfigError("give both --effective-wavelength and --bandwidth, or neither")
    if len(sources) == 1 and sources[0].startswith("butler:"):
        source = coadds_of(sources[0])
        skymap = skymap or source.skymap
    elif effective_wavelength is not None and bandwidth is not None:
        source = open_fits_coadds(sources, Subfilters.even(num_subfilters, effective_wavelength, bandwidth))
    else:
        source = open_fits_coadds(sources, lambda coadd: subfilters_of_band(coadd.band, num_subfilters))
    with show.bar("ingesting") as update:
        number = copy(source, out, skymap=skymap, num_subfilters=num_subfilters, overwrite=overwrite, progress=update)
    show.output.print(f"{number} patches in {escape(str(out))}", soft_wrap=True)


def export(
    out: Annotated[str, typer.Argument(help="Template store.", show_default=False)],
    directory: Annotated[Path, typer.Argument(help="Directory to write to.", show_default=False)],
    kind: Annotated[
        Literal["fits", "lsst-images", "lsst-difference"],
        typer.Option(
            "--format",
            help="FITS files like those of LSST, or files of a MaskedImage or DifferenceImage of lsst.images.",
        ),
    ] = "fits",
    where: Annotated[
        str | None, typer.Option(help="Export only templates for which this expression holds, as in `run --where`.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Export at most this many.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> None:
    """Write complete templates as FITS files: image, mask with its planes by name, variance, PSF, provenance."""
    show.begin(f"writing templates of {redacted(out)} to {directory}")
    from dcrflow.lsst.export import export as write

    if kind != "fits":
        require_lsst(ConfigError, f"--format {kind}")
    with show.bar("exporting") as update:
        number = write(out, directory, kind, where=where, limit=limit, overwrite=overwrite, progress=update)
    show.output.print(f"{number} files written to {escape(str(directory))}", soft_wrap=True)
