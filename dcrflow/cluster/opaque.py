"""Tasks whose contents a scheduler does not look into. Knows no astronomy.

A scheduler unpickles each task that it is given, imports what the function and its arguments need, and answers nobody
meanwhile: 4 s for dcrflow's kernels, and minutes from a slow file system. A task of bytes is unpickled by workers only.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from distributed.protocol.pickle import dumps, loads

from dcrflow.base.errors import ClusterError
from dcrflow.base.version import __version__


class OtherVersionError(ClusterError):
    """A worker has another version of dcrflow than the client."""


def packed(function: Callable[..., Any], *args: Any) -> tuple[str, bytes]:
    """dcrflow's version, and a function and its arguments as bytes, for `call`."""
    return __version__, dumps((function, args))


def call(task: tuple[str, bytes]) -> Any:
    """Call what `packed` made, on a worker.

    Raises
    ------
    OtherVersionError
        If the worker has another version of dcrflow: what it would make of the bytes is not known.
    """
    version, content = task
    if version != __version__:
        raise OtherVersionError(
            f"a worker on {socket.gethostname()} has dcrflow {__version__}, and the client {version}: install the same "
            "version on both, and give --retry-failed"
        )
    function, args = loads(content)
    return function(*args)
