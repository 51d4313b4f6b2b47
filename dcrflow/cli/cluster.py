"""``dcrflow cluster``: what would be submitted for a cluster, its fields, and certificates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dcrflow.cli import show
from dcrflow.cli.console import Commands

app = Commands(no_args_is_help=True, help="Show what would be submitted to a cluster; make its certificates.")

Kind = Annotated[str, typer.Argument(help="slurm, pbs, htcondor, kubernetes, or a YAML file.", show_default=False)]


@app.command("show")
def show_cluster(kind: Kind) -> None:
    """Print the job script, or the manifests, that would be submitted; needs no cluster."""
    from dcrflow import cluster

    show.output.print(cluster.show(kind), markup=False, highlight=False, soft_wrap=True)


@app.command()
def fields(
    kind: Annotated[str | None, typer.Argument(help="Show only this kind; by default all.", show_default=False)] = None,
) -> None:
    """List the fields of a cluster's YAML file."""
    from dcrflow.cluster import KINDS

    show.fields({k: model for k, model in KINDS.items() if kind in (None, k)})


@app.command()
def certificates(
    directory: Annotated[
        Path, typer.Argument(help="Directory to write to, on a shared file system.", show_default=False)
    ],
) -> None:
    """Make TLS certificates for one run, and print the variables by which dask's own commands use them."""
    from dcrflow.cluster.tls import environment, write_certificates

    write_certificates(directory)
    for name, value in environment(directory.absolute()).items():
        show.output.print(f"export {name}={value}", markup=False, highlight=False, soft_wrap=True)
