"""A scheduler that runs already, by its address."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from dcrflow.cluster.client import running
from dcrflow.cluster.description import Backend, Description


class Running(Description):
    """A scheduler that runs already."""

    kind: Literal["running"] = "running"
    address: str = Field(pattern=r"^(tcp|tls|ws|wss)://\S+$", description="tcp://host:port or tls://host:port")
    certificates: Path | None = Field(
        None, description="directory with ca.pem, cert.pem and key.pem, for tls; None: as dask is configured"
    )


BACKEND = Backend(Running, open=lambda description: running(description.address, description.certificates))
