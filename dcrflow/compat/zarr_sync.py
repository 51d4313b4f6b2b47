"""Running a coroutine on the event loop that zarr uses for its stores.

Why
    Many small reads (attributes, listings, chunks of several arrays) are started together and waited for once. That
    needs zarr's asynchronous stores, from code that is not asynchronous.
Public ways tried
    - ``zarr.Group`` and ``zarr.Array`` read one thing at a time: opening a hundred patches in an object store takes a
      hundred round trips one after the other.
    - An event loop of our own in a thread: clients of object stores (aiohttp in fsspec) belong to the loop that first
      used them, and the same store is also used through zarr's own functions, on zarr's loop.
    - `zarr.api.asynchronous` is public, and is used; it has no function that runs its coroutines.
Versions
    zarr 3.2.0 to 3.4.2.
Remove when
    zarr exports `sync`, or has a public function that runs a coroutine on its loop.
"""

from __future__ import annotations

from zarr.core.sync import sync

__all__ = ["sync"]
