"""The processes of a local cluster."""

import psutil


def workers_of(pid: int) -> list[psutil.Process]:
    """The workers that a process has started, youngest last: forked off a server, with its command line."""
    found = []
    for child in psutil.Process(pid).children(recursive=True):
        try:
            if all("forkserver import" in " ".join(each.cmdline()) for each in (child, child.parent())):
                found.append(child)
        except (psutil.Error, AttributeError):
            continue
    return sorted(found, key=lambda p: p.create_time())
