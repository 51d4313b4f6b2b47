"""From the description of a cluster to a dask client. Knows no astronomy."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

from dcrflow.errors import ClusterError

LOOPBACK = "127.0.0.1"

#: A lost worker makes all that it was working on suspect: allow a task to be unlucky more often than dask's 3.
#: Workers start no more loads than they can work on.
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 10,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.admin.large-graph-warning-threshold": "100MB",
}


@contextmanager
def connect(
    cluster: str = "local", *, workers: int | None = None, memory_limit: str = "auto", dashboard: bool = True
) -> Iterator[Client]:
    """Open a dask client, and close what was opened for it afterwards.

    Parameters
    ----------
    cluster : str
        ``local`` starts worker processes of one thread each on this machine, listening on the loopback interface only;
        ``tcp://host:port`` or ``tls://host:port`` is the address of a scheduler that runs already.
    workers : int, optional
        Worker processes of a local cluster; one a core otherwise.
    memory_limit : str
        Of each local worker, as dask has it; beyond 70 % of it a worker spills to disk, at 95 % it is restarted.
    dashboard : bool
        Whether a local cluster serves the dashboard: on port 8787, or another if that is taken.

    Raises
    ------
    ClusterError
        If the description is none of the above, or no scheduler answers at the address.
    """
    if cluster.startswith(("tcp://", "tls://")):
        try:
            client = Client(cluster, timeout=20)
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"no dask scheduler answers at {cluster}: {error}; start one, or take --cluster local"
            ) from error
        with client:
            yield client
        return
    if cluster != "local":
        raise ClusterError(
            f"unknown cluster {cluster!r}: this version knows local, and the address (tcp://host:port) of a scheduler "
            "that runs already"
        )
    with dask.config.set(_SETTINGS):
        with _deaf_to_interrupts():
            local = LocalCluster(
                n_workers=workers or os.cpu_count() or 1,
                threads_per_worker=1,
                host=LOOPBACK,
                memory_limit=memory_limit,
                dashboard_address=f"{LOOPBACK}:{_free_port(8787)}" if dashboard else None,
            )
        with local, Client(local) as client:
            yield client


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which the terminal sends to all: this one decides what ends when."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _free_port(wanted: int) -> int:
    """`wanted` if it can be listened on, or 0 (any)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError:
            return 0
    return wanted
