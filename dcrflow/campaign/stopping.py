"""Stop a campaign from starting more templates: on request, or before its walltime ends."""

from __future__ import annotations

import time
from threading import Event

_FIRST = 60.0  # seconds; assumed for a first template, compilation included


class Deadline:
    """A walltime; templates that might not be finished in time are not started.

    Parameters
    ----------
    walltime : float
        Seconds from now.
    """

    def __init__(self, walltime: float) -> None:
        self._end = time.monotonic() + walltime
        self._longest = 0.0

    def took(self, elapsed: float) -> None:
        """Record the seconds that a template took on its worker."""
        self._longest = max(self._longest, elapsed)

    @property
    def is_near(self) -> bool:
        """Whether one more template might not be finished, if it takes half as long again as the longest so far."""
        return time.monotonic() + 1.5 * (self._longest or _FIRST) > self._end


class Stop:
    """Asks a campaign to start no more templates and to finish those in flight; any thread may set it.

    Parameters
    ----------
    walltime : float, optional
        Seconds from now after which it is set by itself, early enough to finish.
    """

    def __init__(self, walltime: float | None = None) -> None:
        self._event = Event()
        self.deadline = None if walltime is None else Deadline(walltime)

    def set(self) -> None:
        """Ask the campaign to stop."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether a stop was requested."""
        return self._event.is_set()

    @property
    def reason(self) -> str:
        """Why the campaign stops; empty as long as it does not."""
        if self._event.is_set():
            return "interrupted"
        if self.deadline is not None and self.deadline.is_near:
            return "walltime"
        return ""
