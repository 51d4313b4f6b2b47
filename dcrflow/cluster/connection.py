"""From the description of a cluster to a dask client. Knows no astronomy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client

from dcrflow.base.errors import ClusterError
from dcrflow.cluster import forkserver
from dcrflow.cluster.backends import BACKENDS
from dcrflow.cluster.client import dashboard_link
from dcrflow.cluster.description import Backend, Description, Workers
from dcrflow.cluster.reading import read_description

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
        If the description is not one of the above, a package is missing, or no scheduler answers.
    """
    description = read_description(cluster, **changes)
    ttl = {"distributed.scheduler.worker-ttl": description.worker_ttl} if isinstance(description, Workers) else {}
    with dask.config.set(_settings() | ttl | dashboard_link(description)):
        yield from _backend_of(description).open(description)


def show(cluster: str, **changes: Any) -> str:
    """What would be submitted for a cluster, without one: a job script, or manifests as YAML.

    Raises
    ------
    ClusterError
        If there is nothing to submit for it.
    """
    description = read_description(cluster, **changes)
    backend = _backend_of(description)
    if backend.submitted is None:
        kinds = ", ".join(kind for kind, b in BACKENDS.items() if b.submitted is not None)
        raise ClusterError(f"nothing is submitted for a {backend.kind} cluster; give {kinds}")
    return backend.submitted(description)


def _backend_of(description: Description) -> Backend:
    return next(b for b in BACKENDS.values() if type(description) is b.description)


def _settings() -> dict[str, Any]:
    """`SETTINGS` without those that the user has configured: what differs from dask's defaults."""
    defaults: dict[str, Any] = dask.config.merge(*dask.config.defaults)
    get = dask.config.get
    return {k: v for k, v in SETTINGS.items() if get(k, None) == get(k, None, config=defaults)}
