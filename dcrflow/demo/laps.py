"""How long the parts of a demo took."""

from __future__ import annotations

import time


class Laps:
    """A stop watch that begins when it is made.

    Attributes
    ----------
    seconds : dict of str to float
        By the name of the part.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.monotonic()

    def end(self, name: str) -> None:
        """End a part, and begin the next."""
        now = time.monotonic()
        self.seconds[name] = round(now - self._began, 2)
        self._began = now
