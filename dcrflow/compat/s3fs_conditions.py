"""Conditional requests to an object store by s3fs: create an object, or replace one that is what it was.

Why
    A writer that was displaced must not switch its template in. An object store can refuse that, if it is asked to
    (``If-None-Match``, ``If-Match``).
Public ways tried
    - zarr's stores have no such request; their ``set_if_not_exists`` looks first and then writes, with fsspec.
    - `AsyncFileSystem.pipe_file` has a mode ``create``, and passes other conditions on as keywords. What it calls,
      ``_pipe_file``, is the same for callers that run on an event loop, as zarr's stores do.
Versions
    s3fs 2025.10 to 2026.9.
Remove when
    zarr's stores, or fsspec's public asynchronous functions, have conditional requests.
"""

from __future__ import annotations

from typing import Any

_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


async def look(filesystem: Any, path: str) -> tuple[int | None, str | None]:
    """Bytes of an object and its entity tag; (None, None) if it is not there."""
    try:
        about = await filesystem._info(path, refresh=True)
    except FileNotFoundError:
        return None, None
    return (int(about["size"]), str(about["ETag"])) if about["type"] == "file" else (None, None)


async def put(filesystem: Any, path: str, data: bytes, tag: str | None) -> bool:
    """Replace an object if its entity tag is this one, or create it if there is none (tag None); whether it was."""
    condition = {"mode": "create"} if tag is None else {"IfMatch": tag}
    try:
        await filesystem._pipe_file(path, data, **condition)
    except FileExistsError:
        return False
    except Exception as error:  # botocore's own, or an OSError made from it
        said = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
        if str(said.get("Error", {}).get("Code", "")) not in _REFUSED:
            raise
        return False
    return True
