"""Progress and result of a campaign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Failure:
    """A detector-visit that has no template, and why.

    Parameters
    ----------
    visit, detector : int
        The data ID; -1 if the table's row could not be read.
    kind : str
        Name of the error's class.
    message : str
        One line.
    """

    visit: int
    detector: int
    kind: str
    message: str


@dataclass(frozen=True)
class Progress:
    """Progress of a campaign, given to its progress callback.

    Parameters
    ----------
    total, skipped, running : int
        Numbers of detector-visits: requested, already complete, in flight.
    done : mapping of str to int
        Numbers of detector-visits that ended in this run, by status.
    elapsed : float
        Seconds.
    worker_losses : int
        How often the workers of a template died; it is then restarted, at most `worker_retries` times.
    workers : int
        Number of workers of the cluster, at most a second ago.
    damaged : int
        Number of complete templates, from this run or earlier, that lack data because chunks of the coadds are damaged.
    """

    total: int
    skipped: int
    running: int
    done: Mapping[str, int]
    elapsed: float
    worker_losses: int
    workers: int
    damaged: int = 0


@dataclass(frozen=True)
class CampaignResult:
    """Result of a campaign.

    Parameters
    ----------
    total, skipped, complete, no_overlap : int
        Numbers of detector-visits.
    failures : tuple of Failure
        Those that failed, in this run or in an earlier one that is not retried.
    elapsed : float
        Seconds.
    stopped : str
        Why the run stopped before all templates were started; empty if it did not stop.
    worker_losses : int
        How often the workers of a template died; it is then restarted, at most `worker_retries` times.
    damaged : int
        Number of complete templates, from this run or earlier, that lack data because chunks of the coadds are damaged.
    damage : mapping of str to int
        A description of each damaged chunk, and how many of these templates lack it.
    again : mapping of str to int
        Number of templates that were made again, by reason.
    """

    total: int
    skipped: int
    complete: int
    no_overlap: int
    failures: tuple[Failure, ...]
    elapsed: float
    stopped: str = ""
    worker_losses: int = 0
    damaged: int = 0
    damage: Mapping[str, int] = field(default_factory=dict)
    again: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every detector-visit is complete or has no overlap."""
        return not self.failures and not self.stopped
