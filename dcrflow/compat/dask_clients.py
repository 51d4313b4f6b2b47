"""A client of dask that is closed if it cannot connect.

Why
    The constructor of distributed's client leaves one open whose scheduler turned it away, with all that it refers to
    in a cycle. Python closes it whenever it next looks for garbage, which may be while the next client is made: that
    holds a lock, and the closing waits for the same lock, in the same thread, for ever.
Public ways tried
    - Nobody but the constructor has the client that failed, so no ``with`` and no caller can close it. Here it is done
      where the constructor calls the public `distributed.Client.start`.
    - `gc.collect` after the failure does not find it: the exception's frames refer to it as long as that is kept.
    - A client with ``asynchronous=True`` can be closed by its caller, but needs an event loop that notebooks run.
Versions
    distributed 2026.1.1 to 2026.8.0.
Remove when
    distributed closes a client that cannot connect, or its loop's lock can be taken twice by a thread.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import distributed


class Client(distributed.Client):
    """`distributed.Client`, but closed if it cannot connect."""

    def start(self, **options: Any) -> None:
        try:
            super().start(**options)  # type: ignore[no-untyped-call]
        except BaseException:
            with suppress(Exception):
                self.close()
            raise
