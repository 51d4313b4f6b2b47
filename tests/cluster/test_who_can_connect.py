"""Who on this machine, or beyond it, can talk to a cluster that dcrflow starts."""

from __future__ import annotations

import gc
import socket

import distributed
import pytest

import dcrflow
from dcrflow.base.errors import ClusterError
from dcrflow.cluster import read_description
from dcrflow.cluster.client import dashboard_address
from dcrflow.compat.dask_clients import Client

pytestmark = pytest.mark.integration


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, port)) == 0


def test_a_local_cluster_wants_the_certificate_of_the_run() -> None:
    """Another user of the machine reaches the port, and is not let in."""
    with dcrflow.connect("local", workers=1, dashboard=0) as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert client.submit(sum, (1, 2)).result() == 3
        for other in (address, address.replace("tls://", "tcp://")):
            with pytest.raises((OSError, ValueError, TypeError)):
                Client(other, timeout=2)
        workers = client.scheduler_info(n_workers=-1)["workers"]
        assert all(w.startswith("tls://127.0.0.1:") for w in workers)
        assert client.dashboard_link.startswith("http://127.0.0.1:")
    with dcrflow.connect("local", workers=1, dashboard=0, tls=False) as client:
        assert client.scheduler.address.startswith("tcp://127.0.0.1:")


def test_a_client_that_was_turned_away_is_closed() -> None:
    """At once, not whenever Python looks for garbage: while the next client is made, that would wait for itself."""
    with dcrflow.connect("local", workers=1, dashboard=0) as client:
        with pytest.raises(ClusterError) as said, dcrflow.connect(client.scheduler.address):
            pass
        clients = [each for each in gc.get_objects() if issubclass(type(each), distributed.Client)]
        assert [each for each in clients if each is not client and each.status != "closed"] == []
    assert "no dask scheduler answers" in str(said.value)  # which keeps the frames that know the client


def test_the_scheduler_of_a_batch_cluster_serves_its_dashboard_here_alone() -> None:
    """dask's scheduler listens on the network, its dashboard where the description says."""
    from distributed import Scheduler

    description = read_description("slurm", dashboard=0)
    assert dashboard_address(description).startswith("127.0.0.1:")

    async def look() -> tuple[bool, list[bool]]:
        async with Scheduler(
            host="0.0.0.0", dashboard_address=dashboard_address(description), dashboard=True
        ) as scheduler:
            port = scheduler.http_server.port
            others = {a[4][0] for a in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
            return _listens("127.0.0.1", port), [_listens(o, port) for o in others if not o.startswith("127.")]

    import asyncio

    here, elsewhere = asyncio.run(look())
    assert here
    assert not any(elsewhere)
