"""Worker processes on this machine."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from typing import Literal

from distributed import Client, LocalCluster, Worker, WorkerPlugin
from pydantic import Field

from dcrflow.cluster import forkserver
from dcrflow.cluster.client import dashboard_address, started
from dcrflow.cluster.description import Backend, Workers
from dcrflow.cluster.spill_directory import check_spill_directory
from dcrflow.cluster.tls import certificates
from dcrflow.compat.fork_server import set_dask_imports

LOOPBACK = "127.0.0.1"


class Local(Workers):
    """Worker processes on this machine, listening on the loopback interface only."""

    kind: Literal["local"] = "local"
    tls: bool = Field(
        True,
        description="encrypt and authenticate, with certificates made for the run: the machine may have other users",
    )


def open_local(description: Local) -> Iterator[Client]:
    """Start worker processes and a scheduler; yields a client."""
    if description.local_directory is not None:
        warning = check_spill_directory(description.local_directory)
        if warning:
            warnings.warn(warning, stacklevel=5)
    set_dask_imports()
    forkserver.context()
    with forkserver.deaf_to_interrupts():
        local = LocalCluster(
            n_workers=description.workers or os.cpu_count() or 1,
            threads_per_worker=description.threads,
            host=LOOPBACK,
            memory_limit=description.memory,
            local_directory=None if description.local_directory is None else str(description.local_directory),
            env=dict(os.environ),  # the fork server has the environment of when it started
            dashboard_address=dashboard_address(description),
            **({"security": certificates(), "protocol": "tls://"} if description.tls else {}),
        )
    if description.adaptive:
        local.adapt(minimum=1, maximum=description.workers or os.cpu_count() or 1)
    yield from started(local, IgnoreInterrupts())


class IgnoreInterrupts(WorkerPlugin):
    """Workers that are started later, in the place of those that died, ignore Ctrl-C too."""

    name = "dcrflow-deaf-to-interrupts"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)


BACKEND = Backend(Local, open_local)
