"""Questions to a scheduler that may be busy, or away for a while. Knows no astronomy."""

from __future__ import annotations

from collections.abc import Callable

from distributed import Client

from dcrflow.base.errors import SchedulerLostError


def answer[T](client: Client, question: Callable[[], T], otherwise: T) -> T:
    """What a scheduler answers.

    Parameters
    ----------
    client : Client
        Of the scheduler.
    question : callable
        Asks it, such as ``client.nthreads``.
    otherwise : object
        What is returned while the scheduler is too busy to answer, or the client reconnects.

    Raises
    ------
    SchedulerLostError
        If the client has given up on the scheduler.
    """
    try:
        return question()
    except (OSError, RuntimeError, ValueError) as error:
        if client.status in ("running", "connecting"):
            return otherwise
        raise SchedulerLostError(
            "the scheduler does not answer any more: start the cluster again, and the same command finishes the rest"
        ) from error
