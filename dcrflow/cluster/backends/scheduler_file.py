"""A scheduler that writes its address to a file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from distributed import Client
from pydantic import Field

from dcrflow.base.errors import ClusterError
from dcrflow.cluster.client import running
from dcrflow.cluster.description import Backend, Description


class SchedulerFile(Description):
    """A scheduler whose address is in a file that it wrote or will write: `dask scheduler --scheduler-file`."""

    kind: Literal["scheduler-file"] = "scheduler-file"
    path: Path = Field(description="the file")
    certificates: Path | None = Field(None, description="as of a running scheduler")
    wait: Annotated[float, Field(gt=0)] = Field(120.0, description="seconds to wait for the file")


def _open(description: SchedulerFile) -> Iterator[Client]:
    return running(_address_in(description.path, description.wait), description.certificates)


def _address_in(path: Path, wait: float) -> str:
    """The address that a scheduler wrote to its file, once it has."""
    until = time.monotonic() + wait
    while True:
        try:
            return str(json.loads(path.read_text())["address"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            if time.monotonic() > until:
                raise ClusterError(
                    f"no scheduler has written its address to {path} within {wait:.0f} s: is `dask scheduler "
                    "--scheduler-file` running?"
                ) from None
            time.sleep(0.2)


BACKEND = Backend(SchedulerFile, open=_open)
