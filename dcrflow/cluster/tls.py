"""Certificates made for one run.

Anybody who can reach the port of a dask scheduler can run any code as the user who started it, since a graph is code.
So schedulers and workers encrypt, and talk only to those who have the key that was made for the run.
"""

from __future__ import annotations

import os
from pathlib import Path

from distributed import Security

from dcrflow.base.errors import ClusterError

_FILES = {"ca.pem": "tls_ca_file", "cert.pem": "tls_client_cert", "key.pem": "tls_client_key"}


def certificates() -> Security:
    """A self-signed certificate for this run, in memory.

    Raises
    ------
    ClusterError
        If the package cryptography is not there.
    """
    try:
        made: Security = Security.temporary()
    except ImportError:
        raise ClusterError(
            "a cluster over several machines wants TLS, which needs the package cryptography: "
            "pip install 'dcrflow[cluster]', or say tls: false"
        ) from None
    return made


def write_certificates(directory: Path) -> Path:
    """Make a certificate and write ca.pem, cert.pem and key.pem, readable by their owner alone.

    Raises
    ------
    ClusterError
        If the directory cannot be written, or has a key already.
    """
    security = certificates()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, attribute in _FILES.items():
            handle = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(getattr(security, attribute))
    except FileExistsError:
        raise ClusterError(f"{directory} has certificates already; give an empty directory, or use them") from None
    except OSError as error:
        raise ClusterError(f"cannot write certificates to {directory}: {error}") from None
    return directory


def read_certificates(directory: Path) -> Security:
    """The certificates that `write_certificates` wrote.

    Raises
    ------
    ClusterError
        If one is missing.
    """
    for name in _FILES:
        if not (directory / name).is_file():
            raise ClusterError(f"{directory} has no {name}; `dcrflow cluster certificates {directory}` makes them")
    return security_of(directory)


def security_of(directory: Path) -> Security:
    """Security that names the files of a directory; they need not exist yet."""
    ca, cert, key = (str(directory / name) for name in _FILES)
    roles = {f"tls_{role}_{what}": path for role in ("client", "worker", "scheduler")
             for what, path in (("cert", cert), ("key", key))}  # fmt: skip
    return Security(tls_ca_file=ca, require_encryption=True, **roles)


def environment(directory: Path) -> dict[str, str]:
    """Environment variables by which dask's own commands and workers use the certificates of a directory."""
    ca, cert, key = (str(directory / name) for name in _FILES)
    prefix = "DASK_DISTRIBUTED__COMM__"
    variables = {f"{prefix}TLS__CA_FILE": ca, f"{prefix}REQUIRE_ENCRYPTION": "true"}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        variables |= {f"{prefix}TLS__{role}__CERT": cert, f"{prefix}TLS__{role}__KEY": key}
    return variables
