"""Progress and result of a build of DCR coadds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dcrflow.planning.coadds import LeftOut


@dataclass(frozen=True)
class PatchFailure:
    """A patch that was not made, and why."""

    tract: int
    patch: int
    kind: str
    message: str


@dataclass(frozen=True)
class CoaddProgress:
    """Progress of a build, passed to its progress callback."""

    total: int
    skipped: int
    running: int
    complete: int
    failed: int
    worker_losses: int
    elapsed: float


@dataclass(frozen=True)
class CoaddResult:
    """Result of a build.

    Parameters
    ----------
    url : str
        The DCR-coadd store.
    total, skipped, complete : int
        Numbers of patches: requested, complete before this run, made in this run.
    failures : tuple of PatchFailure
        Patches that could not be made.
    left_out : tuple of LeftOut
        Detector-visits that were not used, each listed once.
    suspects : tuple of LeftOut
        Detector-visits that were used but do not fit.
    notes : mapping of str to tuple of str
        For each patch, what its visits cannot determine.
    elapsed : float
        Run time, seconds.
    stopped : str
        Why the run stopped before all patches were started; empty otherwise.
    worker_losses : int
        How often the workers of a patch died; it is then restarted, at most `worker_retries` times.
    """

    url: str
    total: int
    skipped: int
    complete: int
    failures: tuple[PatchFailure, ...]
    left_out: tuple[LeftOut, ...]
    suspects: tuple[LeftOut, ...]
    notes: Mapping[str, tuple[str, ...]]
    elapsed: float
    stopped: str = ""
    worker_losses: int = 0

    @property
    def ok(self) -> bool:
        """Whether every patch is complete."""
        return not self.failures and not self.stopped
