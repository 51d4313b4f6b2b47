"""How to reach a dashboard from where the user sits."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit


def dashboard_hints(link: str, environment: Mapping[str, str] = os.environ, host: str | None = None) -> list[str]:
    """Lines that tell the user how to open the dashboard: directly, through a tunnel, or through Jupyter's proxy.

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
        here, user = host or socket.getfqdn(), getpass.getuser()
        login = environment.get("SLURM_SUBMIT_HOST", here)
        if where.hostname not in ("127.0.0.1", "localhost"):
            lines.append(f"from your machine: ssh -L {port}:{where.hostname}:{port} {user}@{login}")
        elif login == here:
            lines.append(f"from your machine: ssh -L {port}:localhost:{port} {user}@{here}")
        else:  # it listens on this node alone: the tunnel ends here
            lines.append(f"from your machine: ssh -J {user}@{login} -L {port}:localhost:{port} {user}@{here}")
        lines.append(f"then http://localhost:{port}/status")
    return lines
