"""The fork server of `multiprocessing`, from which worker processes on this machine are started.

Why
    The server imports numba, dask and xarray once, and every worker starts as a copy of it. It must be killed when this
    process ends, or it keeps the process's output open until its imports are done. And dask sets the server's list of
    imports the first time it asks for a context; ours must be set after that, or it is replaced.
Public ways tried
    - ``multiprocessing.active_children`` and `multiprocessing.resource_tracker` do not know the server.
    - Finding it with psutil among this process's children, by its command line, depends on more than its process id
      does.
    - ``distributed.worker.preload`` imports in each worker and not in the server, so each start pays for it.
Versions
    Python 3.12 and 3.13, distributed 2026.1.1 to 2026.8.0.
Remove when
    `multiprocessing.forkserver` has a public function that stops the server, and dask a setting for what it imports.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from multiprocessing import forkserver


def set_dask_imports() -> None:
    """Let dask set the server's list of imports now: it does so once, so that ours can replace it afterwards."""
    from distributed.utils import get_mp_context  # takes seconds to import, and the command line imports this module

    get_mp_context()


def kill_fork_server() -> None:
    """Kill this process's fork server, if it has one."""
    pid = getattr(forkserver._forkserver, "_forkserver_pid", None)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
