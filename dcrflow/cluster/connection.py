"""From the description of a cluster to a dask client. Knows no astronomy."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster, Nanny, SpecCluster, Status, Worker, WorkerPlugin
from tornado.ioloop import PeriodicCallback

from dcrflow.base.errors import ClusterError
from dcrflow.cluster import forkserver
from dcrflow.cluster.batch import job_script, open_batch
from dcrflow.cluster.clock import FollowsClock, clock_followed
from dcrflow.cluster.description import (
    KINDS,
    Batch,
    Kubernetes,
    Local,
    Running,
    SchedulerFile,
    Workers,
    read_description,
)
from dcrflow.cluster.kubernetes import as_yaml, manifests, open_kubernetes
from dcrflow.cluster.local_directory import check_scratch
from dcrflow.cluster.memory import AllocatorThresholds
from dcrflow.cluster.tls import certificates, read_certificates
from dcrflow.compat.fork_server import set_dask_imports

__all__ = ["KINDS", "connect", "read_description", "show"]

LOOPBACK = "127.0.0.1"
_REPLACE_EVERY = 2000.0  # ms
_PLUGINS = (AllocatorThresholds, FollowsClock)

#: A lost worker makes all that it was working on suspect: allow a task to be unlucky more often than dask's 3.
#: Workers start no more loads than they can work on. Spill before dying. An adaptive cluster takes a task of unknown
#: duration for a long one, and is in no hurry to stop workers. A scheduler keeps its last messages to each worker, with
#: the plans in them: of 1,000, as by default, they take 40 MB a worker, and gigabytes for hundreds of workers. A worker
#: that is not back 15 s after its death is by default closed for good: on a busy machine its imports take longer. On
#: this machine, workers are forked off a process that has done these.
SETTINGS = {
    "distributed.scheduler.allowed-failures": 10,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.unknown-task-duration": "10s",
    "distributed.adaptive.wait-count": 10,
    "distributed.admin.large-graph-warning-threshold": "100MB",
    "distributed.admin.low-level-log-length": 100,
    "distributed.comm.timeouts.connect": "60s",
    "distributed.deploy.lost-worker-timeout": "120s",
    "distributed.worker.multiprocessing-method": forkserver.METHOD,
    "distributed.worker.memory.target": 0.6,
    "distributed.worker.memory.spill": 0.7,
    "distributed.worker.memory.pause": 0.8,
    "distributed.worker.memory.terminate": 0.95,
}


@contextmanager
def connect(cluster: str = "local", **changes: Any) -> Iterator[Client]:
    """Open a dask client, and close what was opened for it afterwards.

    Parameters
    ----------
    cluster : str
        ``local`` starts worker processes of one thread each on this machine, listening on the loopback interface only;
        ``slurm``, ``pbs``, ``htcondor`` submit workers as jobs; ``kubernetes`` makes pods; a YAML file describes any of
        these; a scheduler file or ``tcp://host:port``, ``tls://host:port`` is a scheduler that runs already.
    **changes
        Fields of the description over what `cluster` says: ``workers=4``, ``memory="8GiB"``, ``adaptive=True``;
        ``dashboard=0`` takes any free port.

    Raises
    ------
    ClusterError
        If the description is none of the above, a package is missing, or no scheduler answers.
    """
    description = read_description(cluster, **changes)
    if isinstance(description, Workers) and description.local_directory is not None and _is_here(description):
        warning = check_scratch(description.local_directory)
        if warning:
            warnings.warn(warning, stacklevel=3)
    ttl = {"distributed.scheduler.worker-ttl": description.worker_ttl} if isinstance(description, Workers) else {}
    with dask.config.set(_settings() | ttl | _link(description)):
        match description:
            case Running(address=address, certificates=directory):
                yield from _running(address, directory)
            case SchedulerFile(path=path, certificates=directory, wait=wait):
                yield from _running(_address_in(path, wait), directory)
            case Local():
                yield from _local(description)
            case Batch():
                yield from _started(open_batch(description, _dashboard(description)))
            case Kubernetes():
                yield from _started(open_kubernetes(description))


def _settings() -> dict[str, Any]:
    """`SETTINGS`, but for what somebody has configured otherwise than dask comes."""
    as_it_comes: dict[str, Any] = dask.config.merge(*dask.config.defaults)
    get = dask.config.get
    return {k: v for k, v in SETTINGS.items() if get(k, None) == get(k, None, config=as_it_comes)}


def show(cluster: str, **changes: Any) -> str:
    """What would be submitted for a cluster, without one: a job script, or manifests as YAML.

    Raises
    ------
    ClusterError
        If there is nothing to submit for it.
    """
    description = read_description(cluster, **changes)
    if isinstance(description, Batch):
        return job_script(description)
    if isinstance(description, Kubernetes):
        return as_yaml(manifests(description))
    raise ClusterError(f"nothing is submitted for a {description.kind} cluster; give slurm, pbs, htcondor, kubernetes")


def _is_here(description: Workers) -> bool:
    return isinstance(description, Local)


def _running(address: str, directory: Any) -> Iterator[Client]:
    security = None if directory is None else read_certificates(directory)
    try:
        client = Client(address, security=security, timeout=10)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(f"no dask scheduler answers at {address}: {said}") from None
    with client, clock_followed(client):
        for plugin in _PLUGINS:
            client.register_plugin(plugin())
        yield client


def _address_in(path: Any, wait: float) -> str:
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


def _local(description: Local) -> Iterator[Client]:
    set_dask_imports()
    forkserver.context()
    with forkserver.deaf_to_interrupts():
        local = LocalCluster(
            n_workers=description.workers or os.cpu_count() or 1,
            threads_per_worker=description.threads,
            host=LOOPBACK,
            memory_limit=description.memory,
            local_directory=None if description.local_directory is None else str(description.local_directory),
            env=dict(os.environ),  # the server they are forked off knows that of its own beginning
            dashboard_address=_dashboard(description),
            **({"security": certificates(), "protocol": "tls://"} if description.tls else {}),
        )
    if description.adaptive:
        local.adapt(minimum=1, maximum=description.workers or os.cpu_count() or 1)
    yield from _started(local, _Deaf())


def _started(cluster: Any, *plugins: WorkerPlugin) -> Iterator[Client]:
    with cluster, Client(cluster) as client, clock_followed(client):
        for plugin in (*(each() for each in _PLUGINS), *plugins):
            client.register_plugin(plugin)
        if not isinstance(cluster, SpecCluster) or cluster.loop is None:
            yield client
            return
        replacing = PeriodicCallback(lambda: _replace_lost(cluster), _REPLACE_EVERY)
        cluster.loop.add_callback(replacing.start)
        try:
            yield client
        finally:
            cluster.loop.add_callback(replacing.stop)


def _replace_lost(cluster: SpecCluster) -> None:
    """Start again what dask gave up for good, so that a campaign is not left without workers.

    On this machine, workers that could not make sense of a message; of jobs, those that ended, retired before their
    walltime or lost with their machine, once they are gone for `lost-worker-timeout`.
    """
    for name, worker in list(cluster.workers.items()):
        if isinstance(worker, Nanny) and worker.status in (Status.closed, Status.failed):
            del cluster.workers[name]
    if cluster.status == Status.running and set(cluster.worker_spec) - set(cluster.workers):
        SpecCluster.scale(cluster, len(cluster.worker_spec))  # of jobs: their clusters count in other units


class _Deaf(WorkerPlugin):
    """The same for workers that are started later, in the place of those that died."""

    name = "dcrflow-deaf-to-interrupts"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _dashboard(description: Workers) -> str:
    """Where the scheduler's dashboard listens."""
    return f"{description.dashboard_host}:{_free_port(description.dashboard, description.dashboard_host)}"


def _link(description: Any) -> dict[str, Any]:
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
