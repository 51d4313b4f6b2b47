"""Where numba keeps what it compiled, and when that is out of date.

Why
    Numba raises "no locator available" as a module with ``cache=True`` is imported, if neither the package nor the home
    directory can be written: in a read-only container nothing of dcrflow could be used. And it uses compiled code again
    if the function's own file is unchanged, even if a function that it calls has changed in another file: after an
    update of dcrflow, new kernels ran with old code of the kernels that they call.
Public ways tried
    - ``NUMBA_CACHE_DIR`` has to be set before, by somebody who knows; set always, it would replace a cache that works.
    - Nothing public says what else a compiled function depends on.
Versions
    numba 0.63 to 0.66.
Remove when
    numba falls back to a temporary folder by itself, and looks at the functions that a function calls.
"""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numba
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


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit`, whose cached code is compiled again when the source of any kernel has changed."""

    def compiled(function: Callable[..., Any]) -> Any:
        made = numba.njit(**options)(function)
        if options.get("cache"):
            kept: Any = made._cache._cache_file
            kept._source_stamp = f"{kept._source_stamp} {digest_of_sources()}"
        return made

    return compiled


@cache
def digest_of_sources(folder: Path = Path(__file__).parents[1] / "kernels") -> str:
    """Digest of a folder's Python sources."""
    digest = blake2b(digest_size=16)
    for path in sorted(folder.glob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # and not a process that was forked off
        shutil.rmtree(folder, ignore_errors=True)


ensure_cache()  # before any function is compiled: kernels take `njit` from here
