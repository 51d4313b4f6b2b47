"""The processes of a local cluster."""

import contextlib

import psutil


def workers_of(pid: int) -> list[psutil.Process]:
    """The workers that a process has started, youngest last: forked off a server, which is its child."""
    found: list[psutil.Process] = []
    for server in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            found += server.children()
    return sorted(found, key=lambda p: p.create_time())
