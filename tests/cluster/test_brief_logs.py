"""What dask logs when a connection is lost."""

import io
import logging
from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster, Status
from distributed.comm import CommClosedError

from dcrflow.cluster.brief_logs import BriefLogs, _handlers, lost_connections_in_one_line


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler of dask's logger writes."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logging.getLogger("distributed").addHandler(handler)
    before = [(each, list(each.filters)) for each in _handlers()]
    yield text
    for each, filters in before:  # a worker in this process shortens until the process ends
        each.filters[:] = filters
    logging.getLogger("distributed").removeHandler(handler)


def log(error: BaseException) -> None:
    try:
        raise error
    except BaseException:
        logging.getLogger("distributed.worker").exception("Failed to communicate with %s.", "scheduler")


def test_a_lost_connection_is_one_line(written: io.StringIO) -> None:
    with lost_connections_in_one_line():
        log(CommClosedError("in <TLS (closed)>:\n Stream is closed"))
    assert written.getvalue() == (
        "Failed to communicate with scheduler. CommClosedError: in <TLS (closed)>: Stream is closed\n"
    )


def test_any_other_error_keeps_its_traceback(written: io.StringIO) -> None:
    with lost_connections_in_one_line():
        log(ZeroDivisionError("of ours"))
    assert "Traceback (most recent call last)" in written.getvalue()


def test_afterwards_all_is_as_before(written: io.StringIO) -> None:
    with lost_connections_in_one_line():
        pass
    log(OSError("no route"))
    assert "Traceback (most recent call last)" in written.getvalue()


def test_workers_shorten_until_they_end(written: io.StringIO) -> None:
    """Also after the plugins of a worker have been removed, as a worker does when it closes; then nothing is said."""
    with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster, Client(cluster) as client:
        client.register_plugin(BriefLogs())
        client.unregister_worker_plugin(BriefLogs.name)
        log(TimeoutError("no answer"))
        cluster.workers[0].status = Status.closing
        log(TimeoutError("no answer while it closes"))
        cluster.workers[0].status = Status.running
    assert "TimeoutError: no answer\n" in written.getvalue()
    assert "while it closes" not in written.getvalue()
    assert "Traceback" not in written.getvalue()
