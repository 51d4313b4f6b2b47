"""Processes on this machine begin as copies of one that has imported what all of them need.

Importing numba, dask, xarray and astropy takes seconds of a processor. A worker that is spawned does all of it again,
at the start and whenever it takes the place of one that died; one that is forked off such a server is there at once.
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

#: Not everywhere: elsewhere than on Linux, system libraries do not survive it.
METHOD = "forkserver" if sys.platform == "linux" else "spawn"

#: What the C library reads as a process begins: all threads share one heap, see `dcrflow.cluster.memory`.
ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}

_IMPORTED = ["distributed.nanny", "dcrflow.graph"]


def context() -> BaseContext:
    """The multiprocessing context in which processes begin so."""
    found = get_context(METHOD)
    for name, value in ONE_HEAP.items():
        os.environ.setdefault(name, value)
    if METHOD == "forkserver":
        found.set_forkserver_preload(_IMPORTED)
    return found


def begin() -> None:
    """Start the server now, while this process imports all of the same; it ends with this process at the latest.

    Where many use one process, as notebooks do, leave it to the first process that is started.
    """
    if METHOD != "forkserver":
        return
    import dask

    context()
    for name, value in dask.config.get("distributed.nanny.pre-spawn-environ", {}).items():
        os.environ.setdefault(name, str(value))  # as dask does before it starts workers: read when libraries are loaded
    with deaf_to_interrupts():
        forkserver.ensure_running()
    atexit.register(_end)


def _end() -> None:
    """One that still imports would keep this process's output open until it is done."""
    kill_fork_server()


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which the terminal sends to all: this one decides what ends when."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
