from __future__ import annotations

from typing import Any

import pytest

from dcrflow import SchedulerLostError
from dcrflow.cluster.answers import answer


class Given:
    """A client with a status."""

    def __init__(self, status: str) -> None:
        self.status = status


def times_out() -> int:
    raise OSError("Timed out trying to connect to tcp://10.0.0.1:8786 after 60 s")


@pytest.mark.parametrize("status", ["running", "connecting"])
def test_a_busy_scheduler_may_be_silent_for_a_while(status: str) -> None:
    client: Any = Given(status)
    assert answer(client, times_out, 3) == 3
    assert answer(client, lambda: 7, 3) == 7


def test_one_that_was_given_up_is_an_error() -> None:
    client: Any = Given("closed")
    with pytest.raises(SchedulerLostError, match="the scheduler does not answer any more: start the cluster again"):
        answer(client, times_out, 3)
