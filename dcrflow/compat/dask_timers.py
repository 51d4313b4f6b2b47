"""Restarting the timers of dask and tornado after the clock was set back.

Why
    `distributed` and tornado wait until a time of day. When the clock is set back by an hour, heartbeats pause for an
    hour, and so do messages that were about to be sent (`distributed.batched.BatchedSend`). Both kinds of timer must be
    restarted, and nothing keeps a list of them, so they are looked for among all objects. That takes some tens of
    milliseconds, and happens only after the clock was set back.
Public ways tried
    - ``periodic_callbacks`` and ``batched_stream`` of `Worker`, ``scheduler_comm`` of `Client`: public, but the
      client's and the adaptive cluster's own callbacks, those of the dashboard and the streams of an in-process
      scheduler are not among them.
    - Replacing ``IOLoop.time`` by a monotonic clock: tornado's documentation says that this is not supported, and
      `BatchedSend` takes its deadlines from another clock, so that a clock that is set *forward* would stop it.
Versions
    distributed 2026.1.1 to 2026.8.0, tornado 6.5 to 6.6.
Remove when
    distributed and tornado wait on ``time.monotonic``.
"""

from __future__ import annotations

import gc

from distributed.batched import BatchedSend
from tornado.ioloop import IOLoop, PeriodicCallback


def restart_timers(loop: IOLoop) -> None:
    """Make everything that waits in an event loop begin its wait again."""
    for found in gc.get_objects():
        if isinstance(found, BatchedSend) and found.loop is loop:
            found.next_deadline = None
            found.waker.set()
        elif isinstance(found, PeriodicCallback) and found.is_running() and found.io_loop is loop:
            found.stop()
            found.start()
