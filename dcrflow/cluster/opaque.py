"""Tasks whose contents a scheduler does not look into. Knows no astronomy.

A scheduler unpickles each task that it is given, imports what the function and its arguments need, and answers nobody
meanwhile: 4 s for dcrflow's kernels, and minutes from a slow file system. As bytes, they are imported by workers alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from distributed.protocol.pickle import dumps, loads


def packed(function: Callable[..., Any], *args: Any) -> bytes:
    """A function and its arguments as bytes, for `call`."""
    made: bytes = dumps((function, args))
    return made


def call(function: bytes) -> Any:
    """Call what `packed` made, on a worker."""
    unpacked, args = loads(function)
    return unpacked(*args)
