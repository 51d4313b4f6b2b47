"""How many cores one client and scheduler feed, and what else breaks first: a simulation from measured costs.

``python tests/benchmarks/largest_cluster.py`` prints what ``dcrflow/docs/operations.md`` shows. Each core makes one
batch after the other and has one that waits. When a batch ends, the client takes its events and sends another, which
the scheduler passes on: each of the two does one thing at a time. The costs are those that ``million.py`` measures.
"""

from __future__ import annotations

import argparse
import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass

CORES = (100, 1000, 3000, 5000, 10_000)
_WAITING = 2  # tasks that a core has: one that runs and one that waits
_SPREAD = 0.2  # of the seconds that a batch takes, relative
_LASTS = 240.0  # simulated seconds; the second half is counted


@dataclass(frozen=True)
class Costs:
    """What a template costs.

    Parameters
    ----------
    template : float
        Seconds of a core.
    client, scheduler : float
        Seconds of the client's core, and of the scheduler's.
    batch : int
        Templates of a task.
    """

    template: float = 3.0
    client: float = 0.3e-3
    scheduler: float = 0.15e-3
    batch: int = 6


@dataclass(frozen=True)
class Limit:
    """Something that does so much a second, and how much of it a template takes."""

    name: str
    each: float
    most: float


#: Requests that a template makes: reads are GET, HEAD, a listing, and 45 chunks of coadds; writes are PUT. What one
#: prefix of S3, a shared file system and a disk do is what their makers say, or what is usual.
LIMITS = (
    Limit("object store, one prefix: writes a second", 26, 3500),
    Limit("object store, one prefix: reads a second", 23 + 3 + 1 + 45, 5500),
    Limit("shared file system: metadata operations a second", 40, 20_000),
    Limit("journal: MB a second", 0.7e-3, 50),
)


def rate(cores: int, costs: Costs, together: bool = False) -> float:
    """Templates a second that so many cores make.

    Parameters
    ----------
    cores : int
        Of all workers.
    costs : Costs
        Of a template.
    together : bool
        Whether client and scheduler share one core.
    """
    rng = random.Random(1)
    client, scheduler = costs.client * costs.batch, costs.scheduler * costs.batch
    free_client = free_scheduler = 0.0
    waiting, running = [0] * cores, [False] * cores
    ended = 0
    # (when, what, core): a request for a batch, a batch that arrives, a batch that ends
    begin = [rng.uniform(0, costs.batch * costs.template) for _ in range(cores)]  # so that not all end together
    events = [(begin[core], 0, core) for core in range(cores) for _ in range(_WAITING)]
    heapq.heapify(events)
    while events:
        now, what, core = heapq.heappop(events)
        if now > _LASTS:
            break
        if what == 0:
            free_client = max(now, free_client) + client
            if together:
                free_client += scheduler
                heapq.heappush(events, (free_client, 1, core))
            else:
                free_scheduler = max(free_client, free_scheduler) + scheduler
                heapq.heappush(events, (free_scheduler, 1, core))
            continue
        if what == 1:
            waiting[core] += 1
        else:
            running[core] = False
            ended += costs.batch if now > _LASTS / 2 else 0
            heapq.heappush(events, (now, 0, core))
        if not running[core] and waiting[core]:
            waiting[core] -= 1
            running[core] = True
            seconds = costs.batch * costs.template * rng.uniform(1 - _SPREAD, 1 + _SPREAD)
            heapq.heappush(events, (now + seconds, 2, core))
    return ended / (_LASTS / 2)


def table(costs: Costs) -> Iterator[str]:
    """The figures as lines of Markdown."""
    yield "| cores | templates a second, client and scheduler on one core | on a core each | cores that have work |"
    yield "|---|---|---|---|"
    for cores in CORES:
        one, two = rate(cores, costs, together=True), rate(cores, costs)
        yield f"| {cores:,} | {one:,.0f} | {two:,.0f} | {min(1.0, two * costs.template / cores):.0%} |"
    yield ""
    yield "| what breaks | a template takes | limit a second | cores that reach it |"
    yield "|---|---|---|---|"
    each = (
        Limit("client and scheduler on one core: seconds", costs.client + costs.scheduler, 1.0),
        Limit("client on a core of its own: seconds", costs.client, 1.0),
        Limit("scheduler on a core of its own: seconds", costs.scheduler, 1.0),
        *LIMITS,
    )
    for limit in sorted(each, key=lambda limit: limit.most / limit.each):
        cores = limit.most / limit.each * costs.template
        two_digits = round(cores, 2 - len(str(int(cores))))
        yield f"| {limit.name} | {limit.each:.2g} | {limit.most:,.0f} | {two_digits:,.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--template", type=float, default=Costs.template, help="seconds of a core")
    parser.add_argument("--client", type=float, default=1e3 * Costs.client, help="ms of the client's core a template")
    parser.add_argument("--scheduler", type=float, default=1e3 * Costs.scheduler, help="the same of the scheduler's")
    parser.add_argument("--batch", type=int, default=Costs.batch, help="templates of a task")
    given = parser.parse_args()
    print("\n".join(table(Costs(given.template, given.client / 1e3, given.scheduler / 1e3, given.batch))))


if __name__ == "__main__":
    main()
