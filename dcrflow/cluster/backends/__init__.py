"""Kinds of clusters, a module each: the fields that describe one, and how it is opened.

To add one, write a module here with a `Backend` named ``BACKEND`` and add its name to `NAMES`.
"""

from __future__ import annotations

from importlib import import_module

from dcrflow.cluster.description import Backend

#: Modules of this package, in the order in which users are told of them.
NAMES = (
    "local",
    "slurm",
    "pbs",
    "htcondor",
    "kubernetes",
    "running",
    "scheduler_file",
)

_FOUND: list[Backend] = [import_module(f"{__name__}.{name}").BACKEND for name in NAMES]

#: Backends by kind.
BACKENDS: dict[str, Backend] = {backend.kind: backend for backend in _FOUND}
