"""A fork server: worker processes on this machine start as copies of a process that has imported what they need.

Importing numba, dask, xarray and astropy takes seconds of processor time. A spawned worker does all of it again, also
when it replaces a worker that died. A worker that is forked from the server is ready at once.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, get_context
from multiprocessing.context import BaseContext

from dcrflow.compat.fork_server import kill_fork_server

#: Only on Linux: on other systems libraries do not survive a fork.
METHOD = "forkserver" if sys.platform == "linux" else "spawn"

#: The C library reads this when a process starts: all threads share one heap, see `dcrflow.cluster.memory`.
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}

_IMPORTED = ["distributed.nanny", "dcrflow.graph", "dcrflow.campaign.batch"]
_FIRST, _LAST = "dcrflow.cluster.importing", "dcrflow.cluster.frozen"


def context() -> BaseContext:
    """The multiprocessing context whose processes start from the fork server."""
    found = get_context(METHOD)
    for name, value in ONE_HEAP.items():
        os.environ.setdefault(name, value)
    if METHOD == "forkserver":
        found.set_forkserver_preload([_FIRST, *_IMPORTED, _LAST])
    return found


def begin(*more: str) -> None:
    """Start the server now, so that it imports while this process does; it ends with this process at the latest.

    In a process that does other things too, such as a notebook's, do not call this: the first worker starts the server.

    Parameters
    ----------
    *more : str
        Modules that the workers of this process import in addition.
    """
    _IMPORTED.extend(name for name in more if name not in _IMPORTED)
    if METHOD != "forkserver":
        return
    import dask

    context()
    for name, value in dask.config.get("distributed.nanny.pre-spawn-environ", {}).items():
        os.environ.setdefault(name, str(value))  # dask sets these too; libraries read them when loaded
    with deaf_to_interrupts():
        forkserver.ensure_running()
    atexit.register(_end)


def _end() -> None:
    """Kill the server: while it imports, it would keep this process's output open."""
    kill_fork_server()


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes that start here ignore Ctrl-C, which a terminal sends to all: this process decides when they end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
