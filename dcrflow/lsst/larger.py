"""Clusters of one worker with more memory, for quanta for which a worker's was not enough."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from distributed import Client
from distributed.system import MEMORY_LIMIT

from dcrflow.cluster import connect

_LOG = logging.getLogger(__name__)


@contextmanager
def larger_clusters(cluster: str) -> Iterator[Callable[[int], Client | None]]:
    """Yield a function that opens a cluster, like a given one, whose only worker has so many MB of memory.

    It returns None for a scheduler that runs already, and for more memory than this machine has, where the workers are
    to run on it. What was opened is closed at the end.

    Parameters
    ----------
    cluster : str
        As `dcrflow.cluster.connect` takes it.
    """
    with ExitStack() as opened:

        def larger(megabytes: int) -> Client | None:
            runs_already = "://" in cluster or cluster.endswith(".json")
            if runs_already or (cluster == "local" and megabytes * 1_000_000 > MEMORY_LIMIT):
                return None
            _LOG.warning("starting a worker with %d MB of memory for what ran out of it", megabytes)
            client: Client = opened.enter_context(connect(cluster, workers=1, memory=f"{megabytes}MB", dashboard=0))
            return client

        yield larger
