"""When to begin no more: because somebody says so, or because the time is nearly up."""

from __future__ import annotations

import time
from threading import Event

_FIRST = 60.0  # seconds that the first templates are taken to need, compilation included


class Deadline:
    """The end of the time there is; nothing is begun that would not be finished by then.

    Parameters
    ----------
    walltime : float
        Seconds from now.
    """

    def __init__(self, walltime: float) -> None:
        self._end = time.monotonic() + walltime
        self._longest = 0.0

    def took(self, elapsed: float) -> None:
        """A template took so long, from its submission to its end."""
        self._longest = max(self._longest, elapsed)

    @property
    def is_near(self) -> bool:
        """Whether one more template, taking half as long again as the longest so far, might not be finished."""
        return time.monotonic() + 1.5 * (self._longest or _FIRST) > self._end


class Stop:
    """Asks a campaign to begin no more and finish what is in flight; set from anywhere.

    Parameters
    ----------
    walltime : float, optional
        Seconds from now after which it is set by itself, early enough to finish.
    """

    def __init__(self, walltime: float | None = None) -> None:
        self._event = Event()
        self.deadline = None if walltime is None else Deadline(walltime)

    def set(self) -> None:
        """Ask."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether somebody asked."""
        return self._event.is_set()

    @property
    def reason(self) -> str:
        """Why to begin no more; empty while there is no reason."""
        if self._event.is_set():
            return "interrupted"
        if self.deadline is not None and self.deadline.is_near:
            return "walltime"
        return ""
