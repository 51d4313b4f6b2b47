"""How to reach a dashboard from where the user sits."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit


def dashboard_hints(link: str, environment: Mapping[str, str] = os.environ, host: str | None = None) -> list[str]:
    """Lines that say where the dashboard is: here, through a tunnel, or through Jupyter's proxy.

    Parameters
    ----------
    link : str
        The dashboard's address as the scheduler's machine sees it; empty if there is none.
    environment : mapping of str to str
        Tells whether this is a remote login or a Jupyter server.
    host : str, optional
        Name of this machine.
    """
    if not link:
        return ["dashboard: none (it needs the package bokeh)"]
    lines = [f"dashboard: {link}"]
    where = urlsplit(link)
    port = where.port or 8787
    if prefix := environment.get("JUPYTERHUB_SERVICE_PREFIX"):
        lines.append(f"in Jupyter: {prefix.rstrip('/')}/proxy/{port}/status")
    elif "SSH_CONNECTION" in environment or "SLURM_JOB_ID" in environment:
        here = host or socket.getfqdn()
        login = environment.get("SLURM_SUBMIT_HOST", here)
        target = "localhost" if login == here and where.hostname in ("127.0.0.1", "localhost") else where.hostname
        target = here if target in ("127.0.0.1", "localhost") and login != here else target
        lines.append(f"from your machine: ssh -L {port}:{target}:{port} {getpass.getuser()}@{login}")
        lines.append(f"then http://localhost:{port}/status")
    return lines
