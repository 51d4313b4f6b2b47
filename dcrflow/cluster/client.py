"""Clients of clusters: what every backend does once there is a scheduler."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
from distributed import Nanny, SpecCluster, Status, WorkerPlugin
from tornado.ioloop import PeriodicCallback

from dcrflow.base.errors import ClusterError
from dcrflow.cluster.brief_logs import BriefLogs, lost_connections_in_one_line
from dcrflow.cluster.clock import FollowsClock, clock_followed
from dcrflow.cluster.description import Description, Workers
from dcrflow.cluster.memory import AllocatorThresholds
from dcrflow.cluster.tls import read_certificates
from dcrflow.compat.dask_clients import Client
from dcrflow.live.plugin import serve_page

_REPLACE_EVERY = 2000.0  # ms
_PLUGINS = (AllocatorThresholds, FollowsClock)


def running(address: str, directory: Path | None) -> Iterator[Client]:
    """A client of a scheduler that runs already, with the certificates in a directory.

    Raises
    ------
    ClusterError
        If none answers within 10 s.
    """
    security = None if directory is None else read_certificates(directory)
    try:
        with Client(address, security=security, timeout=10, set_as_default=False):
            pass  # it answers within 10 s; what follows has the timeouts of dask's configuration
        client = Client(address, security=security)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(f"no dask scheduler answers at {address}: {said}") from None
    with client, clock_followed(client):
        for plugin in _PLUGINS:
            client.register_plugin(plugin())
        serve_page(client)
        yield client


def started(cluster: Any, *plugins: WorkerPlugin) -> Iterator[Client]:
    """A client of a cluster that was started, which is closed with it."""
    with lost_connections_in_one_line(), cluster, Client(cluster) as client, clock_followed(client):
        for plugin in (*(each() for each in _PLUGINS), BriefLogs(), *plugins):
            client.register_plugin(plugin)
        serve_page(client)
        if not isinstance(cluster, SpecCluster) or cluster.loop is None:
            yield client
            return
        replacing = PeriodicCallback(lambda: replace_lost_workers(cluster), _REPLACE_EVERY)
        cluster.loop.add_callback(replacing.start)
        try:
            yield client
        finally:
            cluster.loop.add_callback(replacing.stop)


def replace_lost_workers(cluster: SpecCluster) -> None:
    """Start workers in the place of those that dask gave up for good, so that a campaign is not left without any.

    On this machine these are workers that could not read a message. Of jobs they are those that ended, retired before
    their walltime or were lost with their machine, once they are gone for `lost-worker-timeout`.
    """
    for name, worker in list(cluster.workers.items()):
        if isinstance(worker, Nanny) and worker.status in (Status.closed, Status.failed):
            del cluster.workers[name]
    if cluster.status == Status.running and set(cluster.worker_spec) - set(cluster.workers):
        SpecCluster.scale(cluster, len(cluster.worker_spec))  # of jobs: their clusters count in other units


def dashboard_address(description: Workers) -> str:
    """Where the scheduler's dashboard listens."""
    return f"{description.dashboard_host}:{_free_port(description.dashboard, description.dashboard_host)}"


def dashboard_link(description: Description) -> dict[str, Any]:
    """dask's setting for the dashboard's address: dask takes it for that of the scheduler, which listens elsewhere."""
    host = description.dashboard_host if isinstance(description, Workers) else ""
    link = "distributed.dashboard.link"
    return {link: str(dask.config.get(link)).replace("{host}", host)} if host.startswith("127.") else {}


def _free_port(wanted: int, host: str) -> int:
    """The port wanted if it is free, or else any."""
    with socket.socket() as probe:
        try:
            probe.bind((host, wanted))
        except OSError:
            return 0
    return wanted
