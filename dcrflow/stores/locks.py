"""One writer at a time for each template: locks kept in the output store itself.

A lock is an object that a writer creates if it is not there yet, and deletes when it is done. A writer that died leaves
its lock behind: on this machine its process is looked for; elsewhere a lock whose owner has not renewed it while
somebody watched for `LEASE` seconds counts as left behind. Nobody's clock is compared with anybody else's.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

import zarr
from zarr.buffer.cpu import Buffer, buffer_prototype

from dcrflow.base.errors import TemplateStoreError
from dcrflow.compat.zarr_sync import sync

LEASE = 60.0  # seconds; a writer renews its lock before each variable, which takes seconds at most
_POLL = 0.2

Renew = Callable[[], None]

_HELD: set[str] = set()  # tokens of the locks that this process holds


@contextmanager
def locked(root: zarr.Group, name: str, lease: float = LEASE) -> Iterator[Renew]:
    """Hold the lock `name` of a store; wait while somebody else does.

    Yields
    ------
    callable
        Renews the lock; raises TemplateStoreError if it was taken away.
    """
    key = "/".join(part for part in (root.path, f".dcrflow/locks/{name}") if part)
    token = uuid4().hex
    _HELD.add(token)
    count = 0

    def content() -> bytes:
        owner = {"token": token, "host": socket.gethostname(), "pid": os.getpid(), "renewed": count}
        return json.dumps(owner).encode()

    def read() -> bytes | None:
        found = sync(root.store.get(key, prototype=buffer_prototype))
        return None if found is None else found.to_bytes()

    def mine(found: bytes | None) -> bool:
        return found is not None and token.encode() in found

    def renew() -> None:
        nonlocal count
        if not mine(read()):
            raise TemplateStoreError(f"the lock {key} was taken over by another writer; this one stops")
        count += 1
        sync(root.store.set(key, Buffer.from_bytes(content())))

    seen, since = None, time.monotonic()
    while True:
        sync(root.store.set_if_not_exists(key, Buffer.from_bytes(content())))
        found = read()
        if mine(found):
            break
        if found != seen:
            seen, since = found, time.monotonic()
        if found is not None and (_is_dead(found) or time.monotonic() - since > lease):
            sync(root.store.delete(key))
        else:
            time.sleep(_POLL)
    try:
        yield renew
    finally:
        _HELD.discard(token)
        if mine(read()):
            sync(root.store.delete(key))


def _is_dead(content: bytes) -> bool:
    """Whether a lock's owner was a process of this machine that is gone."""
    try:
        owner = json.loads(content)
        if owner["host"] != socket.gethostname():
            return False
        if owner["pid"] == os.getpid():
            return owner["token"] not in _HELD
        os.kill(int(owner["pid"]), 0)
    except ProcessLookupError:
        return True
    except (ValueError, KeyError, TypeError, PermissionError, OverflowError, RecursionError):
        return False
    return False
