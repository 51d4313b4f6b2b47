"""Where numba keeps what it compiled, if neither the package nor the home directory can be written.

Why
    Numba raises "no locator available" as a module with ``cache=True`` is imported: in a read-only container without a
    home directory nothing of dcrflow could be used.
Public ways tried
    - ``NUMBA_CACHE_DIR`` has to be set before, by somebody who knows; set always, it would replace a cache that works.
Versions
    numba 0.63 to 0.66.
Remove when
    numba falls back to a temporary folder by itself.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile

import numba
from numba import njit
from numba.core.caching import CompileResultCacheImpl

__all__ = ["ensure_cache", "njit"]

_LOG = logging.getLogger(__name__)


def _probe() -> None:
    """Stands for a function that is to be kept."""


def ensure_cache() -> None:
    """Give numba a temporary folder if it has no place, and say so; processes that are started later use it too.

    The folder is new and this user's alone: what is in it is run.
    """
    try:
        CompileResultCacheImpl(_probe)
    except RuntimeError:
        folder = tempfile.mkdtemp(prefix="dcrflow-numba-")
        _LOG.warning(
            "neither dcrflow's own folder nor a home directory can be written: compiled code is kept in %s until this "
            "process ends; set NUMBA_CACHE_DIR to keep it for the next", folder
        )  # fmt: skip
        os.environ["NUMBA_CACHE_DIR"] = folder
        setattr(numba.config, "CACHE_DIR", folder)  # noqa: B010, mypy knows no such attribute
        atexit.register(_remove, folder, os.getpid())


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # and not a process that was forked off
        shutil.rmtree(folder, ignore_errors=True)


ensure_cache()  # before any function is compiled: kernels take `njit` from here
